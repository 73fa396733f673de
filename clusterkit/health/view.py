"""L8. A component as it is now: what was planned, and the means to reach those of its nodes that run."""

from __future__ import annotations

from clusterkit.components.base import Running
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, Provider

TIMEOUT = 1.0
"""Seconds that one call to one node may take."""


def running(
    plan: Plan, provider: Provider, record: ClusterRecord | None, component: str, timeout: float = TIMEOUT
) -> Running:
    """`nodes` holds only those whose main process runs; the components it needs are seen in the same way."""
    group = plan.groups[component]
    found = {node.name: node for node in record.nodes} if record else {}
    return Running(
        group=group,
        component=plan.components[component],
        nodes={
            member.name: provider.node(found[member.name])
            for member in group.members
            if member.name in found and found[member.name].state is State.RUNNING
        },
        needs={need: running(plan, provider, record, need, timeout) for need in group.needs},
        timeout=timeout,
    )
