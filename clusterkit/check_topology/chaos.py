"""L13. Reads `chaos:` and `links:`: scenarios with their faults, and lasting impairments.

The words of targets are checked against the components; roles are known only when the cluster runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from clusterkit.chaos.aim import targets
from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.fields import FieldSpec, fields_of, helps_of
from clusterkit.chaos.links import LinkSpec
from clusterkit.chaos.registry import faults
from clusterkit.chaos.scenario import DEFAULT_TIME, Scenario, Step
from clusterkit.check_topology.findings import Findings
from clusterkit.errors import UsageError
from clusterkit.model.select import Candidate, select
from clusterkit.model.topology import ComponentSpec, Key
from clusterkit.units import Bandwidth, Duration, Percent

if TYPE_CHECKING:
    from clusterkit.components.base import Component
    from clusterkit.workloads.base import Expect, WorkloadSpec

SCENARIO: Mapping[str, str] = {
    "workload": "What clients do meanwhile, for chaos-test.",
    "time": "How long it lasts: 60s if not given.",
    "faults": "What is broken, and when.",
    "expect": "What the verdict of chaos-test allows.",
}
TIMES: Mapping[str, str] = {
    "at": "Once, at this time from the start.",
    "every": "Again and again, from start to start; first after this time.",
    "for": "How long it is in force; the word ever is until the scenario ends.",
    "times": "At most so often.",
    "stagger": "Hit the target's nodes one after another, this much apart.",
    "jitter": "Put each start off by up to this, by chance.",
    "seed": "Whose chance it has: a text that names it, as stored schedules do.",
}
LINK: Mapping[str, str] = {
    "between": "Two sides, for example [zone a, zone b]; both ways.",
    "from": "The sending side, where it is one way.",
    "to": "The receiving side.",
    "latency": "How long a packet is under way.",
    "jitter": "By how much the latency changes by chance, up or down.",
    "loss": "How many packets are lost.",
    "duplicate": "How many packets arrive twice.",
    "reorder": "How many packets overtake others.",
    "corrupt": "How many packets are damaged.",
    "bandwidth": "How much goes through.",
}
_IMPAIR: Mapping[str, Any] = {
    "latency": Duration,
    "jitter": Duration,
    "loss": Percent,
    "duplicate": Percent,
    "reorder": Percent,
    "corrupt": Percent,
    "bandwidth": Bandwidth,
}
_EXAMPLE = "{every: 15s, for: 8s, kill: {target: one of cache}}"
_LINK_EXAMPLE = "{between: [zone a, zone b], latency: 40ms}"
_BOTH = 2


@dataclass(frozen=True)
class Ground:
    """What targets and workloads are checked against. `kinds`: name of a component -> its kind."""

    components: Mapping[str, ComponentSpec]
    kinds: Mapping[str, Component]
    folder: Path

    @property
    def nodes(self) -> list[Candidate]:
        return [
            Candidate(name, spec.name, spec.zones[index % len(spec.zones)])
            for spec in self.components.values()
            for index, name in enumerate(spec.node_names)
        ]


def read_chaos(findings: Findings, given: Any, ground: Ground) -> dict[str, Scenario]:
    """The scenarios of the topology's `chaos:`."""
    key: Key = ("chaos",)
    body = findings.mapping(key, given, "chaos: {scenarios: {NAME: {faults: [...]}}}")
    if body is None:
        return {}
    for word in body:
        if word != "scenarios":
            findings.unknown_key((*key, word), ("scenarios",), "chaos")
    if body.get("scenarios") is None:
        return {}
    scenarios = findings.mapping((*key, "scenarios"), body["scenarios"], "scenarios: {NAME: {faults: [...]}}") or {}
    found: dict[str, Scenario] = {}
    for name, inner in scenarios.items():
        place = (*key, "scenarios", name)
        if findings.name(place, name, "leader-loss") is not None:
            scenario = read_scenario(findings, place, name, inner, ground)
            if scenario is not None:
                found[name] = scenario
    return found


