"""L15. `clusterkit validate`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import file_option, format_option
from clusterkit.errors import EXIT_OK, EXIT_USAGE, Problem, TopologyError

if TYPE_CHECKING:
    from clusterkit.model.topology import Topology


@click.command()
@file_option
@format_option
def command(file: Path | None, output: str) -> int:
    """Check a topology: all problems at once, with the mend for each.

    Starts nothing and asks no engine. Exit code 0 when the topology is valid, 64 when it is not.

    \b
    clusterkit validate
    clusterkit validate -f tests/three.yml --format json
    """
    from clusterkit.check_topology import find_file, read_topology

    found = find_file(file, Path.cwd())
    try:
        topology, _ = read_topology(found, folder=Path.cwd(), environ=os.environ)
    except TopologyError as error:
        if output == "text":
            raise
        click.echo(json.dumps({"file": _named(found), "valid": False, "problems": [*map(_problem, error.problems)]}))
        return EXIT_USAGE
    if topology.logging.ship is not None:
        click.echo("note: logging.ship is read, but not acted on yet", err=True)
    if output == "json":
        click.echo(json.dumps({"file": _named(found), "valid": True, **_summary(topology)}))
    else:
        nodes = sum(spec.replicas for spec in topology.components.values())
        count = len(topology.components)
        click.echo(f"{_named(found)}: valid, {_counted(count, 'component')}, {_counted(nodes, 'node')}")
    return EXIT_OK


def _named(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _summary(topology: Topology) -> dict[str, Any]:
    return {
        "name": topology.name,
        "components": {
            name: {"kind": spec.kind, "nodes": list(spec.node_names)} for name, spec in topology.components.items()
        },
    }


def _problem(problem: Problem) -> dict[str, Any]:
    file, line, column = str(problem.where).rsplit(":", 2)
    return {"file": file, "line": int(line), "column": int(column), "what": problem.what, "mend": problem.mend}
