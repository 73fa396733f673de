"""A schedule that is written as YAML and read again is the same schedule, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clusterkit.chaos.schedule import Planned, schedule
from clusterkit.chaos.written import items, text
from clusterkit.check_topology import read_scenario, read_topology
from clusterkit.units import Duration

TOPOLOGY = """
name: shop
components:
  registry: {kind: etcd, data: loop}
  cache: {kind: redis, data: loop}
chaos:
  scenarios:
    storm:
      time: 60s
      faults:
        - {every: 7s, for: 2500ms, jitter: 3s, kill: {target: one of cache}}
        - {at: 1234ms, for: ever, partition: {shape: majority, target: registry}}
        - {every: 11s, for: 3s, latency: {target: [registry-1, cache-2], delay: 120ms, jitter: 7ms}}
        - {at: 20s, restart: {target: cache-1}}
        - {at: 5s, for: 4s, stagger: 1500ms, pause: {target: registry}}
        - {every: 9s, for: 2s, mix: [{isolate: leader of registry}, {cut: {target: cache-1, one_way: true}}]}
        - {at: 3s, for: 2s, cut: {target: cache-1, ports: [6379/tcp, 26379/tcp]}}
        - {at: 30s, for: 5s, clock-jump: {target: registry-2, by: 60s}}
        - {at: 40s, for: 5s, power-loss: {target: registry-3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clusterkit.yml").write_text(TOPOLOGY)
    return tmp_path


def _again(folder: Path, planned: tuple[Planned, ...], seed: int) -> tuple[Planned, ...]:
    topology, registry = read_topology(None, folder=folder, environ={})
    file = folder / "again.yml"
    file.write_text(text("storm", planned, Duration(60)))
    return schedule(read_scenario(file, topology, registry, {}), seed)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_read_again_is_the_same(folder: Path, seed: int) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    planned = schedule(topology.scenarios["storm"], seed)
    assert len(planned) > 20
    assert _again(folder, planned, seed + 1) == planned


def test_any_part_of_it_is_the_same(folder: Path) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    planned = schedule(topology.scenarios["storm"], 3)
    assert _again(folder, planned[4:9], 8) == planned[4:9]
    assert _again(folder, (), 8) == ()


def test_it_is_short_enough_to_paste(folder: Path) -> None:
    topology, _ = read_topology(None, folder=folder, environ={})
    first = schedule(topology.scenarios["storm"], 3)[0]
    assert items([first]) == [
        {"at": "1.234s", "for": "58.766s", "partition": {"shape": "majority", "target": "registry"}, "seed": "3/1/0"}
    ]
    assert yaml.safe_load(text("storm", [first], Duration(60), {"kind": "set"}, {"lost": "any"})) == {
        "time": "1m",
        "workload": {"kind": "set"},
        "expect": {"lost": "any"},
        "faults": items([first]),
    }
