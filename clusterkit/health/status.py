"""L8. One look at every node: its role, and whether it is healthy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from clusterkit.health import roles, view
from clusterkit.health.ready import unready
from clusterkit.plan import Plan
from clusterkit.providers.base import ClusterRecord, Provider


@dataclass(frozen=True)
class NodeHealth:
    """`verdict`: down where the main process does not run. `seen`: what keeps it from being healthy, "" else."""

    verdict: Literal["healthy", "unhealthy", "down"]
    role: str = ""
    detail: str = ""
    seen: str = ""


def look(plan: Plan, provider: Provider, record: ClusterRecord | None) -> dict[str, NodeHealth]:
    """node name -> its health now, for every node of the plan; components are asked side by side."""
    found = roles.for_each(plan.groups, lambda name: _component(plan, provider, record, name))
    return {node: health for of_component in found.values() for node, health in of_component.items()}


def _component(plan: Plan, provider: Provider, record: ClusterRecord | None, name: str) -> dict[str, NodeHealth]:
    running = view.running(plan, provider, record, name)
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(roles.read, running)
        seen = unready(running)
        held = asked.result()
    made = {}
    for member in running.members:
        if member.name not in running.nodes:
            made[member.name] = NodeHealth("down")
            continue
        role = next(iter(held.get(member.name, ())), None)
        made[member.name] = NodeHealth(
            "unhealthy" if member.name in seen else "healthy",
            role.name if role else "",
            role.detail if role else "",
            seen.get(member.name, ""),
        )
    return made
