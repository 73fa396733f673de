"""Lasting links as orders, and what `up` changes of them."""

from __future__ import annotations

from typing import Any, cast

from clusterkit.agent.client import Agent
from clusterkit.chaos.base import Target
from clusterkit.chaos.links import LinkSpec, orders, settle
from clusterkit.providers.base import ClusterRecord
from clusterkit.units import Bandwidth, Duration, Percent
from tests.unit.chaos.stage import SIX, FakeAgent

WAN = LinkSpec(
    Target(("zone a",)), Target(("zone b",)), latency=Duration(0.04), jitter=Duration(0.005), loss=Percent(1)
)
ONE_WAY = LinkSpec(Target(("cache",)), Target(("registry-1",)), is_one_way=True, bandwidth=Bandwidth(1e7))
RECORD = ClusterRecord("shop", "clusterkit.yml", "10.64.0.0/24", "1", SIX)


def _settled(agent: FakeAgent, *links: LinkSpec, record: ClusterRecord = RECORD) -> tuple[list[str], list[str]]:
    made, undone = settle(cast(Agent, agent), record, links)
    return [mark.words for mark in made], [mark.words for mark in undone]


def _pairs(args: Any) -> set[tuple[str, str]]:
    return {(one, other) for one, other in args["names"]}


def test_a_link_is_both_ways_unless_it_says_from() -> None:
    both, one_way = orders("shop", [WAN, ONE_WAY], SIX)
    assert _pairs(both.args) == {
        (one, other)
        for one in ("cache-1", "registry-1", "cache-2", "registry-2")
        for other in ("cache-1", "registry-1", "cache-2", "registry-2")
        if one[-1] != other[-1]
    }
    assert both.args["impair"] == {"delay_ms": 40, "jitter_ms": 5, "loss": 0.01}
    assert _pairs(one_way.args) == {(f"cache-{index}", "registry-1") for index in (1, 2, 3)}
    assert one_way.args["impair"] == {"bits_per_second": 1e7}
    assert {both.owner, one_way.owner} == {"links"}
    assert both.words == "link between zone a and zone b: latency 40ms, jitter 5ms, loss 1%"


def test_they_stay_for_ever_and_are_not_made_twice() -> None:
    agent = FakeAgent()
    assert _settled(agent, WAN, ONE_WAY)[0] == [str(WAN), str(ONE_WAY)]
    assert {lease for _, lease in agent.orders} == {None}
    assert _settled(agent, WAN, ONE_WAY) == ([], [])


def test_what_the_topology_no_longer_says_is_undone() -> None:
    agent = FakeAgent()
    _settled(agent, WAN, ONE_WAY)
    slower = LinkSpec(Target(("zone a",)), Target(("zone b",)), latency=Duration(0.08))
    assert _settled(agent, slower) == ([str(slower)], [str(WAN), str(ONE_WAY)])
    assert _settled(agent) == ([], [str(slower)])


def test_a_node_that_is_not_there_yet_is_left_out() -> None:
    agent = FakeAgent()
    few = ClusterRecord("shop", "clusterkit.yml", "10.64.0.0/24", "1", SIX[:1])
    assert _settled(agent, WAN, record=few) == ([], [])
    assert _settled(agent, WAN) == ([str(WAN)], [])
