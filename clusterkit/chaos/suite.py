"""L9, pure. The suite that is run where a topology has no scenarios: what is claimed, against what can be suffered.

Each part of it is a scenario as one would write it in YAML; every family of faults that this machine can make stands in
it, once at least for each component that is judged, aimed so that clients feel it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.chaos.base import Family
from clusterkit.chaos.registry import find_fault

SCENARIO_S = 100
"""How long one scenario lasts where nobody says."""
SLOT_S = 8
"""How long a fault and the rest after it take at least: a lease, a vote, and calls that prove something."""


@dataclass(frozen=True)
class Facts:
    """What is known of a component that clients can talk to.

    `leader`: the word for who leads ("leader", "primary"), "" for masterless ones. `struck`: the component that faults
    hit: of a sentinel, the one that it watches. `nodes`: how many that has; `is_stateful`: its data lies on disks.
    """

    name: str
    kinds: Sequence[str]
    linearizable: bool
    leader: str
    struck: str
    nodes: int
    is_stateful: bool


@dataclass(frozen=True)
class Suite:
    """Name of a scenario -> as written; and what was left out, and why (words)."""

    scenarios: Mapping[str, Mapping[str, Any]]
    left_out: tuple[str, ...] = ()


@dataclass
class _Making:
    trials: Mapping[str, str]
    left_out: list[str] = field(default_factory=list)


def suite(components: Sequence[Facts], trials: Mapping[str, str], time_s: float | None = None) -> Suite:
    """`trials`: kind of the agent -> why it does not work here, "" where it does. `time_s` is for all together.

    Faults come one after another. Where the time is too short for all, first the second of a family is left out.
    """
    making = _Making(trials)
    found: dict[str, Mapping[str, Any]] = {}
    each_s = SCENARIO_S if time_s is None else time_s / max(1, len(components))
    for one in components:
        found[f"{one.name}-promises"] = _scenario(one, making, each_s)
    return Suite(found, tuple(dict.fromkeys(making.left_out)))


def _scenario(one: Facts, making: _Making, time_s: float) -> Mapping[str, Any]:
    faults = _fitting(list(_possible(one, making)), time_s, one.name, making)
    slot_s = time_s / (len(faults) + 1)
    items = []
    for place, (fault, body, is_lasting) in enumerate(faults):
        item: dict[str, Any] = {"at": f"{round(slot_s * (place + 0.5), 1)}s"}
        if is_lasting:
            item["for"] = f"{round(min(8.0, slot_s * 0.65), 1)}s"
        items.append({**item, fault: body})
    kind = "register" if one.linearizable and "register" in one.kinds else "set"
    return {
        "workload": {"kind": kind, "component": one.name},
        "time": f"{round(time_s, 1)}s",
        "faults": items,
    }


_Fault = tuple[str, Mapping[str, Any], bool]


def _possible(one: Facts, making: _Making) -> Iterator[tuple[Family, _Fault]]:
    """The faults that hit it hardest; last, what a node may never come back from. What cannot be made is noted."""
    leader = f"{one.leader} of {one.struck}" if one.leader else f"one of {one.struck}"
    wanted: list[tuple[str, Mapping[str, Any]]] = [
        ("isolate", {"target": leader, "towards": "everyone"}),
        ("kill", {"target": leader}),
        ("latency", {"delay": "100ms", "jitter": "20ms", "target": one.struck, "towards": one.struck}),
        ("clock-jump", {"by": "60s", "target": leader}),
        ("dns-servfail", {"target": one.struck}),
        ("cpu", {"limit": "10%", "target": leader}),
        ("disk-stall", {"target": leader}),
        ("zone-outage", {"zone": "a"}),
        ("pause", {"target": leader}),
        ("partition", {"shape": "majority", "target": one.struck}),
        ("loss", {"percent": "20%", "target": leader}),
        ("power-loss", {"target": leader}),
    ]
    for name, body in wanted:
        fault = find_fault(name)
        if fault.needs_disk and not one.is_stateful:
            making.left_out.append(f"{name}: the data of {one.struck} lies on no disk of its own")
            continue
        reason = "; ".join(dict.fromkeys(said for need in fault.needs if (said := making.trials.get(need, ""))))
        if reason:
            making.left_out.append(f"{name}: {reason}")
            continue
        yield fault.family, (name, body, fault.is_lasting)


def _fitting(possible: list[tuple[Family, _Fault]], time_s: float, name: str, making: _Making) -> list[_Fault]:
    """As many as there is time for: first one of each family, then the others."""
    slots = max(1, int(time_s // SLOT_S))
    first = {family: place for place, (family, _) in reversed(list(enumerate(possible)))}
    chosen = sorted(range(len(possible)), key=lambda place: (place not in first.values(), place))[:slots]
    kept = {possible[place][0] for place in chosen}
    for family in dict.fromkeys(family for family, _ in possible):
        if family not in kept:
            making.left_out.append(f"{family} faults on {name}: {time_s:g} s are too short, at least {SLOT_S} s each")
    return [possible[place][1] for place in sorted(chosen)]
