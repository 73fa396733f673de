"""L15. What the verbs on nodes share: start, stop, restart, kill, pause, unpause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._complete import targets as complete_targets
from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError

if TYPE_CHECKING:
    from clusterkit.node import State
    from clusterkit.providers.base import LiveNode, NodeRecord


def node_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """-f, --name, and the nodes: names, globs, components, zones, roles, or all."""
    targets = click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_targets)
    return name_option(file_option(targets(command)))


def act_on(
    file: Path | None,
    cluster: str | None,
    targets: tuple[str, ...],
    verb: str,
    do: Callable[[LiveNode], None],
    *,
    only: tuple[State, ...],
    first: Callable[[Cluster, tuple[NodeRecord, ...]], None] | None = None,
) -> tuple[Cluster, tuple[NodeRecord, ...]]:
    """Acts on the nodes named that are in one of the states `only`; the others are said to be left alone.

    `first` is called before, with the nodes chosen.
    """
    from clusterkit.cluster import act

    opened = open_cluster(file, cluster)
    named = opened.select(targets)
    chosen = tuple(node for node in named if node.state in only)
    for node in named:
        if node not in chosen:
            opened.journal.say(f"{node.name} is {node.state.value}: left alone", node=node.name)
    if not named:
        raise UsageError(f"no node is {' '.join(targets)}", mend="`clusterkit status` lists nodes and roles")
    if first is not None:
        first(opened, chosen)
    act(opened.site, chosen, verb, do)
    click.echo(f"{opened.name}: {verb} {', '.join(node.name for node in chosen) or 'nothing'}")
    return opened, chosen


def revive(opened: Cluster, nodes: tuple[NodeRecord, ...]) -> None:
    """Before nodes are started: a system whose members have all ended may have to be told who begins.

    Where the topology is gone nobody knows how; then they are only started.
    """
    from clusterkit import locks
    from clusterkit.health import recovery

    if opened.topology_read is None:
        return
    opened.forget()
    with locks.held(opened.provider.engine, opened.name):
        for component in dict.fromkeys(node.component for node in nodes):
            if component in opened.plan.components:
                recovery.revive(opened.provider, opened.journal, opened.plan, component)


def wait_for(opened: Cluster, nodes: tuple[NodeRecord, ...]) -> None:
    """Waits until these nodes are healthy; others of their components that are down may stay so."""
    from clusterkit.cluster import wait_healthy

    for component in dict.fromkeys(node.component for node in nodes):
        seconds = opened.topology.components[component].timeout.seconds
        names = [node.name for node in nodes if node.component == component]
        with opened.journal.step(f"{', '.join(names)} healthy", component=component):
            wait_healthy(opened.site, opened.plan, component, seconds, only=names)
