"""A log is read on from where it was, exactly: many lines in one nanosecond, clocks set back, restarts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clusterkit.logs.follow import Cursor
from clusterkit.providers.base import LogLine
from tests.unit.logs.fake_engine import SECOND, START

steps = st.sampled_from([0, 0, 0, 1, 1000, SECOND // 100, SECOND // 4])
phases = st.lists(
    st.tuples(
        st.lists(steps, max_size=8),  # while we read: the time from one line to the next
        st.lists(st.sampled_from([0, 0, 1, SECOND // 20]), max_size=8),  # while we do not
        st.sampled_from([0, 0, 0, 1, SECOND, 3 * SECOND, 3600 * SECOND]),  # how far the clock is set back meanwhile
    ),
    max_size=8,
)


def _catch_up(log: list[LogLine], cursor: Cursor, now: int) -> list[LogLine]:
    since, taken = cursor.position(now)
    asked = [line for line in log if line.time_ns >= since]
    return list(cursor.rest(asked, since, taken))


@given(phases)
def test_nothing_is_lost_or_doubled(plan: list[tuple[list[int], list[int], int]]) -> None:
    log: list[LogLine] = []
    read: list[LogLine] = []
    cursor, now = Cursor(), START
    for attached, detached, back in plan:
        read += _catch_up(log, cursor, now)
        for step in attached:
            now += step
            log.append(LogLine(now, "stdout", str(len(log))))
            since, _ = cursor.position(now)
            read += cursor.rest(log[-1:], 0, 0)
            assert since <= now
        now -= back
        for step in detached:
            now += step
            log.append(LogLine(now, "stderr", str(len(log))))
    read += _catch_up(log, cursor, now)
    assert [line.text for line in read] == [line.text for line in log]


def test_little_is_read_twice() -> None:
    cursor = Cursor()
    for second in range(100):
        cursor.take(START + second * SECOND)
    since, taken = cursor.position(START + 100 * SECOND)
    assert since == START + 97 * SECOND
    assert taken == 3


def test_lines_before_the_floor_do_not_count() -> None:
    cursor = Cursor(START)
    assert cursor.position(START + SECOND) == (START, 0)
    cursor.take(START)
    cursor.take(START)
    assert cursor.position(START + SECOND) == (START, 2)


def test_a_clock_set_back_far_makes_us_read_from_the_beginning() -> None:
    cursor = Cursor()
    cursor.take(START)
    cursor.take(START - 10 * SECOND)
    assert cursor.position(START + SECOND) == (0, 2)
