"""What an impaired link does to packets, with a chance that is known."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from clusterkit.agent.program.impair import Fate, Impair, Part, combined, fate
from clusterkit.agent.program.kind import Refused


def _fates(count: int, **impair: Any) -> list[Fate | None]:
    random, part = Random(1), Part(Impair(**impair))
    return [fate([part], 1000, 10.0, random) for _ in range(count)]


def test_a_whole_link_lets_all_pass_at_once() -> None:
    assert fate([], 1000, 10.0, Random(1)) == Fate(10.0)


def test_delays_add_with_their_jitter() -> None:
    parts = [Part(Impair(delay_ms=100)), Part(Impair(delay_ms=50, jitter_ms=20))]
    random = Random(1)
    due = [found.due - 10 for _ in range(500) if (found := fate(parts, 100, 10.0, random))]
    assert len(due) == 500
    assert 0.130 <= min(due) < 0.135
    assert 0.165 < max(due) <= 0.170


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_share_of_the_packets_is_lost(share: float) -> None:
    lost = sum(found is None for found in _fates(4000, loss=share, delay_ms=1.0))
    assert lost == pytest.approx(4000 * share, abs=150)
    assert share not in (0, 1) or lost == 4000 * share


def test_copies_and_damage_are_counted_apart() -> None:
    found = [one for one in _fates(4000, duplicate=0.25, corrupt=0.1) if one]
    assert len(found) == 4000
    assert sum(one.copies for one in found) == pytest.approx(1000, abs=120)
    assert sum(one.is_damaged for one in found) == pytest.approx(400, abs=100)


def test_a_reordered_packet_leaves_out_its_own_delay_alone() -> None:
    parts = [Part(Impair(delay_ms=20, reorder=0.25)), Part(Impair(delay_ms=5))]
    random = Random(1)
    due = [round((found.due - 10) * 1000) for _ in range(2000) if (found := fate(parts, 100, 10.0, random))]
    assert set(due) == {5, 25}
    assert due.count(5) == pytest.approx(500, abs=100)


def test_a_narrow_link_lets_bits_pass_one_after_the_other() -> None:
    part = Part(Impair(bits_per_second=1e6))
    due = [part.admit(10.0, 1250) for _ in range(3)]
    assert due == pytest.approx([10.01, 10.02, 10.03])
    assert part.admit(20.0, 1250) == pytest.approx(20.01)


def test_what_would_wait_too_long_for_a_narrow_link_is_lost() -> None:
    part = Part(Impair(bits_per_second=1e6))
    passed = [due for _ in range(100) if (due := part.admit(10.0, 1250)) is not None]
    assert len(passed) == 21
    assert passed[-1] == pytest.approx(10.21)


def test_the_narrowest_link_holds_some_packets() -> None:
    part = Part(Impair(bits_per_second=1e4))
    assert sum(part.admit(10.0, 1250) is not None for _ in range(100)) == 11


def test_several_faults_as_one() -> None:
    assert combined([Impair(delay_ms=10, jitter_ms=1, loss=0.5), Impair(delay_ms=5, loss=0.5)]) == Impair(
        delay_ms=15, jitter_ms=1, loss=0.75
    )
    assert combined([Impair(bits_per_second=5.0), Impair(bits_per_second=3.0), Impair()]).bits_per_second == 3
    assert combined([]) == Impair()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "by nothing"),
        ({"delay": 3}, r"by \['delay'\]"),
        ({"loss": 1.5}, "loss: 1.5 is no share"),
        ({"delay_ms": -1}, "delay_ms: -1 is out of range"),
        ({"bits_per_second": float("inf")}, "out of range"),
        ({"delay_ms": 1, "jitter_ms": 2}, "a jitter of 2 ms around a delay of 1 ms"),
        ({"reorder": 0.5}, "there is none"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Impair.parse(given)


def test_delay_alone_may_be_held_as_large_segments() -> None:
    assert Impair.parse({"delay_ms": 3, "jitter_ms": 1}).is_delay_alone
    assert not Impair.parse({"delay_ms": 3, "loss": 0.1}).is_delay_alone
    assert not Impair.parse({"reset": True}).is_delay_alone
