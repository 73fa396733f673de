"""L3. Redis Cluster under a workload: what Redis does, each object on the node that has its slot."""

from __future__ import annotations

from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.redis_cluster_client import ClusterConnection
from clusterkit.components.redis_driver import RedisDriver


class RedisClusterDriver(RedisDriver):
    """One client, which begins at one node."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        super().__init__(ClusterConnection(running, member, is_local=purpose.is_local), purpose)
