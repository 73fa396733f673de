"""L7. The images of ours that an engine holds: what they are, who uses them, and how to take them elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from clusterkit.errors import EnvironmentTrouble, UsageError
from clusterkit.provision.builder import KIND

if TYPE_CHECKING:
    from docker import APIClient

_CHUNK = 2**20


@dataclass(frozen=True)
class Stored:
    """An image that clusterkit made. `users`: names of the containers made from it. `size_bytes` counts what it shares.

    `tag` is "" for one that was made anew under its old name.
    """

    tag: str
    identity: str
    kind: str
    size_bytes: int
    users: tuple[str, ...]


def stored(client: APIClient) -> tuple[Stored, ...]:
    """All of them, by kind."""
    names: dict[str, list[str]] = {}
    for container in client.containers(all=True):
        names.setdefault(container["ImageID"], []).append(container["Names"][0].lstrip("/"))
    found = []
    for image in client.images(filters={"label": KIND}):
        tags = [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
        for tag in tags or [""]:
            users = tuple(sorted(names.get(image["Id"], ())))
            found.append(Stored(tag, image["Id"], image["Labels"][KIND], int(image["Size"]), users))
    return tuple(sorted(found, key=lambda one: (one.kind, one.tag, one.identity)))


def stale(images: Sequence[Stored], needed: Collection[str]) -> tuple[Stored, ...]:
    """Those that no container was made from, and whose tag is not `needed`; what others were made from comes last."""
    unused = [image for image in images if not image.users and image.tag not in needed]
    return tuple(sorted(unused, key=lambda image: image.kind == "base"))


def remove(client: APIClient, images: Sequence[Stored]) -> tuple[Stored, ...]:
    """Gives those that were removed: what came into use meanwhile stays."""
    import docker.errors

    removed = []
    for image in images:
        try:
            client.remove_image(image.tag or image.identity)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):
                raise EnvironmentTrouble(f"{image.tag} cannot be removed: {error.explanation}") from error
        else:
            removed.append(image)
    return tuple(removed)


def save(address: str, images: Sequence[Stored], file: Path) -> None:
    """Writes images to one file, compressed where its name ends with .gz; whole or not at all."""
    fresh = file.with_name(f".{file.name}.part")
    words = [_docker(), "--host", address, "save", *(image.tag for image in images)]
    try:
        with fresh.open("wb") as raw:
            said = _streamed(words, raw, is_packed=file.suffix == ".gz")
        if said:
            raise EnvironmentTrouble(f"the images cannot be saved: {said}")
        fresh.replace(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", mend="make room, or name another") from error
    finally:
        fresh.unlink(missing_ok=True)


def _streamed(words: Sequence[str], raw: IO[bytes], *, is_packed: bool) -> str:
    """Runs a program and writes what it prints; gives what it says went wrong."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        if is_packed:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, filename="", mtime=0) as packed:
                shutil.copyfileobj(program.stdout, packed, _CHUNK)
        else:
            shutil.copyfileobj(program.stdout, raw, _CHUNK)
        said = program.stderr.read().decode(errors="replace").strip()
    return said if program.returncode else ""


def load(address: str, file: Path) -> tuple[str, ...]:
    """Brings images of a file into the engine; gives their tags. Raises: UsageError for what `save` has not written."""
    tags = _tags(file)
    foreign = [tag for tag in tags if not tag.startswith("clusterkit/")]
    if foreign or not tags:
        raise UsageError(
            f"{file} holds {', '.join(foreign) or 'no image with a name'}, which clusterkit has not saved",
            mend=f"docker load -i {file} takes any image",
        )
    words = [_docker(), "--host", address, "load", "--quiet", "--input", str(file)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UsageError(f"{file} cannot be loaded: {ended.stderr.strip()}", mend="save it again; it may be cut off")
    return tags


def _tags(file: Path) -> tuple[str, ...]:
    """Source: the image specification of Docker, manifest.json of a saved archive."""
    try:
        with tarfile.open(file, "r:*") as archive:
            for entry in archive:
                if entry.name == "manifest.json":
                    content = cast("IO[bytes]", archive.extractfile(entry))
                    manifest: list[dict[str, Any]] = json.load(io.TextIOWrapper(content))
                    return tuple(tag for image in manifest for tag in image.get("RepoTags") or ())
    except FileNotFoundError as error:
        raise UsageError(f"{file} is not there", mend="name a file that `clusterkit images save` wrote") from error
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", mend="save it again; it may be cut off") from error
    raise UsageError(f"{file} is no archive of images", mend="name a file that `clusterkit images save` wrote")


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise EnvironmentTrouble("the docker program is not on the PATH", mend="install it (Debian: docker.io)")
    return docker
