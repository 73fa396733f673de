"""The default suite: every family that can be made, on whoever leads, in the time there is; and a word on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterkit.chaos.registry import shipped_faults
from clusterkit.chaos.suite import LEAST_S, Facts, Suite, suite
from clusterkit.check_topology.chaos import Ground, read_scenario
from clusterkit.check_topology.findings import Findings
from clusterkit.components.base import Claims
from clusterkit.components.registry import Registry
from clusterkit.errors import UsageError
from clusterkit.model.load import Document
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration

ABLE = {need: "" for fault in shipped_faults().values() for need in fault.needs}
KINDS = frozenset({"register", "set", "counter", "queue", "bank", "ids"})
WEAK, STRONG = Claims(converges=True), Claims(linearizable=True, durable=True, converges=True)
ETCD = Facts("registry", STRONG, KINDS, head="leader", others=6)
REDIS = Facts("cache", WEAK, KINDS, head="primary", others=6)
SENTINEL = Facts("sentinel", WEAK, KINDS, others=6, leads_to="cache")
EQUALS = Facts("gossip", WEAK, frozenset({"set"}))
ALL = {one.name: one for one in (ETCD, REDIS, SENTINEL)}
FAMILIES = {fault.family for fault in shipped_faults().values()}


def _faults(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Name and fields of each, those of a mix too."""
    found = []
    for item in body["faults"]:
        for one in item.get("mix", [item]):
            found += [(word, fields) for word, fields in one.items() if word in shipped_faults()]
    return found


def _families(made: Suite) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, body in made.scenarios.items():
        families = {shipped_faults()[fault].family for fault, _ in _faults(body)}
        found.setdefault(name.partition("-")[0], set()).update(families)
    return found


def _seconds(text: str) -> float:
    return Duration.parse(text).seconds


def test_every_component_meets_every_family_and_leads_are_aimed_at() -> None:
    made = suite(ALL, ABLE)
    assert list(made.scenarios) == [
        *("registry-network", "registry-nodes", "sentinel-network", "sentinel-nodes"),
        *("registry-disks", "sentinel-disks"),
    ]
    assert {body["time"] for body in made.scenarios.values()} == {"1m"}
    assert _families(made) == {"registry": FAMILIES, "sentinel": FAMILIES}
    assert made.left_out == ("cache is tested through sentinel, by which its clients find it",)
    assert _faults(made.scenarios["registry-network"])[0] == ("isolate", "leader of registry")
    assert _faults(made.scenarios["sentinel-network"])[0] == ("isolate", "primary of cache")
    assert ("kill", "one of sentinel") in _faults(made.scenarios["sentinel-nodes"])


def test_equal_nodes_are_hit_by_chance_and_a_cache_without_sentinels_is_called_itself() -> None:
    made = suite({"gossip": EQUALS, "cache": REDIS}, ABLE)
    assert ("isolate", "one of gossip") in _faults(made.scenarios["gossip-network"])
    assert ("isolate", "primary of cache") in _faults(made.scenarios["cache-network"])
    assert made.left_out == ()


@pytest.mark.parametrize(
    ("claims", "kinds", "network", "disks"),
    [
        (STRONG, KINDS, "register", "set"),
        (STRONG, frozenset({"register"}), "register", "register"),
        (WEAK, KINDS, "set", "set"),
        (WEAK, frozenset({"counter", "register"}), "counter", "counter"),
    ],
)
def test_what_is_called_shows_what_is_claimed(claims: Claims, kinds: frozenset[str], network: str, disks: str) -> None:
    made = suite({"x": Facts("x", claims, kinds, others=3)}, ABLE).scenarios
    assert made["x-network"]["workload"] == {"kind": network, "component": "x"}
    assert made["x-disks"]["workload"] == {"kind": disks, "component": "x"}


def test_what_cannot_be_made_here_is_told_with_its_reason() -> None:
    made = suite({"registry": replace(ETCD, has_disk=False)}, {**ABLE, "clock": "no x86-64", "link": "no NFQUEUE"})
    assert _families(made) == {"registry": FAMILIES - {"clock", "link", "disk", "power"}}
    assert set(made.left_out) == {
        "registry: no link faults: no NFQUEUE",
        "registry: no clock faults: no x86-64",
        "registry: no disk faults: no node has a disk of its own; set data: loop in the topology",
        "registry: no power faults: no node has a disk of its own; set data: loop in the topology",
    }


def test_what_keeps_no_data_has_no_disk_to_break() -> None:
    made = suite({"gossip": replace(EQUALS, keeps_data=False)}, ABLE)
    assert made.left_out == ("gossip: no disk faults: it keeps no data", "gossip: no power faults: it keeps no data")


