"""L15. `clusterkit pause`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments


@click.command()
@node_arguments
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...]) -> None:
    """Freeze nodes: they keep memory and connections, and do nothing.

    \b
    clusterkit pause 'leader of registry'
    """
    from clusterkit.node import State

    act_on(file, cluster, targets, "pause", lambda node: node.pause(), only=(State.RUNNING,))
