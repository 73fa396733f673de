"""L15. `clusterkit events`."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli._complete import targets as complete_targets
from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.errors import EXIT_INTERRUPTED, EXIT_OK, EnvironmentTrouble, UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.agent.client import Mark
    from clusterkit.health.events import Event
    from clusterkit.health.status import NodeHealth

_EVERY = 1.0
"""Seconds between two looks at roles, health and faults."""


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_targets)
@file_option
@name_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--since", type=Quantity(Duration), help="Nodes' events of this time first, as far as the engine knows.")
@click.option("--follow/--no-follow", default=True, help="Go on until Ctrl-C, or until the cluster is gone.")
def command(
    targets: tuple[str, ...],
    file: Path | None,
    cluster: str | None,
    as_json: bool,
    since: Duration | None,
    follow: bool,
) -> int:
    """Tell what happens: nodes, roles, health, faults.

    Nodes start, end, are paused and removed; somebody else leads; a node becomes unhealthy; a fault comes or is healed.
    Nodes' events have the engine's time; roles, health and faults are looked at each second. TARGET is a node, a
    pattern (cache-*), a component, a zone (zone:a) or a role (leader of registry).

    \b
    clusterkit events
    clusterkit events cache --json | jq 'select(.kind == "leader")'
    clusterkit events --since 10m --no-follow
    """
    opened = open_cluster(file, cluster)
    is_wanted = _picker(opened, targets)

    def tell(event: Event) -> None:
        if is_wanted(event):
            click.echo(json.dumps(event.as_json(opened.name)) if as_json else str(event))

    begun = time.time()
    try:
        if since is not None:
            for event in _past(opened, begun - since.seconds, begun):
                tell(event)
        if follow:
            _follow(opened, begun, tell)
            opened.journal.say(f'the cluster "{opened.name}" is gone')
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # the usual end: nothing to say about it
    return EXIT_OK


def _picker(opened: Cluster, targets: tuple[str, ...]) -> Callable[[Event], bool]:
    """Which events are meant: of the nodes named, of their components, of nodes that come later by the same words."""
    from clusterkit.model.select import Candidate, select

    chosen = {node.name: node.component for node in opened.select(targets)}

    def is_named(event: Event) -> bool:
        try:
            return bool(select(targets, [Candidate(event.node, event.component, "")]))
        except UsageError:  # the words name no node like this one
            return False

    def pick(event: Event) -> bool:
        if not targets or event.node in chosen or chosen.keys() & event.nodes:
            return True
        if event.kind == "leader":
            return event.component in chosen.values()
        return event.kind == "node" and is_named(event)

    return pick


def _follow(opened: Cluster, begun: float, tell: Callable[[Event], None]) -> None:
    """Two threads that end with this process put what they see into one line."""
    seen: Queue[Event | BaseException | None] = Queue()

    def run(work: Callable[[Queue[Any]], None]) -> None:
        try:
            work(seen)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody hears it
            seen.put(error)

    def listen(queue: Queue[Any]) -> None:
        for event in _of_nodes(opened, begun):
            queue.put(event)

    for work in (listen, lambda queue: _look(opened, queue)):
        threading.Thread(target=run, args=(work,), daemon=True).start()
    while True:
        try:
            found = seen.get(timeout=_EVERY)  # a wait without an end would not hear Ctrl-C
        except Empty:
            continue
        if found is None:
            return
        if isinstance(found, BaseException):
            raise found
        tell(found)


def _past(opened: Cluster, since: float, until: float) -> list[Event]:
    """The engine tells its last 256 events, those of health checks among them: a minute or two. So each node that is
    there is looked at, too."""
    import docker.errors

    from clusterkit.health.events import merged, of_life
    from clusterkit.providers.docker import engine_words

    told = list(_of_nodes(opened, since, until))
    kept: list[Event] = []
    for node in opened.found.nodes:
        with engine_words(f"look at {node.name}"), contextlib.suppress(docker.errors.NotFound):  # removed just now
            said = opened.provider.client.inspect_container(node.runtime_id)
            kept += of_life(said, node.name, node.component)
    return merged(told, [event for event in kept if event.time_ns >= since * 1e9])


def _of_nodes(opened: Cluster, since: float, until: float | None = None) -> Any:
    from clusterkit.health.events import of_engine
    from clusterkit.providers.docker import DockerProvider

    for said in DockerProvider().events(opened.name, since, until):
        event = of_engine(said)
        if event is not None:
            yield event


def _look(opened: Cluster, queue: Queue[Any]) -> None:
    """Until the cluster is gone; None is the last thing said. While nodes are made anew their network stays."""
    from clusterkit.cli._chaos_words import split
    from clusterkit.health.events import of_faults, of_health, of_leaders
    from clusterkit.health.status import look

    health: dict[str, NodeHealth] = {}
    faults: Sequence[Mark] = ()
    while True:
        opened.forget()
        if opened.record is None or not (opened.record.nodes or opened.record.subnet):
            queue.put(None)
            return
        now = time.time_ns()
        if opened.topology_read is not None and opened.record.nodes:
            seen = look(opened.plan, opened.provider, opened.record)
            components = {node.name: node.component for node in opened.record.nodes}
            for event in (*of_leaders(health, seen, components, now), *of_health(health, seen, components, now)):
                queue.put(event)
            health = seen
        marks = _marks(opened)
        if marks is not None:
            in_force, _links = split(marks)
            for event in of_faults(faults, in_force, now):
                queue.put(event)
            faults = in_force
        time.sleep(_EVERY)


def _marks(opened: Cluster) -> Sequence[Mark] | None:
    """What the agent has in its ledger; None where none answers. One that died is started again by the engine and keeps
    its ledger: nothing is healed because nobody can be asked."""
    from clusterkit.cli._chaos_words import marks_now

    try:
        return marks_now(opened.provider.client, opened.name)
    except EnvironmentTrouble:
        return None
