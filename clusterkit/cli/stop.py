"""L15. `clusterkit stop`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments
from clusterkit.cli.options import Quantity
from clusterkit.units import Duration


@click.command()
@node_arguments
@click.option("--grace", type=Quantity(Duration), default="10s", show_default=True, help="Then it is killed.")
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...], grace: Duration) -> None:
    """Stop nodes in good order.

    Data stays. `clusterkit start`, or `up`, brings them back.

    \b
    clusterkit stop cache-2
    clusterkit stop "replica of cache" --grace 2s
    """
    from clusterkit.node import State

    act_on(file, cluster, targets, "stop", lambda node: node.stop(grace.seconds), only=(State.RUNNING, State.PAUSED))
