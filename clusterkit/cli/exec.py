"""L15. `clusterkit exec`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import targets
from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@file_option
@name_option
@click.option("-u", "--user", default="", help="The user on the node.")
@click.argument("target", shell_complete=targets)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def command(file: Path | None, cluster: str | None, user: str, target: str, argv: tuple[str, ...]) -> None:
    """Run a command on a node.

    Exit code, stdin and terminal are passed through. TARGET names one node: its name, or a role.

    \b
    clusterkit exec registry-1 etcdctl endpoint health
    clusterkit exec "primary of cache" redis-cli info replication
    """
    from clusterkit.cli._inside import run_inside

    run_inside(open_cluster(file, cluster), target, argv, user)
