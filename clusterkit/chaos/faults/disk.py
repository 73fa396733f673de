"""L9. Disks that are full, slow, or stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import HOST, Chosen, Effect, Family, Fault, Scene, Target, names, other_marks, some
from clusterkit.chaos.faults.process import bring_back, down
from clusterkit.units import Rate, Size

Answers = Mapping[str, Mapping[str, Any]]

_SLACK = Size.parse("1MB")
_NOTHING = Size(0)
_UNLIMITED = Rate(0)
_LEAST_BANDWIDTH, _LEAST_OPERATIONS = Size.parse("64KB"), Rate.parse("5/s")
_QUICK_S = 1.0
_PATIENCE_S = 5.0
_STALL_PATIENCE_S = 1.5
_WINDOW_S = 0.8
_PAGE = 4096
_LARGEST_BLOCK = 256 << 10
_TOLERATED = (0.5, 1.4)


@dataclass(frozen=True)
class _OnDisk(Fault):
    """What all share: measured by writes to the disks of the nodes, and of others beside them."""

    family: ClassVar[Family] = "disk"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    needs_disk: ClassVar[bool] = True

    target: Target
    """The nodes whose disks are meant."""

    def ordered(self, scene: Scene, chosen: Chosen, words: str, **args: Any) -> Order:
        nodes = some(chosen["target"], self.target)
        order = down(scene, self.name, nodes, words.format(names(nodes)), kind=self.name, **args)
        return Order(**{**vars(order), "engine": False})

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        """Services that ended because of it are started again."""
        scene.agent.heal(mark.id)
        bring_back(scene, mark)


@dataclass(frozen=True)
class DiskFull(_OnDisk):
    """Let nodes' disks run full; healed, the room is there again, and services that ended are started."""

    name: ClassVar[str] = "disk-full"
    needs: ClassVar[tuple[str, ...]] = ("disk-full",)
    example: ClassVar[str] = "disk-full cache-1 --leave 64KB --for 20s"

    target: Target
    """The nodes whose disks are full."""
    leave: Size = _NOTHING
    """What stays free."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.ordered(scene, chosen, "fill the disk of {}", leave=self.leave.bytes)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """Writes until there is no room, and a megabyte more than may be there."""
        most = int(mark.args["leave"]) + _SLACK.bytes
        hit, others = probe_disks(scene, mark, "room", _PATIENCE_S, most=most)
        full = [name for name, answer in hit.items() if answer["error"] == "ENOSPC"]
        well = [name for name, answer in others.items() if not answer["error"]]
        written = sorted(int(answer.get("bytes", 0)) for answer in hit.values()) or [0]
        said = dict.fromkeys(answer["error"] or "no error" for answer in hit.values())
        return Effect(
            asked=f"{Size(mark.args['leave'])} free",
            seen=f"{', '.join(said) or 'nothing'} after {Size(written[-1])}",
            bites=bool(hit) and len(full) == len(hit),
            beside=beside_of(others, f"take {Size(most)}"),
            beside_is_well=len(well) == len(others),
            numbers={"written_bytes": written[-1], "disks_full": len(full), "other_disks_well": len(well)},
        )


@dataclass(frozen=True)
class DiskSlow(_OnDisk):
    """Let nodes' disks be slow: reads and writes that reach the disk, each by itself."""

    name: ClassVar[str] = "disk-slow"
    needs: ClassVar[tuple[str, ...]] = ("disk-slow",)
    example: ClassVar[str] = "disk-slow registry-1 --bandwidth 1MB --for 30s"

    target: Target
    """The nodes whose disks are slow."""
    bandwidth: Size = _NOTHING
    """The most in a second, for example 1MB."""
    operations: Rate = _UNLIMITED
    """The most reads and the most writes, for example 20/s."""

    def __post_init__(self) -> None:
        if not self.bandwidth.bytes and not self.operations.per_second:
            raise ValueError('nothing is limited: write a bandwidth ("1MB"), operations ("20/s"), or both')
        if self.bandwidth.bytes and self.bandwidth < _LEAST_BANDWIDTH:
            raise ValueError(f"bandwidth: {self.bandwidth} a second is too little to be measured; write 64KB or more")
        if self.operations.per_second and self.operations < _LEAST_OPERATIONS:
            raise ValueError(f"operations: {self.operations} is too little to be measured; write 5/s or more")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        limits = [f"{self.bandwidth} a second"] if self.bandwidth.bytes else []
        limits += [f"operations {self.operations}"] if self.operations.per_second else []
        return self.ordered(
            scene,
            chosen,
            f"slow the disk of {{}} down to {', '.join(limits)}",
            bytes_per_s=self.bandwidth.bytes,
            operations_per_s=round(self.operations.per_second),
        )

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """Blocks that pass all caches are written and read by a process of each node. One that is down has none."""
        bandwidth, operations = int(mark.args["bytes_per_s"]), int(mark.args["operations_per_s"])
        block = _block(bandwidth)
        asked = min([bandwidth / block] * bool(bandwidth) + [operations] * bool(operations))
        hit, others = probe_disks(scene, mark, "rate", _PATIENCE_S + 2 / asked, block=block, window_s=_WINDOW_S)
        low, high = (asked * factor for factor in _TOLERATED)
        tried = [answer for answer in hit.values() if not answer["error"]]
        ways = {way: [float(answer[way]) for answer in tried] for way in ("written", "read")}
        slow = [answer for answer in tried if all(low <= answer[way] <= high for way in ways)]
        well = [name for name, answer in others.items() if not answer["error"] and answer["written"] > high]
        mean = {way: sum(rates) / len(rates) if rates else 0.0 for way, rates in ways.items()}
        return Effect(
            asked=_rate(asked, block),
            seen=", ".join([f"{way} {_rate(rate, block)}" for way, rate in mean.items() if tried] or _errors(hit)),
            bites=bool(hit) and len(slow) == len(hit),
            beside=beside_of(others, "are as quick as they were"),
            beside_is_well=len(well) == len(others),
            numbers={f"{way}_bytes_per_s": rate * block for way, rate in mean.items()},
        )


