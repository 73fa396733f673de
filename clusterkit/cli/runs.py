"""L15. `clusterkit runs`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clusterkit.cli.context import name_option
from clusterkit.cli.options import file_option, format_option


@click.command()
@file_option
@name_option
@format_option
def command(file: Path | None, cluster: str | None, output: str) -> None:
    """List the chaos tests that were run, oldest first.

    Times are UTC. A run without a result (it was killed) is unknown. Asks no engine.

    \b
    clusterkit runs
    clusterkit runs --format json
    """
    from clusterkit.cli._runs import runs_folder, shown
    from clusterkit.cli.table import show
    from clusterkit.report import runs

    folder = runs_folder(file, cluster)
    found = runs(folder)
    if output == "json":
        click.echo(
            json.dumps(
                [
                    {
                        "started": one.when,
                        "scenario": one.scenario,
                        "seed": one.seed,
                        "verdict": one.verdict,
                        "calls": one.calls,
                        "longest_gap_s": one.longest_gap_s,
                        "folder": str(one.folder),
                    }
                    for one in found
                ],
                indent=2,
            )
        )
    elif not found:
        click.echo(f"no run yet in {shown(folder)}: clusterkit chaos-test makes one")
    else:
        show(
            [
                {
                    "when": one.when,
                    "scenario": one.scenario,
                    "seed": "-" if one.seed is None else one.seed,
                    "verdict": one.verdict,
                    "calls": "-" if one.calls is None else one.calls,
                    "longest gap": "-" if one.longest_gap_s is None else f"{one.longest_gap_s:.2f} s",
                    "folder": shown(one.folder),
                }
                for one in found
            ]
        )
