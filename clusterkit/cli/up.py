"""L15. `clusterkit up`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.units import Duration


@click.command()
@file_option
@click.argument("components", nargs=-1)
@click.option("--wait-timeout", type=Quantity(Duration), help="Wait so long for health, instead of each `timeout:`.")
@click.option("--retain", is_flag=True, help="Keep what a failed first `up` made, to look at it.")
def command(file: Path | None, components: tuple[str, ...], wait_timeout: Duration | None, retain: bool) -> None:
    """Bring the cluster up, or make it what the topology says.

    With COMPONENTS only those, and what they depend on. Changes only what differs: nodes that are as the topology says
    are left alone, stopped ones are started. Ends when a client could write through one node and read through another.

    \b
    clusterkit up
    clusterkit up cache sentinel --wait-timeout 30s
    """
    from clusterkit.cluster import count, up

    opened = open_cluster(file, must_read=True)
    outcome = up(
        opened.site,
        opened.topology,
        opened.registry,
        only=components,
        wait_timeout=wait_timeout.seconds if wait_timeout else None,
        retain=retain,
    )
    links = f", {count(outcome.links, 'link')} changed" if outcome.links else ""
    if not outcome.changes:
        nothing = "" if links else "nothing to do, "
        click.echo(f"{opened.name}: {nothing}{count(outcome.nodes, 'node')} healthy{links}")
        return
    for change in outcome.changes:
        if change.action != "create":
            opened.journal.say(f"{change.node}: {change.action} ({change.why})", level="debug", node=change.node)
    told = {
        "create": "created",
        "recreate": "made anew",
        "start": "started",
        "unpause": "unpaused",
        "remove": "removed",
    }
    counts = {word: sum(change.action == action for change in outcome.changes) for action, word in told.items()}
    click.echo(
        f"{opened.name}: healthy, " + ", ".join(f"{count} {word}" for word, count in counts.items() if count) + links
    )
