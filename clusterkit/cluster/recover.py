"""L10. What a recovery asks of a cluster's nodes, beside what it asks of the system (health.recovery)."""

from __future__ import annotations

from clusterkit.cluster import disks
from clusterkit.cluster.site import Site, retire
from clusterkit.components.base import Choice
from clusterkit.plan import Plan


def make_room(site: Site, wanted: Plan, component: str, choice: Choice) -> None:
    """Removes the members that have to join anew, with their data; the next `up` takes them in."""
    recovery = wanted.components[component].recovery
    record = site.provider.find(wanted.name)
    if recovery is None or not recovery.joins or record is None:
        return
    for node in record.nodes:
        if node.component == component and node.name != choice.node:
            with site.journal.step(f"remove {node.name} and its data", node=node.name, component=component):
                retire(site, node, data=True, graceful=False)
                disks.remove(site, wanted.name, [node.name])
