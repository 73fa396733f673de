"""Partitions on real nodes: every shape bites, leaves the rest alone, and heals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clusterkit.chaos.base import EVERYONE, Fault, PortSpec, Scene
from clusterkit.chaos.faults.partition import Cut, Isolate, Partition
from tests.integration.chaos import at, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

CLIENT = PortSpec(2379, "tcp")


@pytest.fixture(scope="module")
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.mark.parametrize(
    "fault",
    [
        Partition(),
        Partition(shape="one", target=at("registry")),
        Partition(shape="majority"),
        Partition(shape="ring"),
        Partition(shape="bridge", target=at("cache")),
        Partition(shape="zones"),
        Partition(target=at("registry"), ports=(CLIENT,)),
        Isolate(target=at("leader of registry")),
        Isolate(target=at("minority of cache"), towards=at("sentinel")),
        Isolate(target=at("zone a"), towards=EVERYONE),
        Cut(target=at("cache-1"), towards=at("cache-2"), one_way=True),
        Cut(target=at("sentinel"), towards=at("cache"), ports=(PortSpec(6379, "tcp"), PortSpec(9, "udp"))),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_a_partition_bites_and_heals(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)
