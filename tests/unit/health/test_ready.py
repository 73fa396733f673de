"""Waiting looks again and again, ends with what was last seen, and does a one-time step once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clusterkit.client import ClientError
from clusterkit.clock import Clock, Deadline
from clusterkit.components.base import Bootstrap, Component, Group, Member, Running, Unready
from clusterkit.errors import NotReady
from clusterkit.health.ready import DOES_NOT_RUN, bootstrap, unready, wait_ready
from clusterkit.testing import FakeNode


class FakeTime:
    """Moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.clock = Clock(monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def seen(*conditions: Callable[[Running], Unready], up: tuple[str, ...] = ("db-1", "db-2")) -> Running:
    component = Component("store", "1", "a store", ports={}, command=("stored",), ready=conditions)
    members = tuple(Member(f"db-{index}", index, "a", f"192.0.2.{index}", {}) for index in (1, 2))
    group = Group("shop", "db", "store", None, members)
    return Running(group, component, {name: FakeNode(name) for name in up})


def test_conditions_are_looked_at_up_to_the_first_that_is_not_met() -> None:
    looked: list[str] = []

    def first(_running: Running) -> Unready:
        looked.append("first")
        return {"db-2": "not yet"}

    def second(_running: Running) -> Unready:
        looked.append("second")
        return {"db-1": "never said"}

    assert unready(seen(first, second)) == {"db-2": "not yet"}
    assert looked == ["first"]


def test_a_node_that_does_not_run_is_never_ready() -> None:
    assert unready(seen(lambda _running: {}, up=("db-1",))) == {"db-2": DOES_NOT_RUN}
    assert unready(seen(lambda _running: {"db-1": "no"}, up=("db-1",))) == {"db-1": "no", "db-2": DOES_NOT_RUN}
    assert unready(seen(up=())) == {"db-1": DOES_NOT_RUN, "db-2": DOES_NOT_RUN}


def test_a_condition_that_raises_is_a_word_for_each_node_that_runs() -> None:
    def broken(_running: Running) -> Unready:
        raise ConnectionResetError(104, "Connection reset by peer")

    assert unready(seen(broken)) == dict.fromkeys(("db-1", "db-2"), "connection reset by peer")


def test_waiting_ends_when_all_are_ready() -> None:
    time = FakeTime()
    left = [{"db-1": "a"}, {"db-1": "b"}, {}, {"db-1": "never looked at"}]
    wait_ready(lambda: seen(lambda _running: left.pop(0)), Deadline(10, time.clock), time.clock)
    assert left == [{"db-1": "never looked at"}]
    assert time.pauses == [0.02, 0.03]


def test_pauses_grow_to_a_fifth_of_a_second() -> None:
    time = FakeTime()
    with pytest.raises(NotReady):
        wait_ready(lambda: seen(lambda _running: {"db-1": "no"}), Deadline(3, time.clock), time.clock)
    assert time.pauses[:3] == pytest.approx([0.02, 0.03, 0.045])
    assert max(time.pauses) == 0.2
    assert time.now == pytest.approx(3)


def test_at_the_deadline_the_last_thing_seen_is_told() -> None:
    time = FakeTime()

    def look() -> Running:
        return seen(lambda _running: {"db-2": f"seen at {time.now:.1f} s"}, up=("db-2",))

    with pytest.raises(NotReady) as failed:
        wait_ready(look, Deadline(1, time.clock), time.clock)
    assert failed.value.unready == {"db-1": DOES_NOT_RUN, "db-2": "seen at 1.0 s"}
    assert failed.value.mend is not None


def test_what_the_look_raises_ends_the_wait() -> None:
    time = FakeTime()

    def look() -> Running:
        raise NotReady("the main process ended", unready={"db-1": "code 1"})

    with pytest.raises(NotReady, match="the main process ended"):
        wait_ready(look, Deadline(1, time.clock), time.clock)


class FakeSystem:
    """Needs a step until it was done; raises `troubles` first."""

    def __init__(self, troubles: list[Exception], *, is_needed: bool = True) -> None:
        self.troubles = troubles
        self.needs = is_needed
        self.done = 0
        self.step = Bootstrap(self._is_needed, self._run)

    def _is_needed(self, _running: Running) -> bool:
        if self.troubles:
            raise self.troubles.pop(0)
        return self.needs

    def _run(self, _running: Running) -> None:
        self.done += 1
        self.needs = False


def test_a_bootstrap_waits_for_an_answer_and_is_done_once() -> None:
    time = FakeTime()
    system = FakeSystem([ConnectionRefusedError(), ClientError("it knows no leader")])
    bootstrap(system.step, seen, Deadline(1, time.clock), time.clock)
    bootstrap(system.step, seen, Deadline(1, time.clock), time.clock)
    assert system.done == 1


def test_a_bootstrap_that_is_not_needed_is_not_done() -> None:
    time = FakeTime()
    system = FakeSystem([], is_needed=False)
    bootstrap(system.step, seen, Deadline(1, time.clock), time.clock)
    assert system.done == 0
    assert time.pauses == []


def test_a_bootstrap_that_never_works_says_why() -> None:
    time = FakeTime()
    system = FakeSystem([ClientError("it knows no leader")] * 1000)
    with pytest.raises(NotReady) as failed:
        bootstrap(system.step, lambda: seen(up=("db-1",)), Deadline(1, time.clock), time.clock)
    assert failed.value.unready == {"db-1": "it knows no leader", "db-2": DOES_NOT_RUN}
