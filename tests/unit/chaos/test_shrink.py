"""Delta debugging finds what breaks a system, whatever it is, and asks no more than it has to."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clusterkit.chaos.shrink import shrink


@given(st.integers(1, 40), st.data())
def test_of_a_monotone_system_the_culprits_are_left_and_nothing_else(size: int, data: st.DataObject) -> None:
    culprits = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=4))
    found = shrink(range(size), lambda part: culprits <= set(part), tries=1)
    assert found == tuple(sorted(culprits))


@given(st.integers(1, 12), st.data())
def test_of_any_system_what_is_left_breaks_and_none_of_it_can_go(size: int, data: st.DataObject) -> None:
    chance = Random(data.draw(st.integers(0, 10_000)))
    known: dict[tuple[int, ...], bool] = {tuple(range(size)): True, (): False}

    def breaks(part: Sequence[int]) -> bool:
        return known.setdefault(tuple(part), chance.random() < 0.3)

    found = shrink(range(size), breaks, tries=1)
    assert breaks(found)
    assert all(not breaks([one for one in found if one != left]) for left in found) or len(found) <= 1


def test_a_system_that_breaks_now_and_then_is_tried_again() -> None:
    chance = Random(1)
    asked: list[tuple[int, ...]] = []

    def breaks(part: Sequence[int]) -> bool:
        asked.append(tuple(part))
        return 5 in part and chance.random() < 0.5

    assert shrink(range(8), breaks, tries=12) == (5,)
    assert max(asked.count(one) for one in asked) > 1


def test_what_breaks_without_any_fault_needs_none() -> None:
    assert shrink([1, 2, 3], lambda _part: True, tries=1) == ()


def test_it_can_be_stopped_and_gives_the_best_so_far() -> None:
    asked: list[int] = []

    def breaks(part: Sequence[int]) -> bool:
        asked.append(len(part))
        return 0 in part

    found = shrink(range(64), breaks, tries=1, stop=lambda: len(asked) >= 4)
    assert 0 in found
    assert 1 < len(found) < 64
    assert len(asked) == 4
