"""L15. `clusterkit ls`."""

from __future__ import annotations

import json
import time

import click

from clusterkit.cli.options import format_option


@click.command()
@format_option
def command(output: str) -> None:
    """List all clusters of this engine."""
    from clusterkit.cli.table import show
    from clusterkit.node import State
    from clusterkit.providers.docker import DockerProvider

    rows = [
        {
            "name": record.name,
            "nodes": len(record.nodes),
            "running": sum(node.state is State.RUNNING for node in record.nodes),
            "volumes": record.volumes,
            "age": _age(record.born),
            "subnet": record.subnet,
            "source": record.source,
        }
        for record in DockerProvider().clusters()
    ]
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("no cluster is up")
    else:
        show(rows)


def _age(born: str) -> str:
    """In the largest unit that fits; "-" where only volumes are left."""
    if not born:
        return "-"
    seconds = (time.time_ns() - int(born)) // 10**9
    units = {"d": 86400, "h": 3600, "m": 60}
    return next((f"{seconds // size}{unit}" for unit, size in units.items() if seconds >= size), f"{seconds}s")
