"""L9. One fault from its words to its end: aimed, made, measured, healed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from clusterkit.agent.client import Mark
from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Effect, Fault, Scene
from clusterkit.chaos.registry import find_fault
from clusterkit.errors import ClusterkitError, UsageError

_TRIES = 4

LINKS = "links"
"""Who owns the lasting impairments of a topology: they are no faults, and stay when faults are healed."""


@dataclass(frozen=True)
class Struck:
    """A fault that was made, and what it did."""

    fault: Fault
    mark: Mark
    effect: Effect


def strike(
    fault: Fault,
    scene: Scene,
    lease_s: float | None,
    *,
    pretend: bool = False,
    made: Callable[[Fault, Mark], None] | None = None,
) -> Struck:
    """Aims a fault at what its words mean now, makes it for `lease_s` seconds (None: for ever), and measures it.

    `pretend` makes nothing: what is measured is how things are without it. `made` is told before it is measured. One
    that cannot be measured is healed again.
    Raises: UsageError for what cannot be done here, with nothing touched.
    """
    mark = fault.inject(scene, aim(fault, scene), lease_s, pretend=pretend)
    try:
        if made is not None:
            made(fault, mark)
        effect = _measured(fault, scene, mark)
    except BaseException:
        if not pretend:
            fault.heal(scene, mark)
        raise
    return Struck(fault, mark, effect)


def _measured(fault: Fault, scene: Scene, mark: Mark) -> Effect:
    """A fault that comes or goes while we measure beside another one spoils that: it is measured again."""
    for _ in range(_TRIES):
        before = {other.id for other in scene.agent.marks(scene.cluster)}
        effect = fault.measure(scene, mark)
        if effect.beside_is_well or before == {other.id for other in scene.agent.marks(scene.cluster)}:
            break
    return effect


def heal(scene: Scene, ids: Collection[str] = (), *, links: bool = False) -> tuple[Mark, ...]:
    """Heals the faults named, or all of the cluster, the last one first; gives those that were healed.

    Works from the agent's ledger alone, whoever made them. `links`: the topology's lasting impairments too. Goes on
    where one cannot be healed, and raises that error at the end. Raises: UsageError for an id that is not in force.
    """
    found = [mark for mark in scene.agent.marks(scene.cluster) if links or ids or mark.owner != LINKS]
    for unknown in sorted(set(ids) - {mark.id for mark in found}):
        raise UsageError(f'no fault "{unknown}" is in force', mend=_in_force(found))
    chosen = [mark for mark in found if not ids or mark.id in ids]
    failed: list[ClusterkitError] = []
    for mark in reversed(chosen):
        try:
            _undo(scene, mark)
        except ClusterkitError as error:
            error.add_note(f"{mark.id} could not be healed: {mark.words}")
            failed.append(error)
    if failed:
        raise failed[0]
    return tuple(chosen)


def _undo(scene: Scene, mark: Mark) -> None:
    """By the fault's own way where it has one: links of a topology have none."""
    if mark.owner == LINKS:
        scene.agent.heal(mark.id)
    else:
        find_fault(mark.fault).heal(scene, mark)


def _in_force(marks: Iterable[Mark]) -> str:
    names = ", ".join(mark.id for mark in marks)
    return f"in force are {names}" if names else "nothing is broken now"
