"""Disks of their own on real nodes: what `data: loop` makes and leaves; disks that are full, slow or stand still."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from clusterkit.chaos.base import Fault, Scene
from clusterkit.chaos.faults.damage import BitFlip, Truncate
from clusterkit.chaos.faults.disk import DiskFull, DiskSlow, DiskStall
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.units import Rate, Size
from tests.integration.chaos import at, eventually_whole, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder, left_of

pytestmark = pytest.mark.xdist_group("agent")

DISKS = """
defaults: {data: loop}
components:
  registry: {kind: etcd}
  cache: {kind: redis}
"""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = Folder(tmp_path_factory.mktemp("disks"), "disks" + str(time.time_ns())[-8:])
    folder.write(DISKS)
    folder.run("up")
    try:
        yield folder
    finally:
        folder.run("down", "--name", folder.name)
        assert left_of(folder.name) == []


@pytest.fixture(scope="module")
def disks_scene(disks: Folder) -> Iterator[Scene]:
    with scene_of(disks) as scene:
        yield scene


@pytest.fixture
def scene(disks_scene: Scene) -> Iterator[Scene]:
    """Whatever a test did, every node is healthy at its end."""
    yield disks_scene
    heal(disks_scene)
    disks_scene.wait_ready(sorted(disks_scene.nodes), 60)


@pytest.mark.parametrize(
    "fault",
    [
        DiskFull(target=at("cache-1")),
        DiskFull(target=at("one of registry"), leave=Size.parse("512KB")),
        DiskSlow(target=at("cache-2"), bandwidth=Size.parse("1MB")),
        DiskSlow(target=at("registry-1"), operations=Rate.parse("20/s")),
        DiskStall(target=at("leader of registry", "cache-3")),
        Truncate(target=at("registry-1", "cache-1"), bytes=Size.parse("20B")),
        BitFlip(target=at("registry-2"), file="*.wal"),
        BitFlip(target=at("cache-2")),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_it_bites_and_heals(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)


@pytest.mark.parametrize(
    "fault",
    [
        DiskFull(target=at("cache-1")),
        DiskSlow(target=at("cache-1"), bandwidth=Size.parse("1MB")),
        DiskStall(target=at("cache-1")),
    ],
    ids=lambda fault: fault.name,
)
def test_it_is_in_force_again_after_a_restart(scene: Scene, fault: Fault) -> None:
    """A node is killed in spite of a disk that stands still."""
    struck = strike(fault, scene, 60)
    service = scene.service(scene.nodes["cache-1"])
    service.kill()
    service.start()
    assert eventually_bites(fault, scene, struck.mark.id)
    heal(scene)
    assert not fault.measure(scene.look(), struck.mark).bites


def test_the_agent_ends_them_by_itself(scene: Scene) -> None:
    struck = [
        strike(fault, scene, 3)
        for fault in (DiskSlow(target=at("cache-2"), bandwidth=Size.parse("1MB")), DiskStall(target=at("cache-1")))
    ]
    assert all(one.effect.bites for one in struck)
    assert not any(eventually_whole(one.fault, scene, one.mark).effect.bites for one in struck)
    assert marks_of(scene) == {}


def test_two_on_one_disk_heal_alone(scene: Scene) -> None:
    much = strike(DiskFull(target=at("cache-1"), leave=Size.parse("16MB")), scene, 60)
    all_of_it = strike(DiskFull(target=at("cache-1")), scene, 60)
    slow = strike(DiskSlow(target=at("cache-1"), bandwidth=Size.parse("1MB")), scene, 60)
    slower = strike(DiskSlow(target=at("cache-1"), operations=Rate.parse("10/s")), scene, 60)
    heal(scene, [slower.mark.id, all_of_it.mark.id])
    assert much.fault.measure(scene, much.mark).bites
    assert slow.fault.measure(scene, slow.mark).bites
    assert not all_of_it.fault.measure(scene, all_of_it.mark).bites
    heal(scene)
    assert not much.fault.measure(scene, much.mark).bites
    assert not slow.fault.measure(scene, slow.mark).bites


def test_a_file_that_was_written_since_keeps_its_damage(scene: Scene) -> None:
    said: list[str] = []
    listening = replace(scene, say=said.append)
    inside(scene, "cache-1", "redis-cli", "SET", "a", "1")
    strike(Truncate(target=at("cache-1"), file="*.aof", bytes=Size.parse("1B")), scene, 60)
    with pytest.raises(UsageError, match="is damaged already"):
        strike(BitFlip(target=at("cache-1"), file="*.aof"), scene, 60)
    inside(scene, "cache-1", "redis-cli", "SET", "a", "2")
    heal(listening)
    assert "was written since: the damage stays" in said[0]
    assert ".clusterkit" not in inside(scene, "cache-1", "ls", "-a", "/var/lib/redis")
    inside(scene, "cache-1", "redis-cli", "BGREWRITEAOF")


def test_a_file_that_is_not_there_is_refused(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r'cache-1 has no file "\*.nothing"'):
        strike(Truncate(target=at("cache-1"), file="*.nothing"), scene, 60)


def test_what_cannot_be_done_is_refused(scene: Scene, arena: Folder) -> None:
    with scene_of(arena) as plain, pytest.raises(UsageError, match=r"cache-1 has no disk of its own") as refused:
        strike(DiskFull(target=at("cache-1")), plain, 60)
    assert "data: loop" in str(refused.value.mend)
    strike(DiskStall(target=at("cache-1")), scene, 60)
    with pytest.raises(UsageError, match="the disk of cache-1 stands still"):
        strike(DiskFull(target=at("cache-1")), scene, 60)


def test_data_survives_a_recreate_a_lost_device_and_down(scene: Scene, new_folder: Callable[[], Folder]) -> None:
    folder = new_folder()
    folder.write("components:\n  cache: {kind: redis, replicas: 1, data: loop, data_size: 64MB}\n")
    folder.run("up")
    redis(folder, "SET", "key", "kept")
    folder.write("components:\n  cache: {kind: redis, replicas: 1, data: loop, data_size: 64MB, cpus: 0.9}\n")
    folder.run("up")
    assert redis(folder, "GET", "key") == "kept"
    folder.run("down", "--keep-data")
    folder.run("up")
    assert redis(folder, "GET", "key") == "kept"
    folder.run("stop", "cache-1")
    detach(folder)
    folder.run("up")
    assert {"cluster": folder.name, "node": "cache-1", "device": "/dev/loop47"} in scene.agent.call("disks")
    assert redis(folder, "GET", "key") == "kept"
    folder.write("components:\n  cache: {kind: redis, replicas: 1}\n")
    assert "cannot move" in folder.run("up", code=64).stderr


def test_down_works_while_a_disk_stands_still(scene: Scene, new_folder: Callable[[], Folder]) -> None:
    folder = new_folder()
    folder.write("components:\n  cache: {kind: redis, replicas: 1, data: loop, data_size: 64MB}\n")
    folder.run("up")
    folder.run("chaos", "disk-stall", "cache-1", "--for", "5m")
    folder.run("down")
    assert left_of(folder.name) == []
    assert folder.name not in {disk["cluster"] for disk in scene.agent.call("disks")}


def eventually_bites(fault: Fault, scene: Scene, identity: str, seconds: float = 30) -> bool:
    """A fault reaches a node that was started again a moment after it has come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if fault.measure(scene.look(), marks_of(scene)[identity]).bites:
            return True
        time.sleep(0.2)
    return False


def detach(folder: Folder) -> None:
    """As after the machine was started anew, with the device's number given to somebody else."""
    script = f"""
from agent import loop
image = loop.image_of("{folder.name}", "cache-1")
loop._clear(loop.find(image))
loop._number_file(image).write_text("47")
"""
    argv = ["docker", "exec", "-w", "/opt/clusterkit", "clusterkit-agent", "python3", "-c", script]
    subprocess.run(argv, check=True)


def inside(scene: Scene, node: str, *argv: str) -> str:
    command = ["docker", "exec", scene.nodes[node].runtime_id, *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def redis(folder: Folder, *words: str) -> str:
    argv = ["docker", "exec", f"clusterkit-{folder.name}-cache-1", "redis-cli", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
