"""L5. What an impaired link does to packets: which are lost, damaged, sent twice, and when the others arrive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from .kind import Refused

LONGEST_QUEUE = 0.2
"""Seconds that a packet may wait for a narrow link; where it would wait longer it is dropped."""

SHORTEST_QUEUE = 10
"""Packets that may wait however narrow the link is."""


@dataclass(frozen=True)
class Impair:
    """One fault on one way, with the fields of an order; `loss`, `duplicate`, `reorder`, `corrupt` are shares of 1.

    A reordered packet leaves out the delay, and so overtakes others, as netem has it. Jitter is uniform, to both sides
    of the delay. `reset`: TCP segments are answered with a reset.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    bits_per_second: float = 0.0
    reset: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Impair:
        """Raises: Refused for what makes no sense."""
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown or not given:
            raise Refused(f"a link cannot be impaired by {sorted(unknown) or 'nothing'}")
        made = cls(**given)
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(made, name) <= 1:
                raise Refused(f"{name}: {getattr(made, name):g} is no share", "name a share from 0 to 100%")
        for name in ("delay_ms", "jitter_ms", "bits_per_second"):
            if not 0 <= getattr(made, name) < math.inf:
                raise Refused(f"{name}: {getattr(made, name):g} is out of range", "name a positive number")
        if made.jitter_ms > made.delay_ms:
            raise Refused(
                f"a jitter of {made.jitter_ms:g} ms around a delay of {made.delay_ms:g} ms: some packets would come "
                "before they were sent",
                "make the delay at least as long as the jitter",
            )
        if made.reorder and not made.delay_ms:
            raise Refused("packets are reordered by leaving out the delay, and there is none", "add a delay")
        return made

    @property
    def is_delay_alone(self) -> bool:
        """Whether packets may be held as the large segments that the kernel makes, several packets in one."""
        return not (self.loss or self.duplicate or self.reorder or self.corrupt or self.bits_per_second or self.reset)


def combined(impairs: Iterable[Impair]) -> Impair:
    """Several on one way as one: delays and jitters add, chances combine, the narrowest counts."""
    impairs = list(impairs)
    rates = [one.bits_per_second for one in impairs if one.bits_per_second]
    return Impair(
        delay_ms=sum(one.delay_ms for one in impairs),
        jitter_ms=sum(one.jitter_ms for one in impairs),
        loss=_any(one.loss for one in impairs),
        duplicate=_any(one.duplicate for one in impairs),
        reorder=_any(one.reorder for one in impairs),
        corrupt=_any(one.corrupt for one in impairs),
        bits_per_second=min(rates, default=0.0),
        reset=any(one.reset for one in impairs),
    )


def _any(chances: Iterable[float]) -> float:
    """That at least one of several independent things happens."""
    return 1 - math.prod(1 - chance for chance in chances)


@dataclass(frozen=True)
class Fate:
    """What becomes of a packet that is not lost: `due` is the time at which it goes on; `copies` go with it."""

    due: float
    copies: int = 0
    is_damaged: bool = False


class Part:
    """One fault on one way, and until when the narrow link is busy with what it has taken."""

    def __init__(self, impair: Impair) -> None:
        self.impair = impair
        self._busy_until = 0.0

    def admit(self, at: float, size: int) -> float | None:
        """When the last bit of a packet of `size` bytes is through; None: the queue is full."""
        took = size * 8 / self.impair.bits_per_second
        begun = max(self._busy_until, at)
        if begun - at > max(LONGEST_QUEUE, SHORTEST_QUEUE * took):
            return None
        self._busy_until = begun + took
        return self._busy_until

    def hold(self, random: Random) -> float:
        """Seconds."""
        impair = self.impair
        if impair.reorder and random.random() < impair.reorder:
            return 0.0
        if impair.jitter_ms:
            return (impair.delay_ms + random.uniform(-impair.jitter_ms, impair.jitter_ms)) / 1000
        return impair.delay_ms / 1000


def fate(parts: Sequence[Part], size: int, now: float, random: Random) -> Fate | None:
    """A packet of `size` bytes passes all parts of its way, one after the other. None: it is lost."""
    due, copies, is_damaged = now, 0, False
    for part in parts:
        impair = part.impair
        if impair.loss and random.random() < impair.loss:
            return None
        if impair.duplicate and random.random() < impair.duplicate:
            copies += 1
        if impair.corrupt and random.random() < impair.corrupt:
            is_damaged = True
        if impair.bits_per_second:
            through = part.admit(due, size)
            if through is None:
                return None
            due = through
        due += part.hold(random)
    return Fate(due, copies, is_damaged)
