"""L9. Clocks: the wall clock that a node's running processes read jumps, or goes too fast or too slow.

Their monotonic time is untouched, and so are all other nodes and the machine itself. Not reached are programs that
ask the kernel for the time without the vDSO, and sleeps until a moment of the wall clock; a new process of the node
has the true time until the agent finds it, a quarter of a second later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clusterkit.agent.client import Mark, Order
from clusterkit.chaos.base import HOST, Chosen, Effect, Family, Fault, Scene, Target, names, some, spot
from clusterkit.units import Duration, Percent

_SECOND = 10**9
_WHOLE = 1 << 32
"""The agent's rate of 100 %."""
_BESIDE = 3
_CLOSE_S = 0.005
_CLOSE_RATE = 50e-6
_WAIT_S = 1.5
_WINDOW_S = 0.5
_SHORTEST, _LONGEST = Duration.parse("20ms"), Duration.parse("87600h")
_SLIGHTEST = Percent.parse("0.01%")


@dataclass(frozen=True)
class _Skewing(Fault):
    """What both share: an offset or a rate for each node, measured by processes that join the nodes."""

    family: ClassVar[Family] = "clock"
    needs: ClassVar[tuple[str, ...]] = ("clock",)

    def measure(self, scene: Scene, mark: Mark) -> Effect:
        """Other clock faults on the same nodes are known from the ledger and taken off what is seen."""
        running = {node.runtime_id: node for node in scene.nodes.values()}
        others = [other for other in scene.agent.marks() if other.kind == "clock" and other.id != mark.id]
        touched = {node["id"] for one in (mark, *others) for node in one.args["nodes"]}
        hit = [node for node in mark.args["nodes"] if node["id"] in running]
        beside = [spot(node) for node in running.values() if node.runtime_id not in touched][:_BESIDE] or [HOST]
        rate = mark.args["rate"] / _WHOLE
        found = scene.agent.call(
            "clocks", nodes=[*hit, *beside], hit=len(hit), wait_s=_WAIT_S, window_s=_WINDOW_S if rate else 0
        )
        tried = [
            (_own_drift if rate else _own_offset)(reading, node, others)
            for reading, node in zip(found, hit, strict=False)
            if not reading["trouble"]
        ]
        whole = [reading for reading in found[len(hit) :] if not reading["trouble"]]
        off = max((abs(reading["offset_ns"]) / _SECOND for reading in whole), default=0.0)
        monotonic = max((reading["monotonic_ns"] / _SECOND for reading in found), default=0.0)
        asked = rate or mark.args["offset_ns"] / _SECOND
        return _effect(asked, tried, len(mark.nodes), beside[0]["name"], off, monotonic, is_rate=bool(rate))


@dataclass(frozen=True)
class ClockJump(_Skewing):
    """Set the clocks of nodes forward, or back."""

    name: ClassVar[str] = "clock-jump"
    arguments: ClassVar[tuple[str, ...]] = ("by",)
    example: ClassVar[str] = "clock-jump 30s --back --target cache-1 --for 20s"

    by: Duration
    """How far, for example 1h."""
    target: Target
    """The nodes whose clocks jump."""
    back: bool = False
    """Back in time."""

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.by <= _LONGEST:
            raise ValueError(f"by: {self.by} is no jump that can be made; write {_SHORTEST} to {_LONGEST}")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        hit = some(chosen["target"], self.target)
        offset = round(self.by.seconds * _SECOND)
        return Order(
            cluster=scene.cluster,
            fault=self.name,
            kind="clock",
            words=f"set the clock of {names(hit)} {'back' if self.back else 'forward'} by {self.by}",
            nodes=tuple(node.name for node in hit),
            args={"nodes": [spot(node) for node in hit], "offset_ns": -offset if self.back else offset, "rate": 0},
        )


@dataclass(frozen=True)
class ClockDrift(_Skewing):
    """Let the clocks of nodes go too fast, or too slow; they go on from the true time."""

    name: ClassVar[str] = "clock-drift"
    arguments: ClassVar[tuple[str, ...]] = ("rate",)
    example: ClassVar[str] = 'clock-drift 5% --slow --target "zone a"'

    rate: Percent
    """By how much, for example 1%: ten milliseconds more each second."""
    target: Target
    """The nodes whose clocks drift."""
    slow: bool = False
    """Too slow; a clock that is too slow by 100% stands still."""

    def __post_init__(self) -> None:
        if self.rate < _SLIGHTEST:
            raise ValueError(f"rate: {self.rate} is too slight to be measured; write {_SLIGHTEST} or more")

    def order(self, scene: Scene, chosen: Chosen) -> Order:
        hit = some(chosen["target"], self.target)
        rate = round(self.rate.fraction * _WHOLE)
        return Order(
            cluster=scene.cluster,
            fault=self.name,
            kind="clock",
            words=f"let the clock of {names(hit)} go {'slow' if self.slow else 'fast'} by {self.rate}",
            nodes=tuple(node.name for node in hit),
            args={"nodes": [spot(node) for node in hit], "offset_ns": 0, "rate": -rate if self.slow else rate},
        )


def _own_offset(reading: Mapping[str, Any], node: Mapping[str, str], others: Sequence[Mark]) -> float:
    """Seconds by which the clock is off, less what other faults do to it."""
    seen: float = reading["offset_ns"]
    for other in _on(node, others):
        seen -= other.args["offset_ns"]
        seen -= other.args["rate"] / _WHOLE * (reading["wall_ns"] - other.before["base_ns"])
    return seen / _SECOND


def _own_drift(reading: Mapping[str, Any], node: Mapping[str, str], others: Sequence[Mark]) -> float:
    """Seconds a second, less what other faults do."""
    drift: float = reading["drift"]
    for other in _on(node, others):
        drift -= other.args["rate"] / _WHOLE
    return drift


def _on(node: Mapping[str, str], others: Sequence[Mark]) -> list[Mark]:
    return [other for other in others if node["id"] in (one["id"] for one in other.args["nodes"])]


def _effect(
    asked: float, seen: Sequence[float], nodes: int, beside: str, off_s: float, monotonic_s: float, *, is_rate: bool
) -> Effect:
    """`asked` and `seen` in seconds, or in seconds a second. Nodes that do not run cannot be measured."""
    say, close, unit = (_percent, _CLOSE_RATE, "drift_ratio") if is_rate else (_signed, _CLOSE_S, "offset_s")
    close = max(close, abs(asked) / 100)
    texts = list(dict.fromkeys(say(one) for one in seen)) or ["nothing"]
    return Effect(
        asked=say(asked),
        seen=", ".join(texts) + (f" ({nodes - len(seen)} could not be tried)" if len(seen) < nodes else ""),
        bites=bool(seen) and all(abs(one - asked) < close for one in seen),
        beside=f"{beside} {_signed(off_s)}, monotonic time {_signed(monotonic_s)}",
        beside_is_well=off_s < _CLOSE_S and monotonic_s < _CLOSE_S,
        numbers={unit: sum(seen) / len(seen) if seen else 0.0, "beside_offset_s": off_s, "monotonic_s": monotonic_s},
    )


def _signed(seconds: float) -> str:
    """With its sign, in whole milliseconds."""
    rounded = Duration(round(abs(seconds), 3))
    return ("-" if seconds < 0 and rounded.seconds else "+") + (str(rounded) if rounded.seconds else "0s")


def _percent(ratio: float) -> str:
    return f"{ratio * 100:+.3f}%"
