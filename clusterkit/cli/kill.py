"""L15. `clusterkit kill`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments


@click.command()
@node_arguments
@click.option("-s", "--signal", default="KILL", show_default=True, help="Its name or number.")
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...], signal: str) -> None:
    """Send a signal to nodes (SIGKILL unless another is named).

    The system gets no chance to say good-bye, as in a crash. Nothing brings the node back but `start` or `up`.

    \b
    clusterkit kill "primary of cache"
    clusterkit kill api-1 --signal HUP
    """
    from clusterkit.node import State

    act_on(file, cluster, targets, "kill", lambda node: node.kill(signal), only=(State.RUNNING, State.PAUSED))
