"""Nodes that are killed, stopped, paused and restarted for real: it bites, others go on, and they come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from clusterkit.chaos.base import Fault, Scene, spot
from clusterkit.chaos.faults.process import CrashLoop, Kill, Pause, Restart, RollingRestart, Signal, Stop
from clusterkit.chaos.faults.zone import ZoneOutage
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.node import State
from clusterkit.units import Duration
from tests.integration.chaos import at, eventually_whole, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")


@pytest.fixture(scope="module")
def arena_scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.fixture
def scene(arena_scene: Scene) -> Iterator[Scene]:
    """Whatever a test did, every node is healthy at its end."""
    yield arena_scene
    heal(arena_scene)
    arena_scene.wait_ready(sorted(arena_scene.nodes), 60)


@pytest.mark.parametrize(
    "fault",
    [
        Kill(target=at("leader of registry")),
        Kill(target=at("cache-2", "sentinel-2"), signal=Signal.parse("TERM")),
        Stop(target=at("one of sentinel"), grace=Duration(5)),
        Restart(target=at("cache-3", "sentinel-3")),
        RollingRestart(target=at("sentinel")),
        CrashLoop(target=at("cache-2")),
        Pause(target=at("registry-1", "cache-2")),
        ZoneOutage(zone="b"),
        ZoneOutage(zone="c", by="network"),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_it_bites_and_heals(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)


def test_a_signal_that_is_survived_did_not_bite(scene: Scene) -> None:
    effect = strike(Kill(target=at("registry-1"), signal=Signal.parse("WINCH")), scene, 60).effect
    assert not effect.bites
    assert "WINCH was survived by registry-1" in effect.seen


def test_the_agent_ends_a_pause_by_itself(scene: Scene) -> None:
    struck = strike(Pause(target=at("cache-1")), scene, 1)
    assert struck.effect.bites
    _until(lambda: struck.mark.id not in marks_of(scene))
    assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites


def test_a_kill_that_is_over_waits_for_the_engine(scene: Scene) -> None:
    struck = strike(Kill(target=at("cache-1")), scene, 1)
    _until(lambda: marks_of(scene)[struck.mark.id].is_overdue)
    heal(scene)
    assert scene.look().nodes["cache-1"].state is State.RUNNING


def test_two_pauses_of_one_node_end_each_alone(scene: Scene) -> None:
    first, second = (strike(Pause(target=at("cache-1")), scene, 60) for _ in range(2))
    heal(scene, [first.mark.id])
    assert second.fault.measure(scene, second.mark).bites
    heal(scene, [second.mark.id])
    assert not second.fault.measure(scene, second.mark).bites


def test_a_paused_node_that_is_restarted_runs(scene: Scene) -> None:
    struck = strike(Pause(target=at("cache-1")), scene, 60)
    service = scene.service(scene.nodes["cache-1"])
    service.kill()
    _until(lambda: service.state() is State.EXITED)
    service.start()
    _until(lambda: "no longer paused" in marks_of(scene)[struck.mark.id].trouble)
    assert not struck.fault.measure(scene, struck.mark).bites
    heal(scene)


def test_a_node_that_two_faults_hold_down_comes_back_with_the_last(scene: Scene) -> None:
    first = strike(Stop(target=at("cache-1")), scene, 60)
    second = strike(Kill(target=at("cache-1", "cache-2")), scene, 60)
    heal(scene, [second.mark.id])
    assert {name: node.state for name, node in scene.look().nodes.items() if name in ("cache-1", "cache-2")} == {
        "cache-1": State.EXITED,
        "cache-2": State.RUNNING,
    }
    heal(scene, [first.mark.id])
    assert scene.look().nodes["cache-1"].state is State.RUNNING


def test_a_crash_loop_kills_again_what_is_ready(scene: Scene) -> None:
    fault = CrashLoop(target=at("cache-1"))
    struck = strike(fault, scene, 60)
    lives: set[tuple[int, ...]] = set()

    def has_lived_twice() -> bool:
        fault.keep(scene, struck.mark)
        lives.add(tuple(_life(scene, "cache-1")))
        return len(lives - {()}) == 2

    _until(has_lived_twice)
    heal(scene)


def test_there_is_nothing_to_kill_where_nothing_runs(scene: Scene) -> None:
    strike(Kill(target=at("cache-1")), scene, 60)
    with pytest.raises(UsageError, match="cache-1: no service runs there that pause could act on"):
        strike(Pause(target=at("cache-1")), scene, 60)


def _life(scene: Scene, name: str) -> list[int]:
    """Empty: its service does not run."""
    found: list[int] | None = scene.agent.call("lives", nodes=[spot(scene.nodes[name])])[name]
    return found or []


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
