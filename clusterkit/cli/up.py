"""L15. `clusterkit up`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import components as complete_components
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.units import Duration


@click.command()
@file_option
@click.argument("components", nargs=-1, shell_complete=complete_components)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--build", is_flag=True, help="Build the images of `build:` anew, without a cache.")
@click.option("--wait-timeout", type=Quantity(Duration), help="Wait so long for health, instead of each `timeout:`.")
@click.option("--retain", is_flag=True, help="Keep what a failed first `up` made, to look at it.")
def command(
    file: Path | None,
    components: tuple[str, ...],
    dry_run: bool,
    build: bool,
    wait_timeout: Duration | None,
    retain: bool,
) -> None:
    """Bring the cluster up, or make it what the topology says.

    With COMPONENTS only those, and what they depend on. Changes only what differs: nodes that are as the topology says
    are left alone, stopped ones are started. Ends when a client could write through one node and read through another.

    What differs is changed in the mildest way there is, and said before: `change` while it runs, `restart` with other
    files, `recreate` (the container, not its data), `join`, `remove`. Nodes that run are taken one after another, the
    leader last, each healthy before the next.

    \b
    clusterkit up
    clusterkit up --dry-run
    clusterkit up cache sentinel --wait-timeout 30s
    """
    from clusterkit.cli._changes import show_outcome, show_plan
    from clusterkit.cluster import Wish, compare, up

    opened = open_cluster(file, must_read=True)
    wish = Wish(components, rebuild=build)
    if dry_run:
        show_plan(opened, compare(opened.site, opened.topology, opened.registry, wish))
        return
    seconds = wait_timeout.seconds if wait_timeout else None
    outcome = up(opened.site, opened.topology, opened.registry, wish, wait_timeout=seconds, retain=retain)
    show_outcome(opened, outcome)
