"""`python -m benchmarks.chaos_test`: what a chaos test of etcd costs clusterkit itself, at several rates.

Memory is the peak of the process that runs the clients, the faults, the checkers and the report. The rate that was
reached is that of all clients together, over the whole time, faults included.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RATES = (100, 500, 2000)
SECONDS = 30
AT_MOST_MB = 150
TOPOLOGY = """\
name: {name}
components:
  registry: {{kind: etcd}}
chaos:
  scenarios:
"""
SCENARIO = """\
    at-{rate}:
      time: {seconds}s
      workload: {{kind: register, component: registry, rate: {rate}/s, clients: {clients}}}
      faults:
        - {{at: 10s, for: 5s, kill: {{target: leader of registry}}}}
"""


def measure() -> list[Mapping[str, Any]]:
    """result.json of one run for each rate, each in a process of its own, on one cluster."""
    with tempfile.TemporaryDirectory() as made:
        name = f"bench{secrets.token_hex(3)}"
        scenarios = [SCENARIO.format(rate=rate, seconds=SECONDS, clients=max(5, rate // 50)) for rate in RATES]
        Path(made, "clusterkit.yml").write_text(TOPOLOGY.format(name=name) + "".join(scenarios))
        try:
            return [_run(made, f"at-{rate}") for rate in RATES]
        finally:
            _clusterkit(made, "down", "--name", name)


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """For docs/benchmarks.md."""
    lines = [
        "## A chaos test",
        "",
        f"etcd, registers, {SECONDS} s, its leader killed once (`python -m benchmarks.chaos_test`). Memory is the",
        f"peak of clusterkit's own process, clients, checkers and report included (at most {AT_MOST_MB} MB).",
        "",
        "| asked | calls a second | verdict | checkers and logs | memory | holds |",
        "|---|---|---|---|---|---|",
    ]
    for rate, one in zip(RATES, results, strict=True):
        reached = one["counts"]["calls"] / one["seconds"]["faults"]
        holds = "yes" if one["memory_mb"] <= AT_MOST_MB else "no"
        lines.append(
            f"| {rate}/s | {reached:.0f} | {one['verdict']} | {one['seconds']['check']:.1f} s "
            f"| {one['memory_mb']} MB | {holds} |"
        )
    return "\n".join([*lines, ""])


def _run(folder: str, scenario: str) -> Mapping[str, Any]:
    done = _clusterkit(folder, "chaos-test", scenario, "--seed", "1", "--keep", "--format", "json")
    found: list[Mapping[str, Any]] = json.loads(done.stdout)
    return found[0]


def _clusterkit(folder: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clusterkit", "-q", *words], cwd=folder, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    print(section(measure()))
