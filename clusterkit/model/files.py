"""L1. Which topology file is meant. It reads none, so that whoever needs only its name is quick."""

from __future__ import annotations

from pathlib import Path

from clusterkit.errors import UsageError
from clusterkit.model.words import listed

DEFAULT_FILES = ("clusterkit.yml", "clusterkit.yaml")


def find_file(file: Path | None, folder: Path) -> Path:
    """The topology that is meant: `file`, else the default one of `folder`. Raises: UsageError for none or several."""
    if file is not None:
        return file
    there = [folder / name for name in DEFAULT_FILES if (folder / name).exists()]
    if len(there) > 1:
        names = listed(path.name for path in there)
        raise UsageError(f"there are several topologies in {folder}: {names}", mend="name one with -f, or remove one")
    if not there:
        raise UsageError(
            f"there is no {DEFAULT_FILES[0]} in {folder}",
            mend="name a topology with -f, or make one: clusterkit init",
        )
    return there[0]
