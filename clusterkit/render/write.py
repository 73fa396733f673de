"""L4, the edge. Writes a rendered folder, and keeps in it what is needed to render it again as it was.

The marker, `.clusterkit-render.json`, lists what we wrote and holds the allocation. A folder without it is not ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from clusterkit.components.registry import Registry
from clusterkit.errors import UsageError
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, Plan, allocate
from clusterkit.render import parts
from clusterkit.render.parts import Output, as_json

MARKER = ".clusterkit-render.json"
_NEW = f"{MARKER}.new"
SUBNET = "192.168.56.0/24"
"""Source: VirtualBox takes host-only networks from 192.168.56.0/21 unless its owner allows others."""

FIRST_PORT = 30000
"""On loopback; the next ones follow. Neither `up` (20000 to 29999) nor Linux (32768 and up) gives them to others."""

_LEFT_OUT = (".git", ".clusterkit")
"""Of folders that are copied: nobody's program, and secrets of others."""


@dataclass(frozen=True)
class Written:
    """What was written: how many files, and which of them hold passwords."""

    files: int
    secret: tuple[str, ...]


def fixed_allocation(
    folder: Path, topology: Topology, registry: Registry, subnet: str, new_secret: Callable[[], str]
) -> Allocation:
    """Addresses in the order of the file from the eleventh of the subnet, ports from FIRST_PORT.

    What the folder was rendered with before stays as it was, if it is of the same subnet. Raises: UsageError for a
    folder that is not ours, EnvironmentTrouble for a subnet that is too small.
    """
    kept = _marker(folder).get("allocation", {})
    asked = {port for spec in topology.components.values() for port in _published(spec)}
    known = Allocation(subnet)
    if kept.get("subnet") == subnet:
        ports = {
            node: {name: port for name, port in ports.items() if port not in asked}
            for node, ports in kept["host_ports"].items()
        }
        known = Allocation(subnet, kept["addresses"], ports, kept["secrets"])
    taken = asked | {port for ports in known.host_ports.values() for port in ports.values()}
    free = (port for port in count(FIRST_PORT) if port not in taken)
    return allocate(topology, registry, subnet, known, free, new_secret)


def _published(spec: ComponentSpec) -> set[int]:
    """The ports of this machine that the user gave to a component."""
    return {first + index for first in spec.publish.values() for index in range(spec.replicas)}


def write(folder: Path, plan: Plan, outputs: Sequence[Output]) -> Written:
    """Writes all files, and removes those of before that are no more. Works on a folder where it was interrupted.

    Raises: UsageError where the folder is not empty and not ours.
    """
    before = _marker(folder).get("files", [])
    wanted = {path: file for output in outputs for path, file in _files_of(folder, output)}
    folder.mkdir(parents=True, exist_ok=True)
    _mark(folder, plan, sorted({*before, *wanted}))
    for path in set(before) - set(wanted):
        (folder / path).unlink(missing_ok=True)
        _remove_empty((folder / path).parent, folder)
    for path, (content, is_secret) in wanted.items():
        _put(folder / path, content, is_secret=is_secret)
    _mark(folder, plan, sorted(wanted))
    return Written(len(wanted), tuple(path for path, (_, is_secret) in sorted(wanted.items()) if is_secret))


def _files_of(folder: Path, output: Output) -> Iterator[tuple[str, tuple[bytes | Path, bool]]]:
    """The files of an output, a folder's one by one. The folder that we write to is not copied into itself."""
    if isinstance(output.content, bytes) or not output.content.is_dir():
        yield output.path, (output.content, output.is_secret)
        return
    for root, folders, names in os.walk(output.content):
        here = Path(root)
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and here / name != folder)
        for name in sorted(names):
            if (here / name).is_file():
                yield str(Path(output.path) / (here / name).relative_to(output.content)), (here / name, False)


def _put(path: Path, content: bytes | Path, *, is_secret: bool) -> None:
    """A file that holds passwords is never readable by others, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    text = content if isinstance(content, bytes) else content.read_bytes()
    mode = 0o600 if is_secret else 0o755 if isinstance(content, Path) and os.access(content, os.X_OK) else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(text)
    path.chmod(mode)


def _mark(folder: Path, plan: Plan, files: Sequence[str]) -> None:
    _put(folder / _NEW, as_json({"files": files, "allocation": parts.allocation(plan)}), is_secret=True)
    (folder / _NEW).replace(folder / MARKER)


def _marker(folder: Path) -> dict[str, Any]:
    """What a folder was rendered with; empty for a new one. Raises: UsageError."""
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", mend="name another one with -o")
    if (folder / MARKER).is_file():
        try:
            kept: dict[str, Any] = json.loads((folder / MARKER).read_text())
        except ValueError as error:
            raise UsageError(
                f"{folder / MARKER} is damaged: {error}", mend=f"remove {folder}, or name another folder with -o"
            ) from error
        return kept
    if any(path.name != _NEW for path in folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty, and not made by clusterkit render",
            mend="name a new or empty folder with -o, or empty it yourself",
        )
    return {}


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and not (folder.is_dir() and any(folder.iterdir())):
        if folder.is_dir():
            folder.rmdir()
        folder = folder.parent
