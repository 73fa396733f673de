"""Power that is lost, disks that die: what was synced is there afterwards, and what was acknowledged by etcd, too."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from clusterkit.chaos.base import Scene
from clusterkit.chaos.faults.power import DiskError, DiskReadOnly, PowerLoss
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import NodeUnreachable, UsageError
from clusterkit.node import Command
from clusterkit.providers.docker import DockerProvider
from tests.integration.chaos import at, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder, left_of

pytestmark = pytest.mark.xdist_group("agent")

TOPOLOGY = """
components:
  registry: {kind: etcd, data: loop}
  cache: {kind: redis, data: loop}
"""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Six nodes, each with a disk of its own."""
    path = tmp_path_factory.mktemp("disks")
    folder = Folder(path, f"d{path.name.encode().hex()[-4:]}{time.time_ns() % 10**6}")
    folder.write(TOPOLOGY)
    folder.run("up")
    try:
        yield folder
    finally:
        folder.run("down", "--name", folder.name)
        assert left_of(folder.name) == []


@pytest.fixture
def scene(disks: Folder) -> Iterator[Scene]:
    with scene_of(disks) as scene:
        yield scene
        heal(scene)


def _etcd(scene: Scene, node: str, *words: str) -> str:
    """What it printed; "" where it failed, or the node does not run."""
    provider = DockerProvider()
    try:
        done = provider.node(scene.look().nodes[node]).run(Command(("etcdctl", *words), timeout=10))
    except NodeUnreachable:
        return ""
    finally:
        provider.client.close()
    return done.stdout.decode().strip() if done.code == 0 else ""


@pytest.mark.parametrize(
    "fault",
    [
        PowerLoss(target=at("minority of registry")),
        DiskError(target=at("registry-2")),
        DiskReadOnly(target=at("registry-3")),
    ],
    ids=lambda fault: fault.name,
)
def test_it_bites_and_heals(scene: Scene, fault: PowerLoss | DiskError | DiskReadOnly) -> None:
    passes_its_trial(scene, fault)
    scene.wait_ready([name for name in scene.nodes if name.startswith("registry-")], 60)


def test_power_loss_of_all_of_etcd_loses_nothing_that_was_acknowledged(scene: Scene) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if _etcd(scene, "registry-1", "put", f"k{number:05}", str(number)) == "OK":
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(3)
        struck = strike(PowerLoss(target=at("registry")), scene, 60)
    finally:
        stop.set()
        writer.join()
    assert struck.effect.bites
    assert len(struck.effect.numbers) > 0
    heal(scene)
    scene.wait_ready(["registry-1", "registry-2", "registry-3"], 60)
    there = set(_etcd(scene, "registry-2", "get", "--prefix", "k", "--print-value-only").split())
    lost = [number for number in acknowledged if str(number) not in there]
    assert len(acknowledged) >= 5
    assert lost == []


def test_redis_loses_what_it_did_not_sync(scene: Scene) -> None:
    """With `appendfsync everysec` up to a second of acknowledged writes; told here, since nothing is promised."""
    provider = DockerProvider()
    node = provider.node(scene.nodes["cache-1"])
    script = "for i in $(seq 1 2000); do echo SET k$i $i; done | redis-cli | grep -c OK"
    acknowledged = int(node.run(Command(("sh", "-c", script), timeout=20)).stdout)
    struck = strike(PowerLoss(target=at("cache")), scene, 60)
    assert struck.effect.bites
    heal(scene)
    end = time.monotonic() + 15
    kept = -1
    while kept < 0 and time.monotonic() < end:
        done = node.run(Command(("redis-cli", "dbsize"), timeout=5)) if _runs(scene, "cache-1") else None
        if done is not None and done.stdout.strip().isdigit():
            kept = int(done.stdout)
        time.sleep(0.3)
    provider.client.close()
    said = f"{acknowledged - kept} lost" if kept >= 0 else "Redis refuses its append-only file, and does not start"
    print(f"Redis, appendfsync everysec: {acknowledged} acknowledged, {said}")
    assert acknowledged == 2000
    assert kept <= acknowledged


def _runs(scene: Scene, name: str) -> bool:
    return scene.look().nodes[name].state.value == "running"


def test_a_volume_survives_so_power_loss_there_is_refused(arena: Folder) -> None:
    with scene_of(arena) as scene:
        for fault in (PowerLoss(target=at("cache-1")), DiskError(target=at("cache-1"))):
            with pytest.raises(UsageError, match="no disk of its own") as refused:
                strike(fault, scene, 60)
            assert "data: loop" in str(refused.value.mend)
        assert marks_of(scene) == {}


def test_a_power_loss_is_healed_by_another_process(disks: Folder, scene: Scene) -> None:
    strike(PowerLoss(target=at("registry-1")), scene, 1)
    end = time.monotonic() + 10
    while not all(mark.is_overdue for mark in marks_of(scene).values()):
        assert time.monotonic() < end
        time.sleep(0.2)
    said = json.loads(disks.run("chaos", "status", "--format", "json").stdout)
    assert "power-loss" in json.dumps(said)
    disks.run("chaos", "heal")
    assert marks_of(scene) == {}
    scene.wait_ready(["registry-1"], 60)
