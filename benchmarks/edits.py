"""`python -m benchmarks.edits`: ten edits of a running topology, while clients write all the time.

For each: what `up --dry-run` announced, what `up` did, how long it took, the longest time without an acknowledged
write, and the writes that failed. At the end every acknowledged write is read back.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, compare, planned
from clusterkit.components.base import Running
from clusterkit.components.conditions import UNREACHABLE
from clusterkit.components.redis_client import connect
from clusterkit.errors import ClusterkitError
from clusterkit.health import view
from clusterkit.journal import Journal
from clusterkit.paths import state
from clusterkit.providers.docker import DockerProvider

PAUSE = 0.02
"""Seconds between two writes of a client."""

PROGRAM = """\
import http.server
import os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["HOSTNAME"].encode())

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
"""

Topology = dict[str, Any]


def topology(name: str) -> Topology:
    """The topology before the first edit."""
    return {
        "name": name,
        "components": {
            "registry": {"kind": "etcd"},
            "cache": {"kind": "redis", "cpus": 0.8},
            "sentinel": {"kind": "redis-sentinel", "watches": "cache"},
            "api": {
                "kind": "service",
                "command": ["python3", "/srv/app/api.py"],
                "mounts": ["./app:/srv/app:ro"],
                "ports": {"http": 8080},
                "environment": {"PORT": "8080", "ETCD": "{{ components.registry.endpoints }}"},
            },
        },
    }


def _option(components: Topology) -> None:
    components["cache"]["appendfsync"] = "always"


def _version(components: Topology) -> None:
    components["registry"]["image"] = OTHER_IMAGE


def _port(components: Topology) -> None:
    components["api"]["ports"] = {"http": 8081}
    components["api"]["environment"]["PORT"] = "8081"


def _replicas(components: Topology) -> None:
    components["registry"]["replicas"] = 5


def _new(components: Topology) -> None:
    components["queue"] = {"kind": "redis"}


def _removed(components: Topology) -> None:
    del components["queue"]


def _renamed(components: Topology) -> None:
    components["web"] = components.pop("api")


def _zones(components: Topology) -> None:
    components["cache"]["zones"] = ["c", "a", "b"]


def _limits(components: Topology) -> None:
    components["cache"]["cpus"] = 0.9


def _dependency(components: Topology) -> None:
    components["web"]["depends_on"] = ["cache"]


EDITS: Mapping[str, Callable[[Topology], None]] = {
    "option (cache: `appendfsync: always`)": _option,
    "version (registry: another `image:`)": _version,
    "port (api: 8080 -> 8081)": _port,
    "replicas (registry: 3 -> 5)": _replicas,
    "new component (queue)": _new,
    "removed component (queue)": _removed,
    "renamed (api -> web)": _renamed,
    "zones (cache: a b c -> c a b)": _zones,
    "limits (cache: `cpus` 0.8 -> 0.9)": _limits,
    "dependency (web: `depends_on: [cache]`)": _dependency,
}
OTHER_IMAGE = "clusterkit-bench/etcd:other"


@dataclass
class Writer:
    """One client that adds a key after another, through any node that takes it, for as long as it is asked to."""

    find: Callable[[], Running]
    write: Callable[[Running, str], None]
    acknowledged: list[str] = field(default_factory=list)
    failed: int = 0
    longest: float = 0.0
    _last: float = 0.0

    def run(self, stop: threading.Event) -> None:
        running = self.find()
        number = 0
        self.begin()
        while not stop.is_set():
            number += 1
            key = f"edit-{number}"
            try:
                self.write(running, key)
            except (*UNREACHABLE, KeyError):
                self.failed += 1
                running = self.find()
                continue
            now = time.monotonic()
            self.longest, self._last = max(self.longest, now - self._last), now
            self.acknowledged.append(key)
            time.sleep(PAUSE)

    def begin(self) -> None:
        """An edit begins: its figures are its own."""
        self.failed, self.longest, self._last = 0, 0.0, time.monotonic()


@dataclass(frozen=True)
class Row:
    """What was seen of one edit. `gaps`: component -> longest seconds without an acknowledged write."""

    edit: str
    announced: str
    done: str
    seconds: float
    gaps: Mapping[str, float]
    failed: Mapping[str, int]


class Bench:
    """One cluster in a folder of its own, and how to find it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "clusterkit.yml"
        self.name = f"bench{secrets.token_hex(3)}"
        self.written = topology(self.name)
        (folder / "app").mkdir()
        (folder / "app" / "api.py").write_text(PROGRAM)
        self.provider = DockerProvider()
        self.save()

    def save(self) -> None:
        import yaml

        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.written, sort_keys=False))
        fresh.replace(self.file)

    def running(self, component: str) -> Running:
        """What runs now, waiting for the moment in which that can be said."""
        read, registry = read_topology(self.file, folder=self.folder, environ=os.environ)
        provider = DockerProvider()
        site = Site(provider, Journal(), state(self.file, self.name))
        record = provider.find(self.name)
        assert record is not None
        return view.running(planned(site, read, registry, record), provider, record, component, timeout=1.0)

    def announced(self) -> str:
        read, registry = read_topology(self.file, folder=self.folder, environ=os.environ)
        site = Site(self.provider, Journal(), state(self.file, self.name))
        return _counted([change.action for change in compare(site, read, registry).changes])

    def up(self) -> tuple[str, float]:
        begun = time.monotonic()
        ended = _clusterkit(self.folder, "up")
        return ended.stdout.strip().partition("healthy, ")[2] or "nothing to do", time.monotonic() - begun


