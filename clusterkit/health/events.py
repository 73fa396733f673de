"""L8, pure. What happens to a cluster, one event at a time: from the engine's own events, and from two looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from clusterkit.agent.client import Mark
from clusterkit.health.status import NodeHealth

Kind = Literal["node", "role", "leader", "health", "fault"]

_SAME_NS = 1_000_000_000
LEADS = frozenset({"leader", "primary"})

_OF_THE_ENGINE = {
    "create": "created",
    "start": "started",
    "die": "ended",
    "oom": "out of memory",
    "pause": "paused",
    "unpause": "unpaused",
    "destroy": "removed",
    "update": "changed",
}
"""Source: Docker's documentation, events of containers."""


@dataclass(frozen=True)
class Event:
    """One thing that happened. `time_ns` since 1970: of the engine where it is a node's, of the agent where a fault was
    injected, else of when it was seen.

    `what`: created, started, ended, ...; a role; who leads; healthy, unhealthy or down; injected, overdue or healed.
    `detail` says more. `nodes`: those of a fault.
    """

    time_ns: int
    kind: Kind
    what: str
    node: str = ""
    component: str = ""
    detail: str = ""
    nodes: tuple[str, ...] = ()

    def as_json(self, cluster: str) -> dict[str, Any]:
        """`time` is in UTC, to the millisecond."""
        return {"time": _at(self.time_ns).isoformat(timespec="milliseconds"), "cluster": cluster, **asdict(self)}

    def __str__(self) -> str:
        local = _at(self.time_ns).astimezone()
        about = self.node or self.component
        text = f"{local:%H:%M:%S}.{local.microsecond // 1000:03d} {self.kind:<6} {about:<12} {self.what}"
        return text + (f", {self.detail}" if self.detail else "")


def of_engine(said: Mapping[str, Any]) -> Event | None:
    """An event of the engine's stream; None for what is of no interest (an exec, an attach)."""
    what = _OF_THE_ENGINE.get(said.get("Action", ""))
    labels = said.get("Actor", {}).get("Attributes", {})
    if what is None or "clusterkit.node" not in labels:
        return None
    detail = f"code {labels['exitCode']}" if what == "ended" and "exitCode" in labels else ""
    node, component = labels["clusterkit.node"], labels.get("clusterkit.component", "")
    return Event(int(said["timeNano"]), "node", what, node, component, detail)


def of_life(said: Mapping[str, Any], node: str, component: str) -> Iterator[Event]:
    """When a container was made, and when it last started and ended, to the microsecond: what the engine keeps for as
    long as it is there. The code of a node that runs again is forgotten. Source: Docker Engine API, ContainerInspect.
    """
    state = said["State"]
    code = f"code {state['ExitCode']}" if state["Status"] == "exited" else ""
    times = {"created": said["Created"], "started": state["StartedAt"], "ended": state["FinishedAt"]}
    for what, text in times.items():
        time_ns = (datetime.fromisoformat(text) - _at(0)) // timedelta(microseconds=1) * 1000
        if time_ns > 0:  # the engine writes the year 1 for what was never
            yield Event(time_ns, "node", what, node, component, code if what == "ended" else "")


def merged(told: Sequence[Event], kept: Sequence[Event]) -> list[Event]:
    """In the order of time: what the engine told, and of what it keeps that which it has forgotten to tell."""

    def is_known(one: Event) -> bool:
        return any(
            (one.node, one.what) == (event.node, event.what) and abs(one.time_ns - event.time_ns) < _SAME_NS
            for event in told
        )

    return sorted([*told, *(one for one in kept if not is_known(one))], key=lambda event: event.time_ns)


def of_health(
    before: Mapping[str, NodeHealth], after: Mapping[str, NodeHealth], components: Mapping[str, str], time_ns: int
) -> Iterator[Event]:
    """Roles and health that changed between two looks; `components`: node -> its component.

    A role is told when a node has it, not when it has lost it: a node that is down says nothing of its role.
    """
    for node, now in after.items():
        was = before.get(node)
        component = components.get(node, "")
        if now.role and (was is None or was.role != now.role):
            yield Event(time_ns, "role", now.role, node, component, f"was {was.role}" if was and was.role else "")
        if was is None or was.verdict != now.verdict:
            yield Event(time_ns, "health", now.verdict, node, component, now.seen)


def of_leaders(
    before: Mapping[str, NodeHealth], after: Mapping[str, NodeHealth], components: Mapping[str, str], time_ns: int
) -> Iterator[Event]:
    """Who leads a component, where that changed: nobody, or two at once, while a partition lasts."""
    for component in dict.fromkeys(components.values()):
        were, are = (
            ", ".join(node for node, seen in look.items() if seen.role in LEADS and components.get(node) == component)
            for look in (before, after)
        )
        if were != are:
            yield Event(
                time_ns, "leader", are or "nobody", component=component, detail=f"was {were or 'nobody'}" * bool(before)
            )


def of_faults(before: Sequence[Mark], after: Sequence[Mark], time_ns: int) -> Iterator[Event]:
    """Faults that came and went, and those that should have ended and did not: `chaos heal` ends them."""
    known = {mark.id: mark for mark in before}
    for mark in after:
        was = known.pop(mark.id, None)
        if was is None:
            yield _fault(mark.since_ns, "injected", mark)
        if mark.is_overdue and not (was and was.is_overdue):
            yield _fault(time_ns, "overdue", mark)
    for mark in known.values():
        yield _fault(time_ns, "healed", mark)


def _fault(time_ns: int, what: str, mark: Mark) -> Event:
    return Event(time_ns, "fault", what, component=mark.id, detail=mark.words, nodes=mark.nodes)


def _at(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)
