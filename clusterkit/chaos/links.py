"""L9. The lasting impairments of a topology's `links:`: a WAN on a laptop. They are in force from `up` to `down`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from clusterkit.agent.client import Agent, Mark, Order
from clusterkit.chaos.base import Target
from clusterkit.chaos.faults.link import link_order
from clusterkit.chaos.strike import LINKS
from clusterkit.errors import UsageError
from clusterkit.model.select import Candidate, select
from clusterkit.providers.base import ClusterRecord, NodeRecord
from clusterkit.units import Bandwidth, Duration, Percent


@dataclass(frozen=True)
class LinkSpec:
    """One item of `links`, with its sides; with `is_one_way` only what goes from `one` to `other` is met."""

    one: Target
    other: Target
    is_one_way: bool = False
    latency: Duration | None = None
    jitter: Duration | None = None
    loss: Percent | None = None
    duplicate: Percent | None = None
    reorder: Percent | None = None
    corrupt: Percent | None = None
    bandwidth: Bandwidth | None = None

    @property
    def impair(self) -> dict[str, float]:
        """As the agent takes it."""
        made: dict[str, float] = {}
        for name, value in (("delay_ms", self.latency), ("jitter_ms", self.jitter)):
            if value is not None:
                made[name] = value.seconds * 1000
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            share: Percent | None = getattr(self, name)
            if share is not None:
                made[name] = share.fraction
        if self.bandwidth is not None:
            made["bits_per_second"] = self.bandwidth.bits_per_second
        return made

    def __str__(self) -> str:
        arrow = "to" if self.is_one_way else "and"
        words = ", ".join(
            f"{name} {value}"
            for name in ("latency", "jitter", "loss", "duplicate", "reorder", "corrupt", "bandwidth")
            if (value := getattr(self, name)) is not None
        )
        return f"link between {self.one} {arrow} {self.other}: {words}"


def orders(cluster: str, links: Sequence[LinkSpec], nodes: Sequence[NodeRecord]) -> tuple[Order, ...]:
    """What has to be in force, one order a link. A link that meets no node of these is left out."""
    candidates = [Candidate(node.name, node.component, node.zone) for node in nodes]
    by_name = {node.name: node for node in nodes}
    made = []
    for link in links:
        sides = [[by_name[name] for name in _named(side, candidates)] for side in (link.one, link.other)]
        ways = [(one, other) for one in sides[0] for other in sides[1] if one is not other]
        if not link.is_one_way:
            ways += [(other, one) for one, other in ways]
        if ways:
            made.append(link_order(cluster, "link", str(link), ways, link.impair, owner=LINKS))
    return tuple(made)


def settle(agent: Agent, record: ClusterRecord, links: Sequence[LinkSpec]) -> tuple[list[Mark], list[Mark]]:
    """Makes the links in force those of the topology; gives what was made and what was undone. Nothing, when equal."""
    wanted = {_same(order): order for order in orders(record.name, links, record.nodes)}
    there = {_same(mark): mark for mark in agent.marks(record.name) if mark.owner == LINKS}
    undone = [mark for key, mark in there.items() if key not in wanted]
    for mark in undone:
        agent.heal(mark.id)
    made = [agent.inject(order, None) for key, order in wanted.items() if key not in there]
    return made, undone


def _named(side: Target, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """While a cluster is only partly up, a side may have no node yet."""
    try:
        return select(side.words, candidates)
    except UsageError:
        return ()


def _same(one: Order | Mark) -> str:
    return json.dumps([one.words, one.args], sort_keys=True)
