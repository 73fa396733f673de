"""Nodes that end and come back: the orders, what the engine is asked, and what a measurement says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from clusterkit.chaos.base import Fault, Scene, Target
from clusterkit.chaos.faults.process import CrashLoop, Kill, Pause, Restart, RollingRestart, Signal, Stop
from clusterkit.chaos.strike import heal, strike
from clusterkit.clock import Clock
from clusterkit.errors import EnvironmentTrouble, NotReady, UsageError
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord
from clusterkit.units import Duration
from tests.unit.chaos.stage import SIX, FakeAgent, scene


@dataclass
class Engine:
    """Nodes by name: which life runs there (0: none), and all that was asked."""

    lives: dict[str, int] = field(default_factory=lambda: {node.name: 1 for node in SIX})
    begun: int = 1
    asked: list[str] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    unready: set[str] = field(default_factory=set)
    agent: FakeAgent = field(default_factory=FakeAgent)

    def __post_init__(self) -> None:
        self.agent.answers["lives"] = self.told
        self.agent.before = {"mains": {}, "beside": {}}

    def told(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return {node["name"]: self.life(node["name"]) for node in args["nodes"]}

    def life(self, name: str) -> list[int] | None:
        return [11, self.lives[name]] if self.lives.get(name) else None

    def record(self) -> ClusterRecord:
        nodes = tuple(
            replace(node, state=State.RUNNING if self.lives[node.name] else State.EXITED)
            for node in SIX
            if node.name not in self.removed
        )
        return ClusterRecord("shop", "clusterkit.yml", "10.64.0.0/24", "1", nodes)

    def service(self, record: NodeRecord) -> LiveNode:
        return cast(LiveNode, Service(self, record.name))

    def wait_ready(self, names: Any, _seconds: float) -> None:
        self.asked += [f"wait for {name}" for name in names]
        if self.unready & set(names):
            raise NotReady("not healthy in time", unready=dict.fromkeys(names, "it is slow"))

    def scene(self, *targets: str) -> Scene:
        """`targets` are noted by the agent as running, cache-3 beside them."""
        self.agent.before = {
            "mains": {name: self.life(name) for name in targets},
            "beside": {"cache-3": self.life("cache-3")},
        }
        made = scene(self.agent, service=self.service)
        return replace(made, find=self.record, wait_ready=self.wait_ready)


@dataclass
class Service:
    engine: Engine
    name: str

    def stop(self, grace: float) -> None:
        self._end(f"stop {self.name} {grace:g}")

    def kill(self) -> None:
        self._end(f"kill {self.name}")

    def start(self) -> None:
        self.engine.asked.append(f"start {self.name}")
        if self.name in self.engine.stubborn | self.engine.removed:
            raise EnvironmentTrouble("no such container")
        self.engine.begun += 1
        self.engine.lives[self.name] = self.engine.begun

    def _end(self, said: str) -> None:
        self.engine.asked.append(said)
        self.engine.lives[self.name] = 0


def _one(name: str = "cache-1") -> Target:
    return Target((name,))


@pytest.mark.parametrize(
    ("text", "said"), [("KILL", "KILL"), ("sigterm", "TERM"), (15, "TERM"), ("1", "HUP"), (35, "35")]
)
def test_a_signal_is_read_by_name_and_number(text: object, said: str) -> None:
    assert str(Signal.parse(text)) == said
    assert Signal.parse(Signal.parse(text)) == Signal.parse(text)


@pytest.mark.parametrize("text", ["", "0", "NOPE", 99, True, "-9", "9.5"])
def test_what_is_no_signal_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a signal; write its name or number, for example TERM"):
        Signal.parse(text)


@pytest.mark.parametrize("text", ["STOP", "CONT", 19, "SIGTSTP"])
def test_who_wants_to_stop_is_sent_to_pause(text: object) -> None:
    with pytest.raises(ValueError, match='use "pause"'):
        Signal.parse(text)


def test_a_kill_as_an_order() -> None:
    order = Kill(target=_one(), signal=Signal(15)).order(scene(), {"target": SIX[:2]})
    assert (order.kind, order.engine, order.words) == ("kill", True, "kill cache-1, cache-2 by TERM")
    assert order.args["signal"] == 15
    assert [node["id"] for node in order.args["nodes"]] == ["id-cache-1", "id-cache-2"]
    assert [node["name"] for node in order.args["beside"]] == ["cache-3", "registry-1", "registry-2"]


def test_what_another_fault_touches_is_not_looked_at_beside() -> None:
    engine = Engine()
    stage = engine.scene("cache-3")
    strike(Stop(target=_one("cache-3")), stage, 60)
    order = Kill(target=_one()).order(stage, {"target": SIX[:1]})
    assert [node["name"] for node in order.args["beside"]] == ["cache-2", "registry-1", "registry-2"]


def test_a_target_that_names_no_node_is_refused() -> None:
    with pytest.raises(UsageError, match="names no node"):
        Kill(target=_one()).order(scene(), {"target": ()})


def test_a_kill_bites_when_the_service_is_gone_and_heals_by_a_start() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    engine.lives["cache-1"] = 0
    struck = strike(Kill(target=_one()), stage, 60)
    assert str(struck.effect) == ("asked 1 down, seen 1 of 1 down; beside it 1 of 1 other services the same as before")
    assert heal(stage) == (struck.mark,)
    assert engine.asked == ["start cache-1"]
    assert not struck.fault.measure(stage, struck.mark).bites


def test_a_signal_that_was_survived_did_not_bite() -> None:
    engine = Engine()
    effect = strike(Kill(target=_one(), signal=Signal(15)), engine.scene("cache-1"), 60).effect
    assert not effect.bites
    assert effect.seen == "0 of 1 down, TERM was survived by cache-1"


def test_another_service_that_ended_is_told() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    engine.lives.update({"cache-1": 0, "cache-3": 0})
    assert not strike(Kill(target=_one()), stage, 60).effect.beside_is_well


def test_a_stop_is_in_the_ledger_before_the_engine_is_asked() -> None:
    engine = Engine()
    stage = engine.scene("cache-1", "cache-2")
    stopped: list[int] = []
    stop = Service.stop

    def noted(service: Service, grace: float) -> None:
        stopped.append(len(engine.agent.marks_now))
        stop(service, grace)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "stop", noted)
        struck = strike(Stop(target=Target(("cache-1", "cache-2")), grace=Duration(2)), stage, 60)
    assert stopped == [1, 1]
    assert sorted(engine.asked) == ["stop cache-1 2", "stop cache-2 2"]
    assert struck.effect.bites


def test_what_is_not_made_asks_nothing_of_the_engine() -> None:
    engine = Engine()
    for fault in (Stop(target=_one()), Restart(target=_one()), CrashLoop(target=_one())):
        assert not strike(fault, engine.scene("cache-1"), 60, pretend=True).effect.bites
    assert engine.asked == []


def test_who_did_not_run_before_is_neither_stopped_nor_started() -> None:
    engine = Engine()
    engine.lives["cache-2"] = 0
    stage = engine.scene("cache-1")
    strike(Stop(target=Target(("cache-1", "cache-2"))), stage, 60)
    heal(stage)
    assert engine.asked == ["stop cache-1 10", "start cache-1"]


def test_a_stop_that_fails_is_healed() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")

    def fails(_record: NodeRecord) -> LiveNode:
        raise EnvironmentTrouble("the engine is gone")

    with pytest.raises(EnvironmentTrouble):
        strike(Stop(target=_one()), replace(stage, service=fails), 60)
    assert engine.agent.healed == ["stop-1"]


def test_a_restart_is_over_when_it_is_made() -> None:
    engine = Engine()
    struck = strike(Restart(target=_one()), engine.scene("cache-1"), 60)
    assert engine.asked == ["stop cache-1 10", "start cache-1"]
    assert struck.effect.seen == "1 of 1 started anew"
    assert struck.effect.bites
    assert engine.agent.marks_now == []


def test_a_rolling_restart_goes_on_when_one_is_healthy() -> None:
    engine = Engine()
    strike(RollingRestart(target=_one("cache")), engine.scene("cache-1", "cache-2"), 60)
    assert engine.asked == [
        "stop cache-1 10",
        "start cache-1",
        "wait for cache-1",
        "stop cache-2 10",
        "start cache-2",
        "wait for cache-2",
    ]


def test_a_rolling_restart_ends_with_one_that_is_not_healthy() -> None:
    engine = Engine(unready={"cache-1"})
    with pytest.raises(NotReady):
        strike(RollingRestart(target=_one("cache")), engine.scene("cache-1", "cache-2"), 60)
    assert engine.asked == ["stop cache-1 10", "start cache-1", "wait for cache-1"]
    assert engine.agent.marks_now == []


def test_a_crash_loop_kills_what_is_ready_and_starts_what_is_down() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    fault = CrashLoop(target=_one())
    struck = strike(fault, stage, 60)
    assert struck.effect.bites
    fault.keep(stage, struck.mark)
    engine.unready = {"cache-1"}
    fault.keep(stage, struck.mark)
    engine.unready = set()
    fault.keep(stage, struck.mark)
    assert engine.asked == ["kill cache-1", "start cache-1", "wait for cache-1", "wait for cache-1", "kill cache-1"]
    heal(stage)
    assert engine.lives["cache-1"]


def test_a_node_that_two_faults_hold_down_comes_back_with_the_last() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    for fault in (Stop(target=_one()), Stop(target=_one())):
        strike(fault, stage, 60)
    heal(stage, ["stop-2"])
    assert engine.lives["cache-1"] == 0
    heal(stage, ["stop-1"])
    assert engine.lives["cache-1"]


def test_a_node_that_was_removed_is_not_brought_back() -> None:
    engine = Engine()
    stage = engine.scene("cache-1", "cache-2")
    strike(Stop(target=Target(("cache-1", "cache-2"))), stage, 60)
    engine.asked.clear()
    engine.removed = {"cache-1"}
    heal(stage)
    assert engine.asked == ["start cache-2"]


def test_a_node_that_does_not_start_is_an_error_and_stays_in_the_ledger() -> None:
    engine = Engine(stubborn={"cache-1"})
    stage = engine.scene("cache-1")
    strike(Stop(target=_one()), stage, 60)
    with pytest.raises(EnvironmentTrouble, match="no such container"):
        heal(stage)
    assert [mark.id for mark in engine.agent.marks_now] == ["stop-1"]


def test_a_node_that_is_removed_while_it_is_started_is_no_error() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    strike(Stop(target=_one()), stage, 60)
    records = iter([engine.record()])
    engine.removed = {"cache-1"}
    heal(replace(stage, find=lambda: next(records, None) or engine.record()))
    assert engine.agent.marks_now == []


def test_heal_waits_until_the_engine_has_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after a kill the engine takes the node to be running, and would start nothing."""
    engine = Engine()
    stage = engine.scene("cache-1")
    strike(Kill(target=_one()), stage, 60)
    late = iter([engine.record(), engine.record()])
    engine.lives["cache-1"] = 0
    waited: list[float] = []
    monkeypatch.setattr("clusterkit.chaos.faults.process.SYSTEM", Clock(sleep=waited.append))
    heal(replace(stage, find=lambda: next(late, None) or engine.record()))
    assert engine.lives["cache-1"]
    assert len(waited) == 2


