"""L10. Disks of nodes' own (`data: loop`), which the agent makes and attaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clusterkit.cluster.site import Site
from clusterkit.errors import ClusterkitError
from clusterkit.providers.docker_agent import DockerAgent


def make(site: Site, cluster: str, sizes: Mapping[str, int], *, anew: bool = False) -> dict[str, str]:
    """node -> the device that its disk is attached to; one that is there keeps what is on it.

    `sizes`: node -> bytes. `anew`: all disks that a cluster of this name has are removed first.
    """
    from clusterkit.chaos.scene import open_agent

    with open_agent(site.provider, site.journal) as agent:
        if anew:
            agent.call("disks_remove", cluster=cluster, nodes=None)
        return dict(agent.call("disks_make", cluster=cluster, nodes=sizes))


def remove(site: Site, cluster: str, nodes: Sequence[str] | None = None) -> None:
    """Those of the nodes, or all of the cluster, once nothing mounts them; and those of clusters that are no more.

    A cluster's network is made before its disks and removed after them: whoever has no network is listed nowhere. What
    cannot be removed is told; it does not keep anybody from taking the cluster down.
    """
    if not DockerAgent(site.provider.client).exists():
        return
    from clusterkit.chaos.scene import open_agent

    try:
        with open_agent(site.provider, site.journal) as agent:
            agent.call("disks_remove", cluster=cluster, nodes=nodes)
            left = {disk["cluster"] for disk in agent.call("disks")}
            for lost in left - {record.name for record in site.provider.clusters()}:
                agent.call("disks_remove", cluster=lost, nodes=None)
    except ClusterkitError as error:
        site.journal.say(f"disks could not be removed, the next down does it: {error.what}", level="warning")
