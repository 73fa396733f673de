"""L14. Who leads, as the systems themselves say it, again and again; written into the history when it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from clusterkit.components.base import Running
from clusterkit.health import roles
from clusterkit.history.codec import Recorder
from clusterkit.history.op import OBSERVER, OpType
from clusterkit.workloads.interpreter import with_timeout

EVERY_S = 0.3
TIMEOUT_S = 0.5
LEADS = frozenset({"leader", "primary"})


class Observer(threading.Thread):
    """Asks the components until `end` is called. `now` is component -> who leads, in its own words of nodes."""

    def __init__(self, components: Sequence[Running], recorder: Recorder, now_ns: Callable[[], int]) -> None:
        super().__init__(name="observer", daemon=True)
        self._components = [with_timeout(running, TIMEOUT_S) for running in components]
        self._recorder, self._now_ns = recorder, now_ns
        self._over = threading.Event()
        self._told: dict[str, tuple[str, ...]] = {}

    @property
    def now(self) -> Mapping[str, tuple[str, ...]]:
        return dict(self._told)

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """One look at each component. Where two nodes say they lead, each is told when it begins to."""
        for running in self._components:
            name = running.group.name
            held = roles.read(running)
            leads = tuple(sorted(node for node, its in held.items() if any(role.name in LEADS for role in its)))
            before = self._told.get(name)
            if leads == before or (before is None and not leads):
                continue
            self._told[name] = leads
            fresh: list[str | None] = [node for node in leads if node not in (before or ())] or [*leads] or [None]
            for node in fresh:
                self._recorder.record(OBSERVER, OpType.INFO, "leader", key=name, value=node, time_ns=self._now_ns())

    def end(self) -> None:
        self._over.set()
        self.join()


def with_needs(running: Running) -> list[Running]:
    """The component and all that it stands on: each once."""
    found = {running.group.name: running}
    for need in running.needs.values():
        found |= {one.group.name: one for one in with_needs(need)}
    return list(found.values())
