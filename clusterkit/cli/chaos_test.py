"""L15. `clusterkit chaos-test`."""

from __future__ import annotations

import gc
import json
import os
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli._complete import scenarios as complete_scenarios
from clusterkit.cli._scenarios import find_scenario
from clusterkit.cli._stop import asked_to_stop
from clusterkit.cli.context import Cluster, open_cluster
from clusterkit.cli.options import Quantity, file_option, format_option
from clusterkit.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNHEALTHY, EXIT_UNKNOWN, NotReady, UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.chaos.scenario import Scenario
    from clusterkit.chaos.schedule import Planned
    from clusterkit.trial.run import Case, Ground, Outcome, Screen

_EXITS = {"valid": EXIT_OK, "invalid": EXIT_UNHEALTHY, "unknown": EXIT_UNKNOWN}
_RANK = ("valid", "unknown", "invalid")
_SHRINK_TRIES = 3
_LEAST_S = 5.0
_NEEDS_A_DISK = "disk-full"
"""A kind of the agent that works where it can make disks."""


@click.command("chaos-test")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO|FILE]...", shell_complete=complete_scenarios)
@file_option
@click.option("--time", "time", type=Quantity(Duration), help="How long all workloads together run, faults included.")
@click.option("--seed", type=click.IntRange(min=0), help="Where all chance comes from; else a new one, which is told.")
@click.option("--repeat", type=click.IntRange(min=1), help="So many times, with seeds from --seed on.")
@click.option("--until-failure", is_flag=True, help="Again and again (at most --repeat times) until one is not valid.")
@click.option("--replay", type=click.Path(path_type=Path), metavar="RUN", help="The very schedule and seed of a run.")
@click.option("--shrink", is_flag=True, help="Where it is invalid: find the fewest faults that still break it.")
@click.option("--keep", is_flag=True, help="Leave the cluster up that was brought up for this.")
@format_option
def command(
    scenarios: tuple[str, ...],
    file: Path | None,
    time: Duration | None,
    seed: int | None,
    repeat: int | None,
    until_failure: bool,
    replay: Path | None,
    shrink: bool,
    keep: bool,
    output: str,
) -> int:
    """Break the cluster under load, and say whether it kept its promises.

    Brings the cluster up (or takes the one that is up), lets clients call it while faults come and go, heals, reads
    everything back, and judges. Without SCENARIO: all of the topology (`chaos: scenarios:`); where it has none, a suite
    made from what the components claim and from the faults that this machine can make.

    Exit code 0: valid, 1: invalid, 2: unknown (nothing was proved). Ctrl-C heals, and still judges what was seen.

    \b
    clusterkit chaos-test
    clusterkit chaos-test leader-loss --time 60s --seed 7
    clusterkit chaos-test --repeat 20 --until-failure --shrink
    clusterkit chaos-test --replay .clusterkit/shop/runs/latest
    """
    if replay is not None and (scenarios or seed is not None):
        raise UsageError("--replay takes scenario and seed from the run", mend="leave out SCENARIO and --seed")
    wish = _Wish(scenarios, file, time, seed, repeat, until_failure, replay, shrink, keep)
    test = _Test(wish, is_quiet=output == "json")
    code = test.go()
    if output == "json":
        results = [json.loads((one.folder / "result.json").read_text(encoding="utf-8")) for one in test.outcomes]
        folders = [str(one.folder) for one in test.outcomes]
        click.echo(
            json.dumps(
                [{**result, "folder": folder} for result, folder in zip(results, folders, strict=True)], indent=2
            )
        )
    return code


@dataclass(frozen=True)
class _Wish:
    """What the command line asks for."""

    scenarios: tuple[str, ...]
    file: Path | None
    time: Duration | None
    seed: int | None
    repeat: int | None
    until_failure: bool
    replay: Path | None
    shrink: bool
    keep: bool

    @property
    def turns(self) -> Iterator[int]:
        """0, 1, ..."""
        if self.repeat is not None:
            return iter(range(self.repeat))
        return count() if self.until_failure else iter((0,))


