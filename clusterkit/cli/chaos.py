"""L15. `clusterkit chaos`: a verb for each fault, made from its class, and what is to be said of faults."""

from __future__ import annotations

import importlib

import click

from clusterkit.errors import UsageError

OWN = {
    "list": "Tell every fault, its fields, and whether it can be made here.",
    "status": "Tell what is broken now, since when and until when.",
    "heal": "Put everything back as it was, or the faults named.",
    "run": "Make the faults of a scenario, each at its time.",
}
"""The words that are no fault -> first line of help. A module `_chaos_WORD` has the command."""


class _Chaos(click.Group):
    """Makes the verb of a fault when it is called for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        from clusterkit.chaos.registry import faults

        return [*OWN, *faults()]

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name in OWN:
            command: click.Command = importlib.import_module(f"clusterkit.cli._chaos_{name}").command
            return command
        from clusterkit.chaos.registry import faults, look_up
        from clusterkit.cli._chaos_verb import Verb

        fault = look_up(name)
        if fault is None:
            from clusterkit.model.words import did_you_mean

            raise UsageError(f'no fault is called "{name}"', mend=did_you_mean(name, [*OWN, *faults()], "words"))
        return Verb(fault)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from clusterkit.chaos.fields import summary
        from clusterkit.chaos.registry import faults

        with formatter.section("Commands"):
            formatter.write_dl(list(OWN.items()))
        families = dict.fromkeys(fault.family for fault in faults().values())
        for family in families:
            with formatter.section(f"Faults: {family}"):
                formatter.write_dl(
                    [(fault.name, summary(fault)) for fault in faults().values() if fault.family == family]
                )


@click.group(cls=_Chaos)
def command() -> None:
    """Break a running cluster on purpose, and put it back.

    What a fault does is measured on the nodes and told. It ends by itself after ten minutes, or as --for says.

    \b
    clusterkit chaos isolate leader of registry --for 30s
    clusterkit chaos status
    clusterkit chaos heal
    """
