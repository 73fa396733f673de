"""Clock faults as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.faults.clock import ClockDrift, ClockJump
from clusterkit.chaos.strike import strike
from clusterkit.units import Duration, Percent
from tests.unit.chaos.stage import SIX, FakeAgent, scene

HOUR_NS = 3600 * 10**9
CACHE_1 = Target(("cache-1",))
JUMP = ClockJump(by=Duration.parse("1h"), target=CACHE_1)
DRIFT = ClockDrift(rate=Percent.parse("1%"), target=CACHE_1)


def _clocks(**offsets_ns: int) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
    """By node, with _ for -; a drift is told in parts of 10^9 a second, as the same number."""

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = [offsets_ns.get(node["name"].replace("-", "_"), 0) for node in args["nodes"]]
        return [
            {"wall_ns": HOUR_NS, "offset_ns": one, "drift": one / 10**9, "monotonic_ns": 0, "trouble": ""}
            for one in found
        ]

    return answer


@pytest.mark.parametrize(
    ("fault", "offset_ns", "rate", "words"),
    [
        (JUMP, HOUR_NS, 0, "set the clock of cache-1 forward by 1h"),
        (replace(JUMP, back=True), -HOUR_NS, 0, "set the clock of cache-1 back by 1h"),
        (DRIFT, 0, round(2**32 / 100), "let the clock of cache-1 go fast by 1%"),
        (replace(DRIFT, slow=True), 0, -round(2**32 / 100), "let the clock of cache-1 go slow by 1%"),
    ],
)
def test_orders(fault: Fault, offset_ns: int, rate: int, words: str) -> None:
    stage = scene()
    order = fault.order(stage, aim(fault, stage))
    assert order.args == {
        "nodes": [{"name": "cache-1", "address": SIX[0].address, "id": "id-cache-1"}],
        "offset_ns": offset_ns,
        "rate": rate,
    }
    assert (order.kind, order.words, order.nodes) == ("clock", words, ("cache-1",))


@pytest.mark.parametrize("by", ["0s", "10ms", "87601h"])
def test_no_jump_that_cannot_be_made_or_measured(by: str) -> None:
    with pytest.raises(ValueError, match="write 20ms to 87600h"):
        ClockJump(by=Duration.parse(by), target=CACHE_1)


def test_no_drift_that_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match=r"write 0\.01% or more"):
        ClockDrift(rate=Percent.parse("0%"), target=CACHE_1)


def test_a_jump_that_is_seen_bites() -> None:
    effect = strike(JUMP, scene(FakeAgent({"clocks": _clocks(cache_1=HOUR_NS + 1000)})), 5).effect
    assert effect.bites
    assert str(effect) == "asked +1h, seen +1h; beside it cache-2 +0s, monotonic time +0s"
    assert effect.numbers["offset_s"] == pytest.approx(3600)


@pytest.mark.parametrize("seen", [0, -HOUR_NS, HOUR_NS // 2])
def test_another_clock_than_was_asked_for_does_not_bite(seen: int) -> None:
    effect = strike(JUMP, scene(FakeAgent({"clocks": _clocks(cache_1=seen)})), 5).effect
    assert not effect.bites


def test_a_drift_is_seen_by_what_it_grows() -> None:
    assert strike(DRIFT, scene(FakeAgent({"clocks": _clocks(cache_1=10**7)})), 5).effect.bites
    still = strike(DRIFT, scene(FakeAgent({"clocks": _clocks()})), 5).effect
    assert not still.bites
    assert still.seen == "+0.000%"


def test_a_clock_beside_that_is_wrong_is_told() -> None:
    effect = strike(JUMP, scene(FakeAgent({"clocks": _clocks(cache_1=HOUR_NS, cache_3=10**9)})), 5).effect
    assert effect.bites
    assert not effect.beside_is_well


def test_other_faults_on_the_node_are_taken_off() -> None:
    agent = FakeAgent({"clocks": _clocks(cache_1=HOUR_NS)}, before={"base_ns": HOUR_NS})
    stage = scene(agent)
    assert strike(JUMP, stage, 5).effect.bites
    assert not strike(replace(JUMP, back=True), stage, 5).effect.bites
    agent.answers["clocks"] = _clocks(cache_1=0)
    assert strike(replace(JUMP, back=True), scene(agent), 5, pretend=True).effect.seen == "+0s"


def test_a_drift_of_another_fault_is_taken_off_as_it_has_grown() -> None:
    agent = FakeAgent({"clocks": _clocks(cache_1=10**7)}, before={"base_ns": HOUR_NS - 10**11})
    stage = scene(agent)
    strike(DRIFT, stage, 5)
    agent.answers["clocks"] = _clocks(cache_1=HOUR_NS + 10**9)
    assert strike(JUMP, stage, 5).effect.bites


def test_where_all_are_hit_this_machine_is_beside() -> None:
    everyone = ClockJump(by=Duration.parse("1h"), target=Target(("all",)))
    asked: list[Mapping[str, Any]] = []

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked.append(args)
        return _clocks(**{node.name.replace("-", "_"): HOUR_NS for node in SIX})(args)

    effect = strike(everyone, scene(FakeAgent({"clocks": answer})), 5).effect
    assert effect.bites
    assert effect.beside.startswith("this machine +0s")
    assert asked[0]["hit"] == 6
    assert asked[0]["nodes"][6]["id"] == ""


def test_nodes_that_could_not_be_tried_are_counted() -> None:
    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{**one, "trouble": "the node does not run"} for one in _clocks()(args)]

    effect = strike(JUMP, scene(FakeAgent({"clocks": answer})), 5).effect
    assert not effect.bites
    assert effect.seen == "nothing (1 could not be tried)"
