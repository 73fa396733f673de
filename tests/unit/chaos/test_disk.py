"""Full, slow and stalled disks as orders, and what a measurement of them says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from clusterkit.chaos.aim import aim
from clusterkit.chaos.base import Effect, Fault, Target
from clusterkit.chaos.faults.damage import BitFlip, Truncate
from clusterkit.chaos.faults.disk import DiskFull, DiskSlow, DiskStall
from clusterkit.chaos.strike import strike
from clusterkit.units import Rate, Size
from tests.unit.chaos.stage import FakeAgent, scene

ONE = Target(("cache-1",))
SLOW = DiskSlow(target=ONE, bandwidth=Size.parse("1MB"))
BEFORE: Mapping[str, Any] = {"mains": {"cache-1": [7, 100]}, "beside": {}}


def _effect(fault: Fault, hit: Mapping[str, Any], other: Mapping[str, Any], *, have_disks: bool = True) -> Effect:
    """`hit` is what the disk of cache-1 answers, `other` any other; without disks only this machine has one."""

    def answer(args: Mapping[str, Any]) -> dict[str, Any]:
        nodes = [*args["nodes"], *(node for node in args["beside"] if have_disks or not node["id"])]
        return {node["name"]: {"error": "", **(hit if node["name"] == "cache-1" else other)} for node in nodes}

    return strike(fault, scene(FakeAgent({"disk_probe": answer}, before=dict(BEFORE))), 60).effect


@pytest.mark.parametrize(
    ("fault", "args"),
    [
        (DiskFull(target=ONE, leave=Size.parse("64KB")), {"leave": 65536}),
        (SLOW, {"bytes_per_s": 1 << 20, "operations_per_s": 0}),
        (
            DiskSlow(target=ONE, bandwidth=Size.parse("64KB"), operations=Rate.parse("5/s")),
            {"bytes_per_s": 65536, "operations_per_s": 5},
        ),
        (DiskStall(target=ONE), {}),
    ],
    ids=str,
)
def test_orders_are_data(fault: Fault, args: Mapping[str, Any]) -> None:
    stage = scene()
    order = fault.order(stage, aim(fault, stage))
    assert (order.kind, order.engine) == (fault.name, False)
    assert [node["name"] for node in order.args["nodes"]] == ["cache-1"]
    assert {key: order.args[key] for key in args} == args


def test_slow_needs_a_limit_that_can_be_measured() -> None:
    with pytest.raises(ValueError, match="nothing is limited"):
        DiskSlow(target=ONE)
    with pytest.raises(ValueError, match="write 64KB or more"):
        DiskSlow(target=ONE, bandwidth=Size.parse("1KB"))
    with pytest.raises(ValueError, match="write 5/s or more"):
        DiskSlow(target=ONE, operations=Rate.parse("1/s"))


def test_a_disk_is_full_when_a_write_says_so() -> None:
    fault = DiskFull(target=ONE)
    assert _effect(fault, {"error": "ENOSPC", "bytes": 4096}, {"bytes": 1 << 20}).bites
    assert not _effect(fault, {"bytes": 1 << 20}, {"bytes": 1 << 20}).bites
    assert not _effect(fault, {"error": "ENOSPC", "bytes": 0}, {"error": "ENOSPC", "bytes": 0}).beside_is_well


def test_a_disk_is_slow_when_both_ways_go_as_asked() -> None:
    asked = {"written": 16.2, "read": 15.8}
    assert _effect(SLOW, asked, {"written": 900.0, "read": 900.0}).bites
    assert not _effect(SLOW, {**asked, "read": 900.0}, {"written": 900.0, "read": 900.0}).bites
    assert not _effect(SLOW, {**asked, "written": 2.0}, {"written": 900.0, "read": 900.0}).bites
    assert not _effect(SLOW, asked, {"written": 16.0, "read": 16.0}).beside_is_well
    failed = _effect(SLOW, {"error": "ENOSPC"}, {"written": 900.0, "read": 900.0})
    assert (failed.bites, failed.seen) == (False, "ENOSPC")


def test_a_disk_stands_still_when_a_write_does_not_end() -> None:
    fault = DiskStall(target=ONE)
    assert _effect(fault, {"error": "stalled"}, {"took_s": 0.01}).bites
    assert not _effect(fault, {"took_s": 0.01}, {"took_s": 0.01}).bites
    assert not _effect(fault, {"error": "stalled"}, {"took_s": 1.2}).beside_is_well


def test_where_no_other_node_has_a_disk_this_machine_is_looked_at() -> None:
    effect = _effect(DiskStall(target=ONE), {"error": "stalled"}, {"took_s": 0.01}, have_disks=False)
    assert (effect.beside, effect.beside_is_well) == ("the disks of this machine take a write", True)


def test_a_stalled_disk_goes_on_soon_where_nobody_says_when() -> None:
    assert DiskStall.lease_s == 10
    assert DiskFull.lease_s == 600


# -- damage ------------------------------------------------------------------------------------------------------------

DAMAGED: Mapping[str, Any] = {"mains": {}, "beside": {}, "files": {"cache-1": {"file": "a.aof"}}}


def _damage(*, is_damaged: bool, can_be_undone: bool = True) -> FakeAgent:
    seen = {"cache-1": {"is_damaged": is_damaged, "can_be_undone": can_be_undone, "error": ""}}
    answers = {"damage": lambda _args: seen, "disk_probe": lambda _args: {"cache-2": {"error": ""}}}
    return FakeAgent(answers, before=dict(DAMAGED))


def test_the_same_seed_flips_the_same_bit() -> None:
    one, other, third = (
        BitFlip(target=ONE).order(stage, aim(BitFlip(target=ONE), stage)).args["chances"]
        for stage in (scene(seed=1), scene(seed=1), scene(seed=2))
    )
    assert one == other != third
    assert 0 <= one["cache-1"]["share"] < 1
    assert one["cache-1"]["bit"] in range(8)


def test_a_file_is_damaged_when_it_reads_otherwise() -> None:
    effect = strike(Truncate(target=ONE), scene(_damage(is_damaged=True)), 60).effect
    assert (effect.bites, effect.seen) == (True, "cache-1:a.aof damaged")
    assert not strike(Truncate(target=ONE), scene(_damage(is_damaged=False)), 60).effect.bites


def test_nothing_cut_off_is_no_fault() -> None:
    with pytest.raises(ValueError, match="write 1B or more"):
        Truncate(target=ONE, bytes=Size(0))
