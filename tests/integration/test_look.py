"""Ports, variables and files of a running cluster."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import urllib.request

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