def measure() -> tuple[list[Row], dict[str, tuple[int, int]]]:
    """A row for each edit; and component -> (acknowledged writes, those that were lost)."""
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made))
        try:
            bench.up()
            image = bench.provider.client.inspect_container(f"clusterkit-{bench.name}-registry-1")["Image"]
            repository, _, tag = OTHER_IMAGE.partition(":")
            bench.provider.client.tag(image, repository, tag)
            etcd = Writer(lambda: _found(bench, "registry"), _write_etcd)
            redis = Writer(lambda: _found(bench, "sentinel"), _write_redis)
            writers = {"etcd": etcd, "redis": redis}
            rows = []
            with _writing(list(writers.values())):
                for edit, change in EDITS.items():
                    print(f"{edit} ...", file=sys.stderr, flush=True)
                    change(bench.written["components"])
                    bench.save()
                    announced = bench.announced()
                    for writer in writers.values():
                        writer.begin()
                    done, seconds = bench.up()
                    time.sleep(1)
                    gaps = {name: writer.longest for name, writer in writers.items()}
                    failed = {name: writer.failed for name, writer in writers.items()}
                    rows.append(Row(edit, announced, done, seconds, gaps, failed))
            lost = {
                "etcd": _lost_of_etcd(bench.running("registry"), etcd.acknowledged),
                "redis": _lost_of_redis(bench.running("sentinel"), redis.acknowledged),
            }
            return rows, {name: (len(writers[name].acknowledged), count) for name, count in lost.items()}
        finally:
            _clusterkit(bench.folder, "down", "--name", bench.name)
            subprocess.run(["docker", "rmi", OTHER_IMAGE], capture_output=True, check=False)
            shutil.rmtree(bench.folder / ".clusterkit", ignore_errors=True)


def section(rows: Sequence[Row], kept: Mapping[str, tuple[int, int]]) -> str:
    """For docs/benchmarks.md."""
    lines = [
        "## Ten edits of a running topology",
        "",
        "A client writes to etcd and one to Redis (through its sentinels), a write each 20 ms, while the topology is",
        "edited and brought up (`python -m benchmarks.edits`). The gap is the longest time without an acknowledged",
        "write; failed are writes that were refused or got no answer.",
        "",
        "| edit | announced | done | s | gap etcd, redis | failed etcd, redis |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.edit} | {row.announced} | {row.done} | {row.seconds:.1f} "
            f"| {row.gaps['etcd']:.2f} s, {row.gaps['redis']:.2f} s | {row.failed['etcd']}, {row.failed['redis']} |"
            for row in rows
        ),
        "",
        *(f"{name}: {total} acknowledged writes, {lost} lost." for name, (total, lost) in kept.items()),
        "",
    ]
    return "\n".join(lines)


def _found(bench: Bench, component: str) -> Running:
    while True:
        try:
            return bench.running(component)
        except ClusterkitError:  # a node is being made: the next look is better
            time.sleep(0.05)


def _write_etcd(running: Running, key: str) -> None:
    member = running.up[0]
    client: Any = running.client(member)
    try:
        client.write(key, key)
    finally:
        client.close()


def _lost_of_etcd(running: Running, keys: Sequence[str]) -> int:
    client: Any = running.client(running.up[-1])
    try:
        return sum(client.read(key) != key for key in keys)
    finally:
        client.close()


def _write_redis(running: Running, key: str) -> None:
    cache, member = running.component.discover(running, 0)
    connection = connect(cache, member)
    try:
        connection.ask("SET", key, key)
    finally:
        connection.close()


def _lost_of_redis(running: Running, keys: Sequence[str]) -> int:
    connection = connect(*running.component.discover(running, 0))
    try:
        return sum(connection.ask("GET", key) != key for key in keys)
    finally:
        connection.close()


@contextmanager
def _writing(writers: Sequence[Writer]) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=writer.run, args=(stop,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _counted(actions: Sequence[str]) -> str:
    return ", ".join(f"{number} {action}" for action, number in Counter(actions).items()) or "nothing to do"


def _clusterkit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "clusterkit", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"clusterkit {' '.join(words)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended


if __name__ == "__main__":
    print(section(*measure()))
