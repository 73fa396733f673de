"""The gallery's systems on real nodes: up, the right roles, data that outlives the loss of one node and of all."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.cluster import Site, planned
from clusterkit.components.base import Member, Running
from clusterkit.components.conditions import UNREACHABLE
from clusterkit.gallery import GALLERY
from clusterkit.health import view
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from tests.integration.conftest import Folder

CALL_SECONDS = 5.0


@dataclass(frozen=True)
class System:
    """A topology of the gallery: the component that has the data, and the role of whoever leads it ("": all equal).

    `is_fixed`: its members have a list of all, which no `up` may change while they run. `made_whole`: an object has to
    be there before a node is killed; one that was made later does not outlive the loss of all.
    """

    topology: str
    component: str
    leads: str = ""
    is_fixed: bool = False
    made_whole: bool = False


SYSTEMS = [
    System("nats", "messages", "leader"),
    System("zookeeper", "zookeeper", "leader", is_fixed=True),
    System("redis-cluster", "store"),
    System("openldap", "directory"),
    System("postgres", "db", "primary"),
    System("rabbitmq", "messages", made_whole=True),
]


def _running(folder: Folder, component: str) -> Running:
    provider = DockerProvider()
    record = provider.find(folder.name)
    assert record is not None
    topology, registry = read_topology(folder.path / "clusterkit.yml", folder=folder.path, environ={})
    site = Site(provider, Journal(), folder.path / ".clusterkit" / folder.name)
    return view.running(planned(site, topology, registry, record), provider, record, component, CALL_SECONDS)


def _eventually(what: str, does: Callable[[], bool], seconds: float = 90) -> None:
    end, trouble = time.monotonic() + seconds, "no"
    while time.monotonic() < end:
        try:
            if does():
                return
        except (*UNREACHABLE, KeyError) as error:
            trouble = f"{type(error).__name__}: {error}"
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {what}: {trouble}")


def _write(folder: Folder, system: System, member: str, key: str, value: str) -> bool:
    running = _running(folder, system.component)
    with contextlib.closing(running.client(_member(running, member))) as client:
        client.write(key, value)
    return True


def _reads(folder: Folder, system: System, member: str, key: str, value: str) -> bool:
    running = _running(folder, system.component)
    with contextlib.closing(running.client(_member(running, member))) as client:
        return client.read(key) == value


def _member(running: Running, name: str) -> Member:
    return {member.name: member for member in running.members}[name]


def _is_healthy(folder: Folder) -> bool:
    return {node["health"] for node in folder.nodes().values()} == {"healthy"}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.topology)
def test_a_system_comes_up_and_keeps_its_data(system: System, folder: Folder) -> None:
    folder.run("init", system.topology)
    folder.run("up")
    nodes = folder.nodes()
    assert {node["health"] for node in nodes.values()} == {"healthy"}
    members = [name for name, node in nodes.items() if node["component"] == system.component]
    leaders = [name for name in folder.roles(system.leads) if name in members] if system.leads else [members[0]]
    assert len(leaders) == 1
    assert "nothing to do" in folder.run("up").stdout
    if system.is_fixed:
        more = f"{system.component}={len(members) + 2}"
        assert "has 3 members and cannot become 5" in folder.run("scale", more, code=64).stderr

    others = [name for name in members if name != leaders[0]]
    _eventually("a write through a node that leads", lambda: _write(folder, system, leaders[0], "kept", "one"))
    for name in others:
        _eventually(f"{name} has it", lambda name=name: _reads(folder, system, name, "kept", "one"))  # type: ignore[misc]

    if system.made_whole:
        _eventually("another write", lambda: _write(folder, system, leaders[0], "later", "not yet"))
    folder.run("kill", leaders[0])

    def survivor() -> str:
        """Whoever leads now; where all are equal, any that was left."""
        return next((name for name in folder.roles(system.leads) if name in others), "") if system.leads else others[0]

    _eventually("a write without the one that was killed", lambda: _write(folder, system, survivor(), "later", "two"))
    _eventually("what was kept is there", lambda: _reads(folder, system, survivor(), "kept", "one"))
    around = folder.run("logs", "--around", f"kill {leaders[0]}", "clusterkit", "--window", "1s").stdout
    assert f"kill {leaders[0]}" in around

    folder.run("kill", *(name for name in members if name != leaders[0]))
    folder.run("up")
    assert _is_healthy(folder)
    for name in members:
        for key, value in (("kept", "one"), ("later", "two")):
            _eventually(
                f"{name} has {key} again",
                lambda name=name, key=key, value=value: _reads(folder, system, name, key, value),  # type: ignore[misc]
            )
    findings = json.loads(folder.run("health", "--format", "json").stdout)
    assert findings


@pytest.mark.long
def test_every_system_at_once_outlives_a_zone(folder: Folder) -> None:
    folder.run("init", "everything")
    folder.run("up")
    assert len(folder.nodes()) == GALLERY["everything"].nodes
    assert _is_healthy(folder)
    assert "nothing to do" in folder.run("up").stdout

    gone = {name for name, node in folder.nodes().items() if node["zone"] == "a"}
    folder.run("kill", "zone", "a")
    down = {name for name, node in folder.nodes().items() if node["health"] == "down"}
    assert down == gone
    for component, role in (("registry", "leader"), ("zookeeper", "leader"), ("cache", "primary"), ("db", "primary")):
        _eventually(
            f"{component} has a {role} in another zone",
            lambda component=component, role=role: any(  # type: ignore[misc]
                node["component"] == component and node["role"] == role and name not in gone
                for name, node in folder.nodes().items()
            ),
        )
    folder.run("up")
    assert _is_healthy(folder)
