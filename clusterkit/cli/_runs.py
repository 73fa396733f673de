"""L15. Where the runs of a cluster are, and how a verdict looks: what `report` and `runs` share. No engine is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from clusterkit import paths
from clusterkit.cli.console import is_terminal
from clusterkit.errors import UsageError
from clusterkit.model.files import find_file

_COLOURS = {"VALID": "green", "INVALID": "red", "UNKNOWN": "yellow"}


def runs_folder(file: Path | None, cluster: str | None) -> Path:
    """`.clusterkit/NAME/runs` beside the topology. With the cluster's name no topology is needed.

    Raises: UsageError where there is no topology, or it is not valid.
    """
    if cluster is not None:
        beside = file if file is not None else Path.cwd() / "clusterkit.yml"
        return paths.state(beside, cluster) / "runs"
    from clusterkit.check_topology import read_topology

    found = find_file(file, Path.cwd())
    topology, _ = read_topology(found, folder=Path.cwd(), environ=os.environ)
    return paths.state(found, topology.name) / "runs"


def run_folder(run: str | None, file: Path | None, cluster: str | None) -> Path:
    """The folder `run`, or the run of that name, or the latest. With a folder that is there, no topology is needed.

    Links are followed: `latest` is another run tomorrow. Raises: UsageError where there is none.
    """
    from clusterkit.report import runs

    if run is not None and Path(run).is_dir():
        return Path(run).resolve()
    folder = runs_folder(file, cluster)
    if run is not None:
        return (folder / run).resolve()
    found = runs(folder)
    if not found:
        raise UsageError(f"there is no run yet in {shown(folder)}", mend="clusterkit chaos-test makes one")
    return found[-1].folder


def shown(path: Path) -> str:
    """A path as it can be typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def coloured(summary: str) -> str:
    """The summary of a run with the colour of its verdict, on a terminal."""
    verdict, colon, rest = summary.partition(":")
    if verdict not in _COLOURS or not is_terminal(sys.stdout) or os.environ.get("NO_COLOR"):
        return summary
    return click.style(verdict, fg=_COLOURS[verdict], bold=True) + colon + rest
