"""L10. `down`: heals, archives the logs, removes all that carries the cluster's label and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clusterkit import locks
from clusterkit.cluster import disks
from clusterkit.cluster.site import WORKERS, Site, all_of, count, retire
from clusterkit.errors import ClusterkitError
from clusterkit.providers.docker_agent import DockerAgent


@dataclass(frozen=True)
class Gone:
    """What a `down` took away."""

    nodes: int = 0
    networks: int = 0
    volumes: int = 0
    lines: int = 0

    @property
    def is_nothing(self) -> bool:
        return not (self.nodes or self.networks or self.volumes)


def down(site: Site, cluster: str, *, keep_data: bool = False) -> Gone:
    """Heals, archives the logs and removes all that carries the cluster's label; works on a half-built or absent one.

    With the engine's last cluster its agent goes too.
    """
    with locks.held(site.provider.engine, cluster):
        gone = take_down(site, cluster, keep_data=keep_data)
        site.trim_archive()
        return gone


def take_down(site: Site, cluster: str, *, keep_data: bool = False) -> Gone:
    record = site.provider.find(cluster)
    if record is None:
        return Gone()
    agent = DockerAgent(site.provider.client)
    has_agent = agent.exists()
    if has_agent:
        _heal_first(site, cluster)
    lines = [0]
    if record.nodes:
        with ThreadPoolExecutor(WORKERS) as pool, site.journal.step(f"remove {count(len(record.nodes), 'node')}"):
            lines = all_of(
                [pool.submit(retire, site, node, data=not keep_data, graceful=keep_data) for node in record.nodes]
            )
    if has_agent and not keep_data:
        disks.remove(site, cluster)
    with site.journal.step("remove the network"):
        rest = site.provider.remove_rest(cluster, data=not keep_data)
    if has_agent and not site.provider.clusters():
        with site.journal.step("remove the agent: no cluster is left"):
            agent.remove()
    return Gone(len(record.nodes), rest.networks, record.volumes if not keep_data else 0, sum(lines))


def _heal_first(site: Site, cluster: str) -> None:
    """Undoes what the agent did to the cluster, so that nodes can end: a frozen disk would hold them. Starts no node.

    What cannot be healed is told; it does not keep anybody from taking the cluster down.
    """
    from clusterkit.chaos.scene import open_agent

    try:
        with open_agent(site.provider, site.journal) as agent:
            for mark in reversed(agent.marks(cluster)):
                with site.journal.step(f"heal {mark.id}: {mark.words}"):
                    agent.heal(mark.id)
    except ClusterkitError as error:
        site.journal.say(f"not everything could be healed before the end: {error.what}", level="warning")
