"""L15. `clusterkit down`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import EXIT_OK, ClusterkitError


@click.command()
@file_option
@name_option
@click.option("--all", "everything", is_flag=True, help="Every cluster of this engine.")
@click.option("-y", "--yes", is_flag=True, help="With --all: do not ask.")
@click.option("--keep-data", is_flag=True, help="Keep the volumes: the next `up` takes them over.")
def command(file: Path | None, cluster: str | None, everything: bool, yes: bool, keep_data: bool) -> int:
    """Archive the logs, then remove the cluster and its data.

    Removes all that carries the cluster's label, and nothing else. Works on a half-built cluster too, and without the
    topology file when the cluster is named.

    \b
    clusterkit down
    clusterkit down --name shop
    clusterkit down --all
    """
    if everything:
        return _all(yes, keep_data)
    _one(file, cluster, keep_data)
    return EXIT_OK


def _all(is_answered: bool, keep_data: bool) -> int:
    """One that fails keeps no other from its end; the worst exit code is ours."""
    from clusterkit.cli._confirm import confirm
    from clusterkit.cluster import count
    from clusterkit.providers.docker import DockerProvider

    found = DockerProvider().clusters()
    for record in found:
        click.echo(f"{record.name}: {count(len(record.nodes), 'node')}, {record.source or 'its file is not known'}")
    if not found:
        click.echo("no cluster is up")
        return EXIT_OK
    if not confirm(f"Take {count(len(found), 'cluster')} down?", is_answered=is_answered):
        return EXIT_OK
    codes = []
    for record in found:
        try:
            _one(None, record.name, keep_data)
        except ClusterkitError as error:
            click.echo(str(error), err=True)
            codes.append(error.exit_code)
    return max(codes, default=EXIT_OK)


def _one(file: Path | None, cluster: str | None, keep_data: bool) -> None:
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
