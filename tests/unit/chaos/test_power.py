"""Power loss and failing disks as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Target
from clusterkit.chaos.faults.power import DiskError, DiskReadOnly, PowerLoss
from clusterkit.chaos.strike import strike
from tests.unit.chaos.stage import FakeAgent, scene

CACHE = Target(("cache",))
ONE = Target(("cache-1",))
BEFORE = {"mains": {"cache-1": [7, 100]}, "beside": {"registry-1": [9, 100]}, "disks": ["cache-1"], "token": "abc"}


def _lives(*dead: str) -> Any:
    def answer(args: Mapping[str, Any]) -> dict[str, Any]:
        known: dict[str, list[int]] = {"cache-1": [7, 100], "registry-1": [9, 100]}
        return {node["name"]: None if node["name"] in dead else known.get(node["name"]) for node in args["nodes"]}

    return answer


def _power(lives: Any, unsynced: bool | None) -> Any:
    agent = FakeAgent({"lives": lives, "unsynced": lambda _args: {"cache-1": unsynced}}, before=BEFORE)
    return strike(PowerLoss(target=ONE), scene(agent), 60).effect


def test_all_disks_end_before_all_nodes_do() -> None:
    stage = scene()
    order = PowerLoss(target=CACHE).order(stage, aim(PowerLoss(target=CACHE), stage))
    assert (order.kind, order.engine, order.args["signal"]) == ("power", True, 9)
    assert [node["name"] for node in order.args["nodes"]] == ["cache-1", "cache-2", "cache-3"]
    assert {node["name"] for node in order.args["beside"]} == {"registry-1", "registry-2", "registry-3"}


def test_power_is_lost_when_the_node_is_down_and_what_was_not_synced_is_gone() -> None:
    effect = _power(_lives("cache-1"), unsynced=False)
    assert effect.bites
    assert effect.seen == "1 of 1 down, what was not synced gone from 1 of 1 disks"


def test_a_mere_kill_is_no_loss_of_power() -> None:
    assert not _power(_lives("cache-1"), unsynced=True).bites
    assert not _power(_lives("cache-1"), unsynced=None).bites
    assert not _power(_lives(), unsynced=False).bites


def _disk(fault: type[DiskError] | type[DiskReadOnly], **said: str) -> Any:
    def writes(args: Mapping[str, Any]) -> dict[str, str]:
        return {node["name"]: said.get(node["name"].replace("-", "_"), "ok") for node in args["nodes"]}

    return strike(fault(target=ONE), scene(FakeAgent({"writes": writes}, before=BEFORE)), 60).effect


def test_a_disk_fails_when_writes_say_so() -> None:
    assert _disk(DiskError, cache_1="EIO").bites
    assert _disk(DiskError, cache_1="down").bites
    assert not _disk(DiskError, cache_1="EROFS").bites
    assert not _disk(DiskError).bites
    assert _disk(DiskReadOnly, cache_1="EROFS").bites


def test_another_disk_that_fails_is_told() -> None:
    assert _disk(DiskError, cache_1="EIO").beside_is_well
    assert not _disk(DiskError, cache_1="EIO", registry_1="EIO").beside_is_well
