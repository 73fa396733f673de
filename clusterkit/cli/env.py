"""L15. `clusterkit env`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._complete import components as complete_components
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import file_option
from clusterkit.errors import UsageError

if TYPE_CHECKING:
    from clusterkit.components.base import Member
    from clusterkit.plan import Plan

_FORMATS: Mapping[str, Callable[[str, str], str]] = {
    "shell": lambda name, value: f"export {name}={shlex.quote(value)}",
    "fish": lambda name, value: f"set -gx {name} {shlex.quote(value)}",
    "dotenv": lambda name, value: f"{name}='{value}'",
}


@click.command()
@file_option
@click.option("--format", "output", type=click.Choice([*_FORMATS, "json"]), default="shell", show_default=True)
@click.argument("components", nargs=-1, shell_complete=complete_components)
def command(file: Path | None, output: str, components: tuple[str, ...]) -> None:
    """Print variables with which a program on this machine finds the cluster.

    COMPONENT_ENDPOINTS are the first port of all its nodes; then what else the component offers, passwords too.
    Addresses are those on this machine.

    \b
    eval "$(clusterkit env)" && ./my-program
    clusterkit env cache --format dotenv > .env.local
    """
    opened = open_cluster(file, must_read=True)
    for name in components:
        if name not in opened.topology.components:
            from clusterkit.model.words import did_you_mean

            raise UsageError(
                f'no component is called "{name}"', mend=did_you_mean(name, opened.topology.components, "components")
            )
    found = variables(opened.plan, components or tuple(opened.topology.components))
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        click.echo(_FORMATS[output](name, value))


def variables(plan: Plan, components: tuple[str, ...]) -> dict[str, str]:
    """Variable -> value, of each component what it exports with the addresses of this machine.

    What would name a port that is not published is left out.
    """
    found: dict[str, str] = {}
    for name in components:
        group = plan.groups[name]
        here = replace(group, members=tuple(map(_on_this_machine, group.members)))
        if here.first.ports:
            found[_variable(name, "endpoints")] = here.at(next(iter(here.first.ports)))
        for key, give in plan.components[name].exports.items():
            try:
                found[_variable(name, key)] = give(here)
            except KeyError:
                continue
    return found


def _on_this_machine(member: Member) -> Member:
    ports = {name: member.host_ports[name] for name in member.ports if name in member.host_ports}
    return replace(member, address="127.0.0.1", ports=ports)


def _variable(component: str, key: str) -> str:
    return re.sub(r"\W", "_", f"{component}_{key}").upper()
