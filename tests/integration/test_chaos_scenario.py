"""A scenario on real nodes: overlapping faults by a schedule, each measured, all healed; and one that is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event, Timer

import pytest

from clusterkit.chaos.base import Scene
from clusterkit.chaos.nemesis import Happening, run
from clusterkit.chaos.schedule import schedule
from clusterkit.check_topology import read_scenario, read_topology
from tests.integration.chaos import host_state, marks_of, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

SCENARIO = """
time: 9s
faults:
  - {at: 1s, for: 5s, isolate: leader of registry}
  - {every: 3s, for: 2s, cut: {target: one of cache, towards: sentinel}}
  - {at: 2s, for: 3s, stagger: 1s, cut: {target: sentinel, towards: registry, one_way: true}}
  - {at: 3s, for: 2s, cut: {target: boss of registry}}
"""


@pytest.fixture
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene
        scene.wait_ready(list(scene.nodes), 60)


def test_a_scenario_runs_overlaps_and_heals(arena: Folder, scene: Scene) -> None:
    file = arena.path / "overlap.yml"
    file.write_text(SCENARIO)
    topology, registry = read_topology(None, folder=arena.path, environ={})
    planned = schedule(read_scenario(file, topology, registry, {}), seed=3)
    before = host_state()
    told: list[Happening] = []
    summary = run(scene, planned, 9, told.append)
    assert (summary.made, summary.declined) == (6, 1)
    assert (summary.not_biting, summary.affecting_others, summary.still_felt, summary.troubles) == ([], [], [], [])
    assert next(one.text for one in told if one.what == "declined").startswith("cut was declined: no node of")
    in_force: set[str] = set()
    most = 0
    for one in told:
        in_force |= {one.id} if one.what == "inject" else set()
        in_force -= {one.id} if one.what == "heal" else set()
        most = max(most, len(in_force))
    assert most >= 3
    assert in_force == set()
    assert marks_of(scene) == {}
    assert host_state() == before


def test_a_scenario_that_is_stopped_heals_at_once(arena: Folder, scene: Scene) -> None:
    file = arena.path / "long.yml"
    file.write_text("time: 10m\nfaults: [{for: ever, partition: }]\n")
    topology, registry = read_topology(None, folder=arena.path, environ={})
    stop = Event()
    Timer(2.0, stop.set).start()
    begun = time.monotonic()
    summary = run(scene, schedule(read_scenario(file, topology, registry, {}), seed=1), 600, lambda _one: None, stop)
    assert time.monotonic() - begun < 60
    assert (summary.made, summary.is_well) == (1, True)
    assert marks_of(scene) == {}
