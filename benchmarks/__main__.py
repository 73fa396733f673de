"""`python -m benchmarks`: measures, prints, writes docs/benchmarks.md. Removes its cluster whatever happens."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import chaos_test, compose, edits, partition, report
from clusterkit import __version__
from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned, wait_healthy
from clusterkit.journal import Journal
from clusterkit.paths import state
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord
from clusterkit.providers.docker import DockerProvider

ROOT = Path(__file__).resolve().parents[1]
CLUSTERKIT = str(Path(sys.executable).with_name("clusterkit"))
READY_SECONDS = 60.0
TOPOLOGY = """\
name: {name}
components:
  registry: {{kind: etcd}}
  cache: {{kind: redis}}
  sentinel: {{kind: redis-sentinel, watches: cache}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of everything but the first up (default 5)")
    parser.add_argument("--cold-runs", type=int, default=5, help="of the first up; removes our images (default 5)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made))
        try:
            for turn in range(asked.cold_runs):
                say(f"first up, {turn + 1} of {asked.cold_runs}")
                bench.first()
            bench.prepare()
            for turn in range(asked.runs):
                say(f"warm, {turn + 1} of {asked.runs}")
                bench.warm()
                bench.chaos()
        finally:
            bench.clean()
        say("a partition in three ways")
        ways = partition.measure(asked.runs)
        say("chaos tests at three rates")
        tests = chaos_test.measure()
        say("ten edits of a running topology")
        edited = edits.section(*edits.measure())
    written = "\n".join(
        [report.text(bench.figures, bench.versions()), partition.section(ways), chaos_test.section(tests), edited]
    )
    asked.output.write_text(written)
    print(written)
    return 0


class Bench:
    """One cluster under a fresh name, brought up and down by clusterkit and by its peer in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"bench-{secrets.token_hex(3)}"
        self.file = folder / "clusterkit.yml"
        self.file.write_text(TOPOLOGY.format(name=self.name))
        self.figures = report.Figures()
        self.provider = DockerProvider()
        self.site = Site(self.provider, Journal(), state(self.file, self.name))
        self.peer = compose.program()
        self.peer_file = folder / "docker-compose.yml"
        self.plan: Plan | None = None

    def first(self) -> None:
        run(str(ROOT / "scripts" / "cold"))
        self._ours("first", "up")
        run(CLUSTERKIT, "down", folder=self.folder)

    def prepare(self) -> None:
        """Images are there afterwards; the plan and the Compose file come from what ran."""
        run(CLUSTERKIT, "up", folder=self.folder)
        topology, registry = read_topology(self.file, folder=self.folder, environ=os.environ)
        record = self._record()
        self.plan = planned(self.site, topology, registry, record)
        compose.write(self.folder, self.plan, self.provider, record)
        run(CLUSTERKIT, "down", folder=self.folder)

    def warm(self) -> None:
        """Each once: the quick commands, ours up, again and down, the peer's up and down."""
        self._ours("help", "--help")
        self._ours("validate", "validate")
        self._ours("up", "up")
        self._ours("again", "up")
        self._ours("down", "down")
        if self.peer:
            begun = time.monotonic()
            self._compose("up", "-d")
            self._wait()
            self.figures.peer.setdefault("up", []).append(time.monotonic() - begun)
            begun = time.monotonic()
            self._compose("down", "-t", "0", "-v")
            self.figures.peer.setdefault("down", []).append(time.monotonic() - begun)

    def chaos(self) -> None:
        """A partition and its healing from the command line, on a cluster whose agent runs."""
        run(CLUSTERKIT, "up", folder=self.folder)
        run(CLUSTERKIT, "chaos", "list", folder=self.folder)
        self._ours("partition", "chaos", "partition", "halves")
        self._ours("heal", "chaos", "heal")
        run(CLUSTERKIT, "down", folder=self.folder)

    def clean(self) -> None:
        """A peer's half-made cluster carries the same labels, so that our own `down` takes both."""
        run(CLUSTERKIT, "down", folder=self.folder)
        self.provider.client.close()

    def versions(self) -> dict[str, str]:
        found = {"clusterkit": __version__, "engine": DockerProvider().client.version()["Version"]}
        return found | ({"peer": f"docker-compose {compose.version(self.peer)}"} if self.peer else {})

    def _ours(self, name: str, *words: str) -> None:
        begun = time.monotonic()
        run(CLUSTERKIT, *words, folder=self.folder)
        self.figures.ours.setdefault(name, []).append(time.monotonic() - begun)

    def _compose(self, *words: str) -> None:
        run(*self.peer, "-p", self.name, "-f", str(self.peer_file), *words, folder=self.folder)

    def _wait(self) -> None:
        assert self.plan is not None
        for component in self.plan.order:
            wait_healthy(self.site, self.plan, component, READY_SECONDS)

    def _record(self) -> ClusterRecord:
        record = self.provider.find(self.name)
        assert record is not None
        return record


def run(*argv: str, folder: Path = ROOT) -> None:
    """Raises: SystemExit, with what the program said. Python may keep its bytecode, as it does for users."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
