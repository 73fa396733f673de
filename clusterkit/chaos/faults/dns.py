"""L9. Names: what a node's resolver answers is lost, late or wrong.

Hit are questions that a node asks of the IPv4 resolvers in its /etc/resolv.conf, over UDP and TCP. Not hit are names
in its /etc/hosts, addresses that a program knows or remembers, connections that stand, and a program that goes on
asking from a UDP socket it had before: that one passes by until it was silent for as long as the kernel remembers it.
Of several faults that hit a question of one node, the newest decides.
"""

from __future__ import annotations

import fnmatch
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import Chosen, Effect, Family, Fault, Scene, Target, names, some, spot
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration

_WAIT_S = 0.6
_BESIDE = 3
_SHORTEST, _LONGEST = Duration.parse("20ms"), Duration.parse("20s")
_WAYS = ("udp", "tcp")
_SAID = {"silent": "silence", "wrong": "address", "nxdomain": "NXDOMAIN", "servfail": "SERVFAIL"}


@dataclass(frozen=True)
class _Naming(Fault):
    """What all of them share: questions of nodes for names, asked anew to measure, and once more past the fault."""

    family: ClassVar[Family] = "dns"
    needs: ClassVar[tuple[str, ...]] = ("dns",)
    how: ClassVar[str] = ""
    """The agent's word for it."""

    def order_for(self, scene: Scene, hit: Sequence[NodeRecord], globs: Sequence[str], **args: Any) -> Order:
        wanted = ", ".join(globs) or "any name"
        return Order(
            cluster=scene.cluster,
            fault=self.name,
            kind="dns",
            words=f"{self.name} for {wanted} on {names(hit)}",
            nodes=tuple(node.name for node in hit),
            args={
                "nodes": [spot(node) for node in hit],
                "names": [glob.lower().rstrip(".") for glob in globs],
                "how": self.how,
                "delay_s": 0.0,
                "address": "",
                **args,
            },
        )

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        running = {node.runtime_id: node for node in scene.nodes.values()}
        hit = [(node, _name(scene, node["name"], mark.args["names"])) for node in mark.args["nodes"]]
        hit = [(node, name) for node, name in hit if node["id"] in running]
        beside = _beside(scene, mark)
        found = scene.agent.call("lookups", asks=[*hit, *beside], wait_s=mark.args["delay_s"] + _WAIT_S)
        tried = [one for one in found[: len(hit)] if not one["trouble"]]
        well = [_is_true(one) for one in found[len(hit) :] if not one["trouble"]]
        words = "questions answered truly"
        if not beside:
            well, words = _by_address(scene), "ways by address whole"
        return _effect(mark, tried, len(mark.nodes), well, words)


@dataclass(frozen=True)
class DnsSilent(_Naming):
    """Leave nodes' questions for names without an answer."""

    name: ClassVar[str] = "dns-silent"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "dns-silent api --names 'cache-*' --for 20s"
    how: ClassVar[str] = "silent"

    target: Target
    """The nodes that ask."""
    names: tuple[str, ...] = ()
    """Names that are hit, * and ? stand for anything; none named: all."""

    def __post_init__(self) -> None:
        _check(self.names)

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.order_for(scene, some(chosen["target"], self.target), self.names)


@dataclass(frozen=True)
class DnsSlow(_Naming):
    """Answer nodes' questions for names late."""

    name: ClassVar[str] = "dns-slow"
    arguments: ClassVar[tuple[str, ...]] = ("delay",)
    example: ClassVar[str] = "dns-slow 2s --target api"
    how: ClassVar[str] = "slow"

    delay: Duration
    """How much later than the true answer came."""
    target: Target
    """The nodes that ask."""
    names: tuple[str, ...] = ()
    """Names that are hit, * and ? stand for anything; none named: all."""

    def __post_init__(self) -> None:
        _check(self.names)
        if not _SHORTEST <= self.delay <= _LONGEST:
            raise ValueError(f"delay: {self.delay} cannot be kept; write {_SHORTEST} to {_LONGEST}")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        hit = some(chosen["target"], self.target)
        return self.order_for(scene, hit, self.names, delay_s=self.delay.seconds)


@dataclass(frozen=True)
class DnsWrong(_Naming):
    """Answer nodes' questions for names with a wrong address; IPv6 addresses are not found."""

    name: ClassVar[str] = "dns-wrong"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "dns-wrong api --names cache-1 --address 192.0.2.1"
    how: ClassVar[str] = "wrong"

    target: Target
    """The nodes that ask."""
    names: tuple[str, ...] = ()
    """Names that are hit, * and ? stand for anything; none named: all."""
    address: str = "192.0.2.1"
    """What they are told; 192.0.2.1 is nobody's."""

    def __post_init__(self) -> None:
        _check(self.names)
        try:
            socket.inet_pton(socket.AF_INET, self.address)
        except OSError:
            raise ValueError(f'address: "{self.address}" is no IPv4 address; write it like 192.0.2.1') from None

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.order_for(scene, some(chosen["target"], self.target), self.names, address=self.address)


@dataclass(frozen=True)
class DnsNxdomain(_Naming):
    """Answer nodes' questions for names with NXDOMAIN: there is no such name."""

    name: ClassVar[str] = "dns-nxdomain"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "dns-nxdomain api --names cache-1"
    how: ClassVar[str] = "nxdomain"

    target: Target
    """The nodes that ask."""
    names: tuple[str, ...] = ()
    """Names that are hit, * and ? stand for anything; none named: all."""

    def __post_init__(self) -> None:
        _check(self.names)

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.order_for(scene, some(chosen["target"], self.target), self.names)


