"""L15. `clusterkit scale`."""

from __future__ import annotations

from pathlib import Path

import click

from clusterkit.cli._complete import counts as complete_counts
from clusterkit.cli.context import open_cluster
from clusterkit.cli.options import Quantity, file_option
from clusterkit.errors import UsageError
from clusterkit.units import Duration


@click.command()
@file_option
@click.argument("counts", nargs=-1, required=True, metavar="COMPONENT=COUNT...", shell_complete=complete_counts)
@click.option("--wait-timeout", type=Quantity(Duration), help="Wait so long for health, instead of each `timeout:`.")
def command(file: Path | None, counts: tuple[str, ...], wait_timeout: Duration | None) -> None:
    """Give components of a running cluster more nodes, or fewer.

    Nodes join and leave one after another, by the system's own procedure: etcd's join as learners and are promoted, a
    primary that is to go hands over first. The last ones leave, with their data. The file is not changed: the next
    `up` brings its counts back.

    \b
    clusterkit scale cache=5
    clusterkit scale registry=5 sentinel=5
    """
    from clusterkit.cli._changes import show_outcome
    from clusterkit.cluster import Wish, up

    wanted = dict(_parsed(word) for word in counts)
    plain = open_cluster(file, must_read=True)
    for name in wanted:
        if name not in plain.topology.components:
            from clusterkit.model.words import did_you_mean

            raise UsageError(
                f'no component is called "{name}"', mend=did_you_mean(name, plain.topology.components, "components")
            )
    scale = {**plain.found.scale, **wanted}
    of_file = {name: spec.replicas for name, spec in plain.topology.components.items()}
    scale = {name: number for name, number in scale.items() if name in of_file}
    overrides = {name: {"replicas": number} for name, number in scale.items()}
    opened = open_cluster(file, must_read=True, overrides=overrides)
    by_hand = {name: number for name, number in scale.items() if number != of_file[name]}
    outcome = up(
        opened.site,
        opened.topology,
        opened.registry,
        Wish(scale=by_hand),
        wait_timeout=wait_timeout.seconds if wait_timeout else None,
    )
    show_outcome(opened, outcome)
    for name, number in by_hand.items():
        where = opened.topology.where("components", name, "replicas")
        opened.journal.say(
            f"{where} says {name} has {of_file[name]}, and the next up makes it so; write replicas: {number} to keep it"
        )


def _parsed(word: str) -> tuple[str, int]:
    name, sign, number = word.partition("=")
    if not sign or not number.isdigit():
        raise UsageError(f'"{word}" is not COMPONENT=COUNT', mend="write it like cache=5")
    return name, int(number)
