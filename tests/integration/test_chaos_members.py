"""Nodes join and leave as faults: it bites, and healed all is as before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clusterkit.chaos.faults.members import Grow, Shrink
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import TopologyError, UsageError
from tests.integration.chaos import at, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    import secrets

    folder = Folder(tmp_path_factory.mktemp("members"), f"m{secrets.token_hex(4)}")
    folder.write("components: {registry: {kind: etcd}, cache: {kind: redis}}\n")
    folder.run("up")
    try:
        yield folder
    finally:
        folder.run("down", "--name", folder.name)


def _count(folder: Folder, component: str) -> int:
    return sum(node["component"] == component for node in folder.nodes().values())


def test_nodes_join_and_leave_again(small: Folder) -> None:
    with scene_of(small) as scene:
        struck = strike(Grow(at("registry"), nodes=2), scene, 60.0)
        assert struck.effect.bites, str(struck.effect)
        assert struck.effect.beside_is_well, str(struck.effect)
        assert _count(small, "registry") == 5
        heal(scene)
        assert _count(small, "registry") == 3
        assert not Grow(at("registry"), nodes=2).measure(scene, struck.mark).bites
        assert {node["health"] for node in small.nodes().values()} == {"healthy"}


def test_a_node_leaves_and_another_joins(small: Folder) -> None:
    with scene_of(small) as scene:
        before = scene.nodes["cache-3"].runtime_id
        struck = strike(Shrink(at("cache-1")), scene, 60.0)
        assert struck.effect.bites, str(struck.effect)
        assert _count(small, "cache") == 2
        heal(scene, [struck.mark.id])
        after = scene.look().nodes["cache-3"].runtime_id
    assert after != before
    assert {node["health"] for node in small.nodes().values()} == {"healthy"}


def test_what_cannot_be_is_refused_with_nothing_touched(small: Folder) -> None:
    with scene_of(small) as scene:
        with pytest.raises(UsageError, match="no node of cache would be left"):
            strike(Shrink(at("cache"), nodes=3), scene, 60.0)
        with pytest.raises(TopologyError, match="replicas"):
            strike(Grow(at("registry")), scene, 60.0)
        assert scene.agent.marks(scene.cluster) == ()
        assert _count(small, "registry") == 3


def test_pretending_changes_nothing(small: Folder) -> None:
    with scene_of(small) as scene:
        struck = strike(Shrink(at("cache")), scene, 60.0, pretend=True)
        assert not struck.effect.bites
        heal(scene)
        assert _count(small, "cache") == 3
