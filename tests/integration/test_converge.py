"""A running cluster is edited, grown and shrunk: the mildest change, one node after another, nothing lost."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from clusterkit.providers.docker import DockerProvider, container_name, volume_name
from tests.integration.conftest import NINE, Folder

ETCD = "components: {registry: {kind: etcd}}\n"
API = """
components:
  api:
    kind: service
    command: [python3, -m, http.server, "8080"]
    ports: {http: 8080}
    environment: {COLOUR: %s}
"""


def _inspect(folder: Folder, node: str) -> dict[str, Any]:
    found: dict[str, Any] = DockerProvider().client.inspect_container(container_name(folder.name, node))
    return found


def _ids(folder: Folder, *nodes: str) -> list[str]:
    return [_inspect(folder, node)["Id"] for node in nodes]


def _exec(folder: Folder, *words: str) -> str:
    return folder.run("exec", *words).stdout.strip()


def _wait(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _members(folder: Folder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_exec(folder, "registry-1", "etcdctl", "member", "list", "-w", "json"))[
        "members"
    ]
    return found


def test_members_come_and_go(folder: Folder) -> None:
    folder.write(NINE)
    folder.run("up")
    _exec(folder, "registry-1", "etcdctl", "put", "colour", "blue")
    _exec(folder, "cache-1", "redis-cli", "set", "kept", "yes")

    grown = folder.run("scale", "registry=5", "cache=4")
    assert "3 joined" in grown.stdout
    assert "says registry has 3" in grown.stderr
    nodes = folder.nodes()
    assert len(nodes) == 12
    assert {node["health"] for node in nodes.values()} == {"healthy"}
    assert [bool(member.get("isLearner")) for member in _members(folder)] == [False] * 5
    assert _exec(folder, "cache-4", "redis-cli", "get", "kept") == "yes"

    # Those that are to go lead: they have to hand over first.
    last = next(member for member in _members(folder) if member["name"] == "registry-5")
    _exec(folder, folder.roles("leader")[0], "etcdctl", "move-leader", f"{last['ID']:x}")
    for name in ("cache-2", "cache-3"):
        _exec(folder, name, "redis-cli", "config", "set", "replica-priority", "0")
    _exec(folder, "sentinel-1", "redis-cli", "-p", "26379", "sentinel", "failover", "cache")
    _wait("the failover", lambda: folder.roles("primary") == ["cache-4"])
    assert folder.roles("leader") == ["registry-5"]

    shrunk = folder.run("up")
    assert "3 removed" in shrunk.stdout
    nodes = folder.nodes()
    assert len(nodes) == 9
    assert {node["health"] for node in nodes.values()} == {"healthy"}
    assert folder.roles("primary") == ["cache-1"]
    assert sorted(member["name"] for member in _members(folder)) == ["registry-1", "registry-2", "registry-3"]
    assert _exec(folder, "registry-2", "etcdctl", "get", "--print-value-only", "colour") == "blue"
    assert _exec(folder, "cache-3", "redis-cli", "get", "kept") == "yes"
    client = DockerProvider().client
    volumes = {item["Name"] for item in client.volumes()["Volumes"]}
    assert volume_name(folder.name, "registry-5") not in volumes
    assert "nothing to do" in folder.run("up").stdout


@pytest.mark.parametrize("later", [0.0, *(pytest.param(seconds, marks=pytest.mark.long) for seconds in (0.3, 1, 2, 4))])
def test_killed_while_it_grows(folder: Folder, later: float) -> None:
    folder.write(ETCD)
    folder.run("up")
    begun = folder.begin("scale", "registry=5")
    label = {"label": [f"clusterkit.cluster={folder.name}", "clusterkit.node=registry-4"]}
    _wait("the fourth node", lambda: bool(DockerProvider().client.containers(all=True, filters=label)))
    time.sleep(later)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    folder.run("scale", "registry=5")
    assert [bool(member.get("isLearner")) for member in _members(folder)] == [False] * 5
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}


def test_a_member_that_was_promised_and_never_made_is_forgotten(folder: Folder) -> None:
    """As a `scale` leaves it that was killed between telling etcd and making the node."""
    folder.write(ETCD)
    folder.run("up")
    add = ("exec", "registry-1", "etcdctl", "member", "add", "nine", "--learner", "--peer-urls=http://192.0.2.9:2380")
    # etcd refuses it until its members have been connected for some seconds.
    _wait("a fourth member", lambda: folder.run(*add, code=None).returncode == 0)
    assert len(_members(folder)) == 4
    folder.run("up")
    assert sorted(member["name"] for member in _members(folder)) == ["registry-1", "registry-2", "registry-3"]
    assert "nothing to do" in folder.run("up").stdout


@pytest.mark.long
@pytest.mark.parametrize("later", [0.3, 0.6, 1, 1.5])
def test_killed_while_it_shrinks(folder: Folder, later: float) -> None:
    folder.write(ETCD.replace("kind: etcd", "kind: etcd, replicas: 5"))
    folder.run("up")
    folder.write(ETCD)
    begun = folder.begin("up")
    time.sleep(later)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    folder.run("up")
    assert sorted(member["name"] for member in _members(folder)) == ["registry-1", "registry-2", "registry-3"]
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}


def test_data_that_was_kept_of_more_members_than_are_wanted(folder: Folder) -> None:
    """etcd's data counts five; three are wanted, and a vote among five would need all of them."""
    folder.write(ETCD)
    folder.run("up")
    folder.run("scale", "registry=5")
    _exec(folder, "registry-1", "etcdctl", "put", "colour", "blue")
    folder.run("down", "--keep-data")
    folder.run("up")
    assert sorted(member["name"] for member in _members(folder)) == ["registry-1", "registry-2", "registry-3"]
    assert _exec(folder, "registry-3", "etcdctl", "get", "--print-value-only", "colour") == "blue"
    folder.run("scale", "registry=5")
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}


