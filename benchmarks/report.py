"""Figures -> docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

HEAD = """\
# Benchmarks

Written by `make bench`. Seconds; the median of the runs, and in brackets the shortest and the longest. All figures
are of one run, in which clusterkit and its peer take turns on the same images, files, addresses and volumes, and wait
for the same readiness, judged by the same code. The peer starts everything at once; clusterkit starts a component when
those it depends on are healthy. `down` removes the data on both sides (`docker-compose down -t 0 -v`); clusterkit
archives the logs first. Differences under 30 % may be noise on a busy machine.
"""


@dataclass(frozen=True)
class Bound:
    """A row of the table: what is measured, and the most it may take, in seconds or as a multiple of the peer."""

    name: str
    what: str
    seconds: float | None = None
    of_peer: float | None = None


BOUNDS = (
    Bound("help", "`clusterkit --help`", seconds=0.25),
    Bound("validate", "`clusterkit validate`", seconds=0.25),
    Bound("up", "warm `up` of 9 nodes (etcd, redis, sentinel), to healthy", of_peer=1.25),
    Bound("down", "`down` of the same", of_peer=1.1),
    Bound("again", "`up` with nothing to do", seconds=0.7),
    Bound(
        "partition", "`clusterkit chaos partition halves` over the same, start-up and measurement included", seconds=0.4
    ),
    Bound("heal", "`clusterkit chaos heal`", seconds=0.4),
    Bound("first", "first `up` of the same, all images built", seconds=60),
)


@dataclass
class Figures:
    """Seconds of each run, by the names of BOUNDS."""

    ours: dict[str, list[float]] = field(default_factory=dict)
    peer: dict[str, list[float]] = field(default_factory=dict)


def text(figures: Figures, versions: Mapping[str, str]) -> str:
    rows = ["| what | clusterkit | peer | at most | holds |", "|---|---|---|---|---|"]
    for bound in BOUNDS:
        if bound.name in figures.ours:
            rows.append(_row(bound, figures.ours[bound.name], figures.peer.get(bound.name, [])))
    facts = [f"| {name} | {value} |" for name, value in {**_machine(), **versions}.items()]
    return "\n".join([HEAD, *rows, "", "| measured | |", "|---|---|", *facts, ""])


def _row(bound: Bound, ours: Sequence[float], peer: Sequence[float]) -> str:
    mine = statistics.median(ours)
    if bound.of_peer is not None:
        most = f"{bound.of_peer} x peer"
        holds = f"{'yes' if mine <= bound.of_peer * statistics.median(peer) else 'no'}, " if peer else "no peer here"
        holds += f"{mine / statistics.median(peer):.2f} x" if peer else ""
    else:
        most = f"{bound.seconds:g} s"
        holds = "yes" if bound.seconds is not None and mine <= bound.seconds else "no"
    return f"| {bound.what} | {_spread(ours)} | {_spread(peer) if peer else '-'} | {most} | {holds} |"


def _spread(seconds: Sequence[float]) -> str:
    if len(seconds) == 1:
        return f"{seconds[0]:.2f} (one run)"
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} runs)"


def _machine() -> dict[str, str]:
    processor, memory = platform.machine(), 0.0
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cpus ({processor}), {memory:.0f} GB, {platform.system()} {platform.release()}",
        "load at the end": f"{os.getloadavg()[1]:.1f} (average of 5 minutes; the measuring itself makes about 1)",
        "Python": platform.python_version(),
    }
