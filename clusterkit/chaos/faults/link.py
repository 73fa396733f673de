"""L9. Links that are slow, lossy, narrow or unreliable: each way by itself, for all traffic or for some ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt
from statistics import median
from typing import Any, ClassVar

from clusterkit import units
from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import EVERYONE, Chosen, Effect, Family, Fault, PortSpec, Scene, Target, names
from clusterkit.chaos.flow import Flow, Lane, flow, untried
from clusterkit.errors import UsageError
from clusterkit.providers.base import NodeRecord
from clusterkit.units import Duration, Percent

_LONGEST_DELAY = 10.0
_SHORTEST_OVERTAKING = 0.005
_FEWEST, _MOST = 400, 1600
"""Packets on all measured ways together: enough to see one in a hundred, few enough for a second."""

_NONE, _OVERTAKING = Duration(0), Duration(0.02)
_SEND_SECONDS = 0.6
_SIZE = 512
_LEAST_RATE = 10_000
_MOST_FLOODED = 10_000_000
"""Bits a second up to which a link is flooded by packets; a wider one is measured by a TCP connection."""

_FLOOD_PACKETS = 40
_HEADERS = 40
_LARGEST = 1400
_PORT = 47_011
"""Where nobody listens, so that the measurement itself does."""


def link_order(
    cluster: str,
    fault: str,
    words: str,
    ways: Sequence[tuple[NodeRecord, NodeRecord]],
    impair: Mapping[str, float | bool],
    *,
    ports: Sequence[PortSpec] = (),
    owner: str = "",
) -> Order:
    """What the agent's kind "link" is to do: packets of each way, (sender, receiver), are impaired.

    `impair`: any of `delay_ms`, `jitter_ms`, `bits_per_second`; `loss`, `duplicate`, `reorder`, `corrupt` as shares of
    1 (a reordered packet leaves out the delay); `reset`. `ports` limits it to packets sent to these ports.
    Raises: UsageError when there is no way, or when nodes cannot be told apart.
    """
    ways = list({(one.name, other.name): (one, other) for one, other in ways if one.name != other.name}.values())
    if not ways:
        raise UsageError(f"{words}: nobody is on the other side", mend="name others with `towards:`")
    owners: dict[str, str] = {}
    for node in (node for way in ways for node in way):
        other = owners.setdefault(node.address, node.name)
        if other != node.name and not ports:
            raise UsageError(
                f"{other} and {node.name} share the address {node.address}: a link cannot tell them apart",
                mend="limit it to ports: ports: [7000/tcp]",
            )
    return Order(
        cluster=cluster,
        fault=fault,
        kind="link",
        words=words,
        nodes=tuple(sorted({node.name for way in ways for node in way})),
        args={
            "ways": [[one.address, other.address] for one, other in ways],
            "names": [[one.name, other.name] for one, other in ways],
            "ids": [one.runtime_id for one, _ in ways],
            "ports": [str(port) for port in ports],
            "impair": dict(impair),
        },
        owner=owner,
    )


@dataclass(frozen=True)
class _Impairing(Fault):
    """What all of them share: ways between two sides, in the ledger as addresses, measured by packets."""

    family: ClassVar[Family] = "link"
    needs: ClassVar[tuple[str, ...]] = ("link",)

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        both_ways: bool = getattr(self, "both_ways", False)
        ports: tuple[PortSpec, ...] = getattr(self, "ports", ())
        there = [(one, other) for one in chosen["target"] for other in chosen["towards"]]
        back = [(other, one) for one, other in there] if both_ways else []
        sides = f"{names(chosen['target'])} {'and' if both_ways else 'to'} {names(chosen['towards'])}"
        only = f", ports {', '.join(str(port) for port in ports)}" if ports else ""
        return link_order(
            scene.cluster, self.name, f"{self.words()}, {sides}{only}", [*there, *back], self.impair(), ports=ports
        )

    def impair(self) -> Mapping[str, float | bool]:
        """As `link_order` takes it."""
        raise NotImplementedError

    def words(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Latency(_Impairing):
    """Delay packets from some nodes to others."""

    name: ClassVar[str] = "latency"
    arguments: ClassVar[tuple[str, ...]] = ("delay",)
    example: ClassVar[str] = "latency 100ms --jitter 20ms --target cache --towards registry"

    delay: Duration
    """How long each packet is held."""
    target: Target
    """The nodes that send."""
    jitter: Duration = _NONE
    """Hold each packet this much longer or shorter, by chance."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Delay what is sent back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        _check_delay(self.delay, 0.001)
        if self.jitter > self.delay:
            raise ValueError(f"jitter: {self.jitter} is more than the delay, {self.delay}; make it smaller")

    def impair(self) -> Mapping[str, float | bool]:
        return {"delay_ms": self.delay.seconds * 1000, "jitter_ms": self.jitter.seconds * 1000}

    def words(self) -> str:
        return f"delay {self.delay}" + (f" ±{self.jitter}" if self.jitter.amount else "")

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        delay, jitter = mark.args["impair"]["delay_ms"], mark.args["impair"]["jitter_ms"]
        asked = f"{delay:g} ms" + (f" ±{jitter:g} ms" if jitter else "")
        ways = flow(scene, mark)
        longest = delay + jitter + max((_delay(ways, lane) for lane in ways.lanes), default=0.0)
        found, beside = ways.send(scene, count=20, interval_ms=10, wait_s=longest / 1000 + 0.15)
        came = [one for one in found if one["delays_ms"]]
        if not came:
            return untried(asked)
        delays = sorted(took for one in came for took in one["delays_ms"])
        others = [took for one in beside for took in one["delays_ms"]]
        calm = median(others) if others else 0.0
        # The median of twenty with a uniform jitter lies within three quarters of it but once in some thousand times.
        least = 0.9 * delay - 0.75 * jitter
        return Effect(
            asked=asked,
            seen=f"{median(delays):.0f} ms ({delays[0]:.0f} to {delays[-1]:.0f})",
            bites=all(median(one["delays_ms"]) - _delay(ways, one["lane"]) >= least for one in came)
            and median(delays) > calm,
            beside=ways.said_beside(f"{calm:.1f} ms"),
            beside_is_well=all(one["delays_ms"] for one in beside) and calm < max(5.0, delay / 4),
            numbers={"delay_ms": median(delays), "least_ms": delays[0], "most_ms": delays[-1], "beside_ms": calm},
        )


