"""L15. Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clusterkit.units import Duration, Rate, Size

F = TypeVar("F", bound=Callable[..., object])


class Quantity(click.ParamType):  # type: ignore[type-arg]  # older releases of click have no type argument
    """A number with its unit: `--wait-timeout 30s`."""

    def __init__(self, kind: type[Duration | Size | Rate]) -> None:
        self.kind = kind
        self.name = kind.__name__.lower()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def file_option(command: F) -> F:
    """`-f`: the topology; the parameter is `file`, a path or None."""
    return click.option(
        "-f", "--file", "file", type=click.Path(path_type=Path), help="The topology; else clusterkit.yml here."
    )(command)


def format_option(command: F) -> F:
    """`--format`: the parameter is `output`, "text" or "json"."""
    return click.option(
        "--format", "output", type=click.Choice(["text", "json"]), default="text", help="Text for people, or JSON."
    )(command)


def wait_option(command: F) -> F:
    """`--wait/--no-wait`: the parameter is `wait`."""
    return click.option(
        "--wait/--no-wait", "wait", default=True, help="Whether to wait until the components are healthy again."
    )(command)
