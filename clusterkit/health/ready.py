"""L8. Is a component ready, and waiting until it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from clusterkit.clock import SYSTEM, Clock, Deadline
from clusterkit.components.base import Bootstrap, Running
from clusterkit.components.conditions import UNREACHABLE, words
from clusterkit.errors import NotReady

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.2
_GROWTH = 1.5

DOES_NOT_RUN = "its main process does not run"


def unready(running: Running) -> dict[str, str]:
    """node name -> what keeps it from being ready. Empty: all are.

    Conditions are looked at in their order, up to the first that is not met, on the nodes that run; those that do not
    are never ready.
    """
    seen = {member.name: DOES_NOT_RUN for member in running.members if member.name not in running.nodes}
    if not running.nodes:
        return seen
    for condition in running.component.ready:
        try:
            found = condition(running)
        except UNREACHABLE as error:
            found = {member.name: words(error) for member in running.up}
        if found:
            return seen | dict(found)
    return seen


def wait_ready(
    look: Callable[[], Running], deadline: Deadline, clock: Clock = SYSTEM, only: Collection[str] = ()
) -> None:
    """Looks again and again until nothing keeps any node (or any of `only`) from being ready.

    Raises: NotReady with what was last seen of every node that is not; whatever `look` raises.
    """
    for running in _looks(look, deadline, clock):
        seen = {name: why for name, why in unready(running).items() if not only or name in only}
        if not seen:
            return
    raise _not_ready(running.group.name, "is not healthy in time", seen)


def bootstrap(step: Bootstrap, look: Callable[[], Running], deadline: Deadline, clock: Clock = SYSTEM) -> None:
    """Does a component's one-time step if the system says that it needs it, as soon as the system answers.

    Raises: NotReady when it could not be done before the deadline; whatever `look` raises.
    """
    for running in _looks(look, deadline, clock):
        trouble = "the system says that it is not done"
        try:
            if not step.is_needed(running):
                return
            step.run(running)
        except UNREACHABLE as error:
            trouble = words(error)
    seen = {member.name: trouble if member.name in running.nodes else DOES_NOT_RUN for member in running.members}
    raise _not_ready(running.group.name, "could not be set up in time", seen)


def repeat(
    step: Callable[[Running], object], look: Callable[[], Running], deadline: Deadline, what: str, clock: Clock = SYSTEM
) -> None:
    """Does a step again and again until the system lets it be done. `what`: "could not ..., in time" of the error.

    Raises: NotReady with the last reason; whatever `look` raises.
    """
    for running in _looks(look, deadline, clock):
        try:
            step(running)
        except UNREACHABLE as error:
            trouble = words(error)
        else:
            return
    raise _not_ready(
        running.group.name, what, {member.name: trouble for member in running.up[:1]} or {"no node": trouble}
    )


def _looks(look: Callable[[], Running], deadline: Deadline, clock: Clock) -> Iterator[Running]:
    """One look after another, with pauses that grow; at least one, and a last one at the deadline."""
    pause = FIRST_PAUSE
    while True:
        is_last = deadline.is_over
        yield look()
        if is_last:
            return
        clock.sleep(min(pause, deadline.left))
        pause = min(pause * _GROWTH, LONGEST_PAUSE)


def _not_ready(component: str, what: str, seen: dict[str, str]) -> NotReady:
    first = next(iter(seen.items()))
    return NotReady(
        f"{component} {what}; {first[0]}: {first[1]}",
        unready=seen,
        mend="if it is only slow, wait longer: --wait-timeout, or `timeout:` in the topology",
    )