@dataclass(frozen=True)
class DnsServfail(_Naming):
    """Answer nodes' questions for names with SERVFAIL: the resolver failed."""

    name: ClassVar[str] = "dns-servfail"
    arguments: ClassVar[tuple[str, ...]] = ("target",)
    example: ClassVar[str] = "dns-servfail zone b"
    how: ClassVar[str] = "servfail"

    target: Target
    """The nodes that ask."""
    names: tuple[str, ...] = ()
    """Names that are hit, * and ? stand for anything; none named: all."""

    def __post_init__(self) -> None:
        _check(self.names)

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        return self.order_for(scene, some(chosen["target"], self.target), self.names)


def _check(globs: Sequence[str]) -> None:
    for glob in globs:
        if not glob.strip(".") or any(mark.isspace() or mark in "/:," for mark in glob):
            raise ValueError(f'names: "{glob}" is not a name; write names like cache-1 or "*.example.com"')


def _name(scene: Scene, node: str, globs: Sequence[str]) -> str:
    """One that is hit: a peer's where one fits, else one made from the first glob."""
    peers = [name for name in sorted(scene.nodes) if name != node] or [node]
    fitting = [name for name in peers if _hits(globs, name)]
    if fitting:
        return fitting[0]
    made = globs[0]
    for mark in "*?[]!":
        made = made.replace(mark, "x")
    return made


def _beside(scene: Scene, mark: Mark) -> list[tuple[dict[str, str], str]]:
    """Nodes that no such fault hits ask for a peer; where all are hit, these ask for a peer that is not.

    Nothing where every name is hit everywhere.
    """
    marks = [mark, *(other for other in scene.agent.marks() if other.kind == "dns" and other.id != mark.id)]
    touched = {node["id"] for one in marks for node in one.args["nodes"]}
    others = [node for node in scene.nodes.values() if node.runtime_id not in touched][:_BESIDE]
    if others:
        return [(spot(node), _name(scene, node.name, ())) for node in others]
    free = [name for name in sorted(scene.nodes) if not any(_hits(one.args["names"], name) for one in marks)]
    return [(spot(node), free[0]) for node in list(scene.nodes.values())[:_BESIDE]] if free else []


def _by_address(scene: Scene) -> list[bool]:
    """Whether nodes still hear each other by address."""
    spots = [spot(node) for node in scene.nodes.values()]
    pairs = [[one, other] for one, other in pairwise(spots)][:_BESIDE]
    found = scene.agent.call("datagrams", pairs=pairs, count=3, interval_ms=5, wait_s=0.1)
    return [one["received"] == one["sent"] for one in found if not one["trouble"]]


def _hits(globs: Sequence[str], name: str) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _is_true(one: Mapping[str, Any]) -> bool:
    """Whether it was answered as it is past all faults."""
    return all(_same(one[way], one[f"true_{way}"]) for way in _WAYS)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["said"] == other["said"] and sorted(one["addresses"]) == sorted(other["addresses"])


def _bites(mark: Mark, one: Mapping[str, Any]) -> bool:
    """Over UDP and TCP alike, and not because the true resolver says so too."""
    delay_ms = mark.args["delay_s"] * 1000
    for way in _WAYS:
        seen, true = one[way], one[f"true_{way}"]
        if mark.args["how"] == "slow":
            hit = _same(seen, true) and seen["said"] != "silence" and seen["took_ms"] - true["took_ms"] > delay_ms * 0.9
        else:
            hit = seen["said"] == _SAID[mark.args["how"]] and not _same(seen, true)
            hit = hit and (not mark.args["address"] or seen["addresses"] == [mark.args["address"]])
        if not hit:
            return False
    return True


def _effect(mark: Mark, tried: Sequence[Mapping[str, Any]], nodes: int, well: Sequence[bool], words: str) -> Effect:
    """Nodes that do not run cannot be measured."""
    how, delay_ms = mark.args["how"], mark.args["delay_s"] * 1000
    later = [one[way]["took_ms"] - one[f"true_{way}"]["took_ms"] for one in tried for way in _WAYS]
    if how == "slow":
        asked = f"answers {Duration.parse(f'{delay_ms:.0f}ms')} later"
        seen = f"{min(later, default=0):.0f} to {max(later, default=0):.0f} ms later"
    else:
        asked = mark.args["address"] or _SAID[how]
        seen = ", ".join(dict.fromkeys(_words(one[way]) for one in tried for way in _WAYS)) or "nothing"
    bites = [_bites(mark, one) for one in tried]
    return Effect(
        asked=asked,
        seen=seen + (f" ({nodes - len(tried)} could not be tried)" if len(tried) < nodes else ""),
        bites=bool(bites) and all(bites),
        beside=f"{sum(well)} of {len(well)} other {words}",
        beside_is_well=all(well),
        numbers={"nodes_hit": sum(bites), "nodes_tried": len(tried), "later_ms": max(later, default=0.0)},
    )


def _words(answer: Mapping[str, Any]) -> str:
    return ", ".join(answer["addresses"]) if answer["addresses"] else answer["said"]
