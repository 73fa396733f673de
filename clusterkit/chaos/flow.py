"""L9. How packets pass along the ways that a fault is on, and along ways beside it that must be whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from clusterkit.agent.client import Mark
from clusterkit.chaos.base import HOST, Effect, PortSpec, Scene, other_marks, spot
from clusterkit.node import State

_MOST_WAYS = 8
_BESIDE = 2


@dataclass(frozen=True)
class Lane:
    """A way from one node to another, each as the agent knows it, to one port or (None) any."""

    source: Mapping[str, str]
    target: Mapping[str, str]
    port: PortSpec | None = None

    @property
    def way(self) -> tuple[str, str]:
        """By node name."""
        return self.source["name"], self.target["name"]

    @property
    def pair(self) -> list[Mapping[str, str]]:
        return [self.source, self.target]


def _sent(scene: Scene, call: str, lanes: Sequence[Lane], how: Mapping[str, float]) -> list[Mapping[str, Any]]:
    """What the agent tells of each lane, with the lane itself as `lane`."""
    if not lanes:
        return []
    pairs = [[*lane.pair, *([lane.port.number] if lane.port else [])] for lane in lanes]
    found = scene.agent.call(call, pairs=pairs, **how)
    return [{**one, "lane": lane} for one, lane in zip(found, lanes, strict=True)]


def _tried(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in found if not one["trouble"]]


@dataclass(frozen=True)
class Flow:
    """The lanes of a link's fault, some that are spread over all where it has many; the lanes beside it.

    `others`: lane -> what other faults in force, lasting links among them, do to the same packets.
    """

    lanes: tuple[Lane, ...]
    beside: tuple[Lane, ...]
    others: Callable[[Lane], Sequence[Mapping[str, Any]]]

    def send(
        self, scene: Scene, *, count: int, interval_ms: float, wait_s: float, size: int = 64
    ) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """What the agent's call `datagrams` tells of each lane and of each beside it; TCP ports by its `segments`.

        Those that could not be tried are left out.
        """
        how = {"count": count, "interval_ms": interval_ms, "wait_s": wait_s, "size": size}
        plain = [lane for lane in self.lanes if lane.port is None or lane.port.protocol == "udp"]
        tcp = [lane for lane in self.lanes if lane.port is not None and lane.port.protocol == "tcp"]
        with ThreadPoolExecutor() as pool:  # both at the same time
            one = pool.submit(_sent, scene, "datagrams", [*plain, *self.beside], how)
            other = pool.submit(_sent, scene, "segments", tcp, how)
            found, segments = one.result(), other.result()
        kept = [*found[: len(plain)], *segments]
        return _tried(kept), _tried(found[len(plain) :])

    def said_beside(self, measured: str) -> str:
        """For people: "cache-2 to cache-3 and 2 more 0.1 ms"."""
        if not self.beside:
            return ""
        source, target = self.beside[0].way
        rest = f" and {len(self.beside) - 1} more" if len(self.beside) > 1 else ""
        return f"{source} to {target}{rest} {measured}"


def flow(scene: Scene, mark: Mark) -> Flow:
    """Of a mark of the kind "link". Nodes that are gone are left out."""
    marks = other_marks(scene, mark)
    links = [other for other in marks if other.kind == "link"]
    blocked = {tuple(way) for other in marks if other.kind == "block" for way in other.args["ways"]}
    broken = {name for other in marks if other.kind not in ("link", "block") for name in other.nodes}
    ports: list[PortSpec | None] = [PortSpec.parse(port) for port in mark.args["ports"]] or [None]
    every = [tuple(way) for way in mark.args["names"]]
    ways = [(one, other) for one, other in every if one in scene.nodes and other in scene.nodes]
    ways = [way for way in ways if way not in blocked] or ways
    step = max(1, len(ways) // max(1, _MOST_WAYS // len(ports)))
    lanes = [
        Lane(spot(scene.nodes[one]), spot(scene.nodes[other]), port) for one, other in ways[::step] for port in ports
    ]
    touched = blocked | {tuple(way) for other in links for way in other.args["names"]}
    if None in ports:
        touched |= set(every)

    def others(lane: Lane) -> list[Mapping[str, Any]]:
        return [
            other.args["impair"]
            for other in links
            if list(lane.way) in other.args["names"]
            and (not other.args["ports"] or str(lane.port) in other.args["ports"])
        ]

    return Flow(tuple(lanes[: _MOST_WAYS * 2]), _beside(scene, ways, touched, broken), others)


def _beside(
    scene: Scene, ways: Sequence[tuple[str, str]], touched: set[tuple[str, ...]], broken: set[str]
) -> tuple[Lane, ...]:
    """Ways that must be whole: between nodes that the fault touches, else between others, else from this machine.

    `touched`: ways that it, or another fault on links, is on; `broken`: nodes that other faults meet.
    """
    near = sorted({name for way in ways for name in way})
    sound = [
        name
        for name in [*near, *sorted(set(scene.nodes) - set(near))]
        if name not in broken and scene.nodes[name].state is State.RUNNING
    ]
    whole = [
        Lane(spot(scene.nodes[one]), spot(scene.nodes[other]))
        for one in sound
        for other in sound
        if one != other and (one, other) not in touched
    ]
    return tuple(whole[:_BESIDE]) or tuple(Lane(HOST, spot(scene.nodes[name])) for name in sound[:_BESIDE])


def untried(asked: str) -> Effect:
    """What a measurement says that could not be made."""
    return Effect(asked, "nothing: no way could be tried", bites=False)
