"""Impaired links between real nodes: each fault bites, leaves the rest alone, and heals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clusterkit import units
from clusterkit.chaos.base import Fault, PortSpec, Scene
from clusterkit.chaos.faults.link import Bandwidth, Corrupt, Duplicate, Latency, Loss, Reorder, Reset
from clusterkit.units import Duration, Percent
from tests.integration.chaos import at, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

CACHE, REGISTRY = at("cache-1"), at("registry-1")
CLIENT = PortSpec(6379, "tcp")


@pytest.fixture(scope="module")
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.mark.parametrize(
    "fault",
    [
        Latency(Duration(0.1), target=CACHE, towards=REGISTRY),
        Latency(Duration(0.1), jitter=Duration(0.02), target=at("cache"), towards=at("registry"), both_ways=True),
        Latency(Duration(0.05), target=at("all"), towards=at("all")),
        Latency(Duration(0.1), target=at("sentinel"), towards=at("cache"), ports=(CLIENT, PortSpec(9, "udp"))),
        Loss(Percent(10), target=CACHE, towards=REGISTRY),
        Loss(Percent(25), target=CACHE),
        Loss(Percent(25), target=at("sentinel"), towards=at("cache"), ports=(CLIENT,)),
        Duplicate(Percent(20), target=CACHE, towards=REGISTRY),
        Reorder(Percent(25), target=CACHE, towards=REGISTRY),
        Corrupt(Percent(20), target=CACHE, towards=REGISTRY),
        Bandwidth(units.Bandwidth(1e6), target=CACHE, towards=REGISTRY),
        Bandwidth(units.Bandwidth(5e7), target=CACHE, towards=REGISTRY),
        Bandwidth(units.Bandwidth(5e6), target=at("sentinel-1"), towards=at("cache-1"), ports=(CLIENT,)),
        Reset(target=CACHE, towards=REGISTRY),
        Reset(target=at("sentinel"), towards=at("cache"), ports=(CLIENT,)),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_an_impaired_link_bites_and_heals(scene: Scene, fault: Fault) -> None:
    print(passes_its_trial(scene, fault).effect)
