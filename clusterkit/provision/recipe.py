"""L7. What an image is made of, as a tag: equal recipes have equal tags, on any day, without asking the engine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from clusterkit import paths
from clusterkit.errors import InstallFailed
from clusterkit.model.image import BuildImage, Image, Install, Pull

PULLED = "debian:bookworm-slim"
"""What the base image is made from where a registry answers."""

BASE_PACKAGES = ("ca-certificates", "python3", "python3-apt", "tini", "tzdata")
"""python3-apt is for Ansible's apt module: without it each role would fetch it again."""

COMMON_ROLE = "common"
"""What all roles share; a change of it is a change of each."""

_BASE_REVISION = 1
"""Raised when base.py makes the base image in another way."""

_INSTALL_REVISION = 1
"""Raised when install.py makes images in another way."""


def role_path(kind: str, folders: Sequence[Path] = ()) -> Path:
    """The role of a kind: ours, else the first below `folders`, where outside components keep theirs.

    Raises: InstallFailed.
    """
    for folder in role_folders(folders):
        if (folder / kind / "tasks" / "install.yml").is_file():
            return folder / kind
    raise InstallFailed(
        f'no role installs "{kind}": {kind}/tasks/install.yml was looked for in '
        + ", ".join(str(folder) for folder in role_folders(folders)),
        mend="put the role there, or give the component an `image:`",
    )


def role_folders(folders: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where roles lie, ours first: an outside role may include our `common`."""
    return (paths.playbooks() / "roles", *folders)


def base_tag() -> str:
    return f"clusterkit/base:{_hash(str(_BASE_REVISION), PULLED, *BASE_PACKAGES, platform.machine())}"


def image_tag(image: Image, folders: Sequence[Path] = ()) -> str:
    """Raises: InstallFailed where a role or a Dockerfile is missing."""
    match image:
        case Pull(reference):
            return reference
        case Install(kind, packages):
            files = [*_files(role_path(kind, folders)), *_files(role_path(COMMON_ROLE, folders))]
            made_of = (str(_INSTALL_REVISION), base_tag(), *sorted(packages), *_contents(files))
            return f"clusterkit/{kind}:{_hash(*made_of)}"
        case BuildImage(component, _):
            return f"clusterkit/build-{component}:{_hash(*_build_parts(image))}"


def _build_parts(image: BuildImage) -> Iterable[str]:
    from docker.utils.build import exclude_paths

    build = image.build
    dockerfile = build.context / build.dockerfile
    if not dockerfile.is_file():
        raise InstallFailed(
            f'the component "{image.component}" is built from {dockerfile}, and there is no such file',
            mend="write it, or name another: `build: {context: FOLDER, dockerfile: FILE}`",
        )
    ignore = build.context / ".dockerignore"
    patterns = [line.strip() for line in ignore.read_text().splitlines()] if ignore.is_file() else []
    patterns = [line for line in patterns if line and not line.startswith("#")]
    inside = exclude_paths(str(build.context), patterns, build.dockerfile)
    files = [(name, build.context / name) for name in sorted(inside)]
    arguments = [f"{name}={value}" for name, value in sorted(build.args.items())]
    return (build.dockerfile, platform.machine(), *arguments, *_contents(files))


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        yield f"{folder.name}/{path.relative_to(folder)}", path


def _contents(files: Iterable[tuple[str, Path]]) -> Iterable[str]:
    """Name, whether it may be run, and content; folders count by their names only."""
    for name, path in files:
        if path.is_symlink():
            yield f"{name} -> {path.readlink()}"
        elif path.is_file():
            yield f"{name} {os.access(path, os.X_OK)} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        else:
            yield f"{name}/"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
