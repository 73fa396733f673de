"""One cluster that is brought up and down by clusterkit and by docker-compose in turn."""

from __future__ import annotations

import os
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import compose, report
from clusterkit import __version__
from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned, wait_healthy
from clusterkit.journal import Journal
from clusterkit.paths import state
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_stats import parse

ROOT = Path(__file__).resolve().parents[1]
CLUSTERKIT = str(Path(sys.executable).with_name("clusterkit"))
READY_SECONDS = 60.0
NINE = """\
name: {name}
components:
  registry: {{kind: etcd}}
  cache: {{kind: redis}}
  sentinel: {{kind: redis-sentinel, watches: cache}}
"""


class Bench:
    """One cluster under a fresh name, brought up and down by clusterkit and by its peer in turn."""

    def __init__(self, folder: Path, topology: str = NINE) -> None:
        self.folder = folder
        self.name = f"bench-{secrets.token_hex(3)}"
        self.file = folder / "clusterkit.yml"
        self.file.write_text(topology.format(name=self.name))
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
        record = self.record()
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

    def memory(self) -> dict[str, float]:
        """Component -> bytes that one of its nodes uses on average, without page cache; by name."""
        client = self.provider.client
        used: dict[str, list[float]] = {}
        for node in client.containers(filters={"label": [f"clusterkit.cluster={self.name}", "clusterkit.component"]}):
            each = used.setdefault(node["Labels"]["clusterkit.component"], [])
            each.append(parse(client.stats(node["Id"], stream=False)).memory_bytes)
        return {component: statistics.mean(used[component]) for component in sorted(used)}

    def record(self) -> ClusterRecord:
        """Of the cluster, which is up."""
        record = self.provider.find(self.name)
        assert record is not None
        return record

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


def run(*argv: str, folder: Path = ROOT) -> None:
    """Raises: SystemExit, with what the program said. Python may keep its bytecode, as it does for users."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")


def say(text: str) -> None:
    """How far it is, on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
