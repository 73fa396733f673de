"""`python -m benchmarks.size`: what a cluster costs as it grows: 9, 18 and 36 nodes, beside docker-compose.

Each size has as many sets of etcd, Redis and Sentinel (three of each) as it needs. Seconds are medians of three, taken
in turn; memory is that of the nodes' processes without page cache, when all is healthy.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import CLUSTERKIT, Bench, run

SETS = (1, 2, 4)
RUNS = 3
SET = """\
  registry{n}: {{{{kind: etcd}}}}
  cache{n}: {{{{kind: redis}}}}
  sentinel{n}: {{{{kind: redis-sentinel, watches: cache{n}}}}}
"""


@dataclass(frozen=True)
class Row:
    """Seconds of ours and, where it is there, of the peer; bytes of memory of an average node."""

    nodes: int
    up: float
    again: float
    down: float
    peer_up: float | None
    peer_down: float | None
    memory_bytes: float


def measure() -> list[Row]:
    """One row for each size."""
    return [_row(sets) for sets in SETS]


def section(rows: Sequence[Row]) -> str:
    """For docs/benchmarks.md."""
    lines = [
        "## Nine, eighteen, thirty-six nodes",
        "",
        "Sets of etcd, Redis and Sentinel, three of each (`python -m benchmarks.size`). Seconds, medians of three, in",
        "brackets docker-compose on the same images, waiting for the same health; memory of an average node, without",
        "page cache.",
        "",
        "| nodes | warm `up` | `up` with nothing to do | `down` | memory of a node |",
        "|---|---|---|---|---|",
        *(
            f"| {row.nodes} | {row.up:.1f}{_beside(row.peer_up)} | {row.again:.2f} "
            f"| {row.down:.1f}{_beside(row.peer_down)} | {row.memory_bytes / 2**20:.1f} MB |"
            for row in rows
        ),
        "",
    ]
    return "\n".join(lines)


def _beside(seconds: float | None) -> str:
    return "" if seconds is None else f" ({seconds:.1f})"


def _row(sets: int) -> Row:
    topology = "name: {name}\ncomponents:\n" + "".join(SET.format(n=number) for number in range(1, sets + 1))
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made), topology)
        try:
            bench.prepare()
            for _ in range(RUNS):
                bench.warm()
            run(CLUSTERKIT, "up", folder=bench.folder)
            memory = statistics.mean(bench.memory().values())
        finally:
            bench.clean()
    ours, peer = bench.figures.ours, bench.figures.peer
    return Row(
        9 * sets,
        statistics.median(ours["up"]),
        statistics.median(ours["again"]),
        statistics.median(ours["down"]),
        statistics.median(peer["up"]) if peer else None,
        statistics.median(peer["down"]) if peer else None,
        memory,
    )


if __name__ == "__main__":
    print(section(measure()))
