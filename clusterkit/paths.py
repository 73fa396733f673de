"""L0. Finds playbooks/, templates/ and the Vagrantfile, in a checkout or in a wheel; names the folders of a user."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _shipped(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.exists() else _PACKAGE.parent / name


def playbooks() -> Path:
    """The folder with site.yml, tasks/ and roles/."""
    return _shipped("playbooks")


def templates() -> Path:
    """The folder with one sub-folder of Jinja2 templates per kind."""
    return _shipped("templates")


def vagrantfile() -> Path:
    """The Vagrantfile, which reads the vagrant.json beside it."""
    return _shipped("Vagrantfile")


def cache() -> Path:
    """What may be lost at any time without harm: locks, build folders. One per user."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "clusterkit"


def state(topology_file: Path | None, cluster: str) -> Path:
    """The folder beside the topology that holds what is convenient, never what is needed.

    Where the topology's folder is gone or cannot be written to, a folder of the user's cache.
    """
    beside = topology_file.resolve().parent if topology_file else None
    if beside is None or not os.access(beside, os.W_OK):
        return cache() / "state" / cluster
    return beside / ".clusterkit" / cluster
