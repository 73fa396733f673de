"""L15. `clusterkit schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clusterkit.errors import UsageError


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it to this file instead.")
def command(output: Path | None) -> None:
    """Print the JSON Schema of a topology, for editors.

    Editors with yaml-language-server complete and check a topology whose first line is
    "# yaml-language-server: $schema=clusterkit.schema.json".

    \b
    clusterkit schema -o clusterkit.schema.json
    """
    from clusterkit.check_topology.schema import json_schema

    text = json.dumps(json_schema(), indent=2)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", mend="name another file with -o") from error
    click.echo(f"wrote {output}", err=True)
