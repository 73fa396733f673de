"""L15. `clusterkit down`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option


@click.command()
@file_option
@name_option
@click.option("--keep-data", is_flag=True, help="Keep the volumes: the next `up` takes them over.")
def command(file: Path | None, cluster: str | None, keep_data: bool) -> None:
    """Archive the logs, then remove the cluster and its data.

    Removes all that carries the cluster's label, and nothing else. Works on a half-built cluster too, and without the
    topology file when the cluster is named.

    \b
    clusterkit down
    clusterkit down --name shop
    """
    from clusterkit.cluster import down

    opened = open_cluster(file, cluster)
    gone = down(opened.site, opened.name, keep_data=keep_data)
    if gone.is_nothing:
        click.echo(f"{opened.name}: nothing to do, nothing of it is there")
        return
    data = "" if not gone.volumes else f" and {gone.volumes} volumes with their data"
    click.echo(f"{opened.name}: removed {gone.nodes} nodes{data}; {gone.lines} log lines are in the archive")