class _Test:
    """All runs of one call of the command, on one cluster."""

    def __init__(self, wish: _Wish, *, is_quiet: bool) -> None:
        self._wish, self._is_quiet = wish, is_quiet
        self.outcomes: list[Outcome] = []
        self._named: frozenset[str] = frozenset()
        self._is_cut = False

    def go(self) -> int:
        """What makes no sense, or cannot be made here, is refused before anything is brought up."""
        opened = open_cluster(self._wish.file, must_read=True, disks=True)
        was_up = opened.record is not None and bool(opened.record.nodes)
        self._named = frozenset(opened.topology.scenarios)
        scenarios, seed = self._given(opened)
        if not was_up:
            _prepare(opened, scenarios)
        with _cluster(opened, was_up=was_up, keep=self._wish.keep) as ground:
            if not scenarios:
                from clusterkit.cli._default_suite import default_suite

                scenarios = default_suite(opened, ground, self._wish.time, self._say)
            interrupted = self._runs(opened, ground, scenarios, seed)
        if not self._is_quiet and len(self.outcomes) > 1:
            self._tell_all()
        if interrupted:
            return EXIT_INTERRUPTED
        verdicts = [*(one.validity.value for one in self.outcomes), *(["unknown"] if self._is_cut else [])]
        worst = max(verdicts, key=_RANK.index)
        return _EXITS[worst]

    def _runs(self, opened: Cluster, ground: Ground, scenarios: Sequence[Scenario], base: int) -> bool:
        """Whether it was interrupted."""
        for turn in self._wish.turns:
            for scenario in scenarios:
                case = _case(opened, ground, scenario, base + turn, self._again(scenario, base + turn))
                with asked_to_stop() as (stop, signals):
                    try:
                        outcome = self._one(ground, case, stop)
                    except NotReady as error:
                        if not self.outcomes:
                            raise
                        self._say(f"no further run, since the one before left the system like this:\n{error}")
                        self._is_cut = True
                        return False
                    if signals:
                        return True
                    if self._wish.shrink and outcome.validity == "invalid":
                        self._shrink(ground, case, stop)
                    if signals:
                        return True
                if self._wish.until_failure and outcome.validity != "valid":
                    return False
        return False

    def _one(self, ground: Ground, case: Case, stop: Event) -> Outcome:
        from clusterkit import report
        from clusterkit.cli._runs import coloured, shown
        from clusterkit.trial.run import run

        outcome = run(ground, case, stop, self._screen(case))
        gc.collect()  # a run's history goes before the next one comes
        self.outcomes.append(outcome)
        if not self._is_quiet:
            click.echo(coloured(report.summary(Path(shown(outcome.folder)))))
        return outcome

    def _screen(self, case: Case) -> Screen:
        from clusterkit.cli._trial_screen import Lines, Nobody

        return Nobody() if self._is_quiet else Lines(case)

    def _given(self, opened: Cluster) -> tuple[list[Scenario], int]:
        """The scenarios that are named, or that the topology has, each with its time; none where there are none. And
        the first seed.
        """
        wish = self._wish
        if wish.replay is not None:
            scenario, seed = _of_run(opened, wish.replay)
            return [scenario if wish.time is None else replace(scenario, time=wish.time)], seed
        seed = secrets.randbelow(1_000_000) if wish.seed is None else wish.seed
        found = [find_scenario(opened.topology, opened.registry, word) for word in wish.scenarios]
        found = found or list(opened.topology.scenarios.values())
        for scenario in found:
            if scenario.workload is None:
                raise UsageError(
                    f'the scenario "{scenario.name}" has no workload, so that nothing can be judged',
                    mend="add workload: {kind: register, component: registry}; or `clusterkit chaos run` it",
                )
        return _fitted(found, wish.time), seed

    def _again(self, scenario: Scenario, seed: int) -> str:
        """What one types to repeat it."""
        wish = self._wish
        words = ["clusterkit", "chaos-test"]
        words += ["-f", str(wish.file)] if wish.file is not None else []
        if wish.replay is not None:
            return shlex.join([*words, "--replay", str(wish.replay)])
        given = next((word for word in wish.scenarios if scenario.name in (word, Path(word).stem)), None)
        if given is None and scenario.name in self._named:
            given = scenario.name
        words += [given, "--time", str(scenario.time)] if given else []
        words += ["--time", str(wish.time)] if not given and wish.time is not None else []
        return shlex.join([*words, "--seed", str(seed)])

    def _shrink(self, ground: Ground, case: Case, stop: Event) -> None:
        """Repeats the run with fewer faults, and prints the smallest schedule that still breaks it."""
        from clusterkit.chaos.shrink import shrink
        from clusterkit.chaos.written import text

        def breaks(planned: Sequence[Planned]) -> bool:
            self._say(f"shrink: {len(planned)} of {len(case.planned)} faults")
            return self._one(ground, replace(case, planned=tuple(planned)), stop).validity == "invalid"

        smallest = shrink(case.planned, breaks, tries=_SHRINK_TRIES, stop=stop.is_set)
        name = case.scenario.name
        self._say(f"the smallest schedule that still breaks it: {len(smallest)} of {len(case.planned)} faults")
        self._say(text(name, smallest, case.scenario.time, case.workload.written(), case.expect.written()))

    def _say(self, text: str) -> None:
        """To whoever looks on; on stderr where stdout is for a program."""
        click.echo(text, err=self._is_quiet)

    def _tell_all(self) -> None:
        for one in self.outcomes:
            said = json.loads((one.folder / "run.json").read_text(encoding="utf-8"))
            click.echo(f"{one.validity.value:<8} {said['scenario']} --seed {said['seed']}  {one.folder}")


