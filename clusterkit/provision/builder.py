"""L7. The container an image is made in: package sources in volumes, so that a commit cannot take them along.

/etc/apt, /var/lib/apt and /var/cache/apt are volumes for as long as the build lasts. Mirror names, logins, proxies and
lists live there only; what is committed has the files of the image below. (Removing them before the commit would do
too, until the first role that forgets one.) A builder is known by its name, not by a label: a label would be
committed, and each node made from the image would look like a builder. Clusters' names have no underscore, so that no
node is ever taken for a builder.
"""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import shutil
import socket
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit import locks, paths
from clusterkit.errors import Locked
from clusterkit.node import File
from clusterkit.provision.sources import Machine
from clusterkit.release import __version__

if TYPE_CHECKING:
    from docker import APIClient

KIND = "clusterkit.image"
"""Label of every image that we made: base, a kind, or "build" for one from a user's Dockerfile."""

HASH = "clusterkit.hash"
USERS = "clusterkit.users"
VERSION = "clusterkit.version"
CREATED = "clusterkit.created"

LISTS = "/var/lib/apt/lists"
POLICY = File("/usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n", 0o755)
"""Packages start no daemon while they are installed. Source: invoke-rc.d(8), the policy layer."""

_PREFIX = "clusterkit_build"
_OURS_FOR_A_BUILD = ("/etc/apt", "/var/lib/apt", "/var/cache/apt")
_TIDY = (
    f"rm -rf {POLICY.path} /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/debconf/*-old "
    "/var/lib/dpkg/*-old /var/cache/ldconfig/aux-cache /root/.ansible /root/.cache && cat /etc/passwd"
)


def work_name(tag: str) -> str:
    """The name of the work on an image: clusterkit/redis:12ab -> redis.12ab. Its lock, folder and builder bear it."""
    return tag.removeprefix("clusterkit/").replace(":", ".").replace("/", "-")


def builder_name(work: str) -> str:
    """Holds this machine and user too: locks are theirs, and an engine may serve many machines."""
    who = hashlib.sha256(f"{socket.gethostname()} {getpass.getuser()} {paths.cache()}".encode()).hexdigest()[:8]
    return f"{_PREFIX}_{who}_{work}"


def work_folder(work: str) -> Path:
    """A new, empty folder; whoever holds the work's lock may take it away."""
    folder = paths.cache() / "builds" / work
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def lock_name(work: str) -> str:
    return f"image-{work}"


def sweep(client: APIClient, engine: str, mine: Iterable[str]) -> None:
    """Removes what killed builds left: builders and folders of work that is `mine` (its lock is held) or nobody's."""
    prefix = builder_name("")
    found = client.containers(all=True, filters={"name": f"^/{prefix}"})
    builders = {item["Names"][0].removeprefix(f"/{prefix}"): item["Id"] for item in found}
    folders = {path.name: path for path in (paths.cache() / "builds").glob("*")}
    for work in builders.keys() | folders.keys():
        if work in mine:
            _remove(client, builders.get(work), folders.get(work))
            continue
        with suppress(Locked), locks.held(engine, lock_name(work)):
            _remove(client, builders.get(work), folders.get(work))


def _remove(client: APIClient, builder: str | None, folder: Path | None) -> None:
    if builder is not None:
        remove_container(client, builder)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def remove_container(client: APIClient, container: str) -> None:
    """With its volumes, whatever it does now; one that is gone is fine."""
    from docker.errors import APIError, NotFound

    with suppress(NotFound):
        try:
            client.remove_container(container, force=True, v=True)
        except APIError as error:
            if "already in progress" not in str(error):
                raise


