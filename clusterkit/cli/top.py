"""L15. `clusterkit top`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli._complete import targets as complete_targets
from clusterkit.cli.console import is_terminal
from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import file_option

if TYPE_CHECKING:
    from clusterkit.providers.base import NodeRecord
    from clusterkit.providers.docker_stats import Usage

_EVERY = 1.0
_FIRST = 4.0
"""Seconds that the first figures may take: the engine measures over one."""


@click.command()
@file_option
@name_option
@click.option("--once", is_flag=True, help="One table, also on a terminal.")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON once.")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_targets)
def command(file: Path | None, cluster: str | None, once: bool, output: str, targets: tuple[str, ...]) -> None:
    """Show what nodes use now: processors, memory, network, disk.

    On a terminal anew each second, until Ctrl-C or the cluster is gone; elsewhere once. CPU is in processors: 0.50 is
    half of one.

    \b
    clusterkit top
    clusterkit top "leader of registry" --once
    """
    opened = open_cluster(file, cluster)
    nodes = opened.select(targets)
    meters = _Meters()
    meters.watch(nodes)
    _wait_for_first(nodes, meters.seen)
    if output == "json":
        click.echo(
            json.dumps([{"node": node.name, **_figures(meters.seen.get(node.name))} for node in nodes], indent=2)
        )
    elif once or not is_terminal(sys.stdout):
        _show(nodes, meters.seen)
    else:
        chosen = {node.name for node in nodes} if targets else set()
        _draw(opened, chosen, meters)


class _Meters:
    """What nodes use, each read over a connection of its own, which ends with the process or when the node stops.

    `seen`: node name -> the latest; nodes that do not run are left out.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Usage] = {}
        self._threads: dict[str, threading.Thread] = {}

    def watch(self, nodes: Sequence[NodeRecord]) -> None:
        """Begins to read those that run and are not read yet: new ones, and those that were started again."""
        from clusterkit.node import State

        for node in nodes:
            thread = self._threads.get(node.runtime_id)
            if node.state in (State.RUNNING, State.PAUSED) and not (thread and thread.is_alive()):
                thread = threading.Thread(target=_read, args=(node, self.seen), daemon=True)
                self._threads[node.runtime_id] = thread
                thread.start()


def _read(node: NodeRecord, seen: dict[str, Usage]) -> None:
    """Each over a connection of its own, which ends with the process or the node."""
    from clusterkit.errors import ClusterkitError
    from clusterkit.providers.docker import DockerProvider, engine_words
    from clusterkit.providers.docker_stats import usages

    try:
        with engine_words(f"read what {node.name} uses"):
            for usage in usages(DockerProvider().client, node.runtime_id):
                seen[node.name] = usage
    except ClusterkitError:
        pass  # the node is gone: its row says so
    seen.pop(node.name, None)


def _wait_for_first(nodes: Sequence[NodeRecord], seen: Mapping[str, Usage]) -> None:
    from clusterkit.node import State

    running = [node.name for node in nodes if node.state in (State.RUNNING, State.PAUSED)]
    end = time.monotonic() + _FIRST
    while time.monotonic() < end and any(name not in seen for name in running):
        time.sleep(0.05)


def _figures(usage: Usage | None) -> dict[str, Any]:
    return {} if usage is None else asdict(usage)


def _show(nodes: Sequence[NodeRecord], seen: Mapping[str, Usage]) -> None:
    from clusterkit.cli.table import show

    show([_row(node, seen.get(node.name)) for node in nodes])


def _row(node: NodeRecord, usage: Usage | None) -> dict[str, str]:
    from clusterkit.node import State

    if usage is None:
        empty = dict.fromkeys(("memory", "of", "in", "out", "read", "written", "processes"), "-")
        stopped = f"exited {node.exit_code}" if node.exit_code is not None else node.state.value
        return {"node": node.name, "cpu": "..." if node.state is State.RUNNING else stopped, **empty}
    return {
        "node": node.name,
        "cpu": f"{usage.cpu:.2f}",
        "memory": _size(usage.memory_bytes),
        "of": _size(usage.memory_limit_bytes),
        "in": _size(usage.received_bytes),
        "out": _size(usage.sent_bytes),
        "read": _size(usage.read_bytes),
        "written": _size(usage.written_bytes),
        "processes": str(usage.processes),
    }


def _size(amount: float) -> str:
    """With one decimal at most, as a person reads it: "3.4MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024 or unit == "GB":
            break
        amount /= 1024
    return f"{amount:.1f}".rstrip("0").rstrip(".") + unit if amount < 100 else f"{amount:.0f}{unit}"


def _draw(opened: Cluster, chosen: Set[str], meters: _Meters) -> None:
    """`chosen`: names of nodes; none: all that there are, new ones too."""
    while opened.record is not None and opened.record.nodes:
        nodes = [node for node in opened.record.nodes if not chosen or node.name in chosen]
        meters.watch(nodes)
        click.clear()
        click.echo(f"{opened.name}   {time.strftime('%H:%M:%S')}   Ctrl-C ends this")
        if nodes:
            _show(nodes, meters.seen)
        time.sleep(_EVERY)
        opened.forget()
    opened.journal.say(f'the cluster "{opened.name}" is gone')
