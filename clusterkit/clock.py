"""L0. The one monotonic clock, and a wait with a deadline; both replaceable in tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Monotonic seconds and nanoseconds, the wall clock in ns since 1970, and sleep in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    wall_ns: Callable[[], int] = time.time_ns
    sleep: Callable[[float], None] = time.sleep


SYSTEM = Clock()


class Deadline:
    """A moment in the future on a clock; `left` never goes below 0."""

    def __init__(self, seconds: float, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._end = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return max(0.0, self._end - self._clock.monotonic())

    @property
    def is_over(self) -> bool:
        return self.left == 0.0
