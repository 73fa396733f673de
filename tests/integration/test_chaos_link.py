"""Impaired links between real nodes: each fault bites, leaves the rest alone, and heals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from clusterkit import units
from clusterkit.chaos.base import Fault, PortSpec, Scene
from clusterkit.chaos.faults.link import Bandwidth, Corrupt, Duplicate, Latency, Loss, Reorder, Reset
from clusterkit.chaos.strike import Struck, heal, strike
from clusterkit.errors import UsageError
from clusterkit.node import Command
from clusterkit.providers.docker_agent import NAME
from clusterkit.units import Duration, Percent
from tests.integration.chaos import at, eventually_whole, host_state, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

CACHE, REGISTRY = at("cache-1"), at("registry-1")
CLIENT = PortSpec(6379, "tcp")


@pytest.fixture(scope="module")
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.mark.parametrize(
    "fault",
    [
        Latency(Duration(0.1), target=CACHE, towards=REGISTRY),
        Latency(Duration(0.1), jitter=Duration(0.02), target=at("all"), towards=at("all")),
        Latency(Duration(0.1), target=at("sentinel"), towards=at("cache"), ports=(CLIENT, PortSpec(9, "udp"))),
        Loss(Percent(5), target=CACHE),
        Loss(Percent(25), target=at("sentinel"), towards=at("cache"), ports=(CLIENT,)),
        Duplicate(Percent(20), target=CACHE, towards=REGISTRY),
        Reorder(Percent(25), target=CACHE, towards=REGISTRY, both_ways=True),
        Corrupt(Percent(20), target=CACHE, towards=REGISTRY),
        Bandwidth(units.Bandwidth(1e6), target=at("sentinel-1"), towards=CACHE, ports=(CLIENT,)),
        Bandwidth(units.Bandwidth(5e7), target=CACHE, towards=REGISTRY),
        Reset(target=CACHE, towards=REGISTRY),
        Reset(target=at("sentinel"), towards=at("cache"), ports=(CLIENT,)),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_an_impaired_link_bites_and_heals(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)


def test_faults_on_one_link_add_up_and_each_heals_alone(scene: Scene) -> None:
    before = host_state()
    slow = strike(Latency(Duration(0.05), target=CACHE, towards=REGISTRY), scene, 60)
    slower = strike(Latency(Duration(0.1), target=CACHE, towards=REGISTRY), scene, 60)
    lossy = strike(Loss(Percent(20), target=CACHE, towards=REGISTRY), scene, 60)
    try:
        assert [one.effect.bites for one in (slow, slower, lossy)] == [True] * 3
        assert slower.effect.numbers["least_ms"] >= 150
        heal(scene, [slower.mark.id])
        assert slow.fault.measure(scene, slow.mark).bites
        assert lossy.fault.measure(scene, lossy.mark).bites
        assert not slower.fault.measure(scene, slower.mark).bites
        heal(scene, [slow.mark.id])
        assert lossy.fault.measure(scene, lossy.mark).bites
        assert not slow.fault.measure(scene, slow.mark).bites
    finally:
        heal(scene)
    assert not lossy.fault.measure(scene, lossy.mark).bites
    assert host_state() == before


def test_a_node_that_was_started_again_has_the_same_links(scene: Scene) -> None:
    struck = strike(Loss(Percent(30), target=at("sentinel-3"), towards=REGISTRY, both_ways=True), scene, 60)
    try:
        service = scene.service(scene.nodes["sentinel-3"])
        service.kill()
        service.start()
        assert struck.fault.measure(scene.look(), struck.mark).bites
    finally:
        heal(scene)
    assert not struck.fault.measure(scene.look(), struck.mark).bites


def test_the_agent_ends_it_by_itself(scene: Scene) -> None:
    before = host_state()
    struck = strike(Latency(Duration(0.1), target=CACHE, towards=REGISTRY), scene, 2)
    assert struck.effect.bites
    assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites
    assert marks_of(scene) == {}
    assert host_state() == before


def test_packets_pass_where_nobody_impairs_them_any_more(scene: Scene) -> None:
    """The agent is held so that it cannot start the process again which is killed."""
    struck = strike(Loss(Percent(100), target=at("cache-2"), towards=CACHE), scene, 60)
    try:
        assert struck.effect.bites
        assert not _connects(scene, "cache-2", "cache-1")
        held = _running("-m agent")
        for pid in held:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in _running("-m agent.delay"):
                os.kill(pid, signal.SIGKILL)
            assert _connects(scene, "cache-2", "cache-1")
        finally:
            for pid in held:
                os.kill(pid, signal.SIGCONT)
        assert _bites_again(scene, struck)
    finally:
        heal(scene)
    assert not struck.fault.measure(scene, struck.mark).bites


def test_an_agent_that_was_killed_keeps_it_up_and_heals_it(scene: Scene) -> None:
    before = host_state()
    struck = strike(Loss(Percent(50), target=CACHE, towards=REGISTRY), scene, 60)
    for pid in _running("-m agent"):
        os.kill(pid, signal.SIGKILL)
    assert _bites_again(scene, struck)
    heal(scene)
    assert not struck.fault.measure(scene, struck.mark).bites
    assert host_state() == before


def test_a_connection_that_is_open_is_reset(scene: Scene) -> None:
    """Seen by a program of the node itself."""
    address = scene.nodes["cache-1"].address
    program = (
        "import socket, sys; made = socket.create_connection((sys.argv[1], 6379), 2); print('open', flush=True); "
        "sys.stdin.readline(); made.sendall(b'PING\\r\\n')\n"
        "try: made.recv(9); print('answered')\n"
        "except ConnectionResetError: print('reset')"
    )
    argv = ["docker", "exec", "-i", scene.nodes["sentinel-1"].runtime_id, "python3", "-c", program, address]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talk:
        assert talk.stdout is not None
        assert talk.stdout.readline() == "open\n"
        try:
            strike(Reset(target=at("sentinel-1"), towards=CACHE, ports=(CLIENT,)), scene, 60)
            assert talk.communicate("go\n", timeout=20)[0] == "reset\n"
        finally:
            heal(scene)


def test_what_makes_no_sense_is_refused_with_nothing_touched(scene: Scene) -> None:
    with pytest.raises(UsageError, match="nobody is left on the other side"):
        strike(Latency(Duration(0.1), target=at("all")), scene, 60)
    with pytest.raises(UsageError, match="nobody is on the other side"):
        strike(Loss(Percent(5), target=CACHE, towards=CACHE), scene, 60)
    assert marks_of(scene) == {}


def test_it_is_known_how_links_are_impaired_here(scene: Scene) -> None:
    assert scene.agent.trials()["link"] == ""
    assert scene.agent.call("link_backend") in ("netem", "nfqueue")


def _connects(scene: Scene, source: str, target: str) -> bool:
    """As the source itself sees it, without the agent."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], 6379), 1)"
    node = scene.service(scene.nodes[source])
    return node.run(Command(("python3", "-c", program, scene.nodes[target].address))).code == 0


def _bites_again(scene: Scene, struck: Struck, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not (bites := struck.fault.measure(scene, struck.mark).bites) and time.monotonic() < end:
        time.sleep(0.2)
    return bites


def _running(command: str) -> list[int]:
    """Those of the agent's processes that run this, whatever their arguments; pids of this machine."""
    told = subprocess.run(["docker", "top", NAME, "-eo", "pid,args"], check=True, capture_output=True, text=True)
    found = [int(line.split()[0]) for line in told.stdout.splitlines()[1:] if f"{command} " in f"{line} "]
    assert found, f"nothing runs {command}:\n{told.stdout}"
    return found
