"""L9, pure. Scenario and seed -> what is made when. The same ones give the same schedule on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from clusterkit.chaos.base import Fault
from clusterkit.chaos.fields import typed
from clusterkit.chaos.scenario import Scenario, Step


@dataclass(frozen=True)
class Planned:
    """One fault at its time, in seconds from the start. `end_s` None: it ends by itself (a restart).

    `seed` is that of its own chance (which node `one of cache` is); `stagger_s` is the pause between its nodes.
    """

    start_s: float
    end_s: float | None
    fault: Fault
    seed: str
    stagger_s: float = 0.0


def schedule(scenario: Scenario, seed: int) -> tuple[Planned, ...]:
    """In the order of their starts; what would begin when the scenario is over is left out."""
    found = [
        planned
        for index, step in enumerate(scenario.steps)
        for planned in _of(step, scenario.time.seconds, seed, index)
    ]
    return tuple(sorted(found, key=lambda planned: planned.start_s))


def lines(planned: Sequence[Planned]) -> Iterator[str]:
    """For people: "  15.0 s to  23.0 s  kill leader of registry"."""
    for one in planned:
        until = f"to {one.end_s:6.1f} s" if one.end_s is not None else " " * 11
        stagger = f"  (one node every {one.stagger_s:g} s)" if one.stagger_s else ""
        yield f"{one.start_s:6.1f} s {until}  {typed(one.fault)}{stagger}"


def _of(step: Step, time_s: float, seed: int, index: int) -> Iterator[Planned]:
    for turn, start in enumerate(_starts(step, time_s)):
        own = step.seed or f"{seed}/{index}/{turn}"
        chance = Random(own)
        if step.jitter is not None:
            start += chance.uniform(0, step.jitter.seconds)  # noqa: PLW2901 - the same start, put off
        fault = chance.choice(step.choices)
        if round(start, 3) >= time_s:  # as it is written, it would be refused when it is read again
            continue
        end = time_s if step.lasts is None else min(time_s, start + step.lasts.seconds)
        yield Planned(
            start_s=round(start, 3),
            end_s=round(end, 3) if fault.is_lasting else None,
            fault=fault,
            seed=own,
            stagger_s=step.stagger.seconds if step.stagger else 0.0,
        )


def _starts(step: Step, time_s: float) -> Iterator[float]:
    if step.every is None:
        yield step.at.seconds if step.at else 0.0
        return
    first = step.at.seconds if step.at else step.every.seconds
    for turn in count():
        start = first + turn * step.every.seconds
        if start >= time_s or (step.times is not None and turn >= step.times):
            return
        yield start
