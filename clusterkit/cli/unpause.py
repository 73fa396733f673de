"""L15. `clusterkit unpause`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments


@click.command()
@node_arguments
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...]) -> None:
    """Let frozen nodes go on.

    \b
    clusterkit unpause all
    """
    from clusterkit.node import State

    act_on(file, cluster, targets, "unpause", lambda node: node.unpause(), only=(State.PAUSED,))
