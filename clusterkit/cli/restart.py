"""L15. `clusterkit restart`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._verbs import act_on, node_arguments, revive, wait_for
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import Quantity, wait_option
from clusterkit.errors import UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.providers.base import LiveNode


@click.command()
@node_arguments
@click.option("--rolling", is_flag=True, help="One after another, the leader last, each healthy before the next.")
@click.option("--grace", type=Quantity(Duration), default="10s", show_default=True, help="Then it is killed.")
@wait_option
def command(
    file: Path | None, cluster: str | None, targets: tuple[str, ...], rolling: bool, grace: Duration, wait: bool
) -> None:
    """Stop and start nodes.

    Waits until their components are healthy, unless --no-wait.

    \b
    clusterkit restart api
    clusterkit restart registry --rolling
    """
    if rolling:
        _in_turn(file, cluster, targets, grace)
        return
    from clusterkit.cluster import act
    from clusterkit.node import State

    def stop(node: LiveNode) -> None:
        node.stop(grace.seconds)

    opened, restarted = act_on(file, cluster, targets, "restart", stop, only=tuple(State))
    revive(opened, restarted)
    act(opened.site, restarted, "start", lambda node: node.start())
    if wait:
        wait_for(opened, restarted)


def _in_turn(file: Path | None, cluster: str | None, targets: tuple[str, ...], grace: Duration) -> None:
    from clusterkit.cluster import count, restart_in_turn

    opened = open_cluster(file, cluster)
    nodes = opened.select(targets)
    if not nodes:
        raise UsageError(f"no node is {' '.join(targets)}", mend="`clusterkit status` lists nodes and roles")
    restart_in_turn(opened.site, opened.plan, nodes, grace.seconds)
    click.echo(f"{opened.name}: {count(len(nodes), 'node')} restarted one after another, all healthy")
