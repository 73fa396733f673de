"""L9. Nodes with less CPU or memory than they are used to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import HOST, Chosen, Effect, Family, Fault, Scene, Target, names, some, spot
from clusterkit.chaos.faults.process import beside, bring_back, down_effect, untouched
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Percent, Size

_BUSY = 2
"""Busy processes of a measurement: a limit of a whole core is not felt by one."""

_STRAIN = 0.05
_MORE_BYTES = 32 << 20
_SLACK = 1.3
_SLACK_CORES = 0.04
_KEPT = 0.95


@dataclass(frozen=True)
class Cpu(Fault):
    """Limit the CPU time of nodes, all processes of each together; healed, each has its own limit again.

    Measured as the CPU time that busy processes get inside the node's limit.
    """

    name: ClassVar[str] = "cpu"
    family: ClassVar[Family] = "resource"
    needs: ClassVar[tuple[str, ...]] = ("cpu",)
    arguments: ClassVar[tuple[str, ...]] = ("limit",)
    example: ClassVar[str] = "cpu 10% --target cache-1 --for 20s"

    limit: Percent
    """How much of one core each node may use."""
    target: Target
    """The nodes that are limited."""

    def __post_init__(self) -> None:
        if self.limit.amount < 1:
            raise ValueError(f"limit: {self.limit} is less than the kernel can keep; write 1% or more")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        return _order(
            self, scene, nodes, f"limit {names(nodes)} to {self.limit} of a core", "cpu", share=self.limit.fraction
        )

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        limit = float(mark.args["share"])
        nodes, others = _limited(mark), _unlimited(scene, mark)[:1]
        found = scene.agent.call("work", nodes=[*nodes, *others], seconds=0.4, workers=_BUSY)
        here = [one for one in found[: len(nodes)] if one is not None]
        there = [one for one in found[len(nodes) :] if one is not None]
        most = limit * _SLACK + _SLACK_CORES
        return Effect(
            asked=f"{limit:.0%} of a core",
            seen=f"{max(here):.0%}" if here else "nothing: no node runs",
            bites=bool(here) and max(here) <= most,
            beside=f"{others[0]['name']} {there[0]:.0%}" if there else "",
            beside_is_well=all(one > most for one in there),
            numbers={"cores": max(here, default=0), "cores_beside": max(there, default=0)},
        )


@dataclass(frozen=True)
class CpuStress(Fault):
    """Keep the CPU of nodes busy from inside: the workers share the node's own limit, and end with it.

    The machine's cores are everybody's: as many workers as it has are felt by all nodes, but where `cpu` limits these.
    """

    name: ClassVar[str] = "cpu-stress"
    family: ClassVar[Family] = "resource"
    needs: ClassVar[tuple[str, ...]] = ("stress",)
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "cpu-stress cache-1 --workers 2 --for 20s"

    target: Target
    """The nodes that are kept busy."""
    workers: int = 1
    """How many busy processes each has."""

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise ValueError(f"workers: {self.workers} is no number of processes for a node; write 1 to 64")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        words = f"keep {names(nodes)} busy ({self.workers} {'worker' if self.workers == 1 else 'workers'} each)"
        return _order(self, scene, nodes, words, "stress", workers=self.workers)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        nodes = [node for node in mark.args["nodes"] if node["name"] in mark.before["mains"]]
        others = untouched(scene, mark, [node["name"] for node in mark.args["beside"]])
        found = scene.agent.call("strain", nodes=[*nodes, *others], wait_s=0.5)
        here = [one for one in found[: len(nodes)] if one is not None]
        there = [one for one in found[len(nodes) :] if one is not None]
        return Effect(
            asked=f"{mark.args['workers']} busy in each of {len(nodes)}",
            seen=f"{min(here):.0%} of a core used at least" if here else "nothing: no node runs",
            bites=bool(here) and min(here) >= _STRAIN,
            beside=f"at most {max(there):.0%} in {len(there)} others" if there else "",
            beside_is_well=all(one < _STRAIN for one in there),
            numbers={"cores": min(here, default=0), "cores_beside": max(there, default=0)},
        )


@dataclass(frozen=True)
class Memory(Fault):
    """Limit the memory of nodes; what does not fit is taken from the cache of files, else the kernel kills.

    Measured as how much of a file that was read stays in memory that counts as the node's.
    """

    name: ClassVar[str] = "memory"
    family: ClassVar[Family] = "resource"
    needs: ClassVar[tuple[str, ...]] = ("memory",)
    arguments: ClassVar[tuple[str, ...]] = ("limit",)
    example: ClassVar[str] = "memory 64MB --target cache-1 --for 20s"

    limit: Size
    """How much each node may have; less than it has now is refused: `oom-kill` does that."""
    target: Target
    """The nodes that are limited."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        words = f"limit {names(nodes)} to {self.limit} of memory"
        return _order(self, scene, nodes, words, "memory", limit=self.limit.bytes)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        limit = int(mark.args["limit"])
        size = limit + _MORE_BYTES
        nodes, others = _limited(mark), _unlimited(scene, mark)[:1]
        found = scene.agent.call("hold", nodes=[*nodes, *others], size=size)
        here = [one for one in found[: len(nodes)] if one is not None]
        there = [one for one in found[len(nodes) :] if one is not None]
        is_kept = bool(there) and all(one >= size * _KEPT for one in there)
        return Effect(
            asked=_words(limit),
            seen=f"{_words(max(here))} of {_words(size)} kept" if here else "nothing: no node runs",
            bites=bool(here) and max(here) <= limit and is_kept,
            beside=f"{others[0]['name']} {_words(there[0])}" if there else "",
            beside_is_well=is_kept,
            numbers={"bytes": max(here, default=0), "bytes_beside": max(there, default=0)},
        )


@dataclass(frozen=True)
class OomKill(Fault):
    """Have the kernel kill nodes for the want of memory; healed, they have their limit again and are started."""

    name: ClassVar[str] = "oom-kill"
    family: ClassVar[Family] = "resource"
    needs: ClassVar[tuple[str, ...]] = ("memory",)
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "oom-kill cache-1 --for 10s"

    target: Target
    """The nodes that are killed."""

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        nodes = some(chosen["target"], self.target)
        order = _order(self, scene, nodes, f"leave {names(nodes)} no memory", "memory", limit=None)
        return Order(**{**vars(order), "engine": True})

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        return down_effect(scene, mark)

    @classmethod
    def heal(cls, scene: Scene, mark: Mark) -> None:
        bring_back(scene, mark)
        scene.agent.heal(mark.id)


def _order(fault: Fault, scene: Scene, nodes: Sequence[NodeRecord], words: str, kind: str, **args: Any) -> Order:
    return Order(
        cluster=scene.cluster,
        fault=fault.name,
        kind=kind,
        words=words,
        nodes=tuple(node.name for node in nodes),
        args={"nodes": [spot(node) for node in nodes], "beside": beside(scene, nodes), **args},
    )


def _limited(mark: Mark) -> list[Mapping[str, str]]:
    return [node for node in mark.args["nodes"] if node["name"] in mark.before["was"]]


def _unlimited(scene: Scene, mark: Mark) -> list[Mapping[str, str]]:
    """Other nodes without a limit of their own; the agent's own place where there is none."""
    return untouched(scene, mark, mark.before["unlimited"]) or [HOST]


def _words(size: float) -> str:
    return f"{size / 2**20:.0f}MB"
