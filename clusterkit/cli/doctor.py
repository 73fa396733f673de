"""L15. `clusterkit doctor`."""

from __future__ import annotations

import json

import click

from clusterkit.cli.options import format_option
from clusterkit.errors import EXIT_ENVIRONMENT, EXIT_OK


@click.command()
@format_option
def command(output: str) -> int:
    """Try what clusterkit needs from this machine.

    Every line is something that was done, in small, and cleaned up. Exit 0 when all that is needed is there, else 69.
    """
    from clusterkit.doctor import PROBES, examine, this_machine

    found = []
    for diagnosis in examine(this_machine(), PROBES):
        found.append(diagnosis)
        if output == "json":
            continue
        answer = diagnosis.answer
        word = answer.status if diagnosis.is_needed or answer.status == "ok" else "note"
        click.echo(f"{word:<10} {diagnosis.name:<15} {answer.text}")
        if answer.mend and answer.status != "ok":
            click.echo(f"{'':<10} {'':<15} mend: {answer.mend}")
    fatal = [diagnosis.name for diagnosis in found if diagnosis.is_fatal]
    if output == "json":
        rows = [
            {
                "name": one.name,
                "needed": one.is_needed,
                "status": one.answer.status,
                "text": one.answer.text,
                "mend": one.answer.mend,
            }
            for one in found
        ]
        click.echo(json.dumps(rows, indent=2))
    elif fatal:
        click.echo(f"missing: {', '.join(fatal)}", err=True)
    else:
        click.echo("all that is needed is there", err=True)
    return EXIT_ENVIRONMENT if fatal else EXIT_OK
