"""L15. What `up`, `diff`, `scale` and `swap` say: what is to be done to each node, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from clusterkit.cli.context import Cluster

if TYPE_CHECKING:
    from clusterkit.cluster import Change, Comparison, Outcome

_TOLD = {
    "create": "created",
    "join": "joined",
    "recreate": "made anew",
    "restart": "restarted",
    "change": "changed",
    "start": "started",
    "unpause": "unpaused",
    "remove": "removed",
}


def show_plan(opened: Cluster, compared: Comparison) -> None:
    """One line for each node that is not as it should be."""
    from clusterkit.cli.table import show
    from clusterkit.cluster import count

    if not compared.changes:
        click.echo(f"{opened.name}: nothing to do")
        return
    show([{"node": change.node, "action": change.action, "why": change.why} for change in compared.changes])
    click.echo(f"{opened.name}: {count(len(compared.changes), 'node')} would change; nothing was done")


def show_outcome(opened: Cluster, outcome: Outcome) -> None:
    """One line."""
    from clusterkit.cluster import count

    links = f", {count(outcome.links, 'link')} changed" if outcome.links else ""
    if not outcome.changes:
        nothing = "" if links else "nothing to do, "
        click.echo(f"{opened.name}: {nothing}{count(outcome.nodes, 'node')} healthy{links}")
        return
    click.echo(f"{opened.name}: healthy, {_counts(outcome.changes)}{links}")


def _counts(changes: Sequence[Change]) -> str:
    counts = {word: sum(change.action == action for change in changes) for action, word in _TOLD.items()}
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)
