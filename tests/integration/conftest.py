"""Real clusters under fresh names; whatever happens, nothing of them is left."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusterkit.providers.docker import DockerProvider

TIMEOUT = 300


@dataclass
class Folder:
    """A user's folder with a topology, and the program called in it as a user calls it."""

    path: Path
    name: str

    def write(self, text: str, file: str = "clusterkit.yml") -> None:
        (self.path / file).write_text(f"name: {self.name}\n{text}")

    def run(self, *words: str, code: int | None = 0, timeout: int = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Calls clusterkit; fails with all that it said when the exit code is not `code` (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "clusterkit", *words],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if code is not None and done.returncode != code:
            pytest.fail(
                f"clusterkit {' '.join(words)}: exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Starts clusterkit and does not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "clusterkit", *words],
            cwd=self.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What `status` says, by node; the cluster may be unhealthy."""
        said = self.run("status", "--format", "json", code=None)
        return {node["name"]: node for node in json.loads(said.stdout)["nodes"]}

    def roles(self, role: str) -> list[str]:
        return [name for name, node in self.nodes().items() if node["role"] == role]


def left_of(name: str) -> list[str]:
    """All that an engine has with the cluster's label, and its lock: empty after a `down`."""
    client = DockerProvider().client
    label = {"label": f"clusterkit.cluster={name}"}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clusterkit" / "locks"
    return [
        *(item["Names"][0] for item in client.containers(all=True, filters=label)),
        *(item["Name"] for item in client.networks(filters=label)),
        *(item["Name"] for item in (client.volumes(filters=label) or {}).get("Volumes") or []),
        *(str(path) for path in cache.glob(f"*-{name}.lock")),
    ]


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[Callable[[], Folder]]:
    """Makes folders with fresh cluster names; takes their clusters down at the end and checks that nothing is left."""
    made: list[Folder] = []

    def make() -> Folder:
        name = f"t{secrets.token_hex(4)}"
        path = tmp_path / name
        path.mkdir()
        made.append(Folder(path, name))
        return made[-1]

    yield make
    for folder in made:
        folder.run("down", "--name", folder.name)
    assert [left for folder in made for left in left_of(folder.name)] == []


@pytest.fixture
def folder(new_folder: Callable[[], Folder]) -> Folder:
    return new_folder()


NINE = """
components:
  registry: {kind: etcd}
  cache: {kind: redis}
  sentinel: {kind: redis-sentinel, watches: cache}
"""


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Nine nodes that all tests of faults share: each heals what it broke, and leaves every node running.

    Such tests carry `pytest.mark.xdist_group("agent")`: one engine has one agent.
    """
    folder = Folder(tmp_path_factory.mktemp("arena"), f"a{secrets.token_hex(4)}")
    folder.write(NINE)
    folder.run("up")
    try:
        yield folder
    finally:
        folder.run("down", "--name", folder.name)
        assert left_of(folder.name) == []
