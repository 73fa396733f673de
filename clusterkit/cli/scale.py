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
    from clusterkit.scaling import scale

    wanted = dict(_parsed(word) for word in counts)
    opened = open_cluster(file, must_read=True)
    seconds = wait_timeout.seconds if wait_timeout else None
    done = scale(opened.site, opened.name, opened.topology.file, wanted, wait_timeout=seconds)
    show_outcome(opened, done.outcome)
    for name, (count, of_file) in done.by_hand.items():
        where = done.topology.where("components", name, "replicas")
        opened.journal.say(
            f"{where} says {name} has {of_file}, and the next up makes it so; write replicas: {count} to keep it"
        )


def _parsed(word: str) -> tuple[str, int]:
    name, sign, number = word.partition("=")
    if not sign or not number.isdigit():
        raise UsageError(f'"{word}" is not COMPONENT=COUNT', mend="write it like cache=5")
    return name, int(number)
