"""L15. `clusterkit swap`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clusterkit.cli._complete import targets as complete_targets
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.errors import UsageError
from clusterkit.units import Duration


@click.command()
@file_option
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", shell_complete=complete_targets)
@click.option("--image", help="The image that the nodes are to be made from.")
@click.option("--mount", "mounts", multiple=True, metavar="FILE:PATH", help="A file of this machine to lay over PATH.")
@click.option("--wait-timeout", type=Quantity(Duration), help="Wait so long for health, instead of each `timeout:`.")
def command(
    file: Path | None,
    targets: tuple[str, ...],
    image: str | None,
    mounts: tuple[str, ...],
    wait_timeout: Duration | None,
) -> None:
    """Give nodes that run another image or binary, one after another.

    Data stays. With some nodes of a component, the others keep what they have: a cluster of mixed versions. The file is
    not changed: the next `up` brings its image back.

    \b
    clusterkit swap cache --image redis:7.2
    clusterkit swap cache-3 --mount ./redis-server:/usr/bin/redis-server
    """
    from clusterkit.cli._changes import show_outcome
    from clusterkit.cluster import Wish, up

    if image is None and not mounts:
        raise UsageError("neither --image nor --mount is given", mend="say what the nodes are to run: --image NAME")
    plain = open_cluster(file, must_read=True)
    nodes = plain.select(targets)
    if not nodes:
        raise UsageError(f"no node is {' '.join(targets)}", mend="`clusterkit status` lists nodes and roles")
    components = dict.fromkeys(node.component for node in nodes)
    overrides: dict[str, dict[str, Any]] = {}
    for name in plain.topology.components:
        keys: dict[str, Any] = {}
        if name in plain.found.scale:
            keys["replicas"] = plain.found.scale[name]
        if name in components and image is not None:
            keys["image"] = image
        if name in components and mounts:
            kept = [
                _written(mount.source, mount.target, mount.read_only)
                for mount in plain.topology.components[name].mounts
            ]
            keys["mounts"] = [*kept, *(_laid_over(mount) for mount in mounts)]
        overrides[name] = keys
    opened = open_cluster(file, must_read=True, overrides=overrides)
    outcome = up(
        opened.site,
        opened.topology,
        opened.registry,
        Wish(tuple(components), nodes=tuple(node.name for node in nodes)),
        wait_timeout=wait_timeout.seconds if wait_timeout else None,
    )
    show_outcome(opened, outcome)
    opened.journal.say("the topology does not say so: the next up makes these nodes as it says")


def _laid_over(mount: str) -> str:
    source, sign, target = mount.partition(":")
    if not sign or not target.startswith("/"):
        raise UsageError(f'"{mount}" is not FILE:PATH', mend="write it like ./redis-server:/usr/bin/redis-server")
    path = Path(source).absolute()
    if not path.exists():
        raise UsageError(f"{source} is not there", mend="name a file or folder of this machine")
    return _written(path, target, is_read_only=True)


def _written(source: Path, target: str, is_read_only: bool) -> str:
    return f"{source}:{target}" + (":ro" if is_read_only else "")
