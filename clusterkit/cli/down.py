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
    from clusterkit.cluster import check_owner, count, down

    opened = open_cluster(file, cluster)
    if cluster is None and opened.topology_read is not None:
        check_owner(opened.topology, opened.record)
    gone = down(opened.site, opened.name, keep_data=keep_data)
    if gone.is_nothing:
        click.echo(f"{opened.name}: nothing to do, nothing of it is there")
        return
    data = "" if not gone.volumes else f" and {count(gone.volumes, 'volume')} with all data"
    lines = f"{count(gone.lines, 'log line')} in the archive: clusterkit logs --archive"
    click.echo(f"{opened.name}: removed {count(gone.nodes, 'node')}{data}; {lines}")
