"""L15. `clusterkit diff`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import components as complete_components
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import EXIT_OK, EXIT_UNHEALTHY


@click.command()
@file_option
@click.argument("components", nargs=-1, shell_complete=complete_components)
def command(file: Path | None, components: tuple[str, ...]) -> int:
    """Show what differs between the cluster and its topology.

    What `up` would do to each node, and the lines of its files that differ. Changes nothing. Exit 0: nothing differs,
    1: something does.
    """
    from difflib import unified_diff

    from clusterkit.cli._changes import show_plan
    from clusterkit.cluster import Wish, compare

    opened = open_cluster(file, must_read=True)
    compared = compare(opened.site, opened.topology, opened.registry, Wish(components))
    for node, files in compared.files.items():
        for path, (now, wanted) in files.items():
            lines = unified_diff(now.splitlines(), wanted.splitlines(), f"{node}:{path}", "topology", lineterm="", n=1)
            click.echo("\n".join(lines))
    show_plan(opened, compared)
    return EXIT_UNHEALTHY if compared.changes else EXIT_OK
