"""Galera on real nodes: one way in through any member; one member lost, all lost, all stopped in good order."""

from __future__ import annotations

import contextlib
import json

from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned
from clusterkit.components.base import Running
from clusterkit.health import view
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from tests.integration.conftest import Folder

CALL_SECONDS = 10.0


def _running(folder: Folder) -> Running:
    provider = DockerProvider()
    record = provider.find(folder.name)
    assert record is not None
    topology, registry = read_topology(folder.path / "clusterkit.yml", folder=folder.path, environ={})
    site = Site(provider, Journal(), folder.path / ".clusterkit" / folder.name)
    return view.running(planned(site, topology, registry, record), provider, record, "galera", CALL_SECONDS)


def _write(folder: Folder, place: int, key: str, value: str) -> None:
    running = _running(folder)
    with contextlib.closing(running.client(running.members[place])) as client:
        client.write(key, value)


def _read(folder: Folder, place: int, key: str) -> str | None:
    running = _running(folder)
    with contextlib.closing(running.client(running.members[place])) as client:
        return client.read(key)


def test_galera_outlives_the_loss_of_one_and_of_all(folder: Folder) -> None:
    folder.write("components: {galera: {suspect_timeout: 2s}}\n")
    folder.run("up")
    assert folder.roles("member") == ["galera-1", "galera-2", "galera-3"]
    findings = json.loads(folder.run("health", "--format", "json").stdout)
    assert findings["healthy"]
    _write(folder, 0, "kept", "one")
    assert _read(folder, 2, "kept") == "one"

    folder.run("kill", "galera-1")
    _write(folder, 1, "later", "two")
    assert _read(folder, 2, "kept") == "one"

    folder.run("kill", "galera-2", "galera-3")
    folder.run("up")
    assert [_read(folder, place, "later") for place in range(3)] == ["two"] * 3

    # Nobody of them goes on by itself now: the one that has most is found, and begins.
    folder.run("stop", "all")
    assert "would begin from galera-" in folder.run("recover", "--dry-run").stdout
    folder.run("start", "all")
    assert [_read(folder, place, "kept") for place in range(3)] == ["one"] * 3
    assert "nothing to recover" in folder.run("recover").stdout
