"""Clocks on real nodes: jumps and drifts bite, add up, follow restarts and end; the systems themselves are asked."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import pytest

from clusterkit.chaos.base import Fault, Scene
from clusterkit.chaos.faults.clock import ClockDrift, ClockJump
from clusterkit.chaos.strike import heal, strike
from clusterkit.errors import UsageError
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import NAME
from clusterkit.units import Duration, Percent
from tests.integration.chaos import at, eventually_whole, marks_of, passes_its_trial, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")

HOUR = Duration.parse("1h")


@pytest.fixture(scope="module")
def scene(arena: Folder) -> Iterator[Scene]:
    with scene_of(arena) as scene:
        yield scene
        scene.wait_ready(sorted(scene.nodes), 60)


@pytest.mark.parametrize(
    "fault",
    [
        ClockJump(by=HOUR, target=at("one of cache")),
        ClockJump(by=Duration.parse("30s"), target=at("registry"), back=True),
        ClockJump(by=Duration.parse("1s"), target=at("all")),
        ClockDrift(rate=Percent.parse("5%"), target=at("zone b")),
        ClockDrift(rate=Percent.parse("1%"), target=at("leader of registry"), slow=True),
    ],
    ids=lambda fault: str(fault).split("target", maxsplit=1)[0],
)
def test_a_clock_goes_wrong_and_right_again(scene: Scene, fault: Fault) -> None:
    passes_its_trial(scene, fault)


def test_systems_tell_the_time_they_are_given(scene: Scene) -> None:
    """Programs in C, in Go and in Python, by what they say themselves; the last one comes when the fault is there."""
    struck = strike(ClockJump(by=HOUR, target=at("cache-1", "registry-1")), scene, 60)
    try:
        skewed = [redis_offset(scene, "cache-1"), etcd_offset(scene, "registry-1"), python_offset(scene, "registry-1")]
        true = [redis_offset(scene, "cache-2"), etcd_offset(scene, "registry-2"), python_offset(scene, "registry-2")]
    finally:
        heal(scene, [struck.mark.id])
    assert skewed == pytest.approx([3600, 3600, 3600], abs=5)
    assert true == pytest.approx([0, 0, 0], abs=5)
    assert redis_offset(scene, "cache-1") == pytest.approx(0, abs=5)
    assert etcd_offset(scene, "registry-1") == pytest.approx(0, abs=5)


def test_faults_on_one_node_add_up_and_each_heals_alone(scene: Scene) -> None:
    first = strike(ClockJump(by=HOUR, target=at("cache-1")), scene, 60)
    drift = strike(ClockDrift(rate=Percent.parse("10%"), target=at("cache-1"), slow=True), scene, 60)
    second = strike(ClockJump(by=HOUR, target=at("cache-1"), back=True), scene, 60)
    try:
        assert all(one.fault.measure(scene, one.mark).bites for one in (first, drift, second))
        assert redis_offset(scene, "cache-1") == pytest.approx(0, abs=10)
        heal(scene, [first.mark.id])
        assert not first.fault.measure(scene, first.mark).bites
        assert all(one.fault.measure(scene, one.mark).bites for one in (drift, second))
        assert redis_offset(scene, "cache-1") == pytest.approx(-3600, abs=10)
    finally:
        heal(scene)
    assert redis_offset(scene, "cache-1") == pytest.approx(0, abs=5)


def test_a_node_that_was_started_again_has_the_wrong_clock_again(scene: Scene) -> None:
    """It does not get healthy meanwhile: to a replica an hour ahead, what is written to be short-lived is over."""
    struck = strike(ClockJump(by=HOUR, target=at("cache-3")), scene, 60)
    try:
        service = scene.service(scene.nodes["cache-3"])
        service.kill()
        service.start()
        assert struck.fault.measure(scene.look(), struck.mark).bites
        assert redis_offset(scene, "cache-3") == pytest.approx(3600, abs=5)
    finally:
        heal(scene)
    assert not struck.fault.measure(scene.look(), struck.mark).bites
    assert redis_offset(scene, "cache-3") == pytest.approx(0, abs=5)


def test_the_agent_ends_it_by_itself(scene: Scene) -> None:
    struck = strike(ClockJump(by=HOUR, target=at("cache-2")), scene, 3)
    assert struck.effect.bites
    assert not eventually_whole(struck.fault, scene, struck.mark).effect.bites
    assert marks_of(scene) == {}
    assert redis_offset(scene, "cache-2") == pytest.approx(0, abs=5)


def test_an_agent_that_was_killed_keeps_it_up_and_heals_it(scene: Scene) -> None:
    struck = strike(ClockJump(by=HOUR, target=at("cache-2")), scene, 60)
    pid = DockerProvider().client.inspect_container(NAME)["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: struck.fault.measure(scene, struck.mark).bites)
    heal(scene)
    assert not struck.fault.measure(scene, struck.mark).bites


def test_a_node_that_does_not_run_has_no_clock(scene: Scene) -> None:
    service = scene.service(scene.nodes["cache-3"])
    service.kill()
    try:
        with pytest.raises(UsageError, match="cache-3 does not run"):
            strike(ClockJump(by=HOUR, target=at("cache-3")), scene, 60)
    finally:
        service.start()
        scene.wait_ready(["cache-3"], 60)
    assert marks_of(scene) == {}


def redis_offset(scene: Scene, node: str) -> float:
    """Seconds by which the server is ahead, by its own word."""
    end = time.monotonic() + 10
    while not (said := inside(scene, node, "redis-cli", "TIME").split())[0].isdigit():
        assert time.monotonic() < end, said  # it was only just started
    return int(said[0]) - time.time()


def etcd_offset(scene: Scene, node: str) -> float:
    """The same, by the Date of an answer."""
    script = f"import urllib.request as u; print(u.urlopen('http://{scene.nodes[node].address}:2379/health').headers['Date'])"
    return parsedate_to_datetime(inside(scene, node, "python3", "-c", script).strip()).timestamp() - time.time()


def python_offset(scene: Scene, node: str) -> float:
    """Of a new process, once it has been there for a second."""
    return float(inside(scene, node, "python3", "-c", "import time; time.sleep(1); print(time.time())")) - time.time()


def inside(scene: Scene, node: str, *argv: str) -> str:
    command = ["docker", "exec", scene.nodes[node].runtime_id, *argv]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def eventually(is_so: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
