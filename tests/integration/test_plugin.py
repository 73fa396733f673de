"""A component from outside the package, the one of docs/adding-a-component.md, on real nodes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned
from clusterkit.health import view
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from tests.integration.conftest import Folder

PLUGINS = Path(__file__).parents[1] / "fixtures" / "plugins"


def test_a_component_from_outside_is_as_good_as_ours(folder: Folder) -> None:
    shutil.copytree(PLUGINS / "memcached", folder.path / "memcached", ignore=shutil.ignore_patterns("__pycache__"))
    folder.write("plugins: [memcached/memcached.py]\ncomponents: {cache: {kind: memcached, memory: 16MB}}\n")
    folder.run("up")
    assert {node["health"] for node in folder.nodes().values()} == {"healthy"}
    assert "nothing to do" in folder.run("up").stdout
    assert json.loads(folder.run("health", "--format", "json").stdout)["healthy"]

    folder.run("kill", "cache-2")
    assert folder.nodes()["cache-2"]["health"] == "down"
    folder.run("up")

    provider = DockerProvider()
    record = provider.find(folder.name)
    assert record is not None
    topology, registry = read_topology(folder.path / "clusterkit.yml", folder=folder.path, environ={})
    site = Site(provider, Journal(), folder.path / ".clusterkit" / folder.name)
    running = view.running(planned(site, topology, registry, record), provider, record, "cache", 5.0)
    for member in running.members:
        client = running.client(member)
        client.write("colour", member.name)
        assert client.read("colour") == member.name
        client.close()
