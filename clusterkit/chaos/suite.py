"""L9, pure. The scenarios of a topology that names none, made from what its components claim and can suffer.

Each component that clients can talk to meets every family of faults that this machine can make: one fault after
another, on whoever leads (on one node where all are equal), with time between to recover. A scenario is given as it
would be written in YAML; check_topology reads it.

What may break which promise: lost power takes what was acknowledged before it was synced (Redis says so of itself, and
may refuse to start on what is left; etcd syncs first); a leader that was cut off or stood still, and still answers,
takes what its successor has never seen. Full, slow and stalled disks make a system unavailable and must lose nothing;
clocks that jump must break nothing. Damaged files are not in the suite: few systems promise anything then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.chaos.base import Family
from clusterkit.chaos.needs import why_not
from clusterkit.chaos.registry import shipped_faults
from clusterkit.components.base import Claims
from clusterkit.errors import UsageError
from clusterkit.model.words import listed
from clusterkit.units import Duration

DEFAULT_S = 60.0
"""How long a scenario takes where nobody says."""

LEAST_S = 20.0
"""For one component: less shows neither a loss nor a recovery."""

_APART_S = 40.0
"""A scenario for each group of families, once each of them has as long as this."""

_QUIET_S = 2.0
_GROUPS = ("network", "nodes", "disks")
_A_MAJORITY = 3


@dataclass(frozen=True)
class Facts:
    """A component, as far as the suite has to know it.

    kinds      the workloads that clients can run on it without being told how
    head       the role of whoever leads, as the system says it: "leader", "primary"; "" where all are equal
    replicas   how many nodes it has
    others     how many nodes the rest of the cluster has
    zones      where its nodes are
    keeps_data whether it has data that outlives its process
    has_disk   whether that lies on a disk of its own for each node
    leads_to   the component that its clients are led to, which holds the data: of a sentinel, what it watches
    """

    name: str
    claims: Claims
    kinds: frozenset[str] = frozenset()
    head: str = ""
    replicas: int = 3
    others: int = 0
    zones: tuple[str, ...] = ("a", "b", "c")
    keeps_data: bool = True
    has_disk: bool = True
    leads_to: str = ""


@dataclass(frozen=True)
class Suite:
    """`scenarios`: name -> what stands below it in YAML. `left_out`: what is not tried, and why, a sentence each."""

    scenarios: Mapping[str, Mapping[str, Any]]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trouble:
    """A fault as it is written: in force for `lasts_s` if there is time, else for `least_s`, then `rest_s` of peace.

    Of several choices chance takes one.
    """

    fault: str
    group: str
    lasts_s: float
    least_s: float
    rest_s: float
    choices: Sequence[Any]

    @property
    def family(self) -> Family:
        return shipped_faults()[self.fault].family

    @property
    def is_last(self) -> bool:
        """Made once, after all others: a node may never come back from it, and would meet no other fault then."""
        return self.family == "power"

    @property
    def written(self) -> dict[str, Any]:
        if len(self.choices) == 1:
            return {self.fault: self.choices[0]}
        return {"mix": [{self.fault: choice} for choice in self.choices]}


@dataclass
class _Told:
    """Sentences, each once, in order."""

    sentences: dict[str, None] = field(default_factory=dict)

    def add(self, text: str) -> None:
        self.sentences[text] = None


def suite(components: Mapping[str, Facts], trials: Mapping[str, str], time_s: float | None = None) -> Suite:
    """Three scenarios of a minute for each component; with `time_s` they share that, merged into one if it is short.

    `trials`: kind of the agent -> why this machine cannot do it, "" where it can.
    Raises: UsageError where nobody can be talked to, where the time is too short, or where no fault can be made.
    """
    told = _Told()
    called = _called(components, told)
    if not called:
        raise UsageError(
            "the topology has no scenarios, and no component that clusterkit can talk to by itself",
            mend="say how clients talk to yours: chaos: {scenarios: {NAME: {workload: ..., faults: [...]}}}; "
            "see docs/your-own-service.md",
        )
    share_s = time_s / len(called) if time_s is not None else DEFAULT_S * len(_GROUPS)
    if share_s < LEAST_S:
        raise UsageError(
            f"{_text(share_s)} for each of {listed(called)} is too short: nothing would be proved",
            mend=f"give --time {Duration(LEAST_S * len(called))} or more, or name a scenario",
        )
    scenarios: dict[str, Mapping[str, Any]] = {}
    for name in called:
        target = components[name]
        victim = components.get(target.leads_to, target)
        able = list(_able(target, victim, trials, told))
        if not able:
            raise UsageError(f"no fault can be made on {name}", mend="see `clusterkit chaos list`")
        scenarios.update(_scenarios(target, able, share_s, told))
    # What a node may never come back from is done to disks: all components are tested by other means before.
    order = sorted(scenarios, key=lambda name: name.endswith(f"-{_GROUPS[-1]}"))
    return Suite({name: scenarios[name] for name in order}, tuple(told.sentences))


def _called(components: Mapping[str, Facts], told: _Told) -> list[str]:
    """Those that clients talk to: not what another one leads them to anyway."""
    led_to = {one.leads_to: one.name for one in components.values() if one.leads_to and one.kinds}
    for name, one in components.items():
        if name in led_to:
            told.add(f"{name} is tested through {led_to[name]}, by which its clients find it")
        elif not one.kinds:
            told.add(f"{name} is not tested: say how clients talk to it (docs/your-own-service.md)")
    return [name for name, one in components.items() if one.kinds and name not in led_to]


def _troubles(target: Facts, victim: Facts) -> Iterator[_Trouble]:
    """The one that shows most of its family comes first; the families in the order of what they show."""
    name = victim.name
    head = f"{victim.head} of {name}" if victim.head else f"one of {name}"
    peers = {"target": name, "towards": name} if victim.replicas > 1 else {"target": name}
    if victim.replicas + victim.others > 1:
        yield _Trouble("isolate", "network", 10, 7, 4, [head])
    yield _Trouble("kill", "nodes", 5, 4, 3, [head])
    yield _Trouble("power-loss", "disks", 4, 3, 5, [name])
    yield _Trouble("disk-stall", "disks", 5, 4, 4, [head])
    if victim.replicas + victim.others > 1:
        yield _Trouble("latency", "network", 6, 4, 2, [{"delay": "100ms", "jitter": "20ms", **peers}])
    yield _Trouble("clock-jump", "nodes", 5, 4, 2, [{"by": "1m", "target": head}])
    yield _Trouble("zone-outage", "nodes", 5, 4, 4, list(victim.zones))
    yield _Trouble("cpu", "nodes", 6, 4, 2, [{"limit": "10%", "target": head}])
    yield _Trouble("dns-silent", "network", 4, 3, 1, [name])
    if victim.replicas >= _A_MAJORITY:
        yield _Trouble("partition", "network", 8, 6, 4, [{"shape": "majority", "target": name}])
    yield _Trouble("pause", "nodes", 5, 4, 4, [head])
    yield _Trouble("disk-full", "disks", 5, 4, 4, [head])
    if target is not victim:
        yield _Trouble("kill", "nodes", 5, 4, 4, [f"one of {target.name}"])
    if victim.replicas + victim.others > 1:
        yield _Trouble("loss", "network", 6, 4, 2, [{"percent": "10%", **peers}])
    yield _Trouble("disk-slow", "disks", 6, 4, 3, [{"bandwidth": "4MB", "target": head}])
    yield _Trouble("oom-kill", "nodes", 4, 3, 4, [head])


def _able(target: Facts, victim: Facts, trials: Mapping[str, str], told: _Told) -> Iterator[_Trouble]:
    """Those that can be made here. A family of which none can is told of."""
    reasons: dict[str, str] = {}
    made = set()
    for trouble in _troubles(target, victim):
        fault = shipped_faults()[trouble.fault]
        if fault.needs_disk and not victim.keeps_data:
            reason: str | None = "it keeps no data"
        else:
            reason = why_not(fault, trials, has_disk=victim.has_disk)
        if reason:
            reasons.setdefault(trouble.family, reason)
        else:
            made.add(trouble.family)
            yield trouble
    for family in dict.fromkeys(fault.family for fault in shipped_faults().values()):
        if family not in made:
            told.add(f"{target.name}: no {family} faults: {reasons.get(family, 'there is no other node')}")


def _scenarios(
    target: Facts, able: Sequence[_Trouble], share_s: float, told: _Told
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """One for each group where each has time enough, else one for all."""
    groups = [group for group in _GROUPS if any(trouble.group == group for trouble in able)]
    if share_s < _APART_S * len(groups):
        yield target.name, _scenario(target, able, share_s, _kind(target, ""), told)
        return
    for group in groups:
        own = [trouble for trouble in able if trouble.group == group]
        kind = _kind(target, group)
        yield f"{target.name}-{group}", _scenario(target, own, share_s / len(groups), kind, told)


def _kind(target: Facts, group: str) -> str:
    """A register shows order; a set what was lost, and is asked where disks are, of those who claim to lose nothing."""
    wanted = ["set", "register"]
    if target.claims.linearizable and group != "disks":
        wanted.reverse()
    if not target.claims.linearizable:
        wanted.remove("register")  # nothing but order can be judged by it
    return next((kind for kind in wanted if kind in target.kinds), min(target.kinds))


def _scenario(target: Facts, troubles: Sequence[_Trouble], time_s: float, kind: str, told: _Told) -> Mapping[str, Any]:
    whole_s = time_s - _QUIET_S
    chosen = _fitting(troubles, whole_s)
    families = {trouble.family for trouble in chosen}
    short = [family for family in dict.fromkeys(one.family for one in troubles) if family not in families]
    if short:
        told.add(f"{target.name}: no {listed(short)} faults: {Duration(round(time_s, 1))} are too short for all")
    return {
        "time": _text(time_s),
        "workload": {"kind": kind, "component": target.name},
        "faults": list(_timed(chosen, whole_s)),
    }


def _fitting(troubles: Sequence[_Trouble], whole_s: float) -> list[_Trouble]:
    """The first of each family, then others, as far as there is time for all; in the order in which they are made."""
    firsts: dict[str, _Trouble] = {}
    for trouble in troubles:
        firsts.setdefault(trouble.family, trouble)
    left_s, chosen = whole_s, []
    for trouble in (*firsts.values(), *(one for one in troubles if one is not firsts[one.family])):
        needed = trouble.least_s + trouble.rest_s
        if needed <= left_s:
            left_s -= needed
            chosen.append(trouble)
    return sorted((trouble for trouble in troubles if trouble in chosen), key=lambda trouble: trouble.is_last)


def _timed(chosen: Sequence[_Trouble], whole_s: float) -> Iterator[dict[str, Any]]:
    """One after another, as long as the time allows; again from the first where there is time for all of them twice.

    What comes last does so in the last round alone.
    """
    least = sum(one.least_s + one.rest_s for one in chosen)
    full = sum(one.lasts_s + one.rest_s for one in chosen)
    rounds = max(1, int(whole_s // full))
    round_s = whole_s / rounds
    share = min(1.0, (round_s - least) / (full - least))
    more_rest_s = max(0.0, round_s - full) / len(chosen)
    at = _QUIET_S
    for one in chosen:
        lasts_s = one.least_s + share * (one.lasts_s - one.least_s)
        if one.is_last or rounds == 1:
            when: dict[str, Any] = {"at": _text((rounds - 1) * round_s + at)}
        else:
            when = {"at": _text(at), "every": _text(round_s), "times": rounds}
        yield {**when, "for": _text(lasts_s), **one.written}
        at += lasts_s + one.rest_s + more_rest_s


def _text(seconds: float) -> str:
    """A moment or a length of time; tenths are fine enough for a schedule."""
    return str(Duration(round(seconds, 1)))
