"""What a container uses, as the engine tells it with cgroups of either version."""

from __future__ import annotations

from typing import Any

from clusterkit.providers.docker_stats import Usage, parse

V1: dict[str, Any] = {
    "cpu_stats": {"cpu_usage": {"total_usage": 3_000, "percpu_usage": [1, 2]}, "system_cpu_usage": 20_000},
    "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 12_000},
    "memory_stats": {"usage": 900, "limit": 4_000, "stats": {"total_inactive_file": 100, "inactive_file": 7}},
    "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 50, "tx_bytes": 60}},
    "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 3}, {"op": "Write", "value": 4}]},
    "pids_stats": {"current": 9},
}


def test_cgroups_of_version_1() -> None:
    assert parse(V1) == Usage(0.5, 800, 4_000, 55, 66, 3, 4, 9)


def test_cgroups_of_version_2_and_a_node_without_a_network() -> None:
    said = {
        **V1,
        "cpu_stats": {**V1["cpu_stats"], "online_cpus": 4},
        "memory_stats": {"usage": 900, "limit": 4_000, "stats": {"inactive_file": 300}},
        "networks": None,
        "blkio_stats": {"io_service_bytes_recursive": None},
    }
    assert parse(said) == Usage(1.0, 600, 4_000, 0, 0, 0, 0, 9)
