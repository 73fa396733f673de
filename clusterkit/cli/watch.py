"""L15. `clusterkit watch`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.context import Cluster, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError

if TYPE_CHECKING:
    from clusterkit.watch import Rule, Told

_MOST_FILES = 3


@click.command()
@file_option
@click.argument("components", nargs=-1)
@click.option("--up", "bring_up", is_flag=True, help="First make the cluster what the topology says.")
@click.option("--logs", is_flag=True, help="Show the log lines of these components beside.")
def command(file: Path | None, components: tuple[str, ...], bring_up: bool, logs: bool) -> None:
    """Bring your edits into running nodes, one after another.

    Does what `watch:` of a service says when a file changes: copies it into the nodes, restarts them, sends a signal,
    runs a command, or builds the image and makes the nodes anew. Each node is healthy again before the next is touched,
    so the others serve meanwhile; one that an edit breaks is told with its last lines, and the others keep what they
    had. Ends at Ctrl-C, and leaves the nodes as they are.

    \b
    clusterkit watch
    clusterkit watch api --up --logs
    """
    from contextlib import closing

    from clusterkit.cluster import Wish, compare, up
    from clusterkit.watch import watch

    opened = open_cluster(file, must_read=True)
    rules = _rules(opened, components)
    names = list(dict.fromkeys(rule.component for rule in rules))
    if bring_up:
        from clusterkit.cli._changes import show_outcome

        outcome = up(opened.site, opened.topology, opened.registry, Wish(components))
        show_outcome(opened, outcome)
        opened.forget()
    _refuse_absent(opened, names)
    changes = compare(opened.site, opened.topology, opened.registry, Wish(names)).changes
    if changes:
        click.echo(f"{opened.name} is not what the topology says: {_listed([change.node for change in changes])}")
        click.echo("  `clusterkit up --dry-run` tells more; --up brings it there first")
    for name in names:
        ways = [f"{_shown(opened, rule)} ({rule.options.action})" for rule in rules if rule.component == name]
        click.echo(f"watching for {name}: {', '.join(ways)}")
    with (
        _following(opened, names, is_wanted=logs),
        closing(watch(opened.site, opened.topology, opened.registry, rules)) as tellings,
    ):
        for told in tellings:
            _tell(opened, told)


def _rules(opened: Cluster, components: Sequence[str]) -> list[Rule]:
    from clusterkit.model.words import did_you_mean
    from clusterkit.watch.files import rules_of

    known = opened.topology.components
    for name in components:
        if name not in known:
            raise UsageError(f'no component is called "{name}"', mend=did_you_mean(name, known, "components"))
    rules: list[Rule] = []
    for name in components or known:
        options = known[name].options
        mine = list(rules_of(name, getattr(options, "watch", ()), _context(options)))
        if components and not mine:
            raise UsageError(
                f'component "{name}" has no watch:',
                where=opened.topology.where("components", name),
                mend="a service says what to watch: watch: [./app]",
            )
        rules += mine
    if not rules:
        raise UsageError(
            f"nothing in {opened.topology.file.name} says what to watch",
            mend="say it at a service: watch: [./app], for a folder that is mounted; see docs/dev-loop.md",
        )
    return rules


def _context(options: object) -> Path | None:
    build = getattr(options, "build", None)
    return build.context if build is not None else None


def _refuse_absent(opened: Cluster, names: Sequence[str]) -> None:
    there = {node.component for node in opened.found.nodes}
    absent = [name for name in names if name not in there]
    if absent:
        raise UsageError(f"no node of {absent[0]} is there", mend="bring it up: clusterkit watch --up")


def _shown(opened: Cluster, rule: Rule) -> str:
    path, folder = rule.options.path, opened.topology.file.parent.resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


@contextmanager
def _following(opened: Cluster, names: Sequence[str], *, is_wanted: bool) -> Iterator[None]:
    """`clusterkit logs --follow` beside, from now on."""
    if not is_wanted:
        yield
        return
    argv = ["logs", "--file", str(opened.topology.file), "--follow", "--no-own", "--since", "0s", *names]
    with subprocess.Popen([sys.executable, "-m", "clusterkit", *argv], stdin=subprocess.DEVNULL) as beside:
        try:
            yield
        finally:
            beside.terminate()


def _tell(opened: Cluster, told: Told) -> None:
    """One line of what was done; where not all nodes have it, why, and which keep what they had."""
    from clusterkit.cluster import count
    from clusterkit.watch.loop import Again

    nodes = [node.name for node in opened.found.nodes if node.component == told.component]
    what = f"{told.component}: {_listed(told.files)}"
    if told.error is None:
        click.echo(f"{what}: {told.done} on {', '.join(told.nodes)}, one after another ({told.seconds:.1f} s)")
        return
    if isinstance(told.error, Again):
        click.echo(f"{what}: {told.error.what}; it begins anew")
        return
    with_it = f" ({', '.join(told.nodes)})" if told.nodes else ""
    click.echo(f"{what}: {len(told.nodes)} of {count(len(nodes), 'node')} healthy with it{with_it}")
    click.echo("\n".join([str(told.error), *getattr(told.error, "__notes__", ())]))
    others = [name for name in nodes if name not in told.nodes and name not in getattr(told.error, "unready", {})]
    if others:
        click.echo(f"  as before: {', '.join(others)}; the next change is tried on all")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_FILES
    return ", ".join(names[:_MOST_FILES]) + (f" and {more} more" if more > 0 else "")
