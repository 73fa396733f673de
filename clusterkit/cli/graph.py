"""L15. `clusterkit graph`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli.options import file_option


@click.command()
@file_option
@click.option("--format", "output", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@click.option("--live", is_flag=True, help="With the roles that the nodes have now.")
def command(file: Path | None, output: str, live: bool) -> None:
    """Draw the topology: components, nodes with their zones, and what needs what.

    Needs no engine, unless --live. Mermaid is drawn by GitHub and many editors, DOT by Graphviz.

    \b
    clusterkit graph >> README.md
    clusterkit graph --format dot --live | dot -Tsvg > cluster.svg
    """
    import os

    from clusterkit.check_topology import read_topology
    from clusterkit.cli.context import open_cluster
    from clusterkit.render.graph import FORMATS

    roles: dict[str, str] = {}
    if live:
        opened = open_cluster(file, must_read=True)
        topology, registry = opened.plan.topology, opened.registry
        roles = {node: held[0] for node, held in opened.roles().items() if held}
    else:
        topology, registry = read_topology(file, folder=Path.cwd(), environ=os.environ)
    order = {
        name: tuple(dict.fromkeys((*spec.depends_on, *registry[spec.kind].depends_on(spec.options))))
        for name, spec in topology.components.items()
    }
    click.echo(FORMATS[output](topology, order, roles), nl=False)
