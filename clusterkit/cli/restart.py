"""L15. `clusterkit restart`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._verbs import act_on, node_arguments, wait_for
from clusterkit.cli.options import Quantity, wait_option
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.providers.base import LiveNode


@click.command()
@node_arguments
@click.option("--grace", type=Quantity(Duration), default="10s", show_default=True, help="Then it is killed.")
@wait_option
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...], grace: Duration, wait: bool) -> None:
    """Stop and start nodes.

    Waits until their components are healthy, unless --no-wait.

    \b
    clusterkit restart api
    """
    from clusterkit.node import State

    def restart(node: LiveNode) -> None:
        node.stop(grace.seconds)
        node.start()

    opened, restarted = act_on(file, cluster, targets, "restart", restart, only=tuple(State))
    if wait:
        wait_for(opened, restarted)
