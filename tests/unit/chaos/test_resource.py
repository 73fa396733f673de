"""Limits as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clusterkit.chaos.base import Target
from clusterkit.chaos.faults.resource import Cpu, CpuStress, Memory, OomKill
from clusterkit.chaos.strike import strike
from clusterkit.units import Percent, Size
from tests.unit.chaos.stage import SIX, FakeAgent, scene

ONE = Target(("cache-1",))
TENTH = Percent.parse("10%")
MB = 1 << 20


def _agent(call: str, values: Mapping[str, Any], unlimited: tuple[str, ...] = ("cache-2",)) -> FakeAgent:
    """`values`: node name -> what it answers to `call`; the host is "this machine"."""
    before = {"was": {"cache-1": {}}, "unlimited": list(unlimited), "mains": {"cache-1": [1, 1]}, "beside": {}}
    return FakeAgent({call: lambda args: [values[node["name"]] for node in args["nodes"]]}, before=before)


def test_limits_as_orders() -> None:
    chosen = {"target": SIX[:2]}
    cpu = Cpu(limit=TENTH, target=ONE).order(scene(), chosen)
    assert (cpu.kind, cpu.engine, cpu.words) == ("cpu", False, "limit cache-1, cache-2 to 10% of a core")
    assert cpu.args["share"] == 0.1
    memory = Memory(limit=Size.parse("64MB"), target=ONE).order(scene(), chosen)
    assert (memory.kind, memory.engine, memory.words) == ("memory", False, "limit cache-1, cache-2 to 64MB of memory")
    assert memory.args["limit"] == 64 * MB
    killed = OomKill(target=ONE).order(scene(), chosen)
    assert (killed.kind, killed.engine, killed.args["limit"]) == ("memory", True, None)
    stress = CpuStress(target=ONE, workers=2).order(scene(), chosen)
    assert (stress.kind, stress.engine) == ("stress", False)
    assert stress.words == "keep cache-1, cache-2 busy (2 workers each)"
    assert [node["name"] for node in stress.args["beside"]] == ["cache-3", "registry-1", "registry-2"]


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_workers_are_a_number_that_makes_sense(workers: int) -> None:
    with pytest.raises(ValueError, match="write 1 to 64"):
        CpuStress(target=ONE, workers=workers)


def test_less_than_the_kernel_can_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="write 1% or more"):
        Cpu(limit=Percent.parse("0.5%"), target=ONE)


@pytest.mark.parametrize(
    ("here", "there", "bites", "is_well"),
    [(0.11, 0.98, True, True), (0.9, 0.98, False, True), (0.11, 0.12, True, False), (None, 0.98, False, True)],
)
def test_cpu_by_the_work_that_is_done(here: float | None, there: float, bites: bool, is_well: bool) -> None:
    agent = _agent("work", {"cache-1": here, "cache-2": there})
    effect = strike(Cpu(limit=TENTH, target=ONE), scene(agent), 60).effect
    assert (effect.bites, effect.beside_is_well) == (bites, is_well)
    assert effect.asked == "10% of a core"


def test_where_every_node_is_limited_the_machine_is_compared() -> None:
    agent = _agent("work", {"cache-1": 0.1, "this machine": 1.5}, unlimited=())
    effect = strike(Cpu(limit=TENTH, target=ONE), scene(agent), 60).effect
    assert effect.beside == "this machine 150%"


@pytest.mark.parametrize(
    ("here", "there", "bites", "is_well"),
    [
        (60, 96, True, True),
        (96, 96, False, True),
        (60, 50, False, False),
        (None, 96, False, True),
        (60, None, False, False),
    ],
)
def test_memory_by_what_stays_there(here: int | None, there: int | None, bites: bool, is_well: bool) -> None:
    """Where a file does not stay in memory anywhere, it proves nothing that it does not stay here."""
    found = {"cache-1": here and here * MB, "cache-2": there and there * MB}
    effect = strike(Memory(limit=Size.parse("64MB"), target=ONE), scene(_agent("hold", found)), 60).effect
    assert (effect.bites, effect.beside_is_well) == (bites, is_well)


@pytest.mark.parametrize(
    ("here", "there", "bites", "is_well"),
    [(0.9, 0.0, True, True), (0.0, 0.0, False, True), (0.9, 0.5, True, False), (None, 0.0, False, True)],
)
def test_stress_by_the_time_it_takes(here: float | None, there: float, bites: bool, is_well: bool) -> None:
    found = {"cache-1": here, "cache-2": there, "cache-3": None, "registry-1": 0.0}
    effect = strike(CpuStress(target=ONE), scene(_agent("strain", found)), 60).effect
    assert (effect.bites, effect.beside_is_well) == (bites, is_well)


def test_an_oom_kill_bites_when_the_service_is_gone() -> None:
    agent = _agent("lives", {})
    agent.answers["lives"] = lambda args: {node["name"]: None for node in args["nodes"]}
    assert strike(OomKill(target=ONE), scene(agent), 60).effect.bites
    agent.answers["lives"] = lambda args: {node["name"]: [1, 1] for node in args["nodes"]}
    assert not strike(OomKill(target=ONE), scene(agent), 60).effect.bites
