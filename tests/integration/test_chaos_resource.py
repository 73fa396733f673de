"""Nodes with little CPU and memory, for real: they feel it, others do not, and each limit is as it was afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterkit.chaos.base import Fault, Scene
from clusterkit.chaos.faults.process import Restart
from clusterkit.chaos.faults.resource import Cpu, CpuStress, Memory, OomKill
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import EnvironmentTrouble, UsageError
from clusterkit.node import State
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import NAME
from clusterkit.units import Percent, Size
from tests.integration.chaos import at, eventually_whole, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

TENTH, FIFTH = Percent.parse("10%"), Percent.parse("20%")
_FILES = (
    *("cpu/docker/{}/cpu.cfs_quota_us", "cpu/docker/{}/cpu.cfs_period_us"),
    *("memory/docker/{}/memory.limit_in_bytes", "memory/docker/{}/memory.memsw.limit_in_bytes"),
    *("system.slice/docker-{}.scope/cpu.max", "system.slice/docker-{}.scope/memory.max"),
)


@pytest.fixture(scope="module")
def arena_scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.fixture
def scene(arena_scene: Scene) -> Iterator[Scene]:
    """Whatever a test did, every node is healthy at its end, and has the limits that it had."""
    before = _limits(arena_scene)
    assert before
    yield arena_scene
    heal(arena_scene)
    arena_scene.wait_ready(sorted(arena_scene.nodes), 60)
    assert _limits(arena_scene) == before


@pytest.mark.parametrize(
    "fault",
    [
        Cpu(limit=TENTH, target=at("cache-1", "registry-1")),
        CpuStress(target=at("cache-2")),
        Memory(limit=Size.parse("48MB"), target=at("cache-1", "sentinel-1")),
        OomKill(target=at("one of cache")),
        OomKill(target=at("registry-2")),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_it_bites_and_heals(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)


def test_an_oom_kill_is_the_kernels(scene: Scene) -> None:
    strike(OomKill(target=at("cache-3")), scene, 60)
    _until(lambda: scene.look().nodes["cache-3"].state is State.EXITED)
    node = scene.look().nodes["cache-3"]
    assert node.exit_code == 128 + signal.SIGKILL
    provider = DockerProvider()
    _until(lambda: bool(provider.client.inspect_container(node.runtime_id)["State"]["OOMKilled"]))
    provider.client.close()


def test_the_smaller_limit_is_in_force_and_each_heals_alone(scene: Scene) -> None:
    large = strike(Cpu(limit=FIFTH, target=at("cache-1")), scene, 60)
    small = strike(Cpu(limit=TENTH, target=at("cache-1")), scene, 60)
    assert small.effect.bites
    heal(scene, [small.mark.id])
    assert not small.fault.measure(scene, small.mark).bites
    assert large.fault.measure(scene, large.mark).bites
    heal(scene, [large.mark.id])
    assert not large.fault.measure(scene, large.mark).bites


def test_limits_and_stress_come_back_after_a_restart(scene: Scene) -> None:
    limit = strike(Cpu(limit=FIFTH, target=at("cache-1")), scene, 60)
    stress = strike(CpuStress(target=at("cache-1"), workers=2), scene, 60)
    assert stress.effect.numbers["cores"] < 0.3, "the workers share the node's limit"
    heal(scene, [stress.mark.id])
    memory = strike(Memory(limit=Size.parse("48MB"), target=at("cache-1")), scene, 60)
    stress = strike(CpuStress(target=at("cache-2")), scene, 60)
    strike(Restart(target=at("cache-1", "cache-2")), scene, 60)
    for struck in (limit, memory, stress):
        _until(lambda struck=struck: struck.fault.measure(scene, struck.mark).bites)  # type: ignore[misc]  # a default


def test_the_agent_ends_a_limit_by_itself(scene: Scene) -> None:
    struck = strike(Cpu(limit=TENTH, target=at("cache-1")), scene, 2)
    assert struck.effect.bites
    _until(lambda: struck.mark.id not in marks_of(scene))
    assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites


def test_an_agent_that_is_killed_takes_its_workers_along_and_makes_them_again(arena: Folder) -> None:
    with scene_of(arena) as scene:
        struck = strike(CpuStress(target=at("cache-2")), scene, 60)
        limit = strike(Memory(limit=Size.parse("48MB"), target=at("cache-2")), scene, 60)
        provider = DockerProvider()
        os.kill(provider.client.inspect_container(NAME)["State"]["Pid"], signal.SIGKILL)
        provider.client.close()
    with scene_of(arena) as scene:
        _until(lambda: _bites(struck.fault, scene, struck.mark.id))
        assert limit.fault.measure(scene, limit.mark).bites
        heal(scene)
        assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites


def test_too_little_memory_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError, match="would kill it") as refused:
        strike(Memory(limit=Size.parse("1MB"), target=at("cache-1")), scene, 60)
    assert "oom-kill" in str(refused.value.mend)
    with pytest.raises(UsageError, match="would not feel it"):
        strike(Memory(limit=Size.parse("4000GB"), target=at("cache-1")), scene, 60)
    assert marks_of(scene) == {}


def _bites(fault: Fault, scene: Scene, identity: str) -> bool:
    """The conversation may still be with the agent that was killed."""
    try:
        return fault.measure(scene, marks_of(scene)[identity]).bites
    except EnvironmentTrouble:
        return False


def _limits(scene: Scene) -> dict[str, str]:
    """As the host has them: file -> text."""
    paths = [Path("/sys/fs/cgroup") / file.format(node.runtime_id) for node in scene.nodes.values() for file in _FILES]
    return {str(path): path.read_text() for path in paths if path.exists()}


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
