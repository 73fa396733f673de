"""L15. The command line: parse, call, print, exit code. A file per command, imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from clusterkit.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ClusterkitError

COMMANDS = {
    "init": "Write a commented clusterkit.yml into this folder, to begin with.",
    "up": "Bring the cluster up, or make it what the topology says.",
    "down": "Archive the logs, then remove the cluster and its data.",
    "diff": "Show what differs between the cluster and its topology.",
    "scale": "Give components of a running cluster more nodes, or fewer.",
    "swap": "Give nodes that run another image or binary, one after another.",
    "status": "Show every node: state, role and health, read live.",
    "health": "Ask the systems themselves, and run checks on every node.",
    "logs": "Show the lines of all nodes, merged by time.",
    "watch": "Bring your edits into running nodes, one after another.",
    "ls": "List all clusters of this engine.",
    "events": "Tell what happens: nodes, roles, health, faults.",
    "top": "Show what nodes use now: processors, memory, network, disk.",
    "port": "Show where ports of nodes are on this machine.",
    "env": "Print variables with which a program on this machine finds the cluster.",
    "graph": "Draw the topology: components, nodes with their zones, and what needs what.",
    "cp": "Copy files or folders between this machine and nodes.",
    "exec": "Run a command on a node.",
    "shell": "Open a shell on a node.",
    "start": "Start nodes that do not run.",
    "stop": "Stop nodes in good order.",
    "restart": "Stop and start nodes.",
    "recover": "Begin anew from the member that has most, after an outage.",
    "kill": "Send a signal to nodes (SIGKILL unless another is named).",
    "pause": "Freeze nodes: they keep memory and connections, and do nothing.",
    "unpause": "Let frozen nodes go on.",
    "chaos-test": "Break the cluster under load, and say whether it kept its promises.",
    "chaos": "Break a running cluster on purpose, and put it back.",
    "validate": "Check a topology: all problems at once, with the mend for each.",
    "render": "Write files by which others bring the cluster up: Compose, Ansible, Vagrant.",
    "schema": "Print the JSON Schema of a topology, for editors.",
    "doctor": "Try what clusterkit needs from this machine.",
    "runs": "List the chaos tests that were run, oldest first.",
    "report": "Tell a stored run again: verdict, evidence, what the faults did.",
    "check": "Judge a stored history: did the system keep its promises?",
    "images": "List the images that clusterkit made; save and load them.",
    "prune": "Remove images of ours that nothing needs any more.",
    "completion": "Print the script that makes a shell complete commands, options and names.",
    "version": "Print the versions of clusterkit and of what it uses.",
}
"""Name -> first line of help, so that `--help` imports no command. A test compares them with the commands' own."""


class _Commands(click.Group):
    """Imports a command when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"clusterkit.cli.{name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "CLUSTERKIT",
        "max_content_width": 100,
    },
)
@click.option("-v", "--verbose", is_flag=True, help="Tell every step; show tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="Tell nothing but results and errors.")
@click.pass_context
def group(ctx: click.Context, verbose: bool, quiet: bool) -> None:
    """Three of every component of a distributed system on one machine: up, look, break, down.

    Commands read clusterkit.yml in the current folder, or the file named with -f.
    """
    ctx.obj = {"verbose": verbose, "quiet": quiet}


def main(argv: Sequence[str] | None = None) -> None:
    """The program. Exits as errors.py says."""
    # Start-up has a budget (a quarter of a second for `validate`). pydantic would read the metadata of all installed
    # packages to look for plugins, and what imports make is never garbage.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    gc.set_threshold(50_000)
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_run(arguments, is_verbose=any(word in ("-v", "--verbose") for word in arguments[:2])))


def _run(arguments: list[str], *, is_verbose: bool) -> int:
    code: Any = EXIT_OK
    try:
        code = group.main(arguments, prog_name="clusterkit", standalone_mode=False)
    except click.exceptions.Exit as asked:
        code = asked.exit_code
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's last flush must not complain either
    except Exception as error:  # the last net: users see what and how to mend it, a traceback only with -v
        if is_verbose:
            raise
        code = _tell(error)
    return code if isinstance(code, int) else EXIT_OK


def _tell(error: Exception) -> int:
    if isinstance(error, ClusterkitError):
        print("\n".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        return error.exit_code
    print(f"clusterkit has a bug: {type(error).__name__}: {error}", file=sys.stderr)
    print("  mend: run it again with `clusterkit -v` and report what it prints", file=sys.stderr)
    return EXIT_BUG
