"""L15. `clusterkit start`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments, revive, wait_for
from clusterkit.cli.options import wait_option


@click.command()
@node_arguments
@wait_option
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...], wait: bool) -> None:
    """Start nodes that do not run.

    Waits until their components are healthy, unless --no-wait.

    \b
    clusterkit start cache-2
    """
    from clusterkit.node import State

    down = (State.EXITED, State.CREATED)
    opened, started = act_on(file, cluster, targets, "start", lambda node: node.start(), only=down, first=revive)
    if wait:
        wait_for(opened, started)
