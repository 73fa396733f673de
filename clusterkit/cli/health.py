"""L15. `clusterkit health`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option, format_option
from clusterkit.errors import EXIT_OK, EXIT_UNHEALTHY


@click.command()
@file_option
@name_option
@format_option
@click.option("--checks/--no-checks", default=True, show_default=True, help="Run testinfra checks on every node.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Also write JUnit XML to this file.")
def command(file: Path | None, cluster: str | None, output: str, checks: bool, junit: Path | None) -> int:
    """Ask the systems themselves, and run checks on every node.

    Readiness (a client writes through one node and reads through another), the component's own view (quorum, members,
    replication), then testinfra checks: ours, and those in `checks/test_*.py` beside the topology. Exit code 1 when
    anything of it fails.

    \b
    clusterkit health
    clusterkit health --no-checks --format json
    clusterkit health --junit health.xml
    """
    from clusterkit.health import report

    opened = open_cluster(file, cluster, must_read=True)
    result = report.examine(
        opened.plan,
        opened.provider,
        opened.found,
        checks_folder=_checks(opened.file) if checks else None,
        shipped=checks,
    )
    if junit is not None:
        junit.write_text(report.junit(result))
    click.echo(json.dumps(report.as_data(result), indent=2) if output == "json" else report.as_text(result))
    return EXIT_OK if result.is_healthy else EXIT_UNHEALTHY


def _checks(file: Path | None) -> Path | None:
    folder = file.parent / "checks" if file else None
    return folder if folder is not None and folder.is_dir() else None
