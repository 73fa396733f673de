"""Impaired links as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from clusterkit import units
from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Effect, Fault, PortSpec, Target
from clusterkit.chaos.faults.link import (
    Bandwidth,
    Corrupt,
    Duplicate,
    Latency,
    Loss,
    Reorder,
    Reset,
    is_share,
    link_order,
)
from clusterkit.chaos.flow import flow
from clusterkit.chaos.strike import strike
from clusterkit.errors import UsageError
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration, Percent
from tests.unit.chaos.stage import SIX, FakeAgent, scene

ONE, TWO, THREE = SIX[:3]


def test_an_order_names_each_way_once() -> None:
    ways = [(ONE, TWO), (TWO, ONE), (ONE, TWO), (ONE, ONE)]
    order = link_order("shop", "links", "a WAN", ways, {"delay_ms": 20.0}, owner="links")
    assert order.kind == "link"
    assert order.owner == "links"
    assert order.nodes == (ONE.name, TWO.name)
    assert order.args == {
        "ways": [[ONE.address, TWO.address], [TWO.address, ONE.address]],
        "names": [[ONE.name, TWO.name], [TWO.name, ONE.name]],
        "ids": [ONE.runtime_id, TWO.runtime_id],
        "ports": [],
        "impair": {"delay_ms": 20.0},
    }


def test_a_link_of_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody is on the other side"):
        link_order("shop", "latency", "slow", [(ONE, ONE)], {"delay_ms": 20.0})


def test_nodes_that_share_an_address_are_told_apart_by_port_only() -> None:
    twin = replace(TWO, address=ONE.address)
    with pytest.raises(UsageError, match="share the address"):
        link_order("shop", "latency", "slow", [(THREE, ONE), (THREE, twin)], {"delay_ms": 20.0})
    order = link_order(
        "shop", "latency", "slow", [(THREE, ONE), (THREE, twin)], {"delay_ms": 20.0}, ports=[PortSpec(7000, "tcp")]
    )
    assert order.args["ports"] == ["7000/tcp"]


# -- faults as orders --------------------------------------------------------------------------------------------------


def _order(fault: Fault) -> Order:
    stage = scene()
    return fault.order(stage, aim(fault, stage))


def test_each_fault_says_what_it_does_to_packets() -> None:
    to: dict[str, Any] = {"target": Target((ONE.name,)), "towards": Target((TWO.name,))}
    given: dict[Fault, dict[str, float | bool]] = {
        Latency(Duration(0.1), jitter=Duration(0.02), **to): {"delay_ms": 100, "jitter_ms": 20},
        Loss(Percent(10), **to): {"loss": 0.1},
        Duplicate(Percent(20), **to): {"duplicate": 0.2},
        Reorder(Percent(25), **to): {"reorder": 0.25, "delay_ms": 20},
        Corrupt(Percent(0.5), **to): {"corrupt": 0.005},
        Bandwidth(units.Bandwidth(5e6), **to): {"bits_per_second": 5e6},
        Reset(**to): {"reset": True},
    }
    for fault, impair in given.items():
        order = _order(fault)
        assert order.args["impair"] == pytest.approx(impair)
        assert order.args["names"] == [[ONE.name, TWO.name]]
        assert order.fault == fault.name
        assert order.kind == "link"


def test_words_say_it_to_a_person() -> None:
    fault = Latency(
        Duration(0.1),
        jitter=Duration(0.02),
        target=Target((ONE.name,)),
        towards=Target((TWO.name,)),
        both_ways=True,
        ports=(PortSpec(6379, "tcp"),),
    )
    order = _order(fault)
    assert order.words == f"delay 100ms ±20ms, {ONE.name} and {TWO.name}, ports 6379/tcp"
    assert order.args["names"] == [[ONE.name, TWO.name], [TWO.name, ONE.name]]


def test_everyone_is_all_other_nodes() -> None:
    order = _order(Loss(Percent(10), target=Target((ONE.name,))))
    assert order.args["names"] == [[ONE.name, node.name] for node in SIX[1:]]


def test_all_towards_all_is_every_way() -> None:
    order = _order(Loss(Percent(10), target=Target(("all",)), towards=Target(("all",))))
    assert len(order.args["ways"]) == 30


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda to: Latency(Duration(0), target=to), "delay: 0us is out of range; write 1ms to 10s"),
        (lambda to: Latency(Duration(11), target=to), "or cut the link"),
        (lambda to: Latency(Duration(1), jitter=Duration(2), target=to), "jitter: 2s is more than the delay, 1s"),
        (lambda to: Loss(Percent(0), target=to), "too few to be seen"),
        (lambda to: Reorder(Percent(100), target=to), "none is overtaken"),
        (lambda to: Reorder(Percent(10), delay=Duration(0.001), target=to), "write 5ms to 10s"),
        (lambda to: Bandwidth(units.Bandwidth(9), target=to), "write 10kbit or more"),
        (lambda to: Bandwidth(units.Bandwidth(2e7), target=to, ports=(PortSpec(9, "tcp"),)), "can be measured"),
        (lambda to: Reset(target=to, ports=(PortSpec(9, "udp"),)), "name TCP ports"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[Target], Fault], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(Target((ONE.name,)))


# -- what a measurement says -------------------------------------------------------------------------------------------


def _answers(change: Callable[[dict[str, Any]], None], *ways: tuple[NodeRecord, NodeRecord]) -> Any:
    """An agent's answer: packets pass whole along all ways, but along these they are changed."""
    impaired = {(one.name, other.name) for one, other in ways}

    def answer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
        count = args.get("count", 1)
        found = []
        for source, target, *_ in args["pairs"]:
            one = {"sent": count, "received": count, "duplicates": 0, "reordered": 0, "corrupted": 0, "trouble": ""}
            one |= {"delays_ms": [0.1] * count, "bits_per_second": 5e9, "span_s": count / 1000, "outcome": "connected"}
            if (source["name"], target["name"]) in impaired:
                change(one)
            found.append(one)
        return found

    return answer


