"""L15. `clusterkit recover`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import EXIT_OK, UsageError


@click.command()
@click.argument("component", required=False)
@file_option
@name_option
@click.option("--from", "node", default="", metavar="NODE", help="Begin from this one, whatever it has.")
@click.option("--dry-run", is_flag=True, help="Say whom it would begin from, and why; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask where data may be lost.")
def command(component: str | None, file: Path | None, cluster: str | None, node: str, dry_run: bool, yes: bool) -> int:
    """Begin anew from the member that has most, after an outage.

    For a system that has lost its majority, or does not start. Without a COMPONENT, all that have a procedure for it
    are looked at. What may be lost is said before. `up` and `start` do by themselves what loses nothing.

    \b
    clusterkit recover --dry-run
    clusterkit recover galera --from galera-2
    """
    opened = open_cluster(file, cluster)
    names = _components(opened, component)
    if node and component is None and len(names) > 1:
        raise UsageError("--from names a node, but no component is named", mend=f"name one of {', '.join(names)}")
    for name in names:
        _recover(opened, name, node, is_dry=dry_run, is_answered=yes)
    return EXIT_OK


def _components(opened: Cluster, component: str | None) -> list[str]:
    import difflib

    known = opened.plan.components
    if component is not None and component not in known:
        near = difflib.get_close_matches(component, known, n=1)
        raise UsageError(
            f'no component is called "{component}"',
            mend=f"did you mean {near[0]}?" if near else f"the topology has {', '.join(known)}",
        )
    return [component] if component else [name for name, one in known.items() if one.recovery is not None]


def _recover(opened: Cluster, component: str, node: str, *, is_dry: bool, is_answered: bool) -> None:
    from clusterkit import locks
    from clusterkit.cli._confirm import confirm
    from clusterkit.cluster import Wish, up
    from clusterkit.cluster.recover import make_room
    from clusterkit.health import recovery

    members = [member.name for member in opened.plan.groups[component].members]
    if node and node not in members:
        raise UsageError(f'{component} has no member "{node}"', mend=f"it has {', '.join(members)}")
    with locks.held(opened.provider.engine, opened.name):
        choice = recovery.choose(opened.provider, opened.plan, component, node)
    if choice is None:
        click.echo(f"{component}: nothing to recover; it serves, or comes back by `clusterkit up`")
        return
    click.echo(f"{component}: would begin from {choice.node}: {choice.why}")
    click.echo(f"  may be lost: {choice.loses or 'nothing that was acknowledged'}")
    if is_dry or (choice.loses and not confirm(f"Begin from {choice.node}?", is_answered=is_answered)):
        return
    with locks.held(opened.provider.engine, opened.name):
        recovery.begin(opened.provider, opened.journal, opened.plan, component, choice)
        make_room(opened.site, opened.plan, component, choice)
    up(opened.site, opened.topology, opened.registry, Wish(components=[component], scale=opened.found.scale))
    click.echo(f"{component}: recovered from {choice.node}, all members are healthy")
