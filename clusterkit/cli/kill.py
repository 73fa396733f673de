"""L15. `clusterkit kill`."""

from __future__ import annotations

import signal as signals
from pathlib import Path

import click

from clusterkit.cli._verbs import act_on, node_arguments
from clusterkit.errors import UsageError


@click.command()
@node_arguments
@click.option("-s", "--signal", default="KILL", show_default=True, help="Its name or number.")
def command(file: Path | None, cluster: str | None, targets: tuple[str, ...], signal: str) -> None:
    """Send a signal to nodes (SIGKILL unless another is named).

    The system gets no chance to say good-bye, as in a crash. Nothing brings the node back but `start` or `up`.

    \b
    clusterkit kill "primary of cache"
    clusterkit kill api-1 --signal HUP
    """
    from clusterkit.node import State

    name = _signal(signal)
    act_on(file, cluster, targets, "kill", lambda node: node.kill(name), only=(State.RUNNING, State.PAUSED))


def _signal(text: str) -> str:
    """The name of a signal without SIG. Raises: UsageError."""
    names = {known.name.removeprefix("SIG"): known.value for known in signals.Signals}
    for name, number in names.items():
        if text.upper().removeprefix("SIG") == name or text == str(number):
            return name
    raise UsageError(f'"{text}" is no signal', mend=f"one of {', '.join(names)}")