def _struck(fault: Fault, change: Callable[[dict[str, Any]], None], marks: Sequence[Mark] = ()) -> Effect:
    answer = _answers(change, (ONE, TWO))
    calls = ("datagrams", "segments", "connections", "transfer")
    return strike(fault, scene(FakeAgent(dict.fromkeys(calls, answer), marks_now=list(marks))), 60).effect


def _to(**fields: Any) -> dict[str, Any]:
    return {"target": Target((ONE.name,)), "towards": Target((TWO.name,)), **fields}


def _share(key: str, share: float) -> Callable[[dict[str, Any]], None]:
    def change(one: dict[str, Any]) -> None:
        some = round(one["sent"] * share)
        one[key] = some if key != "received" else one["sent"] - some
        if key == "corrupted":
            one["received"] -= some

    return change


def _slow(milliseconds: float) -> Callable[[dict[str, Any]], None]:
    return lambda one: one.update(delays_ms=[milliseconds] * one["sent"])


def _mark(fault: Fault) -> Mark:
    order = _order(fault)
    return Mark("other-1", "shop", order.fault, "link", "", order.nodes, 0, None, order.args, {})


def test_a_delay_bites_when_packets_come_late_and_others_do_not() -> None:
    effect = _struck(Latency(Duration(0.1), **_to()), _slow(101))
    assert effect.bites
    assert effect.beside_is_well
    assert str(effect).startswith("asked 100 ms, seen 101 ms (101 to 101); beside it ")


@pytest.mark.parametrize("seen", [0.1, 50, 85])
def test_a_delay_that_is_too_short_does_not_bite(seen: float) -> None:
    assert not _struck(Latency(Duration(0.1), **_to()), _slow(seen)).bites


def test_jitter_asks_less_of_the_middle() -> None:
    fault = Latency(Duration(0.1), jitter=Duration(0.04), **_to())
    assert _struck(fault, _slow(80)).bites
    assert not _struck(fault, _slow(50)).bites


def test_what_another_fault_delays_is_not_counted_twice() -> None:
    fault, other = Latency(Duration(0.1), **_to()), _mark(Latency(Duration(0.2), **_to()))
    assert not _struck(fault, _slow(201), [other]).bites
    assert _struck(fault, _slow(301), [other]).bites