def _prepare(opened: Cluster, scenarios: Sequence[Scenario]) -> None:
    """Asks the agent what this machine can do, before anything is brought up. Raises: UsageError.

    Where it cannot make disks, data lies on volumes; then faults of disks are refused, or left out of a default suite.
    """
    from clusterkit.chaos.needs import refuse
    from clusterkit.chaos.scene import open_agent
    from clusterkit.check_topology import read_topology
    from clusterkit.providers.docker_agent import DockerAgent

    if not scenarios and all(spec.kind == "service" for spec in opened.topology.components.values()):
        raise UsageError(
            "the topology has no scenarios, and no component that clusterkit can talk to by itself",
            mend="say how clients talk to yours: chaos: {scenarios: {NAME: {workload: ..., faults: [...]}}}; "
            "see docs/your-own-service.md",
        )
    try:
        with open_agent(opened.provider, opened.journal) as agent:
            trials = agent.trials()
        refuse({type(fault): None for one in scenarios for step in one.steps for fault in step.choices}, trials)
    except BaseException:
        if not opened.provider.clusters():
            DockerAgent(opened.provider.client).remove()
        raise
    if why_not := trials.get(_NEEDS_A_DISK):
        opened.journal.say(f"data lies on volumes: {why_not}", level="warning")
        opened.topology_read = read_topology(opened.file, folder=Path.cwd(), environ=os.environ)


@contextmanager
def _cluster(opened: Cluster, *, was_up: bool, keep: bool) -> Iterator[Ground]:
    """The cluster, up and with its agent; what was brought up is taken down, what was there is healed and left."""
    from clusterkit.cluster import down, up

    if not was_up:
        up(opened.site, opened.topology, opened.registry)
        opened.forget()
    try:
        with _ground(opened) as ground:
            yield ground
    finally:
        if not was_up and not keep:
            down(opened.site, opened.name)


@contextmanager
def _ground(opened: Cluster) -> Iterator[Ground]:
    from clusterkit.chaos.scene import open_scene
    from clusterkit.chaos.strike import heal
    from clusterkit.node import State
    from clusterkit.trial.run import Ground

    missing = {node.name for node in opened.plan.nodes} - {
        node.name for node in opened.found.nodes if node.state is State.RUNNING
    }
    if missing:
        raise UsageError(
            f"{', '.join(sorted(missing))} of the cluster that is up does not run",
            mend="bring it up first (clusterkit up), or take it down: then chaos-test brings it up by itself",
        )
    with open_scene(opened.provider, opened.journal, opened.found, lambda: opened.plan, opened.scale) as scene:
        for mark in heal(scene):
            opened.journal.say(f"healed before the test: {mark.words}")
        yield Ground(opened.site, opened.topology, opened.registry, opened.plan, scene)


def _case(opened: Cluster, ground: Ground, scenario: Scenario, seed: int, again: str) -> Case:
    """Raises: UsageError for faults that cannot be made here."""
    from clusterkit.chaos.needs import refuse
    from clusterkit.chaos.schedule import schedule
    from clusterkit.trial.run import Case

    planned = schedule(scenario, seed)
    refuse(dict.fromkeys(type(one.fault) for one in planned), ground.scene.agent.trials())
    has_disk = any(opened.found.devices.values())
    on_disk = next((one.fault.name for one in planned if one.fault.needs_disk), None)
    if on_disk is not None and not has_disk:
        raise UsageError(
            f"{on_disk} needs a disk of its own for each node, and the cluster that is up has volumes",
            mend="take it down (clusterkit down): chaos-test brings it up with disks",
        )
    return Case(scenario, planned, seed, scenario.workload, scenario.expect, again)


def _fitted(scenarios: Sequence[Scenario], time: Duration | None) -> list[Scenario]:
    """Their times cut or stretched to make `time` together. Raises: UsageError where that is too short."""
    if time is None:
        return list(scenarios)
    whole = sum(scenario.time.seconds for scenario in scenarios)
    fitted = [
        replace(scenario, time=Duration(round(time.seconds * scenario.time.seconds / whole, 3)))
        for scenario in scenarios
    ]
    shortest = min(fitted, key=lambda scenario: scenario.time)
    if shortest.time.seconds < _LEAST_S:
        raise UsageError(
            f"{time} for {len(fitted)} scenarios leaves {shortest.name} {shortest.time}: nothing would be proved",
            mend="give more time, or name fewer scenarios",
        )
    return fitted


def _of_run(opened: Cluster, run: Path) -> tuple[Scenario, int]:
    """The schedule of a stored run, fault by fault. Raises: UsageError."""
    from clusterkit.check_topology import read_scenario

    folder = run if run.is_dir() else opened.state / "runs" / str(run)
    try:
        said: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{run} is no run: {error}", mend="name a folder below .clusterkit/NAME/runs") from error
    scenario = read_scenario(folder / "scenario.yml", opened.topology, opened.registry, os.environ)
    return replace(scenario, name=str(said["scenario"])), int(said["seed"])


def main() -> None:
    """The program `chaos-test`."""
    from clusterkit.cli import main as clusterkit

    clusterkit(["chaos-test", *sys.argv[1:]])
