"""L15. `clusterkit ls`."""

from __future__ import annotations

import json

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
