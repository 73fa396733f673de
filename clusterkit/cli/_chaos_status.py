"""L15. `clusterkit chaos status`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clusterkit.cli.context import name_option
from clusterkit.cli.options import file_option, format_option


@click.command("status")
@file_option
@name_option
@format_option
def command(file: Path | None, cluster: str | None, output: str) -> None:
    """Tell what is broken now, since when and until when.

    Works without the topology file when the cluster is named.

    \b
    clusterkit chaos status
    clusterkit chaos status --name shop --format json
    """
    from clusterkit.cli._chaos_cluster import find_cluster
    from clusterkit.cli._chaos_words import as_json, marks_now, show, split
    from clusterkit.providers.docker_agent import DockerAgent

    opened = find_cluster(file, cluster)
    marks = marks_now(opened.provider.client, opened.name)
    if marks is None and DockerAgent(opened.provider.client).exists():  # its ledger may still hold faults
        with opened.scene() as scene:
            marks = scene.agent.marks(opened.name)
    faults, links = split(marks or ())
    if output == "json":
        said = {
            "name": opened.name,
            "faults": [as_json(mark) for mark in faults],
            "links": [as_json(mark) for mark in links],
        }
        click.echo(json.dumps(said, indent=2))
        return
    if faults:
        show(faults, opened.named)
    else:
        click.echo(f"{opened.name}: nothing is broken")
    if links:
        click.echo("\nlinks of the topology, in force as long as it is up:")
        for mark in links:
            click.echo(f"{mark.id}  {mark.words}" + (f"  ({mark.trouble})" if mark.trouble else ""))
