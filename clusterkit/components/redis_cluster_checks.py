"""L3. testinfra checks of a node of redis-cluster: what `clusterkit health` looks at on the machine itself."""

from __future__ import annotations

from typing import Any

from clusterkit.components.redis import DATA, OPTIONS
from clusterkit.components.redis_cluster import CLUSTER, NODES


def test_configuration_is_for_redis_alone(host: Any) -> None:
    for path in (OPTIONS, CLUSTER, NODES):
        file = host.file(path)
        assert file.is_file
        assert not file.mode & 0o007, f"{path} has mode {file.mode:o}: others may read it"


def test_server_can_write_down_who_has_what(host: Any) -> None:
    """It writes a new file beside the old one and renames it: the folder must be its own too."""
    assert host.file(DATA).user == "redis"
    assert host.file(NODES).user == "redis"


def test_disk_has_room(host: Any) -> None:
    used = int(host.check_output("df -P %s", DATA).splitlines()[-1].split()[4].rstrip("%"))
    assert used < 95, f"{DATA} is {used} % full"


def test_serves_on_the_node_itself(host: Any) -> None:
    assert host.check_output("redis-cli ping") == "PONG"
