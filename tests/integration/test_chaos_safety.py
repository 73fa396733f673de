"""Nothing but the cluster's own nodes feels a fault; and whoever dies, everything is put back."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from clusterkit.chaos.base import Scene
from clusterkit.chaos.faults.partition import Isolate, Partition
from clusterkit.chaos.scene import open_agent
from clusterkit.chaos.strike import heal, strike
from clusterkit.journal import Journal
from clusterkit.model.image import Install
from clusterkit.providers.docker import DockerProvider
from clusterkit.providers.docker_agent import NAME
from clusterkit.provision.images import Images
from tests.integration.chaos import at, host_state, marks_of, scene_of
from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")


@pytest.fixture
def scene(arena: Folder) -> Iterator[Scene]:
    """The agent may have died meanwhile: another conversation heals."""
    with scene_of(arena) as scene:
        yield scene
    with scene_of(arena) as scene:
        heal(scene)


@pytest.fixture
def strangers() -> Iterator[list[dict[str, str]]]:
    """Two containers that are not ours, on a network that is not ours."""
    provider = DockerProvider()
    client = provider.client
    image = Install("agent")
    tag = Images(client, Journal()).ensure({image})[image].tag
    name = f"stranger-{secrets.token_hex(4)}"
    client.create_network(name)
    made: list[str] = []
    try:
        for _ in range(2):
            host = client.create_host_config(network_mode=name, init=True)
            made.append(client.create_container(tag, ["sleep", "300"], host_config=host)["Id"])
            client.start(made[-1])
        yield [
            {
                "name": one[:12],
                "id": one,
                "address": client.inspect_container(one)["NetworkSettings"]["Networks"][name]["IPAddress"],
            }
            for one in made
        ]
    finally:
        for one in made:
            client.remove_container(one, force=True)
        client.remove_network(name)
        client.close()


def test_others_on_the_engine_feel_nothing(scene: Scene, strangers: list[dict[str, str]]) -> None:
    before = host_state(with_ours=False)
    assert strike(Partition(), scene, 60).effect.bites
    assert strike(Isolate(target=at("leader of registry")), scene.look(), 60).effect.bites
    found = scene.agent.call("datagrams", pairs=[strangers, strangers[::-1]], count=200, interval_ms=2)
    assert [(one["received"], one["duplicates"], one["corrupted"]) for one in found] == [(200, 0, 0)] * 2
    assert host_state(with_ours=False) == before
    heal(scene)
    assert host_state() == before


def test_a_lease_that_nobody_renews_ends(scene: Scene) -> None:
    struck = strike(Isolate(target=at("cache-1")), scene, 2)
    assert struck.effect.bites
    _until_gone(scene, struck.mark.id)
    assert not struck.fault.measure(scene, struck.mark).bites


def test_the_kernel_ends_a_partition_when_the_agent_is_gone_for_good(scene: Scene) -> None:
    """Nothing of ours runs, and the network heals."""
    struck = strike(Isolate(target=at("cache-1")), scene, 600)
    client = DockerProvider().client
    client.kill(NAME)  # by the engine: it does not start it again
    try:
        pid = client.inspect_container(NAME)["State"]["Pid"]
        assert pid == 0
        end = time.monotonic() + 30
        name = scene.nodes["cache-2"]
        while client.exec_inspect(_connect(client, name.runtime_id, scene.nodes["cache-1"].address))["ExitCode"] != 0:
            assert time.monotonic() < end, "the partition did not end by itself"
    finally:
        client.close()
    provider = DockerProvider()
    with open_agent(provider, Journal()) as agent:
        assert [mark.id for mark in agent.marks(scene.cluster)] == [struck.mark.id]
        again = replace(scene, agent=agent)
        assert struck.fault.measure(again, struck.mark).bites  # its lease is not over: the new agent keeps it up
        assert [mark.id for mark in heal(again)] == [struck.mark.id]
        assert not struck.fault.measure(again, struck.mark).bites
    provider.client.close()


def _connect(client: object, container: str, address: str) -> str:
    """A TCP connection from within a node to Redis on another, in at most a second; gives the exec's id."""
    from docker import APIClient

    assert isinstance(client, APIClient)
    argv = ["timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{address}/6379"]
    made: str = client.exec_create(container, argv)["Id"]
    client.exec_start(made)
    return made


def test_a_killed_agent_comes_back_and_ends_what_is_over(scene: Scene) -> None:
    struck = strike(Isolate(target=at("cache-1")), scene, 3)
    client = DockerProvider().client
    pid = client.inspect_container(NAME)["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    client.close()
    _until_gone(scene, struck.mark.id)
    assert not struck.fault.measure(scene, struck.mark).bites


def test_rules_that_no_fault_accounts_for_are_swept_away(scene: Scene) -> None:
    """Left by an agent that lost its ledger, say."""
    before = host_state()
    client = DockerProvider().client
    client.exec_start(client.exec_create(NAME, ["nft", "add table bridge clusterkit_nobody"])["Id"])
    assert "clusterkit_nobody" in str(client.exec_start(client.exec_create(NAME, ["nft", "list tables"])["Id"]))
    os.kill(client.inspect_container(NAME)["State"]["Pid"], signal.SIGKILL)
    client.close()
    assert scene.agent.marks(scene.cluster) == ()
    assert host_state() == before


def test_down_heals_first(folder: Folder) -> None:
    folder.write("components: {registry: {kind: etcd, replicas: 1}, other: {kind: etcd, replicas: 1}}\n")
    folder.run("up")
    with scene_of(folder) as scene:
        before = host_state()
        strike(Partition(), scene, None)
        assert host_state() != before
        folder.run("down")
        assert marks_of(scene) == {}
        assert host_state() == before


def _until_gone(scene: Scene, identity: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while identity in marks_of(scene):
        assert time.monotonic() < end, f"{identity} did not end"
        time.sleep(0.2)
