"""Schedules are pure functions of scenario and seed."""

from __future__ import annotations

import pytest

from clusterkit.chaos.base import Target
from clusterkit.chaos.faults.partition import Cut, Isolate, Partition
from clusterkit.chaos.scenario import Scenario, Step
from clusterkit.chaos.schedule import Planned, lines, schedule
from clusterkit.units import Duration

LEADER = Isolate(target=Target(("leader of registry",)))
S = Duration


def _times(*steps: Step, time: float = 60, seed: int = 1) -> list[tuple[float, float | None]]:
    return [(one.start_s, one.end_s) for one in schedule(Scenario("x", steps, S(time)), seed)]


@pytest.mark.parametrize(
    ("step", "times"),
    [
        (Step((LEADER,)), [(0, 60)]),
        (Step((LEADER,), at=S(10), lasts=S(5)), [(10, 15)]),
        (Step((LEADER,), at=S(58), lasts=S(5)), [(58, 60)]),
        (Step((LEADER,), at=S(60), lasts=S(5)), []),
        (Step((LEADER,), every=S(15), lasts=S(8)), [(15, 23), (30, 38), (45, 53)]),
        (Step((LEADER,), every=S(20), at=S(5), lasts=S(30)), [(5, 35), (25, 55), (45, 60)]),
        (Step((LEADER,), every=S(15), lasts=S(8), times=2), [(15, 23), (30, 38)]),
    ],
)
def test_when(step: Step, times: list[tuple[float, float]]) -> None:
    assert _times(step) == times


def test_steps_are_merged_by_time() -> None:
    found = _times(Step((LEADER,), every=S(20), lasts=S(5)), Step((Partition(),), at=S(30), lasts=S(1)))
    assert found == [(20, 25), (30, 31), (40, 45)]


def test_the_same_seed_gives_the_same_schedule_and_another_another() -> None:
    steps = (
        Step((LEADER, Partition(), Cut(target=Target(("cache",)))), every=S(2), lasts=S(1), jitter=S(1)),
        Step((LEADER, Partition()), every=S(3), lasts=S(1)),
    )
    scenario = Scenario("x", steps, S(120))
    assert schedule(scenario, 7) == schedule(scenario, 7)
    assert schedule(scenario, 7) != schedule(scenario, 8)
    assert {type(one.fault) for one in schedule(scenario, 7)} == {Isolate, Partition, Cut}
    assert all(2 * turn <= one.start_s <= 2 * turn + 1 for turn, one in enumerate(_first(scenario), 1))


def _first(scenario: Scenario) -> tuple[Planned, ...]:
    return schedule(Scenario("x", scenario.steps[:1], scenario.time), 7)


def test_a_schedule_does_not_change_from_release_to_release() -> None:
    """Users replay runs by their seed."""
    scenario = Scenario("x", (Step((LEADER, Partition()), every=S(10), lasts=S(4), jitter=S(5)),), S(40))
    assert list(lines(schedule(scenario, 42))) == [
        '  13.9 s to   17.9 s  isolate "leader of registry"',
        "  23.3 s to   27.3 s  partition halves",
        '  32.9 s to   36.9 s  isolate "leader of registry"',
    ]
