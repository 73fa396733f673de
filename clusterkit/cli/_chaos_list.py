"""L15. `clusterkit chaos list`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.chaos.base import Fault
from clusterkit.chaos.fields import FieldSpec, fields_of, helps_of, summary
from clusterkit.chaos.needs import why_not
from clusterkit.chaos.registry import faults
from clusterkit.cli.context import name_option
from clusterkit.cli.options import file_option, format_option
from clusterkit.errors import EngineUnreachable, UsageError

if TYPE_CHECKING:
    from clusterkit.cli._chaos_cluster import ChaosCluster

NO_CLUSTER = "no cluster is up: nothing was tried"


@click.command("list")
@file_option
@name_option
@format_option
def command(file: Path | None, cluster: str | None, output: str) -> None:
    """Tell every fault, its fields, and whether it can be made here.

    What the machine can do is tried by the agent, which is started for that where a cluster is up.

    \b
    clusterkit chaos list
    clusterkit chaos list --format json | jq -r '.[] | select(.available == false) | .name + ": " + .reason'
    """
    opened = _opened(file, cluster)
    trials = _trials(opened)
    has_disk = opened is not None and _has_disk(opened)
    rows = [row(fault, why_not(fault, trials, has_disk=has_disk)) for fault in faults().values()]
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for family in dict.fromkeys(one["family"] for one in rows):
        click.echo(f"{family}:")
        for one in rows:
            if one["family"] == family:
                _show(one)
    if trials is None:
        click.echo(f"{NO_CLUSTER}, so that nobody knows what this machine can do")
    elif opened is not None:
        count = sum(one["available"] is True for one in rows)
        click.echo(
            f"{count} of {len(rows)} faults can be made on {opened.name}; clusterkit chaos FAULT --help says how"
        )


def _opened(file: Path | None, cluster: str | None) -> ChaosCluster | None:
    """None where nothing is up, whatever the reason: the list is good without."""
    from clusterkit.cli._chaos_cluster import find_cluster

    try:
        opened = find_cluster(file, cluster)
    except (EngineUnreachable, UsageError):
        if file is not None or cluster is not None:
            raise
        return None
    return opened if opened.record is not None and opened.record.nodes else None


def _trials(opened: ChaosCluster | None) -> Mapping[str, str] | None:
    if opened is None:
        return None
    with opened.scene() as scene:
        return scene.agent.trials()


def _has_disk(opened: ChaosCluster) -> bool:
    return opened.record is not None and any(opened.record.devices.values())


def row(fault: type[Fault], reason: str | None) -> dict[str, Any]:
    """`available` is null, and `reason` says so, where no cluster is up."""
    helps = helps_of(fault)
    return {
        "name": fault.name,
        "family": fault.family,
        "summary": summary(fault),
        "fields": [_field(spec, helps.get(spec.name, ""), fault.arguments) for spec in fields_of(fault).values()],
        "lasting": fault.is_lasting,
        "available": None if reason is None else not reason,
        "reason": NO_CLUSTER if reason is None else reason,
        "example": f"clusterkit chaos {fault.example}",
    }


def _field(spec: FieldSpec, text: str, arguments: Sequence[str]) -> dict[str, Any]:
    """`default` as it is typed, null where there is none; `argument`: it is given by its position."""
    default = spec.default
    if isinstance(default, tuple):
        default = [str(one) for one in default]
    elif default is not None and not isinstance(default, bool | int | float):
        default = str(default)
    return {
        "name": spec.name,
        "type": spec.noun,
        "required": spec.is_required,
        "several": spec.is_many,
        "choices": list(spec.choices),
        "default": default,
        "argument": spec.name in arguments,
        "help": " ".join(text.split()),
    }


def _show(one: Mapping[str, Any]) -> None:
    mark = {True: " ", False: "-", None: "?"}[one["available"]]
    click.echo(f"{mark} {one['name']:<16} {one['summary']}")
    click.echo(f"  {'':<16} {'  '.join(_short(field) for field in one['fields'])}")
    if one["available"] is False:
        click.echo(f"  {'':<16} not here: {one['reason']}")


def _short(field: Mapping[str, Any]) -> str:
    """As it is typed: "TARGET", "--towards everyone", "[--one-way]"."""
    value = "|".join(field["choices"]) or (str(field["default"]) if field["default"] else field["type"].upper())
    if field["type"] == "flag":
        return f"[--{field['name'].replace('_', '-')}]"
    if field["argument"]:
        words = "|".join(field["choices"]) or field["name"].upper()
        return words if field["required"] else f"[{words}]"
    word = f"--{field['name'].replace('_', '-')} {value}"
    return word if field["required"] else f"[{word}]"
