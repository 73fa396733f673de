"""What the default suite is made from: the plan, the disks there are, and who leads now."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clusterkit.chaos.registry import shipped_faults
from clusterkit.check_topology import read_topology
from clusterkit.cli._default_suite import default_suite
from clusterkit.components.base import Role
from clusterkit.plan import Allocation, allocate, plan
from clusterkit.units import Duration
from tests.unit.health.fake_provider import FakeProvider, record

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart" / "clusterkit.yml"
LEADERS = {"registry-2": (Role("leader"),), "registry-1": (Role("follower"),), "cache-3": (Role("primary"),)}


def _suite(monkeypatch: pytest.MonkeyPatch, *, disks: bool, time: str) -> tuple[dict[str, Any], list[str]]:
    """The quickstart's suite by name, and what was said."""
    topology, registry = read_topology(QUICKSTART, folder=QUICKSTART.parent, environ={}, disks=disks)
    allocation = allocate(topology, registry, "10.0.0.0/24", Allocation(""), iter(count(20_000)), lambda: "secret")
    planned = plan(topology, registry, allocation)
    devices = {node.name: "/dev/loop1" if disks else "" for node in planned.nodes}
    found = SimpleNamespace(**{**vars(record(planned)), "devices": devices})
    opened = SimpleNamespace(topology=topology, registry=registry, found=found)
    trials = {need: "" for fault in shipped_faults().values() for need in fault.needs}
    scene = SimpleNamespace(agent=SimpleNamespace(trials=lambda: trials))
    ground = SimpleNamespace(plan=planned, site=SimpleNamespace(provider=FakeProvider()), scene=scene)
    monkeypatch.setattr("clusterkit.health.roles.roles", lambda *_: LEADERS)
    said: list[str] = []
    scenarios = default_suite(cast(Any, opened), cast(Any, ground), Duration.parse(time), said.append)
    return {scenario.name: scenario for scenario in scenarios}, said


def test_of_a_whole_system_everything_that_clients_can_call_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    made, said = _suite(monkeypatch, disks=True, time="6m")
    assert sorted(made) == sorted(f"{n}-{g}" for n in ("registry", "sentinel") for g in ("network", "nodes", "disks"))
    assert said == [
        "cache is tested through sentinel, by which its clients find it",
        "api is not tested: say how clients talk to it (docs/your-own-service.md)",
    ]
    first = {name: str(scenario.steps[0].choices[0].target) for name, scenario in made.items()}
    assert first["registry-network"] == "leader of registry"
    assert first["sentinel-network"] == "primary of cache"
    assert made["registry-network"].expect.linearizable
    assert not made["sentinel-network"].expect.linearizable
    assert made["sentinel-nodes"].workload.component == "sentinel"


def test_a_cluster_with_volumes_has_no_disk_to_break(monkeypatch: pytest.MonkeyPatch) -> None:
    made, said = _suite(monkeypatch, disks=False, time="6m")
    assert sorted(made) == sorted(f"{n}-{g}" for n in ("registry", "sentinel") for g in ("network", "nodes"))
    assert "registry: no disk faults: no node has a disk of its own; set data: loop in the topology" in said
