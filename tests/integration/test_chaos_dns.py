"""Names on real nodes: lost, late and wrong answers bite, over UDP and TCP; the rest is answered as before."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from clusterkit.chaos.base import Fault, Scene
from clusterkit.chaos.faults.dns import DnsNxdomain, DnsServfail, DnsSilent, DnsSlow, DnsWrong
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import NAME
from clusterkit.units import Duration
from tests.integration.chaos import at, eventually_whole, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

LOOK_UP = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


@pytest.fixture(scope="module")
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene


@pytest.mark.parametrize(
    "fault",
    [
        DnsSilent(target=at("cache")),
        DnsSilent(target=at("all")),
        DnsSlow(delay=Duration.parse("300ms"), target=at("zone a"), names=("cache-*",)),
        DnsWrong(target=at("sentinel"), names=("cache-1",)),
        DnsNxdomain(target=at("all"), names=("registry-?",)),
        DnsServfail(target=at("one of registry")),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_names_go_wrong_and_right_again(scene: Scene, fault: Fault) -> None:
    before = {name: rules(scene, name) for name in scene.nodes}
    passes_its_trial(scene, fault)
    assert {name: rules(scene, name) for name in scene.nodes} == before


def test_programs_in_the_node_are_told_so(scene: Scene) -> None:
    struck = strike(DnsWrong(target=at("cache-1"), names=("cache-2",), address="192.0.2.7"), scene, 60)
    try:
        told = [look_up(scene, "cache-1", name) for name in ("cache-2", "cache-3")]
    finally:
        heal(scene, [struck.mark.id])
    assert told == ["192.0.2.7", scene.nodes["cache-3"].address]
    assert look_up(scene, "cache-1", "cache-2") == scene.nodes["cache-2"].address


def test_the_newest_of_several_decides_and_each_heals_alone(scene: Scene) -> None:
    silent = strike(DnsSilent(target=at("cache-1")), scene, 60)
    wrong = strike(DnsWrong(target=at("cache-1"), names=("cache-2",)), scene, 60)
    try:
        assert wrong.effect.bites
        heal(scene, [wrong.mark.id])
        assert silent.fault.measure(scene, silent.mark).bites
    finally:
        heal(scene)
    assert not silent.fault.measure(scene, silent.mark).bites


def test_a_node_that_was_started_again_is_hit_again(scene: Scene) -> None:
    struck = strike(DnsNxdomain(target=at("cache-3")), scene, 60)
    try:
        service = scene.service(scene.nodes["cache-3"])
        service.kill()
        service.start()
        scene.wait_ready(["cache-3"], 60)
        assert eventually(lambda: struck.fault.measure(scene.look(), struck.mark).bites)
    finally:
        heal(scene)
    assert not struck.fault.measure(scene.look(), struck.mark).bites


def test_the_agent_ends_it_by_itself(scene: Scene) -> None:
    before = rules(scene, "cache-2")
    struck = strike(DnsServfail(target=at("cache-2")), scene, 2)
    assert struck.effect.bites
    assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites
    assert marks_of(scene) == {}
    assert rules(scene, "cache-2") == before


def test_an_agent_that_was_killed_keeps_it_up_and_heals_it(scene: Scene) -> None:
    struck = strike(DnsServfail(target=at("cache-2")), scene, 60)
    pid = DockerProvider().client.inspect_container(NAME)["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: struck.fault.measure(scene, struck.mark).bites)
    heal(scene)
    assert not struck.fault.measure(scene, struck.mark).bites


def test_a_node_that_does_not_run_asks_nobody(scene: Scene) -> None:
    service = scene.service(scene.nodes["cache-3"])
    service.kill()
    try:
        with pytest.raises(UsageError, match="cache-3 does not run"):
            strike(DnsSilent(target=at("cache-3")), scene, 60)
    finally:
        service.start()
        scene.wait_ready(["cache-3"], 60)
    assert marks_of(scene) == {}


def look_up(scene: Scene, node: str, name: str) -> str:
    command = ["docker", "exec", scene.nodes[node].runtime_id, "python3", "-c", LOOK_UP, name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def rules(scene: Scene, node: str) -> str:
    """Those of the node's own network; counters left out."""
    identity = scene.nodes[node].runtime_id
    pid = _out("docker", "inspect", "--format", "{{.State.Pid}}", identity).strip()
    return _out("docker", "exec", "clusterkit-agent", "nsenter", "-t", pid, "-n", "nft", "-s", "list", "ruleset")


def _out(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def eventually(is_so: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
