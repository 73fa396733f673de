"""L15. What is said of faults in force, in `chaos status`, `status` and by the verbs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from clusterkit.agent.client import Mark
from clusterkit.chaos.strike import LINKS

if TYPE_CHECKING:
    from docker import APIClient


def marks_now(client: APIClient, cluster: str) -> tuple[Mark, ...] | None:
    """What the running agent, of whatever version, has in its ledger for a cluster; None where none runs."""
    from clusterkit.providers.docker_agent import DockerAgent

    container = DockerAgent(client)
    if not container.is_running():
        return None
    agent = container.connect()
    try:
        return agent.marks(cluster)
    finally:
        agent.close()


def split(marks: Sequence[Mark]) -> tuple[list[Mark], list[Mark]]:
    """Faults, and the lasting links of the topology."""
    return [mark for mark in marks if mark.owner != LINKS], [mark for mark in marks if mark.owner == LINKS]


def as_json(mark: Mark) -> dict[str, Any]:
    """`since` in UTC; `left_s` is null for what stays until it is healed."""
    return {
        "id": mark.id,
        "fault": mark.fault,
        "words": mark.words,
        "nodes": list(mark.nodes),
        "since": datetime.fromtimestamp(mark.since_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "left_s": None if mark.left_s is None else round(mark.left_s, 3),
        "overdue": mark.is_overdue,
        "trouble": mark.trouble,
    }


def show(marks: Sequence[Mark], named: str = "") -> None:
    """A table, and below it what keeps faults from being kept up."""
    from clusterkit.cli.table import show as table

    table(
        [
            {"id": mark.id, "fault": mark.words, "since": _clock(mark.since_ns / 1e9), "until": until(mark, named)}
            for mark in marks
        ]
    )
    for mark in marks:
        if mark.trouble:
            click.echo(f"{mark.id}: {mark.trouble}")


def until(mark: Mark, named: str = "") -> str:
    if mark.is_overdue:
        return f"overdue: clusterkit chaos heal{named}"
    if mark.left_s is None:
        return "healed"
    return f"{_clock(time.time() + mark.left_s)} (in {lasting(mark.left_s)})"


def lasting(seconds: float) -> str:
    """Whole seconds from ten on: "9m58s", "1.2s"."""
    whole = round(seconds) if seconds >= 10 else round(seconds, 1)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest:g}s" if rest else ""]
    return "".join(parts) or "0s"


def _clock(seconds: float) -> str:
    at = time.localtime(seconds)
    today = time.localtime()[:3] == at[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", at)