def test_a_port_of_another_fault_is_no_port_of_this_one() -> None:
    ports = (PortSpec(6379, "tcp"),)
    other = _mark(Latency(Duration(0.2), **_to(ports=(PortSpec(80, "tcp"),))))
    assert _struck(Latency(Duration(0.1), **_to(ports=ports)), _slow(101), [other]).bites


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        (Loss(Percent(10), **_to()), "received"),
        (Duplicate(Percent(10), **_to()), "duplicates"),
        (Corrupt(Percent(10), **_to()), "corrupted"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_share_is_counted(fault: Fault, key: str) -> None:
    effect = _struck(fault, _share(key, 0.1))
    assert effect.bites
    assert effect.beside_is_well
    assert str(effect).startswith("asked 10%, seen 10.0% of 600; beside it ")
    assert not _struck(fault, _share(key, 0)).bites
    assert not _struck(fault, _share(key, 0.02)).bites


def test_a_loss_has_to_be_seen_on_top_of_another() -> None:
    fault, other = Loss(Percent(10), **_to()), _mark(Loss(Percent(50), **_to()))
    assert not _struck(fault, _share("received", 0.5), [other]).bites
    assert _struck(fault, _share("received", 0.55), [other]).bites


def test_a_link_that_loses_packets_beside_it_is_told() -> None:
    answer = _answers(_share("received", 0.1), *permutations(SIX, 2))
    effect = strike(Loss(Percent(10), **_to()), scene(FakeAgent({"datagrams": answer})), 60).effect
    assert not effect.bites
    assert not effect.beside_is_well


@pytest.mark.parametrize(
    ("seen", "asked", "others", "packets", "is_so"),
    [
        (0.10, 0.1, 0.0, 600, True),
        (0.06, 0.1, 0.0, 600, True),
        (0.04, 0.1, 0.0, 600, False),
        (0.0, 0.001, 0.0, 1600, False),
        (1.0, 1.0, 0.0, 400, True),
        (0.99, 1.0, 0.0, 400, False),
        (0.5, 0.01, 0.5, 1600, False),
        (0.52, 0.05, 0.5, 1600, True),
    ],
)
def test_how_far_a_share_may_be_off(seen: float, asked: float, others: float, packets: int, is_so: bool) -> None:
    assert is_share(seen, asked, others, packets) is is_so


def test_reordered_packets_are_held_or_not_and_come_in_another_order() -> None:
    def change(one: dict[str, Any]) -> None:
        early = one["sent"] // 4
        one |= {"delays_ms": [0.1] * early + [20.3] * (one["sent"] - early), "reordered": one["sent"] // 2}

    fault = Reorder(Percent(25), **_to())
    effect = _struck(fault, change)
    assert effect.bites
    assert effect.seen == "25.0% of 400; 50% came after a later one"
    assert not _struck(fault, _slow(20.3)).bites
    assert not _struck(fault, _slow(0.1)).bites


def test_a_narrow_link_is_flooded() -> None:
    fault = Bandwidth(units.Bandwidth(1e6), **_to())

    def narrow(one: dict[str, Any]) -> None:
        one |= {"received": 87, "span_s": 1.0}

    effect = _struck(fault, narrow)
    assert effect.bites
    assert effect.beside_is_well
    assert not _struck(fault, _slow(0.1)).bites


def test_a_wide_link_carries_a_connection() -> None:
    fault = Bandwidth(units.Bandwidth(1e8), **_to())
    effect = _struck(fault, lambda one: one.update(bits_per_second=9.7e7))
    assert effect.bites
    assert str(effect).startswith("asked 100mbit, seen 97mbit; beside it ")
    assert not _struck(fault, _slow(0.1)).bites
    assert not _struck(fault, lambda one: one.update(bits_per_second=0.0)).bites


@pytest.mark.parametrize(
    ("outcome", "bites"), [("reset", True), ("refused", True), ("connected", False), ("timed out", False)]
)
def test_a_reset_is_what_connections_say(outcome: str, bites: bool) -> None:
    effect = _struck(Reset(**_to()), lambda one: one.update(outcome=outcome))
    assert effect.bites is bites
    assert effect.beside == "2 of 2 others connected"


@pytest.mark.parametrize(
    "fault",
    [
        Latency(Duration(0.1), **_to()),
        Loss(Percent(10), **_to()),
        Reorder(Percent(10), **_to()),
        Bandwidth(units.Bandwidth(1e6), **_to()),
        Bandwidth(units.Bandwidth(1e8), **_to()),
        Reset(**_to()),
    ],
    ids=lambda fault: fault.name,
)
def test_what_could_not_be_tried_does_not_bite(fault: Fault) -> None:
    effect = _struck(fault, lambda one: one.update(trouble="the node does not run"))
    assert not effect.bites


def test_ports_are_measured_by_their_own_protocol_and_beside_by_others() -> None:
    asked: dict[str, list[tuple[Any, ...]]] = {}
    whole = _answers(_slow(0.1))

    def call(name: str) -> Any:
        def answer(args: Mapping[str, Any]) -> Any:
            asked[name] = [(one["name"], other["name"], *port) for one, other, *port in args["pairs"]]
            return whole(args)

        return answer

    agent = FakeAgent({name: call(name) for name in ("datagrams", "segments")})
    ports = (PortSpec(6379, "tcp"), PortSpec(53, "udp"))
    strike(Latency(Duration(0.1), **_to(ports=ports)), scene(agent), 60)
    assert asked["segments"] == [(ONE.name, TWO.name, 6379)]
    assert asked["datagrams"][:2] == [(ONE.name, TWO.name, 53), (ONE.name, TWO.name)]


def test_ways_that_are_cut_and_nodes_that_are_broken_are_no_measure() -> None:
    cut = Mark("cut-1", "shop", "cut", "block", "", (), 0, None, {"ways": [[ONE.name, TWO.name]]}, {})
    broken = Mark("kill-1", "shop", "kill", "process", "", tuple(node.name for node in SIX[3:]), 0, None, {}, {})
    fault = Loss(Percent(10), target=Target((ONE.name,)))
    mark = _mark(fault)
    found = flow(scene(FakeAgent(marks_now=[cut, broken])), replace(mark, id="loss-1"))
    assert (ONE.name, TWO.name) not in [lane.way for lane in found.lanes]
    named = {name for lane in found.beside for name in lane.way}
    assert named <= {node.name for node in SIX[:3]}


def test_many_ways_are_sampled_over_all_of_them() -> None:
    mark = _mark(Loss(Percent(10), target=Target(("all",)), towards=Target(("all",))))
    found = flow(scene(FakeAgent()), mark)
    assert 8 <= len(found.lanes) <= 16
    assert {lane.way[0] for lane in found.lanes} == {node.name for node in SIX}
    assert [lane.way[0] for lane in found.beside] == ["this machine"] * 2