@dataclass(frozen=True)
class _Chance(_Impairing):
    """Something that happens to a share of the packets: the share is counted."""

    key: ClassVar[str]
    noun: ClassVar[str]

    def impair(self) -> Mapping[str, float | bool]:
        return {self.key: self.share.fraction}

    def words(self) -> str:
        return f"{self.noun} {self.share}"

    @property
    def share(self) -> Percent:
        raise NotImplementedError

    def counted(self, one: Mapping[str, Any]) -> tuple[int, int]:
        """Of what was measured on a way: to how many packets it happened, and of how many."""
        raise NotImplementedError

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        share: float = mark.args["impair"][self.key]
        ways = flow(scene, mark)
        others = max((self._others(ways, lane) for lane in ways.lanes), default=0.0)
        count = _count(share, len(ways.lanes))
        wait = 0.15 + max((_delay(ways, lane) for lane in ways.lanes), default=0.0) / 1000
        found, beside = ways.send(scene, count=count, interval_ms=1000 * _SEND_SECONDS / count, wait_s=wait, size=_SIZE)
        (seen, sent), (calm, besides) = self._total(found), self._total(beside)
        asked = f"{100 * share:g}%"
        if not sent:
            return untried(asked)
        beside_share = calm / besides if besides else 0.0
        return Effect(
            asked=asked,
            seen=f"{100 * seen / sent:.1f}% of {sent}",
            bites=is_share(seen / sent, share, others, sent) and seen / sent > beside_share,
            beside=ways.said_beside(f"{100 * beside_share:.1f}%"),
            beside_is_well=beside_share <= share / 4,
            numbers={"share": seen / sent, "packets": sent, "beside_share": beside_share},
        )

    def _others(self, ways: Flow, lane: Lane) -> float:
        """The share to which other faults do it."""
        return 1 - prod(1 - float(one.get(self.key, 0)) for one in ways.others(lane))

    def _total(self, found: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        counted = [self.counted(one) for one in found]
        return sum(one for one, _ in counted), sum(of for _, of in counted)


def is_share(seen: float, asked: float, others: float, packets: int) -> bool:
    """Whether a share of packets is what one chance and that of other faults give together, or more.

    Four standard deviations of the binomial below it still count; but it has to be nearer to both together than to
    the others alone.
    """
    both = 1 - (1 - asked) * (1 - others)
    least = both - 4 * sqrt(both * (1 - both) / packets)
    return seen > 0 and seen >= least and (not others or seen >= (both + others) / 2)


@dataclass(frozen=True)
class Loss(_Chance):
    """Lose some of the packets from some nodes to others."""

    name: ClassVar[str] = "loss"
    arguments: ClassVar[tuple[str, ...]] = ("percent",)
    example: ClassVar[str] = "loss 10% --target 'replica of cache'"
    key: ClassVar[str] = "loss"
    noun: ClassVar[str] = "lose"

    percent: Percent
    """How many of the packets."""
    target: Target
    """The nodes that send."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Lose what is sent back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        _check_percent(self.percent)

    @property
    def share(self) -> Percent:
        return self.percent

    def counted(self, one: Mapping[str, Any]) -> tuple[int, int]:
        return max(0, one["sent"] - one["received"] - one["corrupted"]), one["sent"]


@dataclass(frozen=True)
class Duplicate(_Chance):
    """Deliver some of the packets twice."""

    name: ClassVar[str] = "duplicate"
    arguments: ClassVar[tuple[str, ...]] = ("percent",)
    example: ClassVar[str] = "duplicate 20% --target sentinel --towards cache"
    key: ClassVar[str] = "duplicate"
    noun: ClassVar[str] = "duplicate"

    percent: Percent
    """How many of the packets."""
    target: Target
    """The nodes that send."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Duplicate what is sent back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        _check_percent(self.percent)

    @property
    def share(self) -> Percent:
        return self.percent

    def counted(self, one: Mapping[str, Any]) -> tuple[int, int]:
        return one["duplicates"], one["received"]


@dataclass(frozen=True)
class Corrupt(_Chance):
    """Damage some of the packets: one bit of what they carry is turned over.

    Where checksums are on, as they nearly always are, a damaged packet is lost on arrival.
    """

    name: ClassVar[str] = "corrupt"
    arguments: ClassVar[tuple[str, ...]] = ("percent",)
    example: ClassVar[str] = "corrupt 5% --target cache --both-ways"
    key: ClassVar[str] = "corrupt"
    noun: ClassVar[str] = "corrupt"

    percent: Percent
    """How many of the packets."""
    target: Target
    """The nodes that send."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Damage what is sent back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        _check_percent(self.percent)

    @property
    def share(self) -> Percent:
        return self.percent

    def counted(self, one: Mapping[str, Any]) -> tuple[int, int]:
        return one["corrupted"], one["received"] + one["corrupted"]


@dataclass(frozen=True)
class Reorder(_Impairing):
    """Let some packets overtake others: those are held, these are not."""

    name: ClassVar[str] = "reorder"
    arguments: ClassVar[tuple[str, ...]] = ("percent",)
    example: ClassVar[str] = "reorder 25% --delay 20ms --target cache --towards sentinel"

    percent: Percent
    """How many of the packets are not held."""
    target: Target
    """The nodes that send."""
    delay: Duration = _OVERTAKING
    """How long all other packets are held."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Reorder what is sent back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 7946/udp."""

    def __post_init__(self) -> None:
        _check_percent(self.percent)
        _check_delay(self.delay, _SHORTEST_OVERTAKING)
        if self.percent.fraction == 1:
            raise ValueError("percent: where no packet is held none is overtaken; write less than 100%")

    def impair(self) -> Mapping[str, float | bool]:
        return {"reorder": self.percent.fraction, "delay_ms": self.delay.seconds * 1000}

    def words(self) -> str:
        return f"reorder {self.percent} by {self.delay}"

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """How many are held is exact; how many come after a later one depends on how close they follow each other."""
        share, delay = mark.args["impair"]["reorder"], mark.args["impair"]["delay_ms"]
        asked = f"{100 * share:g}% not held for {delay:g} ms"
        ways = flow(scene, mark)
        count = _count(min(share, 1 - share), len(ways.lanes))
        longest = delay + max((_delay(ways, lane) for lane in ways.lanes), default=0.0)
        interval = min(1000 * _SEND_SECONDS / count, delay / 4)
        found, beside = ways.send(scene, count=count, interval_ms=interval, wait_s=longest / 1000 + 0.15)
        received = sum(one["received"] for one in found)
        if not received:
            return untried(asked)
        late = sum(one["reordered"] for one in found) / received
        held = (
            sum(took >= 0.8 * delay + _delay(ways, one["lane"]) for one in found for took in one["delays_ms"])
            / received
        )
        calm = sum(one["reordered"] for one in beside) / max(1, sum(one["received"] for one in beside))
        return Effect(
            asked=asked,
            seen=f"{100 * (1 - held):.1f}% of {received}; {100 * late:.0f}% came after a later one",
            bites=is_share(held, 1 - share, 0, received) and late > calm and late >= min(share, 1 - share) / 2,
            beside=ways.said_beside(f"{100 * calm:.1f}% came after a later one"),
            beside_is_well=calm <= min(share, 1 - share) / 4,
            numbers={"not_held": 1 - held, "overtaken": late, "packets": received, "beside_overtaken": calm},
        )


@dataclass(frozen=True)
class Bandwidth(_Impairing):
    """Let no more than so many bits a second pass from one node to another; each way has as much."""

    name: ClassVar[str] = "bandwidth"
    arguments: ClassVar[tuple[str, ...]] = ("rate",)
    example: ClassVar[str] = "bandwidth 10mbit --target cache --towards registry"

    rate: units.Bandwidth
    """Bits in a second. What does not fit waits a fifth of a second at most, and is lost then."""
    target: Target
    """The nodes that send."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Narrow the way back as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only packets that are sent to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        if self.rate.bits_per_second < _LEAST_RATE:
            raise ValueError(f"rate: {self.rate} holds up a single packet for a second; write 10kbit or more")
        if self.ports and self.rate.bits_per_second > _MOST_FLOODED:
            raise ValueError(
                f"rate: {self.rate} to some ports is more than can be measured; write 10mbit or less, or all ports"
            )

    def impair(self) -> Mapping[str, float | bool]:
        return {"bits_per_second": self.rate.bits_per_second}

    def words(self) -> str:
        return f"let {self.rate} pass"

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        rate = mark.args["impair"]["bits_per_second"]
        ways = flow(scene, mark)
        ways = replace(ways, lanes=ways.lanes[:2], beside=ways.beside[:1])
        seen, calm = (_flooded if rate <= _MOST_FLOODED else _transferred)(scene, ways, rate)
        if not seen:
            return untried(_bits(rate))
        return Effect(
            asked=_bits(rate),
            seen=_bits(max(seen)),
            bites=0 < max(seen) <= 1.3 * rate and all(max(seen) < one / 1.3 for one in calm),
            beside=ways.said_beside(_bits(calm[0])) if calm else "",
            beside_is_well=all(one > 1.5 * rate for one in calm),
            numbers={"bits_per_second": max(seen), "beside_bits_per_second": calm[0] if calm else 0.0},
        )


@dataclass(frozen=True)
class Reset(_Impairing):
    """Reset TCP connections from some nodes to others, new ones and old ones, at the first packet that is sent."""

    name: ClassVar[str] = "reset"
    example: ClassVar[str] = "reset --target api --towards cache --ports 6379/tcp"

    target: Target
    """The nodes that send."""
    towards: Target = EVERYONE
    """The nodes that receive."""
    both_ways: bool = False
    """Reset those that the others open as well."""
    ports: tuple[PortSpec, ...] = ()
    """Only connections to these ports, for example 6379/tcp."""

    def __post_init__(self) -> None:
        for port in self.ports:
            if port.protocol != "tcp":
                raise ValueError(f"ports: {port} has no connections that could be reset; name TCP ports")

    def impair(self) -> Mapping[str, float | bool]:
        return {"reset": True}

    def words(self) -> str:
        return "reset connections"

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """Where all traffic of a way is reset, connections the other way fail too: their answers are."""
        ways = flow(scene, mark)
        longest = max((_delay(ways, lane) for lane in ways.lanes), default=0.0)
        pairs = [[*lane.pair, lane.port.number if lane.port else _PORT] for lane in ways.lanes]
        both = {frozenset(way) for way in mark.args["names"]} if not mark.args["ports"] else set()
        others = [lane for lane in ways.beside if frozenset(lane.way) not in both]
        beside = [[*lane.pair, _PORT] for lane in others]
        found = scene.agent.call("connections", pairs=[*pairs, *beside], wait_s=0.3 + 2 * longest / 1000)
        tried = [one["outcome"] for one in found[: len(pairs)] if not one["trouble"]]
        well = [one["outcome"] == "connected" for one in found[len(pairs) :] if not one["trouble"]]
        was_reset = sum(outcome in ("reset", "refused") for outcome in tried)
        return Effect(
            asked="connections reset",
            seen=f"{was_reset} of {len(tried)} reset",
            bites=0 < was_reset == len(tried),
            beside=f"{sum(well)} of {len(well)} others connected" if well else "",
            beside_is_well=all(well),
            numbers={"reset": was_reset, "tried": len(tried), "others_connected": sum(well)},
        )


def _delay(ways: Flow, lane: Lane) -> float:
    """What other faults hold the packets of a lane, in ms."""
    return sum(float(one.get("delay_ms", 0)) for one in ways.others(lane) if not one.get("reorder"))


def _count(share: float, lanes: int) -> int:
    """Packets on each lane, for a share to be seen."""
    return int(min(_MOST, max(_FEWEST, 60 / share))) // max(1, lanes)


def _transferred(scene: Scene, ways: Flow, _rate: float) -> tuple[list[float], list[float]]:
    """Bits a second of a TCP connection along each way, and along one beside them."""
    found = scene.agent.call("transfer", pairs=[lane.pair for lane in (*ways.lanes, *ways.beside)], seconds=0.4)
    kept = [
        [one["bits_per_second"] for one in some if not one["trouble"]]
        for some in (found[: len(ways.lanes)], found[len(ways.lanes) :])
    ]
    return kept[0], kept[1]


def _flooded(scene: Scene, ways: Flow, rate: float) -> tuple[list[float], list[float]]:
    """Bits a second that arrive on each way, and on one beside them, where twice the rate is sent."""
    size = max(64, min(_LARGEST, int(rate * _SEND_SECONDS / 8 / _FLOOD_PACKETS) - _HEADERS))
    bits = (size + _HEADERS) * 8
    count = int(2 * rate * _SEND_SECONDS / bits) + _FLOOD_PACKETS
    found, beside = ways.send(
        scene,
        count=count,
        interval_ms=1000 * _SEND_SECONDS / count,
        wait_s=0.3 + 12 * bits / rate + max((_delay(ways, lane) for lane in ways.lanes), default=0.0) / 1000,
        size=size,
    )
    # By when they came, not by when they were sent: a busy machine sends more slowly than it was asked to.
    seen, calm = ([_arriving(one, bits) for one in some] for some in (found, beside))
    return seen, calm


def _arriving(one: Mapping[str, Any], bits: float) -> float:
    """Bits a second, from the first packet that came to the last; 0 where fewer than two came."""
    return (one["received"] - 1) * bits / one["span_s"] if one["span_s"] else 0.0


def _bits(rate: float) -> str:
    return str(units.Bandwidth(float(f"{rate:.3g}")))


def _check_percent(percent: Percent) -> None:
    if percent.amount < 0.1:
        raise ValueError(f"percent: {percent} of the packets are too few to be seen; write 0.1% or more")


def _check_delay(delay: Duration, least: float) -> None:
    if not least <= delay.seconds <= _LONGEST_DELAY:
        raise ValueError(
            f"delay: {delay} is out of range; write {Duration(least)} to {Duration(_LONGEST_DELAY)}"
            + (", or cut the link" if delay.seconds > _LONGEST_DELAY else "")
        )