def read_scenario(findings: Findings, key: Key, name: str, given: Any, ground: Ground) -> Scenario | None:
    """One scenario; None after its problems were added."""
    before = len(findings.problems)
    body = findings.mapping(key, given, f"{name}: {{faults: [{_EXAMPLE}]}}")
    if body is None:
        return None
    for word in body:
        if word not in SCENARIO:
            findings.unknown_key((*key, word), SCENARIO, f'scenario "{name}"')
    time = DEFAULT_TIME
    if body.get("time") is not None:
        time = _some_time(findings, (*key, "time"), body["time"], "60s") or DEFAULT_TIME
    items = body.get("faults")
    if items is None:
        findings.add(key, f'scenario "{name}" has no faults', f"add faults: [{_EXAMPLE}]")
        return None
    steps = [
        _step(findings, (*key, "faults", index), item, ground, time)
        for index, item in enumerate(findings.sequence((*key, "faults"), items, f"[{_EXAMPLE}]") or [])
    ]
    if len(findings.problems) > before:
        return None
    workload, expect = _promises(findings, key, body, ground)
    if len(findings.problems) > before:
        return None
    return Scenario(name, tuple(step for step in steps if step is not None), time, workload, expect)


def _promises(
    findings: Findings, key: Key, body: Mapping[str, Any], ground: Ground
) -> tuple[WorkloadSpec | None, Expect | None]:
    """What clients do, and what the verdict asks for; loaded only where a scenario says it."""
    if body.get("workload") is None and body.get("expect") is None:
        return None, None
    from clusterkit.check_topology.promises import read_expect, read_workload

    known = {name: (spec, ground.kinds[name]) for name, spec in ground.components.items()}
    workload = None
    if body.get("workload") is not None:
        workload = read_workload(findings, (*key, "workload"), body["workload"], known, ground.folder)
    return workload, read_expect(findings, (*key, "expect"), body.get("expect"), workload, known)


def _step(findings: Findings, key: Key, given: Any, ground: Ground, time: Duration) -> Step | None:
    body = findings.mapping(key, given, _EXAMPLE)
    if body is None:
        return None
    words = [word for word in body if word not in TIMES]
    if len(words) != 1:
        named = "names no fault" if not words else f"names {len(words)} faults: {', '.join(words)}"
        findings.add(key, f"this item {named}", f"write one fault an item: {_EXAMPLE}; or mix: [...]")
        return None
    word = words[0]
    if word == "mix":
        choices = _mix(findings, (*key, "mix"), body["mix"], ground)
    else:
        choices = [_fault(findings, (*key, word), word, body[word], ground)]
    times = {
        name: _duration(findings, (*key, name), body[name])
        for name in ("at", "every", "stagger", "jitter")
        if body.get(name) is not None
    }
    count = findings.whole((*key, "times"), body["times"], 1, 10_000, 3) if body.get("times") is not None else None
    made = tuple(choice for choice in choices if choice is not None)
    lasts = _lasts(findings, key, body, made)
    _check_times(findings, key, body, times, made, time)
    seed = (findings.text((*key, "seed"), body["seed"], "3/0/1") or "") if body.get("seed") is not None else ""
    return Step(made, lasts=lasts, times=count, seed=seed, key=key, **times) if made else None


def _check_times(
    findings: Findings,
    key: Key,
    body: Mapping[str, Any],
    times: Mapping[str, Duration | None],
    made: Sequence[Fault],
    time: Duration,
) -> None:
    """What would have no effect, or none that was meant."""
    every, start = times.get("every"), times.get("at")
    if every is not None and every.seconds == 0:
        findings.add((*key, "every"), "every: 0s would never come to an end", "write every: 15s")
    if body.get("times") is not None and body.get("every") is None:
        findings.add((*key, "times"), "times says how often, but not how far apart", "add every: 15s", at_key=True)
    if start is not None and start >= time:
        findings.add((*key, "at"), f"at: {start} is when the scenario is over ({time})", "write an earlier one")
    whole = [fault.name for fault in made if not fault.is_divisible]
    if body.get("stagger") is not None and whole:
        findings.add(
            (*key, "stagger"), f"{whole[0]} cannot hit one node after another", "leave out `stagger`", at_key=True
        )


def _lasts(findings: Findings, key: Key, body: Mapping[str, Any], made: Sequence[Fault]) -> Duration | None:
    """What stays in force has to say how long."""
    given = body.get("for")
    lasting = [fault.name for fault in made if fault.is_lasting]
    if given is None:
        if lasting:
            findings.add(key, f"{lasting[0]} needs to know how long it lasts", "add for: 8s (or for: ever)")
        return None
    if made and not lasting:
        findings.add((*key, "for"), f"{made[0].name} is over when it was made", "leave out `for`", at_key=True)
    return None if given == "ever" else _some_time(findings, (*key, "for"), given, "8s")


