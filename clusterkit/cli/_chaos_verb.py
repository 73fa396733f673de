"""L15. The verb of a fault: its fields are arguments and options, its docstrings the help."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.fields import FieldSpec, fields_of, helps_of
from clusterkit.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNHEALTHY, ClusterkitError, UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.agent.client import Mark
    from clusterkit.chaos.base import Scene
    from clusterkit.chaos.strike import Struck
    from clusterkit.cli._chaos_cluster import ChaosCluster

EVER = "ever"
KEEP_SECONDS = 1.0


class Verb(click.Command):
    """`clusterkit chaos NAME`. Help is put together only when it is shown: it is read from the source."""

    def __init__(self, fault: type[Fault]) -> None:
        super().__init__(
            fault.name,
            params=[*_own(fault), *_common(fault)],
            callback=lambda **given: _run(fault, **given),
            help=f"{inspect.getdoc(fault)}\n\n\b\nclusterkit chaos {fault.example}",
        )
        self.fault = fault

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            mend = 'A target of several words stands in quotes: "leader of registry".'
            raise click.UsageError(f"{error.message} {mend}", ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        specs, helps = fields_of(self.fault), helps_of(self.fault)
        arguments = [
            (param, helps.get(_field(param), "")) for param in self.params if isinstance(param, click.Argument)
        ]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(
                    [(param.make_metavar(ctx), _help(specs[_field(param)], text)) for param, text in arguments]
                )
        for param in self.params:
            if isinstance(param, click.Option) and _field(param) in specs:
                param.help = _help(specs[_field(param)], helps.get(_field(param), ""))
        super().format_options(ctx, formatter)


def _own(fault: type[Fault]) -> Iterator[click.Parameter]:
    """The last argument takes all words that are left, when it is a target: `isolate leader of registry`."""
    specs = fields_of(fault)
    for name in fault.arguments:
        spec = specs[name]
        takes_all = name == fault.arguments[-1] and spec.type is Target
        yield click.Argument(
            [f"field_{name}"],
            required=spec.is_required,
            nargs=-1 if takes_all else 1,
            metavar=_metavar(name, is_required=spec.is_required) + ("..." if takes_all else ""),
            type=click.Choice(spec.choices) if spec.choices else str,
        )
    for name, spec in specs.items():
        if name in fault.arguments:
            continue
        words = [f"--{name.replace('_', '-')}", f"field_{name}"]
        if spec.type is bool:
            yield click.Option(words, is_flag=True)
        else:
            yield click.Option(
                words,
                required=spec.is_required,
                multiple=spec.is_many,
                metavar=None if spec.choices else spec.noun.upper(),
                type=click.Choice(spec.choices) if spec.choices else str,
            )


def _common(fault: type[Fault]) -> Iterator[click.Parameter]:
    """Where a fault has a field of the same name, the word is the field's."""
    taken = {f"--{name.replace('_', '-')}" for name in fields_of(fault)}
    file = [word for word in ("-f", "--file") if word not in taken]
    yield click.Option([*file, "file"], type=click.Path(path_type=Path), help="The topology; else clusterkit.yml here.")
    name = "--cluster" if "--name" in taken else "--name"
    yield click.Option([name, "cluster"], help="The cluster's name, instead of a file.")
    if fault.is_lasting:
        yield click.Option(
            ["--for", "lasts"],
            metavar="DURATION",
            help=f"How long, for example 30s; `{EVER}` is until it is healed.  "
            f"[default: {Duration(fault.lease_s)}; {EVER} for ended nodes]",
        )
    yield click.Option(["--seed", "seed"], type=int, help="Chooses where chance does: the same seed, the same nodes.")


def _metavar(name: str, *, is_required: bool) -> str:
    return name.upper() if is_required else f"[{name.upper()}]"


def _field(param: click.Parameter) -> str:
    return (param.name or "").removeprefix("field_")


def _help(spec: FieldSpec, text: str) -> str:
    said = [" ".join(text.split())]
    if spec.choices and not spec.is_required:
        said.append(f"[{'|'.join(spec.choices)}]")
    if spec.is_many:
        said.append("May be repeated.")
    if not spec.is_required and spec.default not in (None, (), False):
        said.append(f" [default: {spec.default}]")
    return " ".join(said)


def made_from(fault: type[Fault], given: Mapping[str, Any]) -> Fault:
    """The fault, from texts as they were typed: field -> text, several texts, or a flag. Raises: UsageError."""
    values = {}
    for name, spec in fields_of(fault).items():
        text = given.get(name)
        if text is None or text in ((), False):
            continue
        if spec.type is Target and isinstance(text, tuple):
            text = " ".join(text)
        try:
            values[name] = spec.parse(text)
        except ValueError as error:
            label = name.upper() if name in fault.arguments else f"--{name.replace('_', '-')}"
            raise _refused(label, str(error)) from error
    try:
        return fault(**values)
    except ValueError as error:
        raise _refused("", str(error)) from error


def lease_of(lasts: str | None) -> float | Literal["default"] | None:
    """Seconds, None for ever, "default" when nothing was said. Raises: UsageError."""
    if lasts is None:
        return "default"
    if lasts == EVER:
        return None
    try:
        return Duration.parse(lasts).seconds
    except ValueError as error:
        raise _refused("--for", str(error), f"--for 30s, or --for {EVER}") from error


