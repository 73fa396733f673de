"""L9. Partitions: who does not hear whom, both ways or one, for all traffic or for some ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos import grudge
from clusterkit.chaos.base import (
    ALL,
    EVERYONE,
    HOST,
    Chosen,
    Effect,
    Family,
    Fault,
    PortSpec,
    Scene,
    Target,
    names,
    other_marks,
    spot,
)
from clusterkit.chaos.grudge import Ways
from clusterkit.errors import UsageError
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration

_BESIDE = 6
_SHORTEST_FLAP = 0.5


@dataclass(frozen=True)
class _Cutting(Fault):
    """What all of them share: ways that are cut, in the ledger as addresses, measured by datagrams or connections."""

    family: ClassVar[Family] = "partition"
    needs: ClassVar[tuple[str, ...]] = ("block",)

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return _order(self, scene, self.ways(scene, chosen), self.words(chosen))

    def ways(self, scene: Scene, chosen: Chosen) -> Ways:
        """By node name. Raises: UsageError."""
        raise NotImplementedError

    def words(self, chosen: Chosen) -> str:
        raise NotImplementedError

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        cut = [(one, other) for one, other in mark.args["ways"]]
        nodes = {name: scene.nodes[name] for way in cut for name in way if name in scene.nodes}
        cut = [way for way in cut if way[0] in nodes and way[1] in nodes]
        beside = _beside(scene, mark, cut, nodes)
        if mark.args["ports"]:
            return _by_ports(scene, mark, cut, beside)
        pairs = [[spot(nodes[one]), spot(nodes[other])] for one, other in cut]
        found = scene.agent.call("datagrams", pairs=[*pairs, *beside], count=3, interval_ms=15, wait_s=0.06)
        lost = [one["received"] == 0 for one in found[: len(cut)] if not one["trouble"]]
        well = [one["received"] == one["sent"] for one in found[len(cut) :] if not one["trouble"]]
        return _effect(lost, len(cut), well)


@dataclass(frozen=True)
class Partition(_Cutting):
    """Part nodes into groups that cannot hear each other.

    Shapes: halves; one (against the rest); majority (against the minority); ring (each hears another majority);
    bridge (two halves and one node that hears both); zones (zone against zone).
    """

    name: ClassVar[str] = "partition"
    arguments: ClassVar[tuple[str, ...]] = ("shape",)
    example: ClassVar[str] = "partition halves --target registry --for 20s"
    is_divisible: ClassVar[bool] = False

    shape: Literal["halves", "one", "majority", "ring", "bridge", "zones"] = "halves"
    """How the nodes are parted."""
    target: Target = ALL
    """The nodes that are parted; others hear all of them as before."""
    ports: tuple[PortSpec, ...] = ()
    """Cut traffic to these ports alone, for example 6379/tcp."""
    flap: Duration | None = None
    """Cut for this long, whole for as long, in turn."""

    def __post_init__(self) -> None:
        _check_flap(self.flap)

    def check(self, zones: Mapping[str, str], meant: Mapping[str, Sequence[str]]) -> None:
        grudge.SHAPES[self.shape](meant["target"], zones, Random(0))

    def ways(self, scene: Scene, chosen: Chosen) -> Ways:
        zones = {node.name: node.zone for node in chosen["target"]}
        return grudge.SHAPES[self.shape](sorted(zones), zones, scene.random)

    def words(self, chosen: Chosen) -> str:
        return f"part {names(chosen['target'])} ({self.shape})"


@dataclass(frozen=True)
class Isolate(_Cutting):
    """Cut nodes off from all others, each other included."""

    name: ClassVar[str] = "isolate"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = 'isolate "leader of registry" --for 10s'

    target: Target
    """The nodes that are alone."""
    towards: Target = EVERYONE
    """Those that they cannot hear, and that cannot hear them."""
    ports: tuple[PortSpec, ...] = ()
    """Cut traffic to these ports alone, for example 2380/tcp."""
    flap: Duration | None = None
    """Cut for this long, whole for as long, in turn."""

    def __post_init__(self) -> None:
        _check_flap(self.flap)

    def ways(self, _scene: Scene, chosen: Chosen) -> Ways:
        alone = [node.name for node in chosen["target"]]
        others = [node.name for node in chosen["towards"] if node.name not in alone]
        return grudge.between([*([name] for name in alone), others])

    def words(self, chosen: Chosen) -> str:
        return f"isolate {names(chosen['target'])}"


@dataclass(frozen=True)
class Cut(_Cutting):
    """Cut the link between some nodes and others, both ways or one."""

    name: ClassVar[str] = "cut"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "cut api --towards cache --ports 6379/tcp --one-way"

    target: Target
    """The nodes on this side: with one_way, those whose words do not arrive."""
    towards: Target = EVERYONE
    """The nodes on the other side."""
    one_way: bool = False
    """Lose only what goes from the target to the others."""
    ports: tuple[PortSpec, ...] = ()
    """Cut traffic to these ports alone, for example 6379/tcp."""
    flap: Duration | None = None
    """Cut for this long, whole for as long, in turn."""

    def __post_init__(self) -> None:
        _check_flap(self.flap)

    def ways(self, _scene: Scene, chosen: Chosen) -> Ways:
        ours = [node.name for node in chosen["target"]]
        theirs = [node.name for node in chosen["towards"] if node.name not in ours]
        return grudge.one_way(ours, theirs) if self.one_way else grudge.between([ours, theirs])

    def words(self, chosen: Chosen) -> str:
        arrow = "to" if self.one_way else "from"
        return f"cut {names(chosen['target'])} {arrow} {names(chosen['towards'])}"


def _check_flap(flap: Duration | None) -> None:
    if flap is not None and flap.seconds < _SHORTEST_FLAP:
        raise ValueError(f"flap: {flap} is too quick to be kept; write {int(_SHORTEST_FLAP * 1000)}ms or more")


def _order(fault: _Cutting, scene: Scene, ways: Ways, words: str) -> Order:
    ports: tuple[PortSpec, ...] = getattr(fault, "ports", ())
    flap: Duration | None = getattr(fault, "flap", None)
    if not ways:
        raise UsageError(f"{words}: nobody is on the other side", mend="name others with `towards:`")
    _refuse_shared_addresses(scene, ways, ports)
    at = {name: node.address for name, node in scene.nodes.items()}
    if ports:
        pairs = [[at[one], at[other], port.protocol, port.number] for one, other in ways for port in ports]
    else:
        pairs = [[at[one], at[other]] for one, other in ways]
    return Order(
        cluster=scene.cluster,
        fault=fault.name,
        kind="block",
        words=words + (f", ports {', '.join(str(port) for port in ports)}" if ports else ""),
        nodes=tuple(sorted({name for way in ways for name in way})),
        args={
            "pairs": pairs,
            "ways": [list(way) for way in ways],
            "ports": [str(port) for port in ports],
            "flap_s": flap.seconds if flap else 0,
        },
    )


def _refuse_shared_addresses(scene: Scene, ways: Ways, ports: Sequence[PortSpec]) -> None:
    """Nodes that share an address look the same to a rule by address: they can be parted by port only."""
    owner: dict[str, str] = {}
    for name in sorted({name for way in ways for name in way}):
        address = scene.nodes[name].address
        if address in owner and not ports:
            raise UsageError(
                f"{owner[address]} and {name} share the address {address}: a partition cannot tell them apart",
                mend="limit it to ports: ports: [7000/tcp]",
            )
        owner[address] = name


def _beside(
    scene: Scene, mark: Mark, cut: Sequence[tuple[str, str]], nodes: Mapping[str, NodeRecord]
) -> list[list[dict[str, str]]]:
    """Ways that must be whole: between nodes that the cut touches, else from this machine to them.

    What another fault cuts or touches is left out.
    """
    others = other_marks(scene, mark)
    ways = {*cut, *((one, other) for by in others if by.kind == mark.kind for one, other in by.args["ways"])}
    touched = {name for by in others if by.kind != mark.kind for name in by.nodes}
    near = [name for name in sorted(nodes) if name not in touched]
    whole = [
        [spot(scene.nodes[one]), spot(scene.nodes[other])]
        for one in near
        for other in sorted(scene.nodes)
        if one != other and (one, other) not in ways and other not in touched
    ]
    return whole[:_BESIDE] or [[HOST, spot(nodes[name])] for name in near[:_BESIDE]]


def _by_ports(scene: Scene, mark: Mark, cut: Sequence[tuple[str, str]], beside: list[list[dict[str, str]]]) -> Effect:
    """TCP by connections, UDP by datagrams to the port itself; all other traffic of the same ways must be whole."""
    ports = [PortSpec.parse(port) for port in mark.args["ports"]]
    lost: list[bool] = []
    for port in ports:
        pairs = [[spot(scene.nodes[one]), spot(scene.nodes[other]), port.number] for one, other in cut]
        if port.protocol == "tcp":
            found = scene.agent.call("connections", pairs=pairs, wait_s=0.25)
            lost += [one["outcome"] == "timed out" for one in found if not one["trouble"]]
        else:
            found = scene.agent.call("datagrams", pairs=pairs, count=3, interval_ms=15, wait_s=0.06)
            lost += [one["received"] == 0 for one in found if not one["trouble"]]
    free = [] if other_marks(scene, mark) else [[spot(scene.nodes[name]) for name in way] for way in cut[:_BESIDE]]
    found = scene.agent.call("datagrams", pairs=[*free, *beside], count=3, interval_ms=5, wait_s=0.06)
    return _effect(lost, len(cut) * len(ports), [one["received"] == one["sent"] for one in found if not one["trouble"]])


def _effect(lost: Sequence[bool], asked: int, well: Sequence[bool]) -> Effect:
    """Nodes that do not run cannot be measured; at least one way has to be."""
    return Effect(
        asked=f"{asked} ways cut",
        seen=f"{sum(lost)} of {len(lost)} cut"
        + (f" ({asked - len(lost)} could not be tried)" if len(lost) < asked else ""),
        bites=bool(lost) and all(lost),
        beside=f"{sum(well)} of {len(well)} other ways whole" if well else "",
        beside_is_well=all(well),
        numbers={"ways_cut": sum(lost), "ways_tried": len(lost), "other_ways_whole": sum(well)},
    )