def _mix(findings: Findings, key: Key, given: Any, ground: Ground) -> list[Fault | None]:
    items = findings.sequence(key, given, "[{kill: {target: one of cache}}, {isolate: one of cache}]") or []
    found: list[Fault | None] = []
    for index, item in enumerate(items):
        place = (*key, index)
        body = findings.mapping(place, item, "{kill: {target: one of cache}}")
        if body is None:
            continue
        if len(body) != 1:
            findings.add(place, "an item of mix is one fault", "write {kill: {target: one of cache}}")
            continue
        word = next(iter(body))
        found.append(_fault(findings, (*place, word), word, body[word], ground))
    if not items:
        findings.add(key, "mix is empty", "name two faults or more")
    return found


def _fault(findings: Findings, key: Key, word: str, given: Any, ground: Ground) -> Fault | None:
    """One fault from its fields; a single value is its first argument."""
    kind = faults().get(word)
    if kind is None:
        findings.unknown_key(key, (*faults(), "mix", *TIMES), "this item")
        return None
    specs = fields_of(kind)
    body: Mapping[str, Any]
    if given is None:
        body = {}
    elif isinstance(given, dict):
        body = given
    elif kind.arguments:
        body = {kind.arguments[0]: given}
    else:
        findings.wrong(key, given, "be a mapping", f"write {word}: {{{', '.join(specs)}: ...}}")
        return None
    values, is_well = _values(findings, key, word, body, specs, given)
    for spec in specs.values():
        if spec.is_required and body.get(spec.name) is None:
            about = helps_of(kind).get(spec.name, "").rstrip(".")
            findings.add(key, f"{word} needs {spec.name}", f"add {spec.name}: ... ({about})")
            is_well = False
    if not is_well:
        return None
    try:
        fault = kind(**values)
    except ValueError as error:
        findings.complaint(key, body, str(error))
        return None
    return fault if _check_targets(findings, key, fault, given, ground) else None


def _values(
    findings: Findings, key: Key, word: str, body: Mapping[str, Any], specs: Mapping[str, FieldSpec], given: Any
) -> tuple[dict[str, Any], bool]:
    values: dict[str, Any] = {}
    is_well = True
    for name, value in body.items():
        place = _place(key, name, given)
        if name not in specs:
            findings.unknown_key(place, specs, word)
            is_well = False
        elif value is not None:
            try:
                values[name] = specs[name].parse(_as_text(findings, place, value, specs[name]))
            except ValueError as error:
                findings.complaint(place, value, str(error))
                is_well = False
    return values, is_well


def _place(key: Key, name: str, given: Any) -> Key:
    return (*key, name) if isinstance(given, dict) else key


def _as_text(findings: Findings, key: Key, value: Any, spec: FieldSpec) -> Any:
    """A number where text is wanted keeps the text it was written as."""
    if spec.type is str and isinstance(value, bool | int | float):
        return findings.texts.get(key, str(value))
    return value


def _check_targets(findings: Findings, key: Key, fault: Fault, given: Any, ground: Ground) -> bool:
    is_well = True
    meant: dict[str, Sequence[str]] = {}
    for name, target in targets(fault):
        if target.is_everyone:
            continue
        place = _place(key, name, given)
        chosen = _check_words(findings, place, target, ground)
        if chosen is None:
            is_well = False
            continue
        meant[name] = chosen
        if fault.needs_disk and name == "target":
            for component in _without_disk(chosen, ground):
                findings.add(
                    place,
                    f'{fault.name} needs a disk of its own for each node, and component "{component}" has none',
                    f"set data: loop for {component}",
                )
                is_well = False
    if is_well:
        try:
            fault.check({node.name: node.zone for node in ground.nodes}, meant)
        except UsageError as error:
            findings.add(key, error.what, error.mend or "see docs/faults.md")
            is_well = False
    return is_well


def _without_disk(nodes: Sequence[str], ground: Ground) -> Iterator[str]:
    for name, spec in ground.components.items():
        if set(nodes) & set(spec.node_names) and spec.data != "loop":
            yield name


