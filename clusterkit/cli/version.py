"""L15. `clusterkit version`."""

from __future__ import annotations

import json
import platform

import click

from clusterkit import __version__
from clusterkit.cli.options import format_option

_USED = ("ansible-core", "ansible-runner", "mitogen", "docker", "pytest-testinfra")


@click.command()
@format_option
def command(output: str) -> None:
    """Print the versions of clusterkit and of what it uses."""
    from importlib.metadata import version

    from clusterkit.errors import EngineUnreachable
    from clusterkit.providers.engine import connect

    found = {"clusterkit": __version__, "python": platform.python_version(), **{name: version(name) for name in _USED}}
    try:
        engine = connect(timeout=3).version()
        found["engine"] = f"{engine['Version']} (API {engine['ApiVersion']})"
    except EngineUnreachable:
        found["engine"] = "none answers"
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for name, number in found.items():
        click.echo(f"{name:17} {number}")
