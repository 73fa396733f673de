"""L15. `clusterkit logs`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._complete import runs as complete_runs
from clusterkit.cli._complete import targets as complete_targets
from clusterkit.cli.console import is_terminal
from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import format_option
from clusterkit.errors import EXIT_INTERRUPTED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from clusterkit.cli._logs_of_run import LogsOfRun
    from clusterkit.components.base import LogFormat
    from clusterkit.logs.entry import LogEntry
    from clusterkit.logs.own import OwnStep
    from clusterkit.logs.query import Filter, Scope
    from clusterkit.logs.text import Text
    from clusterkit.providers.base import NodeRecord

_LEVELS = ("debug", "info", "warning", "error", "critical")
_OWN = "clusterkit"


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_targets)
@click.option("--file", type=click.Path(path_type=Path), help="The topology file. (-f is --follow here.)")
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written, until Ctrl-C or the cluster is gone.")
@click.option("--since", metavar="WHEN", help='Only what is not older: "5m", "12:03", "2026-11-22T22:11:02Z".')
@click.option("--until", metavar="WHEN", help="Only what is not younger.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N entries of all nodes.")
@click.option("--grep", metavar="RE", help="Only entries in which this regular expression is found.")
@click.option("-i", "--ignore-case", is_flag=True, help="--grep takes a for A.")
@click.option("--trace", metavar="ID", help="Only entries that carry this trace id (trace_id, traceparent, ...).")
@click.option("--around", metavar="WORDS", help="Only the seconds around the last fault or step that says WORDS.")
@click.option(
    "--window", metavar="DURATION", help="How much of --around: before its begin, after its end (default 5s)."
)
@click.option("--errors", is_flag=True, help="What went wrong, alike entries once: how often, first, last, where.")
@click.option("--level", type=click.Choice(_LEVELS), help="Only this level and worse. No level counts as info.")
@click.option("--zone", "zones", multiple=True, metavar="ZONE", help="Only nodes of this zone (may be repeated).")
@click.option("--archive", "archived", is_flag=True, help="Read the archive: the last life of a cluster taken down.")
@click.option("--run", "run", metavar="RUN", shell_complete=complete_runs, help="Read what a chaos test kept; latest.")
@click.option("--own/--no-own", default=True, help="With clusterkit's own steps among the lines, or without.")
@click.option("--utc", is_flag=True, help="Times in UTC, not in the zone of this machine.")
@click.option("--no-color", is_flag=True, help="No colours, on a terminal either.")
@format_option
def command(
    targets: tuple[str, ...],
    file: Path | None,
    cluster: str | None,
    follow: bool,
    since: str | None,
    until: str | None,
    tail: int | None,
    grep: str | None,
    ignore_case: bool,
    trace: str | None,
    around: str | None,
    window: str | None,
    errors: bool,
    level: str | None,
    zones: tuple[str, ...],
    archived: bool,
    run: str | None,
    own: bool,
    utc: bool,
    no_color: bool,
    output: str,
) -> int:
    """Show the lines of all nodes, merged by time.

    TARGET is a node, a pattern (cache-*), a component, a zone (zone:a), a role (leader of registry), or clusterkit for
    its own steps. Nodes that were made anew since the first `up` show their old lines too; --archive shows what is left
    after a `down`. A stack trace is one entry.

    \b
    clusterkit logs cache --since 5m --level warning
    clusterkit logs -f --grep 'failover|elected' -i
    clusterkit logs --archive --format json | jq .text
    clusterkit logs --errors
    clusterkit logs --around 'kill registry-1' --window 3s
    clusterkit logs --run latest --errors
    """
    _refuse_senseless(targets, follow=follow, until=until, archived=archived, errors=errors, tail=tail, run=run)
    level = level or ("error" if errors else None)
    wanted = _filter(since, until, tail, grep, ignore_case=ignore_case, level=level, utc=utc)
    if trace is not None:
        from clusterkit.logs.query import trace_pattern

        wanted = replace(wanted, trace=trace_pattern(trace))
    if output == "text" and not _has_colour(no_color=no_color):
        wanted = replace(wanted, with_level=False)
    span = _Around(around, window, is_bounded=bool(since or until or follow))
    if run is not None:
        of_run = _of_run(run, file, cluster)
        names = [candidate.name for candidate in of_run.candidates]
        entries = of_run.entries(targets, zones, span.within(wanted, lambda: of_run.steps), own=own)
    else:
        opened = open_cluster(file, cluster)
        steps = "debug" if around else level  # faults are steps of level debug
        scope = _scope(opened, targets, zones, own=own, archived=archived, follow=follow, level=steps)
        names = [record.name for record in _nodes(scope)]
        entries = _entries(opened, scope, span.within(wanted, _steps(scope)), archived=archived, follow=follow)
    text = None if output == "json" else _text(names, no_color=no_color, utc=utc)
    try:
        with closing(entries):
            if errors:
                _write_groups(entries, text)
                return EXIT_OK
            for entry in entries:
                sys.stdout.write(text(entry) if text else _json(entry))
                if follow:
                    sys.stdout.flush()
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # the usual end of --follow: nothing to say about it
    return EXIT_OK


def _refuse_senseless(
    targets: tuple[str, ...],
    *,
    follow: bool,
    until: str | None,
    archived: bool,
    errors: bool,
    tail: int | None,
    run: str | None,
) -> None:
    """Raises: UsageError for what does not go together."""
    for target in targets:
        if target.endswith((".yml", ".yaml")):
            raise UsageError(f'"{target}" is a file, not a node', mend=f"name it so: clusterkit logs --file {target}")
    if follow and (until or archived):
        raise UsageError(f"--follow has no end, so {'--until' if until else '--archive'} makes no sense with it")
    if errors and (follow or tail is not None):
        other = "--follow" if follow else "--tail"
        raise UsageError(f"--errors counts what there is, so {other} makes no sense with it")
    if run is not None and (follow or archived):
        other = "--follow" if follow else "--archive"
        raise UsageError(f"--run is of the past, so {other} makes no sense with it")


def _filter(
    since: str | None,
    until: str | None,
    tail: int | None,
    grep: str | None,
    *,
    ignore_case: bool,
    level: str | None,
    utc: bool,
) -> Filter:
    from datetime import UTC

    from clusterkit.clock import SYSTEM
    from clusterkit.logs.query import Filter
    from clusterkit.logs.when import moment

    now_ns, zone = SYSTEM.wall_ns(), UTC if utc else None
    try:
        pattern = re.compile(grep, re.IGNORECASE if ignore_case else 0) if grep is not None else None
    except re.error as error:
        raise UsageError(
            f'--grep "{grep}" is no regular expression: {error}', mend="put a \\ before characters meant as they are"
        ) from error
    return Filter(
        since_ns=moment(since, now_ns, zone) if since else 0,
        until_ns=moment(until, now_ns, zone) if until else None,
        grep=pattern,
        level=level or "",
        tail=tail,
    )


@dataclass(frozen=True)
class _Around:
    """--around and --window, as they were given."""

    words: str | None
    window: str | None
    is_bounded: bool

    def within(self, wanted: Filter, steps: Callable[[], Sequence[OwnStep]]) -> Filter:
        """Raises: UsageError where nothing in `steps` fits, or the options do not fit together."""
        from clusterkit.logs.around import around
        from clusterkit.units import Duration

        if self.words is None:
            if self.window is not None:
                raise UsageError("--window says how much of --around", mend="name a fault: --around 'kill registry-1'")
            return wanted
        if self.is_bounded:
            raise UsageError("--around says from when to when, so --since, --until and --follow make no sense with it")
        try:
            margin_ns = round(Duration.parse(self.window or "5s").seconds * 1e9)
        except ValueError as error:
            raise UsageError(f"--window: {error}") from error
        found = around(steps(), self.words)
        return replace(wanted, since_ns=found.begin_ns - margin_ns, until_ns=found.end_ns + margin_ns)


def _steps(scope: Scope) -> Callable[[], Sequence[OwnStep]]:
    def read() -> Sequence[OwnStep]:
        from clusterkit.logs.own import of_life, read_own

        steps = read_own(scope.folders[0])
        return of_life(steps, scope.record.born) if scope.record else steps

    return read


def _of_run(run: str, file: Path | None, cluster: str | None) -> LogsOfRun:
    from clusterkit.cli._logs_of_run import read_logs_of_run
    from clusterkit.cli._runs import run_folder

    return read_logs_of_run(run_folder(run, file, cluster))


def _write_groups(entries: Generator[LogEntry, None, None], text: Text | None) -> None:
    from clusterkit.logs.groups import grouped
    from clusterkit.logs.text import group_as_json

    groups = grouped(entries)
    for group in groups:
        sys.stdout.write(text.group(group) if text else group_as_json(group))
    if text and not groups:
        sys.stdout.write("no errors\n")


def _entries(
    opened: Cluster, scope: Scope, wanted: Filter, *, archived: bool, follow: bool
) -> Generator[LogEntry, None, None]:
    from clusterkit.logs import query

    if archived:
        return query.read_archived(scope, wanted)
    if follow:
        return query.read_and_follow(opened.provider, scope, wanted)
    return query.read(opened.provider, scope, wanted)


def _scope(
    opened: Cluster,
    targets: tuple[str, ...],
    zones: tuple[str, ...],
    *,
    own: bool,
    archived: bool,
    follow: bool,
    level: str | None,
) -> Scope:
    from clusterkit.logs.archive import find_archives
    from clusterkit.logs.query import Scope, nodes_of

    beside = Path.cwd() / ".clusterkit" / opened.name  # `--name` after a `down`: no label is left that names the file
    scope = Scope(opened.name, None if archived else opened.record, (opened.state, beside), _formats(opened))
    there = nodes_of(scope) if archived or scope.record else ()
    if not follow and not (there if archived else scope.record and scope.record.nodes):
        _refuse(opened.name, archived=archived, has_archive=bool(find_archives(scope.folders, scope.cluster)))
    words = tuple(word for word in targets if word != _OWN)
    pick = _picker(opened, words, zones, there) if words or not targets else lambda _record: False
    chosen = [record for record in there if pick(record)]
    everything = not targets and not zones
    names, components = {record.name for record in chosen}, {record.component for record in chosen}

    def has_own(step: OwnStep) -> bool:
        if not own or (step.entry.level == "debug" and level != "debug"):
            return False
        if everything or _OWN in targets:
            return True
        return bool(names.intersection(step.about_nodes)) if step.about_nodes else step.about_component in components

    return Scope(scope.cluster, scope.record, scope.folders, scope.formats, pick, has_own)


def _picker(
    opened: Cluster, words: tuple[str, ...], zones: tuple[str, ...], there: tuple[NodeRecord, ...]
) -> Callable[[NodeRecord], bool]:
    """Which nodes are meant. While following, nodes that come later are asked for by the same words."""
    from clusterkit.model.select import Candidate, select

    if zones and there:
        select([f"zone:{zone}" for zone in zones], [Candidate(n.name, n.component, n.zone) for n in there])

    def roles() -> dict[str, tuple[str, ...]]:
        from clusterkit.health.roles import roles as read_roles

        found = read_roles(opened.plan, opened.provider, opened.found)
        return {node: tuple(role.name for role in held) for node, held in found.items()}

    chosen = set(select(words, [Candidate(n.name, n.component, n.zone) for n in there], roles)) if there else set()

    def pick(record: NodeRecord) -> bool:
        if zones and record.zone not in zones:
            return False
        return not words or record.name in chosen or _is_named(record)

    def _is_named(record: NodeRecord) -> bool:
        try:
            return bool(select(words, [Candidate(record.name, record.component, record.zone)]))
        except UsageError:  # the words name no node like this one
            return False

    return pick


def _formats(opened: Cluster) -> Callable[[str], LogFormat]:
    from clusterkit.components.base import LogFormat
    from clusterkit.components.registry import Registry

    registry = opened.registry if opened.topology_read is not None else Registry()

    def of(kind: str) -> LogFormat:
        return registry[kind].log if kind in registry else LogFormat()

    return of


def _refuse(name: str, *, archived: bool, has_archive: bool) -> None:
    if archived:
        raise UsageError(
            f'there is no archived log of "{name}"',
            mend="logs are archived when a node is removed; what runs is shown without --archive",
        )
    raise UsageError(
        f'no cluster "{name}" is up',
        mend="see its last lines: clusterkit logs --archive" if has_archive else "bring it up: clusterkit up",
    )


def _json(entry: LogEntry) -> str:
    from clusterkit.logs.text import as_json

    return as_json(entry)


def _nodes(scope: Scope) -> list[NodeRecord]:
    from clusterkit.logs.query import nodes_of

    return [record for record in nodes_of(scope) if scope.nodes(record)]


def _text(names: Sequence[str], *, no_color: bool, utc: bool) -> Text:
    from clusterkit.logs.text import Text

    return Text([*names, _OWN], has_colour=_has_colour(no_color=no_color), utc=utc)


def _has_colour(*, no_color: bool) -> bool:
    return not no_color and not os.environ.get("NO_COLOR") and is_terminal(sys.stdout)
