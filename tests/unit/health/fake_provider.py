"""A provider in memory: a cluster of one store with three nodes, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

from clusterkit.components.base import Component, Finding, Options, Port, Role, Running, Unready
from clusterkit.components.registry import Registry
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.node import Ability, State
from clusterkit.plan import Allocation, Plan, plan
from clusterkit.providers.base import ClusterRecord, LiveNode, LogLine, NodeRecord
from clusterkit.testing import FakeNode

NODES = ("db-1", "db-2", "db-3")


def store(
    ready: Callable[[Running], Unready] = lambda _running: {},
    roles: Callable[[Running], Mapping[str, tuple[Role, ...]]] = lambda _running: {},
    health: Callable[[Running], Iterable[Finding]] = lambda _running: (),
    **more: Any,
) -> Component:
    return Component(
        "store",
        "1",
        "a store",
        ports={"client": Port(7000)},
        command=("stored",),
        ready=(ready,),
        roles=roles,
        health=health,
        **more,
    )


def planned(component: Component, image: str | None = None) -> Plan:
    """A cluster "shop": `db` of the kind `store`, and `eye`, which needs it and has one node."""
    eye = Component("watcher", "1", "watches", ports={}, command=("watch",), depends_on=lambda _options: ("db",))
    specs = {
        "db": ComponentSpec("db", "store", Options(), image=image),
        "eye": ComponentSpec("eye", "watcher", Options(), replicas=1),
    }
    names = [*NODES, "eye-1"]
    addresses = {name: f"10.0.0.{11 + i}" for i, name in enumerate(names)}
    topology = Topology("shop", specs)
    return plan(topology, Registry(components=[component, eye]), Allocation("10.0.0.0/24", addresses))


def record(made: Plan, **states: State) -> ClusterRecord:
    """All nodes run, but for those in `states` (db_1=State.PAUSED)."""
    nodes = tuple(
        NodeRecord(
            name=node.name,
            cluster="shop",
            component=node.component,
            kind=node.kind,
            zone=node.member.zone,
            index=node.member.index,
            address=node.member.address,
            host_ports={},
            parts={},
            runtime_id=f"id-of-{node.name}",
            state=State.RUNNING,
        )
        for node in made.nodes
    )
    changed = {name.replace("_", "-"): state for name, state in states.items()}
    nodes = tuple(replace(node, state=changed.get(node.name, node.state)) for node in nodes)
    return ClusterRecord("shop", "/home/me/clusterkit.yml", "10.0.0.0/24", "1", nodes)


class FakeProvider:
    """Gives a FakeNode for each record."""

    address = "unix:///nowhere.sock"

    def abilities(self) -> frozenset[Ability]:
        return frozenset()

    def clusters(self) -> tuple[ClusterRecord, ...]:
        return ()

    def find(self, _cluster: str) -> ClusterRecord | None:
        return None

    def node(self, record: NodeRecord) -> LiveNode:
        return cast(LiveNode, FakeNode(record.name, record.address))

    def logs(self, record: NodeRecord, since_ns: int = 0, follow: bool = False) -> Iterator[LogLine]:  # noqa: ARG002  the protocol's names
        return iter(())
