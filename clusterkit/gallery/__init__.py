"""L13. Topologies to begin with, commented so that they teach; and topologies out of Compose files.

Each one of the gallery is a folder below `topologies/`: a clusterkit.yml, and what it needs beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clusterkit.model.files import DEFAULT_FILES

DEFAULT = "quickstart"

_FOLDER = Path(__file__).parent / "topologies"


@dataclass(frozen=True)
class Entry:
    """One topology: its folder below `topologies/`, a line about it, how many nodes, and roughly what memory they take.

    `memory_mb` was measured on idle nodes (`docker stats`), in MB, and is rounded up.
    """

    folder: str
    summary: str
    nodes: int
    memory_mb: int

    def files(self) -> Mapping[str, bytes]:
        """name -> content, the topology first."""
        names = sorted((path.name for path in (_FOLDER / self.folder).iterdir() if path.is_file()), key=_topology_first)
        return {name: (_FOLDER / self.folder / name).read_bytes() for name in names}


def _topology_first(name: str) -> tuple[bool, str]:
    return name != DEFAULT_FILES[0], name


GALLERY: Mapping[str, Entry] = {
    "quickstart": Entry("quickstart", "etcd, Redis and Sentinel: three of each, and room for your own program", 9, 60),
    "etcd": Entry("etcd", "three etcd servers that vote for a leader", 3, 40),
    "redis-sentinel": Entry("redis_sentinel", "a Redis that mends itself: primary, replicas, sentinels", 6, 25),
    "redis-cluster": Entry("redis_cluster", "a Redis whose keys are split over three primaries, a replica each", 6, 30),
    "zookeeper": Entry("zookeeper", "three ZooKeeper servers that vote for a leader", 3, 180),
    "galera": Entry("galera", "MariaDB with Galera: three members, none leads, all take writes", 3, 400),
    "openldap": Entry("openldap", "OpenLDAP: each server takes writes alone, and they converge", 3, 45),
    "nats": Entry("nats", "NATS with JetStream: messages that a majority keeps", 3, 50),
    "rabbitmq": Entry("rabbitmq", "RabbitMQ with quorum queues: messages that a majority keeps", 3, 300),
    "postgres": Entry("postgres", "PostgreSQL that mends itself: Patroni, votes in etcd, HAProxy before it", 9, 260),
    "everything": Entry("everything", "every system of the gallery at once: what one machine carries", 36, 1150),
    "leader": Entry("leader", "your own service with a leader, elected in etcd; its program is beside it", 6, 70),
    "gossip": Entry("gossip", "your own service without a leader: gossip; its program is beside it", 3, 35),
    "wan": Entry("wan", "three zones far from each other: links with latency and loss", 6, 50),
    "ci": Entry("ci", "chaos tests for CI: one for each push, one for each night", 3, 40),
}
"""Name -> topology, the one to begin with first."""
