"""Whatever the clocks do: order within a node is kept, nothing is lost or doubled, nodes are merged by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterkit.logs.entry import LogEntry
from clusterkit.logs.merge import HoldBack, merge
from tests.unit.logs.fake_engine import entry

Nodes = list[list[LogEntry]]


def _nodes(times: list[list[int]]) -> Nodes:
    return [
        [entry(time_ns, f"{node}:{at}", f"n-{node}") for at, time_ns in enumerate(each)]
        for node, each in enumerate(times)
    ]


any_times = st.lists(st.lists(st.integers(0, 12), max_size=25), max_size=6)


@given(any_times)
def test_keeps_the_order_of_each_node_and_every_entry(times: list[list[int]]) -> None:
    nodes = _nodes(times)
    merged = list(merge(nodes))
    assert len(merged) == sum(map(len, nodes))
    for at, each in enumerate(nodes):
        assert [one for one in merged if one.node == f"n-{at}"] == each


@given(any_times)
def test_is_sorted_by_time_then_node_where_no_clock_steps(times: list[list[int]]) -> None:
    nodes = _nodes([sorted(each) for each in times])
    everything = [one for each in nodes for one in each]
    assert list(merge(nodes)) == sorted(everything, key=lambda one: (one.time_ns, one.node))


@given(any_times)
def test_an_entry_waits_for_none_but_those_before_it(times: list[list[int]]) -> None:
    """Brute force: every entry sorts by the latest time that its node had reached, ties by node, then in its order."""
    nodes = _nodes(times)
    keyed = [
        ((max(one.time_ns for one in each[: at + 1]), node, at), each[at])
        for node, each in enumerate(nodes)
        for at in range(len(each))
    ]
    assert list(merge(nodes)) == [one for _, one in sorted(keyed, key=lambda pair: pair[0])]


@given(any_times, st.randoms(use_true_random=False))
def test_holding_back_gives_the_same_as_merging_when_all_came_in_time(times: list[list[int]], chance: object) -> None:
    nodes = _nodes(times)
    hold = HoldBack(1.0)
    arrivals = [(node, one) for node, each in enumerate(nodes) for one in each]
    order = sorted(range(len(nodes)), key=lambda _: chance.random())  # type: ignore[attr-defined]  # a random.Random
    for node in order:
        for at, one in arrivals:
            if at == node:
                hold.put(at, one, now=0.5)
    assert list(hold.take(now=1.4)) == []
    assert list(hold.take(now=1.5)) == list(merge(nodes))
    assert list(hold.drain()) == []


def test_held_back_entries_go_when_their_time_is_over_and_no_earlier() -> None:
    hold = HoldBack(0.15)
    late, early, last = entry(20, "late", "b-1"), entry(10, "early", "a-1"), entry(30, "last", "a-1")
    hold.put(1, late, now=1.0)
    hold.put(0, early, now=1.1)
    assert list(hold.take(now=1.2)) == []
    hold.put(0, last, now=1.24)
    assert list(hold.take(now=1.25)) == [early, late]
    assert list(hold.drain()) == [last]