@dataclass(frozen=True)
class DiskStall(_OnDisk):
    """Let nodes' disks stand still: what is written waits until it is healed. A node that is killed is let go."""

    name: ClassVar[str] = "disk-stall"
    needs: ClassVar[tuple[str, ...]] = ("disk-stall",)
    lease_s: ClassVar[float] = 10.0
    example: ClassVar[str] = 'disk-stall "leader of registry" --for 5s'

    target: Target
    """The nodes whose disks stand still."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.ordered(scene, chosen, "stall the disk of {}")

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        hit, others = probe_disks(scene, mark, "sync", _STALL_PATIENCE_S)
        still = [name for name, answer in hit.items() if answer["error"] == "stalled"]
        well = [name for name, answer in others.items() if not answer["error"] and answer["took_s"] < _QUICK_S]
        said = dict.fromkeys(answer["error"] or "an answer" for answer in hit.values())
        return Effect(
            asked="a write does not end",
            seen=f"{', '.join(said) or 'nothing'} within {_STALL_PATIENCE_S:g} s",
            bites=bool(hit) and len(still) == len(hit),
            beside=beside_of(others, "take a write"),
            beside_is_well=len(well) == len(others),
            numbers={"disks_stalled": len(still), "other_disks_well": len(well)},
        )


def probe_disks(scene: Scene, mark: Mark, do: str, seconds: float, **args: Any) -> tuple[Answers, Answers]:
    """The answers of the disks that are meant, and of some that are not; this machine's where there are none."""
    touched = {name for other in other_marks(scene, mark) for name in other.nodes}
    beside = [node for node in mark.args["beside"] if node["name"] not in touched]
    wanted: dict[str, Any] = {"cluster": mark.cluster, "do": do, "args": args, "seconds": seconds}
    hit = mark.args["nodes"]
    found: Answers = scene.agent.call("disk_probe", nodes=hit, beside=beside, **wanted)
    meant = {node["name"] for node in hit}
    others = {name: answer for name, answer in found.items() if name not in meant}
    if not others:
        others = scene.agent.call("disk_probe", nodes=[], beside=[HOST], **wanted)
    return {name: answer for name, answer in found.items() if name in meant}, others


def beside_of(others: Answers, well: str) -> str:
    return f"the disks of {', '.join(others)} {', '.join(_errors(others)) or well}"


def _errors(answers: Answers) -> list[str]:
    """Each that was met, once."""
    return list(dict.fromkeys(answer["error"] for answer in answers.values() if answer["error"]))


def _block(bandwidth: int) -> int:
    """Bytes: about sixteen go through in a second."""
    return max(_PAGE, min(_LARGEST_BLOCK, bandwidth // 16 // _PAGE * _PAGE))


def _rate(blocks_per_s: float, block: int) -> str:
    return f"{Size(round(blocks_per_s * block / 1024) * 1024)}/s in {blocks_per_s:.0f} operations"