def test_the_mildest_change(folder: Folder) -> None:
    nodes = ("cache-1", "cache-2", "cache-3")
    folder.write("components: {cache: {kind: redis, cpus: 0.5}}\n")
    folder.run("up")
    made = _ids(folder, *nodes)
    assert "nothing to do" in folder.run("diff").stdout

    folder.write("components: {cache: {kind: redis, cpus: 0.5, appendfsync: always}}\n")
    seen = folder.run("diff", code=1).stdout
    assert "-appendfsync everysec" in seen
    assert "+appendfsync always" in seen
    password = json.loads((folder.path / ".clusterkit" / folder.name / "secrets" / "cache.json").read_text())[
        "password"
    ]
    assert password not in seen
    announced = folder.run("up", "--dry-run").stdout
    assert announced.count("restart") == 3
    assert _exec(folder, "cache-2", "redis-cli", "config", "get", "appendfsync").endswith("everysec")
    done = folder.run("up")
    assert "3 restarted" in done.stdout
    assert "cache-1: restart, /etc/redis/options.conf" in done.stderr
    assert _exec(folder, "cache-2", "redis-cli", "config", "get", "appendfsync").endswith("always")
    assert "nothing to do" in folder.run("up").stdout

    folder.write("components: {cache: {kind: redis, cpus: 0.75, appendfsync: always}}\n")
    assert "3 changed" in folder.run("up").stdout
    assert _inspect(folder, "cache-1")["HostConfig"]["CpuQuota"] == 75_000
    folder.write("components: {cache: {kind: redis, appendfsync: always}}\n")
    assert "3 changed" in folder.run("up").stdout
    assert _inspect(folder, "cache-1")["HostConfig"]["CpuQuota"] == -1
    assert "nothing to do" in folder.run("up").stdout
    assert _ids(folder, *nodes) == made


def test_a_change_that_breaks_stops_at_the_first_node(folder: Folder) -> None:
    folder.write(API % "blue")
    folder.run("up")
    before = _ids(folder, "api-2", "api-3")
    folder.write((API % "blue").replace("http.server", "no.such.module"))
    failed = folder.run("up", code=1)
    assert "api-1" in failed.stderr
    assert "No module named" in failed.stderr
    assert _ids(folder, "api-2", "api-3") == before
    folder.write(API % "red")
    folder.run("up")
    assert [_exec(folder, f"api-{index}", "printenv", "COLOUR") for index in (1, 2, 3)] == ["red"] * 3


def test_one_node_is_swapped_and_comes_back(folder: Folder) -> None:
    folder.write(ETCD)
    folder.run("up")
    client = DockerProvider().client
    repository = f"clusterkit-test-{folder.name}"
    image = _inspect(folder, "registry-1")["Config"]["Image"]
    _exec(folder, "registry-1", "etcdctl", "put", "colour", "blue")
    client.tag(image, repository, "other")
    try:
        assert "1 made anew" in folder.run("swap", "registry-2", "--image", f"{repository}:other").stdout
        images = [_inspect(folder, f"registry-{index}")["Config"]["Image"] for index in (1, 2, 3)]
        assert images == [image, f"{repository}:other", image]
        assert _exec(folder, "registry-2", "etcdctl", "get", "--print-value-only", "colour") == "blue"
        assert "1 made anew" in folder.run("up").stdout
        assert _inspect(folder, "registry-2")["Config"]["Image"] == image
    finally:
        client.remove_image(f"{repository}:other")


def test_a_rolling_restart_takes_the_leader_last(folder: Folder) -> None:
    folder.write(ETCD)
    folder.run("up")
    leader = folder.roles("leader")[0]
    names = [f"registry-{index}" for index in (1, 2, 3)]
    before = _ids(folder, *names)
    told = folder.run("restart", "--rolling", "registry")
    steps = [line.split()[2] for line in told.stderr.splitlines() if " restart " in line]
    assert sorted(steps) == names
    assert steps[-1] == leader
    assert _ids(folder, *names) == before
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}


def test_what_is_typed_wrong_is_said(folder: Folder) -> None:
    folder.write(ETCD)
    folder.run("up")
    said = folder.run("scale", "registri=5", code=64).stderr
    assert 'no component is called "registri"' in said
    assert "registry" in said.partition("mend")[2]
    assert '"registry" is not COMPONENT=COUNT' in folder.run("scale", "registry", code=64).stderr
    assert "replicas" in folder.run("scale", "registry=4", code=64).stderr
    assert "neither --image nor --mount" in folder.run("swap", "registry", code=64).stderr
