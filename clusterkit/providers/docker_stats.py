"""L6. What a container uses now, from the engine's own statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from docker import APIClient


@dataclass(frozen=True)
class Usage:
    """`cpu`: processors in use (0.5 is half of one), over the last second. All others are totals, in bytes."""

    cpu: float
    memory_bytes: int
    memory_limit_bytes: int
    received_bytes: int
    sent_bytes: int
    read_bytes: int
    written_bytes: int
    processes: int


def usages(client: APIClient, container: str) -> Iterator[Usage]:
    """One a second, over one connection, until the container is gone; what does not run yields nothing."""
    stream = cast("Iterator[Mapping[str, Any]]", client.stats(container, stream=True, decode=True))
    for said in stream:
        if said.get("memory_stats", {}).get("usage") is None:
            return
        if said["precpu_stats"].get("system_cpu_usage"):
            yield parse(said)


def parse(said: Mapping[str, Any]) -> Usage:
    """Source: Docker's API, "Get container stats based on resource usage", and what `docker stats` makes of it.

    Of the memory what the page cache could give back at once is not counted: `total_inactive_file` with cgroup v1,
    `inactive_file` with v2.
    """
    now, before = said["cpu_stats"], said["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now["system_cpu_usage"] - before["system_cpu_usage"]
    processors = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or [0])
    memory = said["memory_stats"]
    more = memory.get("stats") or {}
    cache = more.get("total_inactive_file", more.get("inactive_file", 0))
    networks = (said.get("networks") or {}).values()
    blocks = (said.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    return Usage(
        cpu=used / passed * processors if passed > 0 else 0.0,
        memory_bytes=max(0, memory["usage"] - cache),
        memory_limit_bytes=memory.get("limit", 0),
        received_bytes=sum(one["rx_bytes"] for one in networks),
        sent_bytes=sum(one["tx_bytes"] for one in networks),
        read_bytes=sum(one["value"] for one in blocks if one["op"].lower() == "read"),
        written_bytes=sum(one["value"] for one in blocks if one["op"].lower() == "write"),
        processes=(said.get("pids_stats") or {}).get("current", 0),
    )
