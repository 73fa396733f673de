"""A scene without an engine: an agent that writes down what it was asked, and answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from clusterkit.agent.client import Agent, Mark, Order
from clusterkit.chaos.base import Scene
from clusterkit.errors import UsageError
from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord, LiveNode, NodeRecord


@dataclass
class FakeAgent:
    """`answers`: name of a call -> what it gives for its arguments. `marks_now` is the ledger."""

    answers: dict[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    marks_now: list[Mark] = field(default_factory=list)
    orders: list[tuple[Order, float | None]] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    renewed: list[tuple[tuple[str, ...], float | None]] = field(default_factory=list)
    unhealable: set[str] = field(default_factory=set)
    cannot: dict[str, str] = field(default_factory=dict)

    def inject(self, order: Order, lease_s: float | None, *, pretend: bool = False) -> Mark:
        self.orders.append((order, lease_s))
        mark = Mark(
            id=f"{order.fault}-{len(self.orders)}",
            cluster=order.cluster,
            fault=order.fault,
            kind=order.kind,
            words=order.words,
            nodes=order.nodes,
            since_ns=len(self.orders),
            left_s=lease_s,
            args=order.args,
            before=self.before,
            owner=order.owner,
            engine=order.engine,
        )
        if not pretend:
            self.marks_now.append(mark)
        return mark

    def renew(self, ids: Sequence[str], lease_s: float | None) -> tuple[str, ...]:
        self.renewed.append((tuple(ids), lease_s))
        return tuple(mark.id for mark in self.marks_now if mark.id in ids)

    def heal(self, identity: str) -> bool:
        if identity in self.unhealable:
            raise UsageError(f"{identity} does not heal")
        self.healed.append(identity)
        found = [mark for mark in self.marks_now if mark.id == identity]
        self.marks_now = [mark for mark in self.marks_now if mark.id != identity]
        return bool(found)

    def marks(self, cluster: str = "") -> tuple[Mark, ...]:
        return tuple(mark for mark in self.marks_now if cluster in ("", mark.cluster))

    def trials(self) -> Mapping[str, str]:
        return {"block": "", **self.cannot}

    def call(self, name: str, **args: Any) -> Any:
        return self.answers[name](args)


def node(name: str, zone: str = "a", address: str = "") -> NodeRecord:
    component, _, index = name.rpartition("-")
    return NodeRecord(
        name=name,
        cluster="shop",
        component=component,
        kind=component,
        zone=zone,
        index=int(index),
        address=address or f"10.64.0.{sum(map(ord, name)) % 200 + 10}",
        host_ports={},
        parts={},
        runtime_id=f"id-{name}",
        state=State.RUNNING,
    )


SIX = tuple(node(f"{name}-{index}", "abc"[index - 1]) for name in ("cache", "registry") for index in (1, 2, 3))


def scene(
    agent: FakeAgent | None = None,
    nodes: Sequence[NodeRecord] = SIX,
    roles: Mapping[str, tuple[str, ...]] | None = None,
    service: Callable[[NodeRecord], LiveNode] | None = None,
    seed: int = 1,
    scale: Callable[[Mapping[str, int]], object] | None = None,
) -> Scene:
    record = ClusterRecord("shop", "clusterkit.yml", "10.64.0.0/24", "1", tuple(nodes))

    def no_service(record: NodeRecord) -> LiveNode:
        raise AssertionError(f"nobody should act on {record.name}")

    def no_scale(counts: Mapping[str, int]) -> None:
        raise AssertionError(f"nobody should scale to {counts}")

    return Scene(
        cluster="shop",
        agent=cast(Agent, agent or FakeAgent()),
        nodes={one.name: one for one in nodes},
        service=service or no_service,
        wait_ready=lambda _nodes, _seconds: None,
        roles=lambda: roles or {},
        find=lambda: record,
        say=lambda _text: None,
        scale=scale or no_scale,
        random=Random(seed),
    )
