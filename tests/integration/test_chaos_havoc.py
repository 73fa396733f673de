"""A hundred random faults, overlapping, while clusterkit or the agent is killed: everything is put back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import NAME
from tests.integration.chaos import host_state, scene_of
from tests.integration.conftest import Folder, left_of

pytestmark = [pytest.mark.xdist_group("agent"), pytest.mark.long]

SCENARIO = Path(__file__).parents[1] / "fixtures" / "havoc.yml"
FAULTS = 100
LEASES_SECONDS = 8
State = dict[str, dict[str, object]]
"""Node name -> what is looked at -> how it is."""

TOPOLOGY = """
components:
  registry: {kind: etcd, data: loop}
  cache: {kind: redis, data: loop}
  sentinel: {kind: redis-sentinel, watches: cache}
"""
LOOK = r"""
import json, subprocess, sys
sys.path.insert(0, "/opt/clusterkit")
from agent import nodes, nft, vdso
found = {}
for name, identity in json.loads(sys.argv[1]).items():
    pid = nodes.init(identity)
    limits = {}
    for controller in ("cpu", "memory", "blkio"):
        folder = nodes.cgroup(identity, controller)
        for file in ("cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
                     "blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device",
                     "blkio.throttle.write_iops_device", "blkio.throttle.read_iops_device",
                     "cpu.max", "memory.max", "memory.swap.max", "io.max"):
            if folder is not None and (folder / file).exists():
                limits[file] = (folder / file).read_text()
    run = lambda *argv: subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *argv], capture_output=True, text=True)
    mounts = [line.split() for line in open(f"/proc/{pid}/mountinfo")]
    found[name] = {
        "limits": limits,
        "rules": run("nft", "list", "ruleset").stdout,
        "qdiscs": run("tc", "qdisc", "show").stdout,
        "stopped": [one for one in nodes.processes(identity) if nodes.stat(one)[0] == "T"],
        "skewed": [one for one in nodes.processes(identity) if vdso.is_skewed(vdso.look(one))],
        "disks": [[fields[4], fields[5], fields[-1]] for fields in mounts if fields[2].startswith("7:")],
        "strays": [str(path) for fields in mounts if fields[2].startswith("7:")
                   for path in (nodes.root(pid) / fields[4].lstrip("/")).glob(".clusterkit*")],
    }
print(json.dumps(found))
"""


@pytest.fixture
def nine(tmp_path: Path) -> Iterator[Folder]:
    """Nine nodes, those with data on disks of their own."""
    folder = Folder(tmp_path, f"h{os.urandom(4).hex()}")
    folder.write(TOPOLOGY)
    shutil.copy(SCENARIO, tmp_path / "havoc.yml")
    folder.run("up")
    folder.run("chaos", "list")  # the agent runs
    try:
        yield folder
    finally:
        folder.run("down", "--name", folder.name)
        assert left_of(folder.name) == []


def test_whoever_is_killed_everything_is_put_back(nine: Folder) -> None:
    chance = Random(20261123)
    with scene_of(nine) as scene:
        scene.agent.trials()  # what is made on trial is made now
        host, nodes = host_state(), nodes_state(nine)
        made, turn = 0, 0
        while made < FAULTS:
            turn += 1
            made += _havoc(nine, turn, chance)
            time.sleep(LEASES_SECONDS)
            nine.run("chaos", "heal")
            assert nine.run("chaos", "status").stdout.endswith("nothing is broken\n"), f"turn {turn}"
            scene.wait_ready(list(scene.look().nodes), 120)
            assert host_state() == host, f"turn {turn}"
            assert different(nodes, nodes_state(nine)) == {}, f"turn {turn}"
    print(f"{made} faults in {turn} turns; clusterkit or the agent was killed in each")


def _havoc(folder: Folder, turn: int, chance: Random) -> int:
    """Runs the scenario and kills clusterkit or the agent in the middle; gives how many faults were made."""
    output = folder.path / f"turn-{turn}.txt"
    command = ["chaos", "run", "havoc.yml", "--seed", str(turn)]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "clusterkit", *command],
            cwd=folder.path,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(4, 14))
        if turn % 2:
            process.kill()
        else:
            _kill_agent(chance)
            time.sleep(chance.uniform(1, 6))
            process.kill()
        process.wait()
    made = len(re.findall(r" s  inject ", output.read_text()))
    assert made, output.read_text()
    return made


def _kill_agent(chance: Random) -> None:
    """The agent itself, or its container's first process."""
    client = DockerProvider().client
    first = int(client.inspect_container(NAME)["State"]["Pid"])
    client.close()
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    os.kill(chance.choice([first, *map(int, children)]), signal.SIGKILL)


def different(before: State, now: State) -> dict[str, tuple[object, object]]:
    """ "cache-1 limits": what it was, what it is."""
    return {
        f"{name} {what}": (was, now[name][what])
        for name, of in before.items()
        for what, was in of.items()
        if now[name][what] != was
    }


def nodes_state(folder: Folder) -> State:
    """Limits, rules, clocks, disks and processes of all nodes, but for what every start makes anew."""
    provider = DockerProvider()
    record = provider.find(folder.name)
    assert record is not None
    ids = json.dumps({node.name: node.runtime_id for node in record.nodes})
    provider.client.close()
    done = subprocess.run(
        ["docker", "exec", NAME, "python3", "-c", LOOK, ids], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: State = json.loads(
        re.sub(r"counter packets \d+ bytes \d+|127\.0\.0\.11:\d+|port \d+|to :\d+|dport \d+|sport \d+", "", done.stdout)
    )
    return found
