"""L8. A component as it is now: what was planned, and the means to reach those of its nodes that run."""

from __future__ import annotations

from dataclasses import replace

from clusterkit.components.base import Member, Running
from clusterkit.node import State
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, Provider

TIMEOUT = 1.0
"""Seconds that one call to one node may take."""


def running(
    plan: Plan,
    provider: Provider,
    record: ClusterRecord | None,
    component: str,
    timeout: float = TIMEOUT,
    *,
    members: tuple[Member, ...] | None = None,
) -> Running:
    """`nodes` holds only those whose main process runs; the components it needs are seen in the same way.

    `members` are those of the moment, while some come and others go; those of the plan if not given.
    """
    group = plan.groups[component]
    if members is not None:
        group = replace(group, members=members)
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
