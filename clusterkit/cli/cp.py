"""L15. `clusterkit cp`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.context import Cluster, name_option, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import EnvironmentTrouble, UsageError

if TYPE_CHECKING:
    from clusterkit.providers.base import NodeRecord


@dataclass(frozen=True)
class _Side:
    """One end of a copy: a path here (`nodes` is empty), or on nodes."""

    path: str
    nodes: tuple[NodeRecord, ...] = ()


@click.command()
@file_option
@name_option
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
def command(file: Path | None, cluster: str | None, source: str, target: str) -> None:
    """Copy files or folders between this machine and nodes.

    NODE:PATH is on a node; a component or role may stand for its nodes: a copy to several goes to each. As `docker cp`:
    into the target where that is a folder, else to its name; files on a node belong to root; - is a tar archive on
    stdin or stdout.

    \b
    clusterkit cp registry-1:/etc/etcd/etcd.yml .
    clusterkit cp ./page.html api:/srv/www/
    clusterkit cp "leader of registry:/var/lib/etcd" - > data.tar
    """
    opened = open_cluster(file, cluster)
    here, there = _side(opened, source), _side(opened, target)
    if not here.nodes and not there.nodes:
        raise UsageError("neither side is on a node", mend="write NODE:PATH on one side, for example api-1:/srv/app")
    if len(here.nodes) > 1:
        names = ", ".join(node.name for node in here.nodes)
        raise UsageError(f'"{source}" is on {len(here.nodes)} nodes: {names}', mend="name one node to copy from")
    if here.nodes and there.nodes:
        with tempfile.TemporaryDirectory() as folder:
            _copy(opened, _words(here, here.nodes[0]), folder)
            copied = next(Path(folder).iterdir())
            for node in there.nodes:
                _copy(opened, str(copied), _words(there, node))
    elif here.nodes:
        _copy(opened, _words(here, here.nodes[0]), there.path)
    else:
        for node in there.nodes:
            _copy(opened, here.path, _words(there, node))
    if target != "-":
        to = ", ".join(node.name for node in there.nodes) or "this machine"
        opened.journal.say(f"copied {source} to {to}: {there.path}")


def _side(opened: Cluster, text: str) -> _Side:
    """What begins with / or . is here, whatever signs are in it."""
    node, sign, path = text.partition(":")
    if not sign or text[0] in "/.":
        return _Side(text)
    if not path:
        raise UsageError(f'"{text}" names no path', mend=f"write it like {node}:/srv/app")
    nodes = opened.select([node])
    if not nodes:
        raise UsageError(f"no node is {node}", mend="`clusterkit status` lists nodes and roles")
    return _Side(path, nodes)


def _words(side: _Side, node: NodeRecord) -> str:
    return f"{node.runtime_id}:{side.path}"


def _copy(opened: Cluster, source: str, target: str) -> None:
    """By the engine's own program, whose rules for folders everybody knows."""
    docker = shutil.which("docker")
    if docker is None:
        raise EnvironmentTrouble("the docker program is not on the PATH", mend="install it (Debian: docker.io)")
    ended = subprocess.run(
        [docker, "--host", opened.provider.address, "cp", source, target],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines()[-1:] or [f"docker cp ended with {ended.returncode}"]
        raise UsageError(_named(opened, said[0]), mend="look at both paths; a node has them under its own /")


def _named(opened: Cluster, said: str) -> str:
    """The engine's words, with nodes by their names."""
    said = said.removeprefix("Error response from daemon: ").replace("in container ", "on ")
    for node in opened.found.nodes:
        said = said.replace(node.runtime_id, node.name)
    return said