class _AnyRole(tuple[str, ...]):
    """Roles are known only when the cluster runs: until then a node may have any."""

    __slots__ = ()

    def __contains__(self, _role: object) -> bool:
        return True


def _check_words(findings: Findings, key: Key, target: Target, ground: Ground) -> tuple[str, ...] | None:
    """All nodes that the words may mean."""
    nodes = ground.nodes
    any_role = {node.name: _AnyRole() for node in nodes}
    chance = Random(0)  # noqa: S311 - any will do: it is asked whether there is a choice, not which
    try:
        select(target.words, nodes, lambda: any_role, chance)
        whole = [_without_share(word) for word in target.words]
        return select([word for word in whole if word] or ["all"], nodes, lambda: any_role, chance)
    except UsageError as error:
        findings.add(key, error.what, error.mend or "see docs/chaos.md")
        return None


def _without_share(word: str) -> str:
    """ "one of cache" -> "cache": whom chance may choose from."""
    parts = word.split()
    if parts and parts[0] in ("one", "minority", "majority", "random"):
        return " ".join(parts[2:]) if parts[1:2] == ["of"] else ""
    return word


def read_links(findings: Findings, given: Any, ground: Ground) -> tuple[LinkSpec, ...]:
    """The topology's lasting impairments."""
    items = findings.sequence(("links",), given, f"[{_LINK_EXAMPLE}]") or []
    found = [_link(findings, ("links", index), item, ground) for index, item in enumerate(items)]
    return tuple(link for link in found if link is not None)


def _link(findings: Findings, key: Key, given: Any, ground: Ground) -> LinkSpec | None:
    before = len(findings.problems)
    body = findings.mapping(key, given, _LINK_EXAMPLE)
    if body is None:
        return None
    for word in body:
        if word not in LINK:
            findings.unknown_key((*key, word), LINK, "a link")
    sides = _sides(findings, key, body)
    impair = {
        word: findings.quantity((*key, word), body[word], kind.parse)
        for word, kind in _IMPAIR.items()
        if body.get(word) is not None
    }
    if not impair:
        findings.add(key, "this link impairs nothing", "add latency: 40ms, loss: 1% or bandwidth: 10mbit")
    for place, side in sides:
        if side.words[0].split()[0] in ("one", "minority", "majority", "random") or " of " in f" {side} ".replace(
            "all of", ""
        ):
            findings.add(place, f'"{side}" means other nodes from time to time', "name zones, components or nodes")
        else:
            _check_words(findings, place, side, ground)
    if len(findings.problems) > before or len(sides) != _BOTH:
        return None
    return LinkSpec(sides[0][1], sides[1][1], is_one_way="from" in body, **impair)


def _sides(findings: Findings, key: Key, body: Mapping[str, Any]) -> list[tuple[Key, Target]]:
    """Both, each with its place; fewer after a problem was added."""
    if ("between" in body) == ("from" in body or "to" in body):
        findings.add(key, "a link has two sides", f"write {_LINK_EXAMPLE}, or from: and to: for one way")
        return []
    places: list[tuple[Key, Any]]
    if "between" in body:
        given = body["between"]
        if not isinstance(given, list) or len(given) != _BOTH:
            findings.wrong((*key, "between"), given, "be a list of two sides", "write between: [zone a, zone b]")
            return []
        places = [((*key, "between", index), side) for index, side in enumerate(given)]
    else:
        missing = [word for word in ("from", "to") if body.get(word) is None]
        if missing:
            findings.add(key, f"this link has no `{missing[0]}`", f"add {missing[0]}: zone b, or write between:")
            return []
        places = [((*key, word), body[word]) for word in ("from", "to")]
    sides = [(place, findings.quantity(place, side, Target.parse)) for place, side in places]
    return [(place, side) for place, side in sides if side is not None]


def _some_time(findings: Findings, key: Key, value: Any, example: str) -> Duration | None:
    """More than none."""
    found = _duration(findings, key, value)
    if found is not None and found.seconds == 0:
        findings.add(key, f"{key[-1]}: 0s is no time at all", f"write {key[-1]}: {example}")
        return None
    return found


def _duration(findings: Findings, key: Key, value: Any) -> Duration | None:
    if value == 0 and not isinstance(value, bool):
        return Duration(0)
    return findings.quantity(key, value, Duration.parse)
