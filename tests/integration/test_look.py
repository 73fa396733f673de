"""Ports, variables and files of a running cluster."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tarfile
import urllib.request
from typing import Any

import pytest

from tests.integration.conftest import Folder

pytestmark = pytest.mark.xdist_group("agent")


def test_a_program_on_this_machine_finds_the_cluster(arena: Folder) -> None:
    address = arena.run("port", "registry-2", "client").stdout.strip()
    with urllib.request.urlopen(f"http://{address}/health") as answer:
        assert answer.read() == b'{"health":"true"}'
    assert len(arena.run("port", "cache").stdout.splitlines()) == 3
    assert "client" in arena.run("port", "cache-1", "peer", code=64).stderr

    exported = arena.run("env").stdout
    shell = f"{exported}\n{sys.executable} -c 'import os; print(os.environ[\"REGISTRY_ENDPOINTS\"])'"
    seen = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert address in seen.stdout.strip().split(",")
    assert 'did you mean "cache"' in arena.run("env", "cach", code=64).stderr
    assert "registry-1, zone a" in arena.run("graph", "--live").stdout


def test_files_go_in_and_out(arena: Folder) -> None:
    (arena.path / "page.txt").write_text("hello\n")
    arena.run("cp", "page.txt", "cache:/srv/")
    for index in (1, 2, 3):
        assert arena.run("exec", f"cache-{index}", "cat", "/srv/page.txt").stdout == "hello\n"
    arena.run("cp", "cache-1:/srv/page.txt", "registry-1:/srv/other.txt")
    arena.run("cp", "registry-1:/srv/other.txt", "back.txt")
    assert (arena.path / "back.txt").read_text() == "hello\n"
    tar = subprocess.run(
        [sys.executable, "-m", "clusterkit", "cp", "registry-1:/srv/other.txt", "-"],
        cwd=arena.path, capture_output=True, check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(tar.stdout)) as archive:
        assert archive.getnames() == ["other.txt"]
    assert "cache-1" in arena.run("cp", "cache-1:/no/such", ".", code=64).stderr
    assert "neither side" in arena.run("cp", "a", "b", code=64).stderr
    assert "3 nodes" in arena.run("cp", "cache:/srv/page.txt", ".", code=64).stderr


def test_what_nodes_use(arena: Folder) -> None:
    seen = json.loads(arena.run("top", "cache", "--format", "json").stdout)
    assert [one["node"] for one in seen] == ["cache-1", "cache-2", "cache-3"]
    assert all(one["memory_bytes"] > 10**6 and one["processes"] >= 1 for one in seen)
    assert "registry-1" in arena.run("top").stdout


def test_what_happens_is_told(arena: Folder) -> None:
    """A stream of its own, listened to while a node is paused; and what the engine remembers of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "clusterkit", "events", "--json"], cwd=arena.path, stdout=subprocess.PIPE, text=True
    ) as stream:
        assert stream.stdout is not None
        told = map(json.loads, stream.stdout)
        first: list[dict[str, Any]] = []
        while sum(one["kind"] == "health" for one in first) < 9:
            first.append(next(told))
        assert sum(one["kind"] == "role" for one in first) == 9
        led = {one["component"]: one["what"] for one in first if one["kind"] == "leader"}
        assert [led["cache"]] == arena.roles("primary")
        arena.run("pause", "cache-2")
        arena.run("unpause", "cache-2")
        seen: list[tuple[str, str, str]] = []
        for one in told:
            seen.append((one["kind"], one["node"], one["what"]))
            if seen[-1] == ("node", "cache-2", "unpaused"):
                break
        assert ("node", "cache-2", "paused") in seen
        stream.send_signal(signal.SIGINT)
        assert stream.wait(10) == 130
    past = arena.run("events", "--since", "5m", "--no-follow").stdout
    assert "cache-2      paused" in past
    of_one = arena.run("events", "cache-2", "--since", "5m", "--no-follow").stdout
    assert "cache-2      paused" in of_one
    assert "cache-1 " not in of_one
    assert 'did you mean "cache"' in arena.run("events", "cach", code=64).stderr
