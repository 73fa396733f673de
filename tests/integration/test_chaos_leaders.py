"""What the systems do when the one that leads is cut off: another leads, and after healing there is one again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from clusterkit.chaos.base import Scene
from clusterkit.chaos.faults.partition import Isolate
from clusterkit.chaos.strike import heal, strike
from tests.integration.chaos import at, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")


@pytest.fixture
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene
        heal(scene)
        scene.wait_ready(list(scene.nodes), 60)


def _those(scene: Scene, role: str, component: str) -> set[str]:
    return {name for name, held in scene.roles().items() if role in held and name.startswith(f"{component}-")}


def _wait(what: str, is_so: Callable[[], bool], seconds: float = 45) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def test_isolating_the_leader_of_etcd_moves_the_leader(arena: Folder, scene: Scene) -> None:
    old = _those(scene, "leader", "registry")
    struck = strike(Isolate(target=at("leader of registry")), scene, 120)
    assert set(struck.mark.args["ways"][0]) & old
    _wait("another node leads", lambda: bool(_those(scene, "leader", "registry") - old))
    both = arena.nodes()
    assert {both[name]["role"] for name in both if name.startswith("registry-")} >= {"leader", "follower"}
    key = ("etcdctl", "get", "--print-value-only", "told")
    majority = next(iter(_those(scene, "leader", "registry") - old))
    arena.run("exec", majority, "etcdctl", "put", "told", "in the majority")
    heal(scene)
    scene.wait_ready([name for name in scene.nodes if name.startswith("registry-")], 30)
    assert arena.run("exec", next(iter(old)), *key).stdout.strip() == "in the majority"
    assert len(_those(scene, "leader", "registry")) == 1


def test_isolating_the_primary_of_redis_makes_the_sentinels_elect_another(arena: Folder, scene: Scene) -> None:
    old = _those(scene, "primary", "cache")
    assert len(old) == 1
    struck = strike(Isolate(target=at("primary of cache")), scene, 120)
    assert struck.effect.bites
    _wait("another node is primary", lambda: bool(_those(scene, "primary", "cache") - old))
    assert _those(scene, "primary", "cache") > old, "the one that was cut off does not know it yet: both say so"
    heal(scene)
    _wait("one primary is left", lambda: len(_those(scene, "primary", "cache")) == 1)
    assert not _those(scene, "primary", "cache") & old
