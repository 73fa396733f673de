"""`python -m benchmarks.components`: what each system of the gallery costs, and how long it is gone without its leader.

Each is the topology that `clusterkit init` writes. The first `up` builds the images of its components, on a base image
that is there; it is run once, all else three times. A leader (of equals: a member) is killed by SIGKILL, and its system
is gone until a survivor has acknowledged a write to each of a few keys; survivors are asked side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.errors import APIError

from benchmarks.bench import CLUSTERKIT, Bench, run, say
from clusterkit.check_topology import read_topology
from clusterkit.cluster import planned
from clusterkit.components.base import Member, Running
from clusterkit.components.conditions import UNREACHABLE
from clusterkit.components.nats_client import LATEST
from clusterkit.health import view
from clusterkit.providers.base import ClusterRecord

RUNS = 3
CALL_SECONDS = 1.0
GONE_SECONDS = 120.0
"""A system that serves nobody for so long is an error."""


@dataclass(frozen=True)
class System:
    """A topology of the gallery. `leads`: the role of whoever is killed in `component`; "" where all are equal.

    `keys`: how many are written; more than one where each node has a part of them.
    """

    topology: str
    component: str
    leads: str = ""
    keys: int = 1


@dataclass(frozen=True)
class Row:
    """Seconds, medians; `gone`: of each kill; `memory`: bytes of an average node without page cache, by component."""

    system: System
    nodes: int
    first: float
    up: float
    again: float
    down: float
    gone: tuple[float, ...]
    whole: float
    memory: Mapping[str, float]


SYSTEMS = (
    System("etcd", "etcd", "leader"),
    System("zookeeper", "zookeeper", "leader"),
    System("nats", "messages", f"{LATEST}-leader"),
    System("rabbitmq", "messages", "workload-leader"),
    System("redis-sentinel", "cache", "primary"),
    System("postgres", "db", "primary"),
    System("redis-cluster", "store", "primary", keys=24),
    System("galera", "galera"),
    System("openldap", "directory"),
    System("everything", "registry", "leader"),
)


class Failed(Exception):
    """A system cannot be measured, or did not serve; the text says which and why."""


def measure(systems: Sequence[System] = SYSTEMS) -> list[Row]:
    """One row for each. Raises: Failed; SystemExit, with what a command said."""
    return [_row(system) for system in systems]


def section(rows: Sequence[Row]) -> str:
    """For docs/benchmarks.md."""
    lines = [
        "## Each system of the gallery",
        "",
        "The topologies of `clusterkit init` (`python -m benchmarks.components`). Seconds: the first `up` once, its",
        "images built on a base image that is there; the others medians of three. Gone: from SIGKILL of a leader (of",
        "equals: of a member) until a survivor acknowledged a write (Redis Cluster: to each of 24 keys), in brackets",
        "the shortest and the longest; whole again: the `up` after it. Memory of an average idle node, without page",
        "cache.",
        "",
        "| system | nodes | first `up` | warm `up` | nothing to do | `down` | gone | whole again | memory of a node |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_line, rows),
        "",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    memory = ", ".join(f"{name} {used / 2**20:.0f}" for name, used in row.memory.items()) + " MB"
    if len(row.memory) > 3:
        memory = f"{statistics.mean(row.memory.values()) / 2**20:.0f} MB on average"
    gone = f"{statistics.median(row.gone):.1f} ({min(row.gone):.1f} to {max(row.gone):.1f})"
    return (
        f"| {row.system.topology} | {row.nodes} | {row.first:.1f} | {row.up:.1f} | {row.again:.2f} | {row.down:.1f} "
        f"| {gone} | {row.whole:.1f} | {memory} |"
    )


def _row(system: System) -> Row:
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(Path(made), "name: {name}\ncomponents: {{}}\n")
        say(f"{system.topology} as {bench.name}")
        run(CLUSTERKIT, "init", system.topology, "--force", folder=bench.folder)
        bench.file.write_text(f"name: {bench.name}\n{bench.file.read_text()}")
        try:
            bench.prepare()
            _forget_images(bench)
            seconds: dict[str, list[float]] = {}
            with _timed(seconds, "first"):
                run(CLUSTERKIT, "up", folder=bench.folder)
            for _ in range(RUNS):
                with _timed(seconds, "down"):
                    run(CLUSTERKIT, "down", folder=bench.folder)
                with _timed(seconds, "up"):
                    run(CLUSTERKIT, "up", folder=bench.folder)
                with _timed(seconds, "again"):
                    run(CLUSTERKIT, "up", folder=bench.folder)
            memory = bench.memory()
            gone = []
            for _ in range(RUNS):
                gone.append(_gone(bench, system))
                with _timed(seconds, "whole"):
                    run(CLUSTERKIT, "up", folder=bench.folder)
            assert bench.plan is not None
            nodes = sum(len(group.members) for group in bench.plan.groups.values())
        finally:
            bench.clean()
    median = {name: statistics.median(each) for name, each in seconds.items()}
    return Row(system, nodes, gone=tuple(gone), memory=memory, **median)


@contextlib.contextmanager
def _timed(seconds: dict[str, list[float]], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds.setdefault(name, []).append(time.monotonic() - begun)
    say(f"  {name}: {seconds[name][-1]:.2f} s")


def _forget_images(bench: Bench) -> None:
    """Those of its components. Raises: Failed where another cluster uses one."""
    assert bench.plan is not None
    client = bench.provider.client
    for kind in {group.kind for group in bench.plan.groups.values()}:
        for image in client.images(name=f"clusterkit/{kind}"):
            for tag in image["RepoTags"]:
                try:
                    client.remove_image(tag)
                except APIError as error:
                    raise Failed(f"the first `up` cannot be measured: {error.explanation}") from error


def _gone(bench: Bench, system: System) -> float:
    """Seconds from the kill until a survivor serves. Raises: Failed."""
    record, running = _running(bench, system)
    _serves(system, running, running.members, 0)
    chosen = _leader(system, running)
    others = [member for member in running.members if member.name != chosen]
    begun = time.monotonic()
    bench.provider.node(next(node for node in record.nodes if node.name == chosen)).kill()
    _serves(system, running, others, 1)
    seconds = time.monotonic() - begun
    say(f"  gone without {chosen}: {seconds:.2f} s")
    return seconds


def _running(bench: Bench, system: System) -> tuple[ClusterRecord, Running]:
    record = bench.record()
    topology, registry = read_topology(bench.file, folder=bench.folder, environ={})
    plan = planned(bench.site, topology, registry, record)
    return record, view.running(plan, bench.provider, record, system.component, CALL_SECONDS)


def _leader(system: System, running: Running) -> str:
    """Raises: Failed."""
    if not system.leads:
        return running.members[0].name
    end = time.monotonic() + GONE_SECONDS
    while time.monotonic() < end:
        roles = running.component.roles(running)
        for name, its in roles.items():
            if any(role.name == system.leads for role in its):
                return name
        time.sleep(0.2)
    raise Failed(f"nobody is {system.leads} of {system.component}: {roles}")


def _serves(system: System, running: Running, members: Sequence[Member], turn: int) -> None:
    """Returns when one member has acknowledged a write to each key. Raises: Failed."""
    served, troubles = threading.Event(), dict.fromkeys((member.name for member in members), "")

    def ask(member: Member) -> None:
        while not served.is_set():
            try:
                with contextlib.closing(running.client(member)) as client:
                    for key in range(system.keys):
                        client.write(f"bench{key}", str(turn))
                served.set()
            except (*UNREACHABLE, KeyError) as error:
                troubles[member.name] = f"{type(error).__name__}: {error}"
                time.sleep(0.02)

    threads = [threading.Thread(target=ask, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    if not served.wait(GONE_SECONDS):
        served.set()
        raise Failed(f"{system.topology} served nobody for {GONE_SECONDS:g} s: {troubles}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.components", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="SYSTEM", help=", ".join(system.topology for system in SYSTEMS))
    asked = parser.parse_args().only
    try:
        print(section(measure([system for system in SYSTEMS if not asked or system.topology in asked])))
    except Failed as error:
        sys.exit(str(error))
