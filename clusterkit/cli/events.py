"""L15. `clusterkit events`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.health.events import Event
    from clusterkit.health.status import NodeHealth

_EVERY = 1.0
"""Seconds between two looks at roles, health and faults."""


@click.command()
@file_option
@name_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--since", type=Quantity(Duration), help="Nodes' events of this time first, as far as the engine knows.")
@click.option("--follow/--no-follow", default=True, help="Go on until Ctrl-C, or until the cluster is gone.")
def command(file: Path | None, cluster: str | None, as_json: bool, since: Duration | None, follow: bool) -> None:
    """Tell what happens: nodes, roles, health, faults.

    Nodes start, end, are paused and removed; somebody else leads; a node becomes unhealthy; a fault comes or is healed.
    Nodes' events have the engine's time; roles, health and faults are looked at each second.

    \b
    clusterkit events
    clusterkit events --json | jq 'select(.kind == "role")'
    clusterkit events --since 10m --no-follow
    """
    opened = open_cluster(file, cluster)
    opened.found  # noqa: B018 - it raises where no such cluster is up

    def tell(event: Event) -> None:
        click.echo(json.dumps(event.as_json(opened.name)) if as_json else str(event))

    begun = time.time()
    if since is not None:
        for event in _of_nodes(opened, begun - since.seconds, until=begun):
            tell(event)
    if follow:
        _follow(opened, begun, tell)
        opened.journal.say(f'the cluster "{opened.name}" is gone')


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


def _of_nodes(opened: Cluster, since: float, until: float | None = None) -> Any:
    from clusterkit.health.events import of_engine
    from clusterkit.providers.docker import DockerProvider

    for said in DockerProvider().events(opened.name, since, until):
        event = of_engine(said)
        if event is not None:
            yield event


def _look(opened: Cluster, queue: Queue[Any]) -> None:
    """Until the cluster is gone; None is the last thing said."""
    from clusterkit.cli._chaos_words import marks_now, split
    from clusterkit.health.events import of_faults, of_health
    from clusterkit.health.status import look

    health: dict[str, NodeHealth] = {}
    faults: dict[str, str] | None = None
    while True:
        opened.forget()
        if opened.record is None or not opened.record.nodes:
            queue.put(None)
            return
        now = time.time_ns()
        if opened.topology_read is not None:
            seen = look(opened.plan, opened.provider, opened.record)
            components = {node.name: node.component for node in opened.record.nodes}
            for event in of_health(health, seen, components, now):
                queue.put(event)
            health = seen
        marks, _links = split(marks_now(opened.provider.client, opened.name) or ())
        in_force = {mark.id: mark.words for mark in marks}
        for event in of_faults(faults if faults is not None else {}, in_force, now):
            queue.put(event)
        faults = in_force
        time.sleep(_EVERY)
