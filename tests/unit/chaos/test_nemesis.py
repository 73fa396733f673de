"""The nemesis with a clock that only it moves, and an agent in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from threading import Event
from typing import Any, ClassVar

import pytest

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target
from clusterkit.chaos.faults.partition import Isolate
from clusterkit.chaos.nemesis import Happening, Summary, run
from clusterkit.chaos.schedule import Planned
from clusterkit.clock import Clock
from clusterkit.errors import EnvironmentTrouble, UsageError
from tests.unit.chaos.stage import FakeAgent, scene

KEPT: list[str] = []


@dataclass(frozen=True)
class Break(Fault):
    """Bites from when it is made until it is healed, unless told otherwise."""

    name: ClassVar[str] = "break"
    family: ClassVar[Family] = "process"
    keeps: ClassVar[bool] = True

    target: Target
    bites: bool = True
    heals: bool = True

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = tuple(node.name for node in chosen["target"])
        return Order(scene.cluster, "break", "break", f"break {', '.join(nodes)}", nodes)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        in_force = mark.id in {one.id for one in scene.agent.marks()}
        return Effect("broken", "broken" if in_force else "whole", (in_force and self.bites) or not self.heals)

    def keep(self, _scene: Scene, mark: Mark) -> None:
        KEPT.append(mark.id)


class Here(Executor):
    """Does everything at once, in the thread that asks."""

    def submit(self, do: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(do(*args, **more))
        except BaseException as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


@dataclass
class Told:
    """The text of a run: seconds, what, text."""

    agent: FakeAgent = field(default_factory=FakeAgent)
    seconds: float = 0.0
    all: list[Happening] = field(default_factory=list)

    def run(self, planned: list[Planned], time_s: float = 20, stop: Event | None = None, **more: Any) -> Summary:
        KEPT.clear()

        def sleep(seconds: float) -> None:
            self.seconds += seconds

        clock = Clock(lambda: self.seconds, lambda: round(self.seconds * 1e9), lambda: 0, sleep)
        return run(scene(self.agent, **more), planned, time_s, self.all.append, stop, clock=clock, pool=Here())

    @property
    def lines(self) -> list[str]:
        return [f"{one.time_ns / 1e9:.0f} {one.what} {one.id or one.fault}" for one in self.all]


def _planned(start: float, end: float | None, fault: Fault | None = None, stagger: float = 0) -> Planned:
    return Planned(start, end, fault or Break(Target(("cache-1",))), f"1/0/{start}", stagger)


def test_each_is_made_at_its_time_measured_and_healed() -> None:
    told = Told()
    summary = told.run([_planned(2, 6), _planned(4, 9)])
    assert told.lines == [
        "2 inject break-1",
        "2 effect break-1",
        "4 inject break-2",
        "4 effect break-2",
        "6 heal break-1",
        "6 healed break-1",
        "9 heal break-2",
        "9 healed break-2",
    ]
    assert (summary.made, summary.is_well) == (2, True)
    assert told.agent.marks_now == []


def test_leases_are_short_and_renewed_each_second() -> None:
    told = Told()
    told.run([_planned(2, 8), _planned(3, 8)])
    assert {lease for _, lease in told.agent.orders} == {5.0}
    assert {lease for _, lease in told.agent.renewed} == {5.0}
    assert told.agent.renewed.count((("break-1", "break-2"), 5.0)) in (4, 5)


def test_what_is_in_force_at_the_end_is_healed() -> None:
    told = Told()
    assert told.run([_planned(15, 40)]).is_well
    assert told.lines[-2:] == ["20 heal break-1", "20 healed break-1"]


def test_stop_heals_at_once() -> None:
    told, stop = Told(), Event()

    def tell(happening: Happening) -> None:
        told.all.append(happening)
        if happening.what == "effect":
            stop.set()

    def sleep(seconds: float) -> None:
        told.seconds += seconds

    clock = Clock(lambda: told.seconds, lambda: round(told.seconds * 1e9), lambda: 0, sleep)
    run(scene(told.agent), [_planned(2, 15), _planned(9, 15)], 20, tell, stop, clock=clock, pool=Here())
    assert told.lines == ["2 inject break-1", "2 effect break-1", "2 heal break-1", "2 healed break-1"]


def test_an_exception_heals_and_goes_on() -> None:
    told = Told()

    def sleep(seconds: float) -> None:
        told.seconds += seconds
        if told.seconds > 5:
            raise KeyboardInterrupt

    clock = Clock(lambda: told.seconds, lambda: round(told.seconds * 1e9), lambda: 0, sleep)
    with pytest.raises(KeyboardInterrupt):
        run(scene(told.agent), [_planned(2, 15)], 20, told.all.append, clock=clock, pool=Here())
    assert told.agent.healed == ["break-1"]


def test_what_does_not_bite_or_does_not_heal_is_counted() -> None:
    told = Told()
    summary = told.run(
        [
            _planned(1, 2, Break(Target(("cache-1",)), bites=False)),
            _planned(3, 4, Break(Target(("cache-2",)), heals=False)),
        ]
    )
    assert (summary.not_biting, summary.still_felt, summary.is_well) == (["break-1"], ["break-2"], False)


def test_one_that_is_declined_is_tried_again_and_told() -> None:
    asked = []

    def leader_later() -> Mapping[str, tuple[str, ...]]:
        asked.append(1)
        return {"registry-1": ("leader",)} if len(asked) > 3 else {}

    told = Told(
        FakeAgent({"datagrams": lambda args: [{"sent": 3, "received": 0, "trouble": ""} for _ in args["pairs"]]})
    )
    fault = Isolate(target=Target(("leader of registry",)))
    KEPT.clear()
    stage = scene(told.agent)
    from dataclasses import replace

    def sleep(seconds: float) -> None:
        told.seconds += seconds

    clock = Clock(lambda: told.seconds, lambda: round(told.seconds * 1e9), lambda: 0, sleep)
    summary = run(
        replace(stage, roles=leader_later), [_planned(2, 6, fault)], 10, told.all.append, clock=clock, pool=Here()
    )
    assert (summary.made, summary.declined) == (1, 0)

    again = Told()
    summary = again.run([_planned(2, 6, fault), _planned(8, 9)])
    assert (summary.made, summary.declined) == (1, 1)
    assert again.lines[0].endswith("declined isolate")
    assert again.lines[-1] == "9 healed break-1"


def test_the_agents_trouble_is_told_and_does_not_end_the_run() -> None:
    class Dying(FakeAgent):
        def inject(self, order: Order, lease_s: float | None, *, pretend: bool = False) -> Mark:
            if not self.orders:
                self.orders.append((order, lease_s))
                raise EnvironmentTrouble("the agent is gone")
            return super().inject(order, lease_s, pretend=pretend)

    told = Told(Dying())
    summary = told.run([_planned(2, 6), _planned(8, 9)])
    assert summary.made == 1
    assert summary.troubles == ["break failed: the agent is gone"]


@dataclass(frozen=True)
class Buggy(Break):
    """A fault whose author made a mistake."""

    name: ClassVar[str] = "buggy"

    def order(self, _scene: Scene, _chosen: Chosen) -> Order:
        raise ZeroDivisionError("a mistake")


@pytest.mark.parametrize("start", [4.0, 19.9])
def test_a_bug_in_one_fault_is_told_and_the_others_are_healed(start: float) -> None:
    told = Told()
    summary = told.run([_planned(2, 40), _planned(start, 40, Buggy(Target(("cache-2",))))])
    assert told.agent.healed == ["break-1"]
    assert summary.troubles == ["clusterkit has a bug: ZeroDivisionError: a mistake"]
    assert not summary.is_well


def test_what_cannot_be_healed_is_told() -> None:
    told = Told(FakeAgent(unhealable={"break-1"}))
    summary = told.run([_planned(2, 6)])
    assert "could not be healed" in summary.troubles[0]
    assert not summary.is_well


def test_a_measurement_that_fails_heals_and_is_told() -> None:
    def fails(_args: Mapping[str, Any]) -> Any:
        raise UsageError("no way to measure")

    told = Told(FakeAgent({"datagrams": fails}))
    summary = told.run([_planned(2, 6, Isolate(target=Target(("cache-1",))))])
    assert told.agent.healed == ["isolate-1"]
    assert summary.troubles == ["isolate failed: no way to measure"]
    assert told.lines == ["2 inject isolate-1", "2 trouble isolate"]


def test_staggered_nodes_are_hit_one_after_another() -> None:
    told = Told()
    told.run([_planned(2, 5, Break(Target(("cache",))), stagger=2)])
    assert [order.nodes for order, _ in told.agent.orders] == [("cache-1",), ("cache-2",), ("cache-3",)]
    assert [line for line in told.lines if "inject" in line] == [
        "2 inject break-1",
        "4 inject break-2",
        "6 inject break-3",
    ]


def test_faults_that_have_to_be_kept_are_kept_each_second() -> None:
    told = Told()
    told.run([_planned(2, 8)])
    assert KEPT.count("break-1") in (5, 6)


def test_one_that_is_over_when_it_was_made_needs_no_heal() -> None:
    told = Told()
    assert told.run([_planned(2, None)]).is_well
    assert told.lines == ["2 inject break-1", "2 effect break-1"]
