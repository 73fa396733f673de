"""L15. A chaos test as a person watches it: a line for each thing that happens, and how it stands in between."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import click

from clusterkit.cli.console import is_terminal

if TYPE_CHECKING:
    from clusterkit.trial.run import Case, Tick

_QUIET_EVERY = 5
"""Seconds between two lines where nobody watches a line move."""


class Nobody:
    """For programs that read the result alone."""

    def phase(self, name: str) -> None: ...

    def tell(self, seconds: float, what: str, text: str) -> None: ...

    def tick(self, tick: Tick) -> None: ...


class Lines:
    """Lines on stdout; on a terminal, the last one moves."""

    def __init__(self, case: Case) -> None:
        self._lock = threading.Lock()
        self._moves = is_terminal(sys.stdout)
        self._ticks = 0
        workload = case.workload
        faults = f"{len(case.planned)} fault" + ("" if len(case.planned) == 1 else "s")
        self._say(
            f"{case.scenario.name}: {workload.clients} clients, {workload.kind} on {workload.component} at "
            f"{workload.rate}, {faults} in {case.scenario.time}, --seed {case.seed}"
        )

    def phase(self, name: str) -> None:
        self._say(f"          {name}")

    def tell(self, seconds: float, what: str, text: str) -> None:
        self._say(f"{seconds:7.2f} s  {what:<8}  {text}")

    def tick(self, tick: Tick) -> None:
        self._ticks += 1
        if not self._moves and self._ticks % _QUIET_EVERY:
            return
        leaders = "; ".join(f"{name} led by {' and '.join(nodes) or 'nobody'}" for name, nodes in tick.leaders.items())
        faults = f"{len(tick.faults)} in force" if tick.faults else "no fault"
        text = f"{tick.elapsed_s:5.0f} of {tick.time_s:.0f} s  {tick.ok:4} ok/s  {tick.fail:4} failed/s  "
        text += f"{tick.info:4} unknown/s  {faults}"
        if leaders:
            text += f"  {leaders}"
        with self._lock:
            if self._moves:
                sys.stdout.write(f"\r\x1b[2K{text[:118]}")
                sys.stdout.flush()
            else:
                click.echo(text)

    def _say(self, text: str) -> None:
        with self._lock:
            if self._moves:
                sys.stdout.write("\r\x1b[2K")
            click.echo(text)
