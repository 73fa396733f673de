"""L15. `clusterkit chaos run`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusterkit.cli._complete import scenarios
from clusterkit.cli._scenarios import find_scenario, the_only_scenario
from clusterkit.cli._stop import asked_to_stop
from clusterkit.cli.context import name_option
from clusterkit.cli.options import Quantity, file_option
from clusterkit.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNHEALTHY
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.chaos.nemesis import Happening, Summary
    from clusterkit.chaos.scenario import Scenario
    from clusterkit.chaos.schedule import Planned
    from clusterkit.cli._chaos_cluster import ChaosCluster
    from clusterkit.components.registry import Registry
    from clusterkit.model.topology import Topology


@click.command("run")
@click.argument("scenario", required=False, metavar="[SCENARIO|FILE]", shell_complete=scenarios)
@file_option
@name_option
@click.option("--seed", type=int, help="Where chance comes from: the same seed, the same schedule.")
@click.option("--time", "time", type=Quantity(Duration), help="How long, instead of the scenario's own time.")
@click.option("--dry-run", is_flag=True, help="Print the schedule, and do nothing.")
def command(
    file: Path | None, cluster: str | None, scenario: str | None, seed: int | None, time: Duration | None, dry_run: bool
) -> int:
    """Make the faults of a scenario, each at its time.

    SCENARIO is one of the topology's (`chaos: scenarios:`), and may be left out where there is only one; FILE holds one
    by itself. Every fault is measured when it is made and again when it was healed. All is healed at the end, and with
    Ctrl-C. Exit code 1 when a fault did not bite, touched others, or could not be healed.

    \b
    clusterkit chaos run leader-loss --dry-run --seed 7
    clusterkit chaos run ./storm.yml --time 5m
    """
    from clusterkit.chaos.schedule import lines, schedule

    seed = secrets.randbelow(1_000_000) if seed is None else seed
    if dry_run and cluster is None:  # it needs no engine
        wanted, opened = _wanted(*_read(file), scenario, time), None
    else:
        from clusterkit.cli._chaos_cluster import find_cluster

        opened = find_cluster(file, cluster)
        wanted = _wanted(opened.topology, opened.registry, scenario, time)
    planned = schedule(wanted, seed)
    click.echo(f"{wanted.name}: {_count(len(planned))} in {wanted.time}, --seed {seed}")
    if dry_run or opened is None:
        for line in lines(planned):
            click.echo(line)
        return EXIT_OK
    return _run(opened, planned, wanted.time.seconds, seed)


def _read(file: Path | None) -> tuple[Topology, Registry]:
    from clusterkit.check_topology import read_topology

    return read_topology(file, folder=Path.cwd(), environ=os.environ)


def _wanted(topology: Topology, registry: Registry, word: str | None, time: Duration | None) -> Scenario:
    found = the_only_scenario(topology) if word is None else find_scenario(topology, registry, word)
    return found if time is None else replace(found, time=time)


def _run(opened: ChaosCluster, planned: Sequence[Planned], time_s: float, seed: int) -> int:
    from clusterkit.chaos.needs import refuse
    from clusterkit.chaos.nemesis import run

    def tell(happening: Happening) -> None:
        text = f"{happening.id}: {happening.text}" if happening.id else happening.text
        click.echo(f"{happening.time_ns / 1e9:7.2f} s  {happening.what:<8}  {text}")
        opened.say(text, happening.nodes)

    with opened.up(seed) as scene, asked_to_stop() as (stop, signals):
        refuse(dict.fromkeys(type(one.fault) for one in planned), scene.agent.trials())
        summary = run(scene, planned, time_s, tell, stop)
    for line in told(summary):
        click.echo(line)
    if signals:
        click.echo("interrupted: all that was made is healed" if not summary.troubles else "interrupted", err=True)
        return EXIT_INTERRUPTED
    return exit_code(summary)


def told(summary: Summary) -> Iterator[str]:
    """The summary, in lines; the first counts, each other one names what was not as it has to be."""
    yield f"{_count(summary.made)} made, {summary.made - len(summary.not_biting)} of them bit" + (
        f", {summary.declined} declined" if summary.declined else ""
    )
    for words, ids in (
        ("did not bite", summary.not_biting),
        ("affected what they must not", summary.affecting_others),
        ("were still felt when they were healed", summary.still_felt),
    ):
        if ids:
            yield f"{words}: {', '.join(ids)}"
    yield from summary.troubles


def _count(faults: int) -> str:
    return f"{faults} fault" if faults == 1 else f"{faults} faults"


def exit_code(summary: Summary) -> int:
    """A fault that was declined for want of a leader, say, is no failure; a run in which all were shows nothing."""
    is_bad = summary.not_biting or summary.affecting_others or summary.still_felt or summary.troubles
    return EXIT_UNHEALTHY if is_bad or (summary.declined and not summary.made) else EXIT_OK
