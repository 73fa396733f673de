"""L15. What a shell completes: names of clusters, nodes, components, scenarios and runs. Never an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from clusterkit.providers.base import NodeRecord

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def _completes(names: Callable[[click.Context], Iterable[str]]) -> Complete:
    """Whatever goes wrong, there is nothing to complete: no engine, no topology, a file that is half written."""

    def complete(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            return [CompletionItem(name) for name in names(ctx) if name.startswith(typed)]
        except Exception:  # noqa: BLE001 - a shell has no place for an error
            return []

    return complete


def _clusters(_ctx: click.Context) -> Iterable[str]:
    from clusterkit.providers.docker import DockerProvider

    return [record.name for record in DockerProvider().clusters()]


def _nodes(ctx: click.Context) -> tuple[NodeRecord, ...]:
    """From labels alone: of the cluster that is named, else of the one that the file here made."""
    from clusterkit.model.files import find_file
    from clusterkit.providers.docker import DockerProvider

    name: Any = ctx.params.get("cluster")
    if name:
        record = DockerProvider().find(name)
        return record.nodes if record else ()
    source = str(find_file(ctx.params.get("file"), Path.cwd()).resolve())
    return tuple(node for record in DockerProvider().clusters() if record.source == source for node in record.nodes)


def _targets(ctx: click.Context) -> Iterable[str]:
    nodes = _nodes(ctx)
    components = dict.fromkeys(node.component for node in nodes)
    zones = dict.fromkeys(f"zone:{node.zone}" for node in nodes)
    return [*components, *(node.name for node in nodes), *zones, "all"]


def _topology(ctx: click.Context) -> Any:
    from clusterkit.check_topology import read_topology

    return read_topology(ctx.params.get("file"), folder=Path.cwd(), environ=os.environ)[0]


def _runs(ctx: click.Context) -> Iterable[str]:
    from clusterkit.cli._runs import runs_folder

    folder = runs_folder(ctx.params.get("file"), ctx.params.get("cluster"))
    return sorted((path.name for path in folder.iterdir()), reverse=True)


clusters = _completes(_clusters)
targets = _completes(_targets)
components = _completes(lambda ctx: _topology(ctx).components)
counts = _completes(lambda ctx: [f"{name}=" for name in _topology(ctx).components])
scenarios = _completes(lambda ctx: _topology(ctx).scenarios)
runs = _completes(_runs)
