"""`python scripts/faults.py`: makes every fault on a real cluster and writes what was measured to docs/faults.md.

A fault that is not tried here, does not bite, touches what it must not, or is still felt after it was healed, ends the
script with 1; the table says which.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from random import Random

from clusterkit.chaos.base import Fault, Scene
from clusterkit.chaos.fields import fields_of, typed
from clusterkit.chaos.registry import find_fault, shipped_faults
from clusterkit.chaos.scene import open_scene
from clusterkit.chaos.strike import heal, strike
from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned
from clusterkit.errors import ClusterkitError
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from clusterkit.scaling import scale

ROOT = Path(__file__).resolve().parents[1]
CLUSTERKIT = str(Path(sys.executable).with_name("clusterkit"))
HEALED_SECONDS = 20
LEASE_SECONDS = 120
TOPOLOGY = """\
name: {name}
components:
  registry: {{kind: etcd, data: loop}}
  cache: {{kind: redis, data: loop}}
  sentinel: {{kind: redis-sentinel, watches: cache}}
"""
HEAD = """\
# Faults, and what they did

Every fault on a real cluster of nine nodes (etcd, Redis, Redis Sentinel): what the nodes measured before it was made,
while it was in force, and after it was healed, and beside it what must not be affected. Written by
`python scripts/faults.py` from a real run; nothing here was read back from a rule or a limit.
"""


CASES: tuple[tuple[str, dict[str, object]], ...] = (
    ("kill", {"target": "leader of registry"}),
    ("kill", {"target": "one of cache", "signal": "TERM"}),
    ("stop", {"target": "sentinel-1"}),
    ("pause", {"target": "minority of registry"}),
    ("restart", {"target": "sentinel"}),
    ("rolling-restart", {"target": "registry"}),
    ("crash-loop", {"target": "sentinel-2"}),
    ("grow", {"target": "cache"}),
    ("shrink", {"target": "registry", "nodes": 2}),
    ("partition", {"target": "registry"}),
    ("partition", {"shape": "zones"}),
    ("partition", {"shape": "ring", "target": "registry"}),
    ("isolate", {"target": "leader of registry"}),
    ("isolate", {"target": "cache-1", "towards": "cache", "ports": "6379/tcp"}),
    ("cut", {"target": "sentinel", "towards": "cache", "one_way": True}),
    ("latency", {"delay": "100ms", "target": "cache-1"}),
    ("latency", {"delay": "100ms", "jitter": "20ms", "target": "cache", "towards": "registry", "both_ways": True}),
    ("loss", {"percent": "10%", "target": "cache-1"}),
    ("duplicate", {"percent": "20%", "target": "cache-1"}),
    ("reorder", {"percent": "25%", "target": "cache-1"}),
    ("corrupt", {"percent": "20%", "target": "cache-1"}),
    ("bandwidth", {"rate": "10mbit", "target": "cache-1"}),
    ("reset", {"target": "sentinel", "towards": "cache-1"}),
    ("disk-full", {"target": "cache-1"}),
    ("disk-slow", {"target": "cache-1", "bandwidth": "1MB"}),
    ("disk-slow", {"target": "registry-1", "operations": "20/s"}),
    ("disk-stall", {"target": "registry-2"}),
    ("disk-read-only", {"target": "registry-3"}),
    ("disk-error", {"target": "registry-1"}),
    ("truncate", {"target": "cache-2"}),
    ("bit-flip", {"target": "cache-2"}),
    ("power-loss", {"target": "registry"}),
    ("clock-jump", {"by": "1h", "target": "cache-1"}),
    ("clock-jump", {"by": "30s", "target": "leader of registry", "back": True}),
    ("clock-drift", {"rate": "5%", "target": "zone a"}),
    ("dns-silent", {"target": "sentinel-1"}),
    ("dns-slow", {"delay": "500ms", "target": "sentinel-1"}),
    ("dns-wrong", {"target": "sentinel-1", "names": "cache-1"}),
    ("dns-nxdomain", {"target": "zone b", "names": "cache-*"}),
    ("dns-servfail", {"target": "cache-1"}),
    ("cpu", {"limit": "10%", "target": "cache-1"}),
    ("cpu-stress", {"target": "cache-1", "workers": 2}),
    ("memory", {"limit": "64MB", "target": "cache-1"}),
    ("oom-kill", {"target": "sentinel-3"}),
    ("zone-outage", {"zone": "c"}),
    ("zone-outage", {"zone": "c", "by": "network"}),
)
"""Name of a fault and its fields, as one writes them in YAML."""


def made(name: str, written: Mapping[str, object]) -> Fault:
    kind = find_fault(name)
    return kind(**{field: fields_of(kind)[field].parse(text) for field, text in written.items()})


@dataclass(frozen=True)
class Row:
    """What one fault showed, as text; `trouble` is "" when all was as it has to be."""

    fault: Fault
    before: str
    during: str
    after: str
    beside: str
    trouble: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "faults.md")
    parser.add_argument("--only", nargs="+", help="faults' names: print their rows, write nothing")
    asked = parser.parse_args()
    cases = [made(name, written) for name, written in CASES if asked.only is None or name in asked.only]
    untried = sorted(set(shipped_faults()) - {name for name, _ in CASES})
    with running_cluster() as scene:
        rows = [tried(case, scene) for case in cases]
    text = report(rows, untried)
    if asked.only is None:
        asked.output.write_text(text)
    print(text)
    return 1 if untried or any(row.trouble for row in rows) else 0


@contextmanager
def running_cluster() -> Iterator[Scene]:
    """Nine nodes under a fresh name, taken down at the end."""
    with tempfile.TemporaryDirectory() as made:
        folder, name = Path(made), f"faults-{secrets.token_hex(3)}"
        (folder / "clusterkit.yml").write_text(TOPOLOGY.format(name=name))
        subprocess.run([CLUSTERKIT, "up"], cwd=folder, check=True, stdin=subprocess.DEVNULL)
        provider = DockerProvider()
        try:
            topology, registry = read_topology(None, folder=folder, environ=os.environ)
            record = provider.find(name)
            assert record is not None
            site = Site(provider, Journal(), folder / ".clusterkit" / name)
            grow = partial(scale, site, name, folder / "clusterkit.yml")
            plan = partial(planned, site, topology, registry, record)
            with open_scene(provider, Journal(), record, plan, grow) as scene:
                yield scene
        finally:
            subprocess.run([CLUSTERKIT, "down", "--name", name], cwd=folder, check=True, stdin=subprocess.DEVNULL)
            provider.client.close()


def tried(fault: Fault, scene: Scene) -> Row:
    """Not made, made, healed; the nodes are healthy again afterwards."""
    print(f"{time.strftime('%H:%M:%S')} {typed(fault)}", file=sys.stderr, flush=True)
    now = replace(scene.look(), random=Random(7))
    try:
        before = strike(fault, now, LEASE_SECONDS, pretend=True).effect
        struck = strike(fault, replace(now, random=Random(7)), LEASE_SECONDS)
        heal(scene)
        scene.wait_ready(list(scene.nodes), 90)
        end = time.monotonic() + HEALED_SECONDS
        after = fault.measure(scene.look(), struck.mark)
        while after.bites and fault.is_lasting and time.monotonic() < end:
            time.sleep(0.5)
            after = fault.measure(scene.look(), struck.mark)
    except ClusterkitError as error:
        heal(scene)
        return Row(fault, "", "", "", "", str(error))
    troubles = [
        *(["it bit before it was made"] if before.bites else []),
        *(["it did not bite"] if not struck.effect.bites else []),
        *(["others were affected"] if not struck.effect.beside_is_well else []),
        *(["it was still felt after it was healed"] if after.bites and fault.is_lasting else []),
    ]
    effect = struck.effect
    healed = after.seen if fault.is_lasting else "over when it was made"
    return Row(fault, before.seen, f"{effect.seen} (asked {effect.asked})", healed, effect.beside, "; ".join(troubles))


def report(rows: Sequence[Row], untried: Sequence[str]) -> str:
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.fault.family, []).append(row)
    parts = [HEAD]
    for family, of in families.items():
        parts += [f"## {family}", "", "| command | before | in force | healed | beside it |", "|---|---|---|---|---|"]
        parts += [
            f"| `clusterkit chaos {typed(row.fault)}` | {row.before} | {row.during} | {row.after} | {row.beside} |"
            + (f" **{row.trouble}**" if row.trouble else "")
            for row in of
        ]
        parts.append("")
    if untried:
        parts += [f"Not tried: {', '.join(untried)}.", ""]
    machine = f"{os.cpu_count()} cpus, {platform.system()} {platform.release()}"
    facts: Mapping[str, str] = {"date": date.today().isoformat(), "machine": machine, "engine": engine_version()}
    parts += ["| measured | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    return "\n".join(parts)


def engine_version() -> str:
    client = DockerProvider().client
    version = str(client.version()["Version"])
    client.close()
    return version


if __name__ == "__main__":
    sys.exit(main())
