"""L15. `clusterkit status`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import file_option, format_option
from clusterkit.errors import EXIT_OK, EXIT_UNHEALTHY

if TYPE_CHECKING:
    from clusterkit.agent.client import Mark

_REFRESH = 1.0


@click.command()
@file_option
@name_option
@format_option
@click.option("-w", "--watch", is_flag=True, help="Look again each second, until Ctrl-C.")
def command(file: Path | None, cluster: str | None, output: str, watch: bool) -> int:
    """Show every node: state, role and health, read live.

    Roles come from the systems themselves, at this moment: each node says what it takes itself for, so that two leaders
    are seen while a partition lasts. Faults in force are told below. Exit code 1 when a node is not healthy.

    \b
    clusterkit status
    clusterkit status --format json | jq '.nodes[] | select(.role == "primary").name'
    """
    opened = open_cluster(file, cluster)
    if watch:
        return _watch(opened)
    rows, marks = _look(opened)
    if output == "json":
        from clusterkit.cli._chaos_words import as_json

        said = {"name": opened.name, "source": opened.found.source, "nodes": rows, "faults": [*map(as_json, marks)]}
        click.echo(json.dumps(said, indent=2))
    else:
        _show(rows, marks)
    return EXIT_OK if all(row["health"] == "healthy" for row in rows) else EXIT_UNHEALTHY


def _look(opened: Cluster) -> tuple[list[dict[str, Any]], list[Mark]]:
    """The nodes, and the faults in force: the agent is asked beside the nodes, where one runs."""
    from concurrent.futures import ThreadPoolExecutor

    from clusterkit.cli._chaos_words import marks_now, split

    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(marks_now, opened.provider.client, opened.name)
        rows = _rows(opened)
        faults, _links = split(asked.result() or ())
    return rows, faults


def _rows(opened: Cluster) -> list[dict[str, Any]]:
    """One row a node, in the order of the topology; health and roles only where the topology is there to read them."""
    from clusterkit.health.status import look
    from clusterkit.node import State

    record = opened.found
    seen = look(opened.plan, opened.provider, record) if opened.topology_read else {}
    order = list(opened.topology.components) if opened.topology_read else []
    nodes = sorted(
        record.nodes, key=lambda n: (order.index(n.component) if n.component in order else len(order), n.index)
    )
    rows = []
    for node in nodes:
        health = seen.get(node.name)
        rows.append(
            {
                "name": node.name,
                "component": node.component,
                "zone": node.zone,
                "address": node.address,
                "ports": dict(node.host_ports),
                "state": node.state.value,
                "exit_code": node.exit_code if node.state is State.EXITED else None,
                "role": health.role if health else "",
                "detail": health.detail if health else "",
                "health": health.verdict if health else "unknown",
                "seen": health.seen if health else "",
            }
        )
    return rows


def _show(rows: list[dict[str, Any]], marks: list[Mark]) -> None:
    from clusterkit.cli.table import show

    show(
        [
            {
                "node": row["name"],
                "zone": row["zone"],
                "state": row["state"] if row["exit_code"] is None else f"{row['state']} {row['exit_code']}",
                "role": row["role"] or "-",
                "health": row["health"],
                "address": row["address"],
                "on 127.0.0.1": " ".join(f"{name}:{port}" for name, port in row["ports"].items()) or "-",
            }
            for row in rows
        ]
    )
    for row in rows:
        if row["seen"]:
            click.echo(f"{row['name']}: {row['seen']}")
    if marks:
        from clusterkit.cli._chaos_words import show as show_faults

        click.echo()
        show_faults(marks)


def _watch(opened: Cluster) -> int:
    """Draws the table anew in place, on a terminal; elsewhere one table after another."""
    while True:
        rows, marks = _look(Cluster(opened.name, opened.file, opened.provider, opened.journal, opened.topology_read))
        click.clear()
        click.echo(f"{opened.name}   {time.strftime('%H:%M:%S')}   Ctrl-C ends this")
        _show(rows, marks)
        time.sleep(_REFRESH)
