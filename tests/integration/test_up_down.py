"""A whole cluster on real Docker: up, look, fail over, change, down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import docker.errors
import pytest

from clusterkit.providers.docker import DockerProvider
from tests.integration.conftest import Folder, left_of

NINE = """
components:
  registry: {kind: etcd}
  cache: {kind: redis}
  sentinel: {kind: redis-sentinel, watches: cache}
"""
SMALL = "components: {registry: {kind: etcd, replicas: 1}}\n"


def _wait(what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.3)


def _redis(folder: Folder, node: str, *words: str) -> str:
    password = json.loads((folder.path / ".clusterkit" / folder.name / "secrets" / "cache.json").read_text())[
        "password"
    ]
    return folder.run("exec", node, "redis-cli", "--no-auth-warning", "-a", password, *words).stdout.strip()


def test_the_life_of_a_cluster(folder: Folder) -> None:
    folder.write(NINE)
    assert "9 created" in folder.run("up").stdout

    nodes = folder.nodes()
    assert len(nodes) == 9
    assert {node["health"] for node in nodes.values()} == {"healthy"}
    assert sorted(node["role"] for node in nodes.values()) == sorted(
        ["leader", "follower", "follower", "primary", "replica", "replica", "sentinel", "sentinel", "sentinel"]
    )
    assert {node["zone"] for node in nodes.values()} == {"a", "b", "c"}

    assert "nothing to do" in folder.run("up").stdout

    folder.run("exec", "registry-1", "etcdctl", "put", "colour", "blue")
    for name in ("registry-2", "registry-3"):
        assert folder.run("exec", name, "etcdctl", "get", "--print-value-only", "colour").stdout.strip() == "blue"

    first = folder.roles("primary")
    assert _redis(folder, first[0], "set", "kept", "yes") == "OK"
    assert _redis(folder, first[0], "wait", "2", "2000") == "2"
    folder.run("kill", "primary of cache")
    _wait("another primary", lambda: folder.roles("primary") not in ([], first))

    assert folder.run("status", code=1).stdout.count("exited") == 1
    folder.run("start", first[0])
    _wait("the old primary follows", lambda: len(folder.roles("replica")) == 2)

    folder.write(NINE.replace("{kind: redis}", "{kind: redis, maxmemory: 96MB}"))
    said = folder.run("up")
    assert "3 restarted" in said.stdout
    _wait("one primary, two replicas", lambda: len(folder.roles("primary")) == 1 and len(folder.roles("replica")) == 2)
    primary = folder.roles("primary")[0]
    assert _redis(folder, primary, "get", "kept") == "yes"
    assert _redis(folder, primary, "config", "get", "maxmemory").split() == ["maxmemory", str(96 * 2**20)]

    lines = [json.loads(line) for line in folder.run("logs", "--format", "json").stdout.splitlines()]
    assert {line["node"] for line in lines} >= set(nodes)
    times = [line["time"] for line in lines]
    assert times == sorted(times)

    said = folder.run("down")
    assert "removed 9 nodes" in said.stdout
    assert left_of(folder.name) == []
    assert "nothing to do" in folder.run("down").stdout
    archived = [json.loads(line) for line in folder.run("logs", "--archive", "--format", "json").stdout.splitlines()]
    assert {line["node"] for line in archived} >= set(nodes)


def test_two_clusters_live_side_by_side(new_folder: Callable[[], Folder]) -> None:
    one, two = new_folder(), new_folder()
    for folder in (one, two):
        folder.write(SMALL)
        folder.run("up")
    listed = {row["name"]: row for row in json.loads(one.run("ls", "--format", "json").stdout)}
    assert listed[one.name]["subnet"] != listed[two.name]["subnet"]
    one.run("down")
    assert two.nodes()["registry-1"]["health"] == "healthy"


def test_a_name_belongs_to_one_file(new_folder: Callable[[], Folder]) -> None:
    mine, other = new_folder(), new_folder()
    mine.write(SMALL)
    mine.run("up")
    (other.path / "clusterkit.yml").write_text(f"name: {mine.name}\n{SMALL}")
    for verb in (("up",), ("down",), ("status",), ("kill", "all")):
        said = other.run(*verb, code=64)
        assert str(mine.path / "clusterkit.yml") in said.stderr
    assert mine.nodes()["registry-1"]["health"] == "healthy"


def test_what_is_not_ours_is_left_alone(folder: Folder) -> None:
    folder.write(SMALL)
    folder.run("up")
    client = DockerProvider().client
    image = next(item["Image"] for item in client.containers(filters={"label": f"clusterkit.cluster={folder.name}"}))
    foreign = client.create_container(image, ["sleep", "60"], name=f"foreign-{folder.name}")["Id"]
    try:
        client.start(foreign)
        client.connect_container_to_network(foreign, f"clusterkit-{folder.name}")
        folder.run("down")
        assert client.inspect_container(foreign)["State"]["Running"]
        assert left_of(folder.name) == []
    finally:
        client.remove_container(foreign, force=True)


def test_a_first_up_that_fails_is_undone_and_shows_the_last_lines(folder: Folder) -> None:
    folder.write(
        "components:\n  api:\n    kind: service\n    replicas: 2\n"
        "    command: [sh, -c, 'echo the config is missing; sleep 0.2; exit 3']\n    ports: {http: 8080}\n"
    )
    said = folder.run("up", code=1)
    assert "api-1" in said.stderr
    assert "code 3" in said.stderr
    assert "the config is missing" in said.stderr
    assert left_of(folder.name) == []

    folder.run("up", "--retain", code=1)
    assert len(left_of(folder.name)) >= 2
    assert {node["state"] for node in folder.nodes().values()} == {"exited"}


def test_a_cluster_without_its_folder_is_still_ours(folder: Folder) -> None:
    folder.write("components: {cache: {kind: redis, replicas: 2}}\n")
    folder.run("up")
    (folder.path / ".clusterkit").rename(folder.path / "lost")
    assert "nothing to do" in folder.run("up").stdout
    (folder.path / "clusterkit.yml").write_text("components: [")
    assert "removed 2 nodes" in folder.run("down").stdout


def test_kept_data_comes_back(folder: Folder) -> None:
    folder.write(SMALL)
    folder.run("up")
    folder.run("exec", "registry-1", "etcdctl", "put", "colour", "blue")
    folder.run("down", "--keep-data")
    folder.run("up")
    assert folder.run("exec", "registry-1", "etcdctl", "get", "--print-value-only", "colour").stdout.strip() == "blue"


def test_exec_passes_the_exit_code_on(folder: Folder) -> None:
    folder.write(SMALL)
    folder.run("up")
    assert folder.run("exec", "registry-1", "sh", "-c", "echo out; echo err >&2; exit 7", code=7).stdout == "out\n"
    folder.run("stop", "registry-1")
    assert "clusterkit start registry-1" in folder.run("exec", "registry-1", "true", code=64).stderr


def test_pause_and_unpause(folder: Folder) -> None:
    folder.write(SMALL)
    folder.run("up")
    folder.run("pause", "registry-1")
    paused = folder.nodes()["registry-1"]
    assert (paused["state"], paused["health"]) == ("paused", "down")
    assert "1 unpaused" in folder.run("up").stdout
    folder.run("pause", "all")
    folder.run("down")


def test_a_taken_host_port_is_said(new_folder: Callable[[], Folder]) -> None:
    one, two = new_folder(), new_folder()
    text = "components: {registry: {kind: etcd, replicas: 1, publish: {client: 19379}}}\n"
    one.write(text)
    two.write(text)
    one.run("up")
    said = two.run("up", code=69)
    assert "19379" in said.stderr
    assert "mend:" in said.stderr
    assert left_of(two.name) == []


def test_an_engine_that_is_not_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(SMALL)
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        said = folder.run("up", code=69)
    assert "no container engine answers at unix:///nowhere/docker.sock" in said.stderr
    with pytest.raises(docker.errors.NotFound):
        DockerProvider().client.inspect_network(f"clusterkit-{folder.name}")


def test_what_has_only_our_first_label_is_removed_too(folder: Folder) -> None:
    folder.write(SMALL)
    client = DockerProvider().client
    label = {"clusterkit.cluster": folder.name}
    client.create_volume(f"older-{folder.name}", labels=label)
    folder.run("up")
    image = client.containers(filters={"label": f"clusterkit.cluster={folder.name}"})[0]["Image"]
    client.create_container(image, ["sleep", "1"], name=f"older-{folder.name}", labels=label)
    folder.run("ls")
    folder.run("status", code=None)
    folder.run("down")
    assert left_of(folder.name) == []
