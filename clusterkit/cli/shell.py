"""L15. `clusterkit shell`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import targets
from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option


@click.command()
@file_option
@name_option
@click.option("-u", "--user", default="", help="The user on the node.")
@click.argument("target", shell_complete=targets)
def command(file: Path | None, cluster: str | None, user: str, target: str) -> None:
    """Open a shell on a node.

    bash where the node has it, else sh. TARGET names one node: its name, or a role.

    \b
    clusterkit shell cache-1
    """
    from clusterkit.cli._inside import run_inside

    shell = "command -v bash >/dev/null 2>&1 && exec bash -l; exec sh -l"
    run_inside(open_cluster(file, cluster), target, ("sh", "-c", shell), user)
