"""A schedule that is written as YAML and read again is the same schedule, whatever the seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clusterkit.chaos.base import Fault, PortSpec, Target
from clusterkit.chaos.faults.process import Signal
from clusterkit.chaos.fields import FieldSpec, fields_of
from clusterkit.chaos.registry import shipped_faults
from clusterkit.chaos.schedule import Planned, schedule
from clusterkit.chaos.written import items, text
from clusterkit.check_topology import chaos, read_scenario, read_topology
from clusterkit.check_topology.findings import Findings
from clusterkit.components.registry import Registry
from clusterkit.model.load import parse
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration, Percent
from clusterkit.workloads.base import by_name

TOPOLOGY = """
name: shop
components:
  registry: {kind: etcd, data: loop}
  cache: {kind: redis, data: loop}
chaos:
  scenarios:
    storm:
      time: 60s
      faults:
        - {every: 7s, for: 2500ms, jitter: 3s, kill: {target: one of cache}}
        - {at: 1234ms, for: ever, partition: {shape: majority, target: registry}}
        - {every: 11s, for: 3s, latency: {target: [registry-1, cache-2], delay: 120ms, jitter: 7ms}}
        - {at: 20s, restart: {target: cache-1}}
        - {at: 5s, for: 4s, stagger: 1500ms, pause: {target: registry}}
        - {every: 9s, for: 2s, mix: [{isolate: leader of registry}, {cut: {target: cache-1, one_way: true}}]}
        - {at: 3s, for: 2s, cut: {target: cache-1, ports: [6379/tcp, 26379/tcp]}}
        - {at: 30s, for: 5s, clock-jump: {target: registry-2, by: 60s}}
        - {at: 40s, for: 5s, power-loss: {target: registry-3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY)
    return tmp_path


def _again(folder: Path, planned: tuple[Planned, ...], seed: int) -> tuple[Planned, ...]:
    topology, registry = read_topology(None, folder=folder, environ={})
    file = folder / "again.yml"
    file.write_text(text("storm", planned, Duration(60)))
    return schedule(read_scenario(file, topology, registry, {}), seed)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_read_again_is_the_same(folder: Path, seed: int) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    planned = schedule(topology.scenarios["storm"], seed)
    assert len(planned) > 20
    assert _again(folder, planned, seed + 1) == planned


def test_any_part_of_it_is_the_same(folder: Path) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    planned = schedule(topology.scenarios["storm"], 3)
    assert _again(folder, planned[4:9], 8) == planned[4:9]
    assert _again(folder, (), 8) == ()


def test_it_is_short_enough_to_paste(folder: Path) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    first = schedule(topology.scenarios["storm"], 3)[0]
    assert items([first]) == [
        {"at": "1.234s", "for": "58.766s", "partition": {"shape": "majority", "target": "registry"}, "seed": "3/1/0"}
    ]
    assert yaml.safe_load(text("storm", [first], Duration(60), {"kind": "set"}, {"lost": "any"})) == {
        "time": "1m",
        "workload": {"kind": "set"},
        "expect": {"lost": "any"},
        "faults": items([first]),
    }


KINDS = {"registry": "etcd", "cache": "redis"}
GROUND = chaos.Ground(
    {name: ComponentSpec(name, kind, None, data="loop") for name, kind in KINDS.items()},
    {name: Registry()[kind] for name, kind in KINDS.items()},
    Path(),
)
WORDS = ("registry", "cache-1", "one of cache", "leader of registry", "zone a", "all", "majority of registry")
TEXTS = (
    "*.aof",
    "192.0.2.7",
    "true",
    "12",
    "3.10",
    "1e3",
    "08",
    "0o17",
    "~",
    "on",
    "a: b",
    "# x",
    "x'y",
    "$a",
    "${B}$$",
)
NUMBERS = st.one_of(st.integers(0, 2000).map(str), st.decimals(0, 2000, places=3).map(str))
OWN: Mapping[str, st.SearchStrategy[object]] = {
    "zone": st.sampled_from("abc"),
    "address": st.ip_addresses(v=4).map(str),
    "by": st.integers(100, 3_600_000).map("{}ms".format).map(Duration.parse),
    "delay": st.integers(20_000, 2_000_000).map("{}us".format).map(Duration.parse),
    "jitter": st.integers(0, 20).map("{}ms".format).map(Duration.parse),
    "names": st.sampled_from(["registry", "cache-1", "on", "1e3", "08", "example.net"]),
}
"""Fields of which most values are refused."""
ENOUGH = {
    ("partition", "target"): st.lists(st.sampled_from(WORDS), max_size=2, unique=True).map(
        lambda more: ["registry", *more]
    )
}
"""Fields of one fault of which most values are refused: every shape can be made of three nodes in three zones."""


def _values(spec: FieldSpec) -> st.SearchStrategy[object]:
    """Of one field, as they are when they were read."""
    units = getattr(spec.type, "units", {})
    one: st.SearchStrategy[object]
    if spec.choices:
        one = st.sampled_from(spec.choices)
    elif spec.name in OWN:
        one = OWN[spec.name]
    elif spec.type is Target:
        one = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(Target.parse)
    elif spec.type is PortSpec:
        one = st.builds(PortSpec, st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
    elif spec.type is Signal:
        one = st.sampled_from(["TERM", "KILL", "HUP", "9", "35"]).map(Signal.parse)
    elif spec.type is Percent:
        one = st.decimals(0, 100, places=3).map(lambda number: Percent.parse(f"{number}%"))
    elif units:
        one = st.builds("{}{}".format, NUMBERS, st.sampled_from(sorted(units))).map(spec.parse)
    elif spec.type is bool:
        one = st.booleans()
    elif spec.type is int:
        one = st.integers(0, 99)
    else:
        one = st.sampled_from(TEXTS)
    return st.lists(one, max_size=3).map(tuple) if spec.is_many else one


@st.composite
def _faults(draw: st.DrawFn, kind: type[Fault]) -> Fault:
    """Any that can be made; fields that need not be given sometimes are not."""
    given_fields = {
        name: draw(ENOUGH[kind.name, name].map(Target.parse) if (kind.name, name) in ENOUGH else _values(spec))
        for name, spec in fields_of(kind).items()
        if spec.is_required or draw(st.booleans())
    }
    try:
        return kind(**given_fields)
    except ValueError:
        assume(False)
        raise


@st.composite
def _planned(draw: st.DrawFn, kind: type[Fault]) -> Planned:
    start_ms = draw(st.integers(0, 59_999))
    return Planned(
        start_s=start_ms / 1000,
        end_s=draw(st.integers(start_ms + 1, 60_000)) / 1000 if kind.is_lasting else None,
        fault=draw(_faults(kind)),
        seed=draw(st.sampled_from(["3/0/1", "7", "1e3", "a: b", "$x"])),
        stagger_s=draw(st.sampled_from([0.0, 0.25, 1.5])) if kind.is_divisible else 0.0,
    )


@pytest.mark.parametrize("name", shipped_faults())
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_fault_with_any_fields_is_the_same(name: str, data: st.DataObject) -> None:
    planned = data.draw(_planned(shipped_faults()[name]))
    said = text("any", [planned], Duration(60))
    document = parse(said, "any.yml", {})
    assert document.problems == (), said
    findings = Findings(document)
    scenario = chaos.read_scenario(findings, (), "any", document.value, GROUND)
    assert findings.problems == [], said
    assert scenario is not None
    assert schedule(scenario, 99) == (planned,), said


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(TEXTS) | st.text('aé$\n"{}:# -,', max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab$1", min_size=1), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_a_workload_says_is_the_same(value: object) -> None:
    workload = {"kind": "set", "body": by_name(value, {})}
    said = parse(text("any", (), Duration(60), workload), "any.yml", {})
    assert said.problems == ()
    assert said.value["workload"] == {"kind": "set", "body": value}


def test_what_begins_as_the_scenario_ends_is_left_out() -> None:
    """Rounded to a millisecond it would begin when the scenario is over, and be refused when it is read again."""
    said = "{time: 1s, faults: [{at: 999.7ms, restart: {target: cache-1}}, {at: 999.2ms, restart: {target: cache-1}}]}"
    document = parse(said, "any.yml", {})
    scenario = chaos.read_scenario(Findings(document), (), "any", document.value, GROUND)
    assert scenario is not None
    assert [one.start_s for one in schedule(scenario, 1)] == [0.999]
