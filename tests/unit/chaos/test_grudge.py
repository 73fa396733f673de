"""Shapes of partitions, for any number of nodes and any chance."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.chaos import grudge
from clusterkit.chaos.grudge import Ways
from clusterkit.errors import UsageError

nodes = st.integers(3, 11).map(lambda count: [f"n{index}" for index in range(count)])
chance = st.integers().map(Random)


def _heard(ways: Ways, hearer: str, of: Sequence[str]) -> set[str]:
    return {one for one in of if one == hearer or (one, hearer) not in ways}


def _is_both_ways(ways: Ways) -> bool:
    return {(other, one) for one, other in ways} == set(ways)


@given(nodes, chance)
def test_halves_differ_by_one_at_most_and_hear_themselves_only(of: list[str], random: Random) -> None:
    ways = grudge.halves(of, {}, random)
    sides = {frozenset(_heard(ways, one, of)) for one in of}
    assert len(sides) == 2
    sizes = sorted(len(side) for side in sides)
    assert sum(sizes) == len(of)
    assert sizes[1] - sizes[0] <= 1
    assert _is_both_ways(ways)


@given(nodes, chance)
def test_one_is_alone(of: list[str], random: Random) -> None:
    ways = grudge.one(of, {}, random)
    assert sorted(len(_heard(ways, one, of)) for one in of) == [1, *[len(of) - 1] * (len(of) - 1)]
    assert _is_both_ways(ways)


@given(nodes, chance)
def test_a_majority_is_the_smallest_one(of: list[str], random: Random) -> None:
    ways = grudge.majority(of, {}, random)
    most = len(of) // 2 + 1
    assert {len(_heard(ways, one, of)) for one in of} == {most, len(of) - most}
    assert _is_both_ways(ways)


@given(nodes, chance)
def test_a_ring_gives_everyone_another_majority(of: list[str], random: Random) -> None:
    ways = grudge.ring(of, {}, random)
    heard = [frozenset(_heard(ways, one, of)) for one in of]
    assert {len(one) for one in heard} == {len(of) // 2 + 1}
    assert len(set(heard)) == len(of)


@given(nodes, chance)
def test_a_bridge_hears_both_sides_that_do_not_hear_each_other(of: list[str], random: Random) -> None:
    ways = grudge.bridge(of, {}, random)
    bridges = [one for one in of if _heard(ways, one, of) == set(of)]
    assert len(bridges) == 1
    for one in set(of) - set(bridges):
        assert len(_heard(ways, one, of)) in ((len(of) - 1) // 2 + 1, len(of) // 2 + 1)
    assert _is_both_ways(ways)


def test_zones_hear_only_themselves() -> None:
    zones = {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
    ways = grudge.zones(list(zones), zones, Random(1))
    assert {one: _heard(ways, one, list(zones)) for one in zones} == {
        "a1": {"a1", "a2"},
        "a2": {"a1", "a2"},
        "b1": {"b1"},
        "c1": {"c1"},
    }


def test_one_way_is_one_way() -> None:
    assert grudge.one_way(["a", "b"], ["b", "c"]) == (("a", "b"), ("a", "c"), ("b", "c"))


def test_the_same_chance_gives_the_same_grudge() -> None:
    of = [f"n{index}" for index in range(9)]
    for shape in ("halves", "one", "majority", "ring", "bridge"):
        assert grudge.SHAPES[shape](of, {}, Random(7)) == grudge.SHAPES[shape](of, {}, Random(7))


@pytest.mark.parametrize(("shape", "count"), [("halves", 1), ("one", 1), ("majority", 2), ("ring", 2), ("bridge", 2)])
def test_too_few_nodes_are_refused(shape: str, count: int) -> None:
    with pytest.raises(UsageError, match="nodes or more") as refused:
        grudge.SHAPES[shape]([f"n{index}" for index in range(count)], {}, Random(1))
    assert refused.value.mend


def test_one_zone_cannot_be_parted() -> None:
    with pytest.raises(UsageError, match="all in one zone"):
        grudge.zones(["a1", "a2"], {"a1": "a", "a2": "a"}, Random(1))