def test_heal_waits_until_what_it_started_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node's first process runs before the service does: measured then, it would seem to be down still."""
    engine = Engine()
    stage = engine.scene("cache-1")
    strike(Kill(target=_one()), stage, 60)
    engine.lives["cache-1"] = 0
    slow = iter([{"cache-1": None}, {"cache-1": None}])
    engine.agent.answers["lives"] = lambda args: next(slow, None) or engine.told(args)
    waited: list[float] = []
    monkeypatch.setattr("clusterkit.chaos.faults.process.SYSTEM", Clock(sleep=waited.append))
    heal(stage)
    assert engine.asked.count("start cache-1") == 1
    assert len(waited) == 2


def _moves(**still: bool) -> Any:
    """node name with _ for - -> whether it stands still; others move."""

    def answer(args: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for node in args["nodes"]:
            is_still = still.get(node["name"].replace("-", "_"), False)
            switches = 0 if is_still else 7
            found[node["name"]] = {
                "life": [11, 1],
                "processes": 2,
                "stopped": 2 if is_still else 0,
                "switches": switches,
                "cpu_ticks": 0,
            }
        return found

    return answer


@pytest.mark.parametrize(
    ("still", "bites", "is_well"),
    [
        ({"cache_1": True, "cache_2": True}, True, True),
        ({"cache_1": True}, False, True),
        ({}, False, True),
        ({"cache_1": True, "cache_2": True, "cache_3": True}, True, False),
    ],
)
def test_a_pause_bites_when_all_stand_still(still: dict[str, bool], bites: bool, is_well: bool) -> None:
    engine = Engine()
    engine.agent.answers["moves"] = _moves(**still)
    fault: Fault = Pause(target=Target(("cache-1", "cache-2")))
    struck = strike(fault, engine.scene("cache-1", "cache-2"), 60)
    assert (struck.effect.bites, struck.effect.beside_is_well) == (bites, is_well)
    assert not struck.mark.engine
    assert struck.mark.kind == "pause"


def test_what_another_fault_touches_later_is_not_looked_at_beside() -> None:
    engine = Engine()
    stage = engine.scene("cache-1")
    first = strike(Stop(target=_one()), stage, 60)
    strike(Stop(target=_one("cache-3")), stage, 60)
    engine.lives["cache-3"] = 0
    effect = first.fault.measure(stage, first.mark)
    assert (effect.beside, effect.beside_is_well) == ("", True)
