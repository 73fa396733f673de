"""L15. `clusterkit report`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import runs
from clusterkit.cli.context import name_option
from clusterkit.cli.options import file_option
from clusterkit.errors import EXIT_OK, EXIT_UNHEALTHY, EXIT_UNKNOWN

_EXITS = {"valid": EXIT_OK, "invalid": EXIT_UNHEALTHY, "unknown": EXIT_UNKNOWN}


@click.command()
@click.argument("run", required=False, metavar="[RUN]", shell_complete=runs)
@file_option
@name_option
@click.option("--open", "is_opened", is_flag=True, help="Show report.html in the browser.")
def command(run: str | None, file: Path | None, cluster: str | None, is_opened: bool) -> int:
    """Tell a stored run again: verdict, evidence, what the faults did.

    RUN is the folder of a run, or the name of one that `clusterkit runs` lists; else it is the latest. Its summary.txt,
    junit.xml and report.html are made anew. Asks no engine. Exit code 0: valid, 1: invalid, 2: unknown.

    \b
    clusterkit report
    clusterkit report 20261123-150102-leader-loss --open
    clusterkit report downloads/run-of-ci
    """
    from clusterkit import report
    from clusterkit.cli._runs import coloured, run_folder, shown

    folder = run_folder(run, file, cluster)
    told = report.write(folder)
    click.echo(coloured(report.summary(Path(shown(folder)))))
    if is_opened:
        click.launch(str((folder / "report.html").resolve()))
    return _EXITS[told.verdict]
