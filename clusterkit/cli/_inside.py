"""L15. Runs a program on a node in this terminal: what `exec` and `shell` share."""

from __future__ import annotations

import os
import shutil
import sys

from clusterkit.cli.context import Cluster
from clusterkit.errors import EnvironmentTrouble, UsageError
from clusterkit.node import State


def run_inside(opened: Cluster, target: str, argv: tuple[str, ...], user: str = "") -> None:
    """Becomes `docker exec`, so that exit code, signals, stdin and terminal are the program's own. Does not return."""
    nodes = opened.select([target])
    if len(nodes) != 1:
        names = ", ".join(node.name for node in nodes) or "none"
        raise UsageError(f'"{target}" is not one node but {len(nodes)}: {names}', mend="name one node")
    node = nodes[0]
    if node.state is not State.RUNNING:
        raise UsageError(
            f"{node.name} is {node.state.value}, nothing can be run on it",
            mend=f"clusterkit {'unpause' if node.state is State.PAUSED else 'start'} {node.name}",
        )
    docker = shutil.which("docker")
    if docker is None:
        raise EnvironmentTrouble("the docker program is not on the PATH", mend="install it (Debian: docker.io)")
    words = [docker, "--host", opened.provider.address, "exec", "-i"]
    if sys.stdin.isatty() and sys.stdout.isatty():
        words += ["-t"]
    if user:
        words += ["--user", user]
    sys.stdout.flush()
    os.execv(docker, [*words, node.runtime_id, *argv])  # noqa: S606  no shell is wanted