def labels(kind: str, tag: str, users: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """What every image of ours says of itself."""
    return {
        KIND: kind,
        HASH: tag.rpartition(":")[2],
        USERS: json.dumps(users, separators=(",", ":"), sort_keys=True),
        VERSION: __version__,
        CREATED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


class Builder:
    """A started build container; `name` is also its host name for Ansible."""

    def __init__(self, client: APIClient, container: str, name: str) -> None:
        self._client = client
        self._container = container
        self.name = name

    def run(self, *argv: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Exit status and output."""
        made = self._client.exec_create(self._container, list(argv), environment=dict(environment or {}))["Id"]
        output: bytes = self._client.exec_start(made)
        return self._client.exec_inspect(made)["ExitCode"], output.decode(errors="replace")

    def put(self, archive: bytes) -> None:
        """An uncompressed tar, from the root of the file system."""
        self._client.put_archive(self._container, "/", archive)

    def lists(self) -> bytes:
        """The package lists as a tar for `put`."""
        parts, _ = self._client.get_archive(self._container, LISTS)
        return moved(b"".join(parts), str(Path(LISTS).parent))

    def commit(self, kind: str, tag: str) -> None:
        """Makes the image, with the users that the packages brought. Nothing of the build goes along."""
        code, passwd = self.run("sh", "-c", _TIDY)
        if code != 0:
            raise RuntimeError(f"the builder of {tag} could not be tidied: {passwd}")
        repository, _, version = tag.rpartition(":")
        self._client.commit(
            self._container,
            repository=repository,
            tag=version,
            conf={"Labels": labels(kind, tag, parse_passwd(passwd)), "Cmd": ["bash"], "Env": ["LANG=C.UTF-8"]},
        )


@contextmanager
def builder(client: APIClient, image: str, tag: str) -> Iterator[Builder]:
    """A build container for `tag`, removed at the end."""
    try:
        yield start_builder(client, image, tag)
    finally:
        remove_container(client, builder_name(work_name(tag)))


def start_builder(client: APIClient, image: str, tag: str) -> Builder:
    """A build container for `tag`; the caller removes it, by its name, even where this fails.

    It is on the host's network, because package sources and proxies may live on loopback.
    """
    from docker.types import Mount

    name = builder_name(work_name(tag))
    host = client.create_host_config(
        init=True,
        network_mode="host",
        mounts=[Mount(target=folder, source=None, type="volume") for folder in _OURS_FOR_A_BUILD],
        tmpfs={"/tmp": "exec,mode=1777"},  # noqa: S108 - the builder's own /tmp
    )
    container = client.create_container(
        image,
        ["sleep", "infinity"],
        name=name,
        hostname="build",  # else this machine's name would stand in the image's history
        user="root",
        entrypoint=[],
        host_config=host,
        use_config_proxy=False,  # else the engine's proxy, with its login, would stand in the image's environment
    )["Id"]
    client.start(container)
    return Builder(client, container, name)


def prepare(builder: Builder, machine: Machine, codename: str) -> None:
    """Gives a builder this machine's package sources, if it has any for the image's release."""
    if machine.sources(codename):
        builder.run("sh", "-c", "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*")
    builder.put(tar((*machine.apt_files(codename), POLICY)))


def tar(files: Sequence[File]) -> bytes:
    """An archive from the root; everything is root's, folders on the way are 0755."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for file in files:
            item = tarfile.TarInfo(file.path.lstrip("/"))
            item.size, item.mode, item.mtime = len(file.content), file.mode, int(time.time())
            archive.addfile(item, io.BytesIO(file.content))
    return made.getvalue()


def tar_of(folder: Path, at: str) -> bytes:
    """A folder of this machine as an archive for the path `at`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(folder, at.lstrip("/"))
    return made.getvalue()


def moved(archive: bytes, below: str) -> bytes:
    """The same archive with its members below another folder."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as source, tarfile.open(fileobj=made, mode="w") as target:
        for item in source:
            item.name = f"{below.lstrip('/')}/{item.name}"
            target.addfile(item, source.extractfile(item) if item.isreg() else None)
    return made.getvalue()


def parse_passwd(text: str) -> dict[str, tuple[int, int]]:
    """name -> (uid, gid). Source: passwd(5); lines that are not whole are left out, as getpwnam does."""
    users: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[0] and fields[2].isdigit() and fields[3].isdigit():
            users.setdefault(fields[0], (int(fields[2]), int(fields[3])))
    return users