def test_a_node_that_is_alone_is_cut_off_from_nobody() -> None:
    made = suite({"gossip": replace(EQUALS, replicas=1, zones=("a",))}, ABLE)
    assert _families(made)["gossip"].isdisjoint({"partition", "link"})
    assert "gossip: no partition faults: there is no other node" in made.left_out
    beside = suite({"gossip": replace(EQUALS, replicas=1, zones=("a",), others=3)}, ABLE)
    assert _families(beside)["gossip"] == FAMILIES


def test_in_a_short_time_all_is_one_scenario_and_what_does_not_fit_is_told() -> None:
    made = suite(ALL, ABLE, 60)
    assert list(made.scenarios) == ["registry", "sentinel"]
    assert {body["time"] for body in made.scenarios.values()} == {"30s"}
    missing = FAMILIES - _families(made)["registry"]
    told = next(text for text in made.left_out if text.startswith("registry:"))
    assert told.endswith(": 30s are too short for all")
    assert missing
    assert all(family in told for family in missing)


def test_in_a_long_time_each_fault_comes_again() -> None:
    made = suite({"registry": ETCD}, ABLE, 600).scenarios["registry-disks"]
    assert made["time"] == "200s"
    *others, last = made["faults"]
    assert {(item["times"], item["every"]) for item in others} == {(5, "39.6s")}
    assert last["power-loss"] == "registry"
    assert "every" not in last
    assert _seconds(last["at"]) > max(_seconds(item["at"]) + 4 * 39.6 for item in others)


@pytest.mark.parametrize("time_s", [60, 90, 180, 500])
def test_the_power_is_lost_once_and_after_all_else(time_s: float) -> None:
    made = suite({"registry": ETCD}, ABLE, time_s).scenarios
    last = list(made.values())[-1]["faults"]
    assert [fault for body in made.values() for fault, _ in _faults(body)].count("power-loss") == 1
    assert "power-loss" in last[-1]


@settings(deadline=None)
@given(st.floats(LEAST_S, 2000), st.booleans())
def test_one_fault_after_another_with_time_to_recover_until_the_end(time_s: float, is_etcd: bool) -> None:
    one = ETCD if is_etcd else EQUALS
    made = suite({one.name: one}, ABLE, time_s)
    assert sum(_seconds(body["time"]) for body in made.scenarios.values()) == pytest.approx(time_s, abs=0.2)
    for body in made.scenarios.values():
        spans = sorted(
            (start, start + _seconds(item["for"]))
            for item in body["faults"]
            for turn in range(item.get("times", 1))
            for start in [_seconds(item["at"]) + turn * _seconds(item.get("every", "0s"))]
        )
        assert spans
        assert all(after[0] - before[1] >= 0.5 for before, after in pairwise(spans))
        assert spans[-1][1] <= _seconds(body["time"])
        assert all(end - start >= 2.9 for start, end in spans)
    families = _families(made)[one.name]
    assert {"partition", "process"} <= families
    assert all(any(family in text for text in made.left_out) for family in FAMILIES - families)


@pytest.mark.parametrize(
    ("components", "time_s", "what"),
    [
        ({"registry": ETCD}, 19.0, "19s for each of registry is too short: nothing would be proved"),
        (ALL, 30.0, "15s for each of registry and sentinel is too short: nothing would be proved"),
        ({"api": Facts("api", Claims())}, None, "no component that clusterkit can talk to by itself"),
    ],
)
def test_what_would_prove_nothing_is_refused(components: Mapping[str, Facts], time_s: float | None, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        suite(components, ABLE, time_s)
    assert what in caught.value.what
    assert caught.value.mend


def test_where_no_fault_can_be_made_there_is_no_suite() -> None:
    nothing = dict.fromkeys(ABLE, "no")
    with pytest.raises(UsageError, match="no fault can be made on registry"):
        suite({"registry": ETCD}, nothing)


@settings(max_examples=30, deadline=None)
@given(st.floats(2 * LEAST_S, 1000))
def test_it_reads_as_a_topology_would(time_s: float) -> None:
    registry = Registry()
    kinds = {"registry": "etcd", "cache": "redis", "sentinel": "redis-sentinel"}
    specs = {name: ComponentSpec(name, kind, None, data="loop") for name, kind in kinds.items()}
    made = suite(ALL, ABLE, time_s)
    findings = Findings(Document("x.yml", dict(made.scenarios), {}))
    ground = Ground(specs, {name: registry[kind] for name, kind in kinds.items()}, Path())
    for name, body in made.scenarios.items():
        scenario = read_scenario(findings, (name,), name, body, ground)
        assert findings.problems == []
        assert scenario is not None
        assert scenario.workload.component == body["workload"]["component"]
        assert len(scenario.steps) == len(body["faults"])
