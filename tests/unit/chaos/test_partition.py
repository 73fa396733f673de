"""Partitions as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import EVERYONE, PortSpec, Target
from clusterkit.chaos.faults.partition import Cut, Isolate, Partition
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.units import Duration
from tests.unit.chaos.stage import SIX, FakeAgent, scene

LEADER = {"registry-2": ("leader",), "registry-1": ("follower",), "registry-3": ("follower",)}


def _arrives(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"sent": 3, "received": 3, "trouble": ""} for _ in args["pairs"]]


def _cut(*addresses: str) -> Any:
    """Nothing to or from these addresses arrives."""

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        lost = [any(end["address"] in addresses for end in pair[:2]) for pair in args["pairs"]]
        return [{"sent": 3, "received": 0 if one else 3, "trouble": ""} for one in lost]

    return answer


def test_isolate_cuts_both_ways_from_everyone() -> None:
    stage = scene(roles=LEADER)
    fault = Isolate(target=Target(("leader of registry",)))
    order = fault.order(stage, aim(fault, stage))
    others = [node.name for node in SIX if node.name != "registry-2"]
    assert {tuple(way) for way in order.args["ways"]} == {("registry-2", one) for one in others} | {
        (one, "registry-2") for one in others
    }
    at = {node.name: node.address for node in SIX}
    assert [at["registry-2"], at["cache-1"]] in order.args["pairs"]
    assert order.words == "isolate registry-2"
    assert order.kind == "block"
    assert not order.engine


def test_two_isolated_nodes_do_not_hear_each_other() -> None:
    stage = scene()
    fault = Isolate(target=Target(("cache-1", "cache-2")))
    ways = {tuple(way) for way in fault.order(stage, aim(fault, stage)).args["ways"]}
    assert {("cache-1", "cache-2"), ("cache-2", "cache-1")} <= ways
    assert ("cache-3", "registry-1") not in ways


def test_a_cut_may_be_one_way_and_of_ports() -> None:
    stage = scene()
    fault = Cut(target=Target(("cache-1",)), towards=Target(("cache-2",)), one_way=True, ports=(PortSpec(6379, "tcp"),))
    order = fault.order(stage, aim(fault, stage))
    at = {node.name: node.address for node in SIX}
    assert order.args["pairs"] == [[at["cache-1"], at["cache-2"], "tcp", 6379]]
    assert order.words == "cut cache-1 to cache-2, ports 6379/tcp"


def test_it_bites_when_nothing_arrives_where_it_is_cut_and_all_elsewhere() -> None:
    at = {node.name: node.address for node in SIX}
    agent = FakeAgent({"datagrams": _cut(at["cache-1"])})
    effect = strike(Isolate(target=Target(("cache-1",))), scene(agent), 60).effect
    assert effect.bites
    assert effect.beside_is_well
    assert str(effect) == "asked 10 ways cut, seen 10 of 10 cut; beside it 6 of 6 other ways whole"
    assert agent.orders[0][1] == 60


def test_it_does_not_bite_when_packets_arrive() -> None:
    effect = strike(Isolate(target=Target(("cache-1",))), scene(FakeAgent({"datagrams": _arrives})), 60).effect
    assert not effect.bites
    assert "did not bite" in str(effect)


def test_a_way_that_still_works_is_enough_not_to_bite() -> None:
    at = {node.name: node.address for node in SIX}

    def all_but_one(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _cut(at["cache-1"])(args)
        found[0]["received"] = 1
        return found

    assert not strike(
        Isolate(target=Target(("cache-1",))), scene(FakeAgent({"datagrams": all_but_one})), 60
    ).effect.bites


def test_others_that_are_hit_are_told() -> None:
    at = {node.name: node.address for node in SIX}
    agent = FakeAgent({"datagrams": _cut(at["cache-1"], at["cache-2"])})
    effect = strike(Isolate(target=Target(("cache-1",)), towards=Target(("registry",))), scene(agent), 60).effect
    assert effect.bites
    assert not effect.beside_is_well
    assert "affected, and must not be" in str(effect)


def test_nodes_that_do_not_run_prove_nothing() -> None:
    dead = FakeAgent({"datagrams": lambda args: [{"sent": 0, "received": 0, "trouble": "down"} for _ in args["pairs"]]})
    effect = strike(Isolate(target=Target(("cache-1",))), scene(dead), 60).effect
    assert not effect.bites
    assert "could not be tried" in effect.seen


def test_a_fault_that_cannot_be_measured_is_healed() -> None:
    def fails(_args: Mapping[str, Any]) -> Any:
        raise UsageError("no")

    agent = FakeAgent({"datagrams": fails})
    with pytest.raises(UsageError):
        strike(Isolate(target=Target(("cache-1",))), scene(agent), 60)
    assert agent.healed == ["isolate-1"]


def test_nodes_that_share_an_address_are_parted_by_port_only() -> None:
    shared = [replace(node, address="192.0.2.1") for node in SIX]
    stage = scene(nodes=shared)
    whole = Partition(target=Target(("cache",)))
    with pytest.raises(UsageError, match=r"share the address 192\.0\.2\.1") as refused:
        whole.order(stage, aim(whole, stage))
    assert "ports" in str(refused.value.mend)
    by_port = Partition(target=Target(("cache",)), ports=(PortSpec(6379, "tcp"),))
    assert by_port.order(stage, aim(by_port, stage)).args["pairs"]


def test_everyone_is_who_is_left() -> None:
    stage = scene()
    fault = Cut(target=Target(("cache",)), towards=EVERYONE)
    assert {node.name for node in aim(fault, stage)["towards"]} == {"registry-1", "registry-2", "registry-3"}
    with pytest.raises(UsageError, match="nobody is left"):
        aim(Cut(target=Target(("all",))), stage)


def test_a_flap_that_is_too_quick_is_refused() -> None:
    with pytest.raises(ValueError, match="500ms or more"):
        Partition(flap=Duration(0.1))


@pytest.mark.parametrize(
    ("text", "said"), [("6379", 'write "6379/tcp"'), ("tcp", "6379/tcp"), ("0/tcp", "not a port"), ("1/icmp", "not a")]
)
def test_a_port_needs_its_protocol(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PortSpec.parse(text)


def test_heal_goes_on_where_one_cannot_be_healed() -> None:
    agent = FakeAgent({"datagrams": _arrives}, unhealable={"isolate-1"})
    stage = scene(agent)
    for name in ("cache-1", "cache-2"):
        strike(Isolate(target=Target((name,))), stage, 60)
    with pytest.raises(UsageError) as raised:
        heal(stage)
    assert agent.healed == ["isolate-2"]
    assert raised.value.__notes__ == ["isolate-1 could not be healed: isolate cache-1"]


def test_heal_knows_the_names_of_what_is_in_force() -> None:
    stage = scene(FakeAgent({"datagrams": _arrives}))
    with pytest.raises(UsageError, match='no fault "kill-1"') as raised:
        heal(stage, ["kill-1"])
    assert raised.value.mend == "nothing is broken now"
    strike(Isolate(target=Target(("cache-1",))), stage, 60)
    assert [mark.id for mark in heal(stage, ["isolate-1"])] == ["isolate-1"]
    assert heal(stage) == ()