def _refused(label: str, said: str, mend: str | None = None) -> UsageError:
    """A value's complaint is "what; what to write", or "what, for example ..."."""
    what, _, then = said.partition("; ")
    if not then:
        what, _, example = said.partition(", for example ")
        then = f"write it like {example}" if example else ""
    return UsageError(f"{label}: {what}" if label else what, mend=mend or then or "see --help")


def _run(
    kind: type[Fault],
    file: Path | None,
    cluster: str | None,
    seed: int | None,
    lasts: str | None = None,
    **given: Any,
) -> int:
    import secrets

    from clusterkit.cli._chaos_cluster import find_cluster

    fault = made_from(kind, {name.removeprefix("field_"): value for name, value in given.items()})
    asked = lease_of(lasts)
    opened = find_cluster(file, cluster)
    chance = secrets.randbelow(1_000_000) if seed is None else seed
    with opened.up(chance) as scene:
        return _break(opened, scene, fault, asked, chance)


def _break(
    opened: ChaosCluster, scene: Scene, fault: Fault, asked: float | Literal["default"] | None, chance: int
) -> int:
    from clusterkit.chaos.needs import refuse
    from clusterkit.chaos.strike import strike

    refuse([type(fault)], scene.agent.trials())
    lease_s = fault.lease_s if asked == "default" else asked
    before = scene.random.getstate()

    def made(_fault: Fault, mark: Mark) -> None:
        opened.say(f"{mark.id}: {mark.words}", mark.nodes)

    with ended_by_signals():
        struck = strike(fault, scene, lease_s, made=made)
        opened.say(f"{struck.mark.id}: {struck.effect}", struck.mark.nodes)
        try:
            _tell(struck, chance if scene.random.getstate() != before else None)
            return _after(opened, scene, struck, asked, lease_s)
        except KeyboardInterrupt:
            if fault.is_lasting:
                _heal(opened, scene, struck)
                click.echo(f"healed {struck.mark.id}: {struck.mark.words}")
            return EXIT_INTERRUPTED


def _tell(struck: Struck, chance: int | None) -> None:
    effect = struck.effect
    click.echo(f"{struck.mark.id}: {struck.mark.words}")
    click.echo(f"  asked {effect.asked}, seen {effect.seen}" + ("" if effect.bites else ": did not bite"))
    if effect.beside:
        click.echo(f"  beside it {effect.beside}" + ("" if effect.beside_is_well else ": affected, and must not be"))
    if chance is not None:
        click.echo(f"  chosen by --seed {chance}")


def _after(
    opened: ChaosCluster,
    scene: Scene,
    struck: Struck,
    asked: float | Literal["default"] | None,
    lease_s: float | None,
) -> int:
    """What is left to do once it is made: the exit code."""
    fault, mark, effect = struck.fault, struck.mark, struck.effect
    code = EXIT_OK if effect.bites and effect.beside_is_well else EXIT_UNHEALTHY
    if not fault.is_lasting:
        return code
    if not effect.bites:
        _heal(opened, scene, struck)
        click.echo("  healed: what does not bite is not kept")
        return code
    if fault.keeps or (mark.engine and asked not in ("default", None)):
        _stay(opened, scene, struck, lease_s)
        return code
    if mark.engine and asked == "default":
        scene.agent.renew([mark.id], None)
        lease_s = None
    click.echo(f"  {_end(mark, lease_s)}clusterkit chaos heal {mark.id}{opened.named}")
    return code


def _end(mark: Mark, lease_s: float | None) -> str:
    from dataclasses import replace

    from clusterkit.cli._chaos_words import until

    return "until: " if lease_s is None else f"until {until(replace(mark, left_s=lease_s))}, or: "


def _stay(opened: ChaosCluster, scene: Scene, struck: Struck, lease_s: float | None) -> None:
    """Here until it is over: what has to be done again and again is done from here, and healed from here."""
    from clusterkit.cli._chaos_words import lasting
    from clusterkit.clock import SYSTEM, Deadline

    deadline = None if lease_s is None else Deadline(lease_s)
    click.echo(f"  {'until it is healed' if lease_s is None else f'for {lasting(lease_s)}'}; Ctrl-C heals it at once")
    while deadline is None or not deadline.is_over:
        SYSTEM.sleep(KEEP_SECONDS if deadline is None else min(KEEP_SECONDS, deadline.left))
        if not _keep(opened, scene, struck):
            click.echo(f"{struck.mark.id} was healed meanwhile")
            return
    _heal(opened, scene, struck)
    click.echo(f"healed {struck.mark.id}: {struck.mark.words}")


def _keep(opened: ChaosCluster, scene: Scene, struck: Struck) -> bool:
    """Keeps it up, where that has to be done from here. False: somebody has healed it."""
    try:
        if not any(mark.id == struck.mark.id for mark in scene.agent.marks(scene.cluster)):
            return False
        if struck.fault.keeps:
            struck.fault.keep(scene.look(), struck.mark)
    except ClusterkitError as error:  # it is tried again in a second, and healed whatever happens
        opened.journal.say(f"{struck.mark.id}: {error.what}", level="warning")
    return True


def _heal(opened: ChaosCluster, scene: Scene, struck: Struck) -> None:
    struck.fault.heal(scene.look(), struck.mark)
    opened.say(f"{struck.mark.id} healed: {struck.mark.words}", struck.mark.nodes)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Whoever ends us politely wants it healed as with Ctrl-C."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
