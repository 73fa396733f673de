"""L15. `clusterkit port`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import targets
from clusterkit.cli.context import name_option, open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError


@click.command()
@file_option
@name_option
@click.argument("target", required=False, shell_complete=targets)
@click.argument("port", required=False)
def command(file: Path | None, cluster: str | None, target: str | None, port: str | None) -> None:
    """Show where ports of nodes are on this machine.

    Of one node and one port only the address, for programs; else a line for each.

    \b
    clusterkit port
    clusterkit port "primary of cache"
    redis-cli -u redis://$(clusterkit port cache-1 client)
    """
    opened = open_cluster(file, cluster)
    found = [
        (node.name, name, number)
        for node in opened.select([target] if target else [])
        for name, number in sorted(node.host_ports.items())
        if port in (None, name)
    ]
    if not found:
        known = sorted({name for node in opened.found.nodes for name in node.host_ports})
        raise UsageError(
            f"{target or 'no node'} publishes no port" + (f' "{port}"' if port else ""),
            mend=f"ports that are published: {', '.join(known) or 'none'}",
        )
    if port is not None and len(found) == 1:
        click.echo(f"127.0.0.1:{found[0][2]}")
        return
    for node, name, number in found:
        click.echo(f"{node} {name} 127.0.0.1:{number}")
