"""L15. `clusterkit chaos heal`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli.context import name_option
from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError

if TYPE_CHECKING:
    from clusterkit.agent.client import Mark


@click.command("heal")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@file_option
@name_option
def command(file: Path | None, cluster: str | None, ids: tuple[str, ...]) -> None:
    """Put everything back as it was, or the faults named.

    Whoever made them, and however that one ended. The lasting links of the topology stay. `clusterkit chaos status`
    tells the ids.

    \b
    clusterkit chaos heal
    clusterkit chaos heal latency-1 --name shop
    """
    from clusterkit.chaos.strike import heal
    from clusterkit.cli._chaos_cluster import find_cluster
    from clusterkit.providers.docker_agent import DockerAgent

    opened = find_cluster(file, cluster)
    healed: tuple[Mark, ...] = ()
    if DockerAgent(opened.provider.client).exists():
        with opened.scene() as scene:
            healed = heal(scene, ids)
    elif ids:
        raise UsageError(f'no fault "{ids[0]}" is in force', mend="nothing is broken now")
    for mark in healed:
        opened.say(f"{mark.id} healed: {mark.words}", mark.nodes)
        click.echo(f"healed {mark.id}: {mark.words}")
    if not healed:
        click.echo(f"{opened.name}: nothing was broken")
