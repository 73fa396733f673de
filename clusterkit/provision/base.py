"""L7. The base image: debian:bookworm-slim where a registry answers, else built from this machine's package sources.

mmdebstrap is called as a program. As root it works on a RAM disk in a mount namespace of its own: quicker by a third,
and a killed build leaves nothing, because the kernel takes the disk away.
"""

from __future__ import annotations

import os
import queue
import select
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from clusterkit.errors import InstallFailed
from clusterkit.journal import Journal
from clusterkit.provision.builder import LISTS, builder, labels, parse_passwd, prepare, tar_of
from clusterkit.provision.recipe import BASE_PACKAGES, PULLED
from clusterkit.provision.sources import Machine, masked

if TYPE_CHECKING:
    from docker import APIClient

FIRST_ANSWER_SECONDS = 4.0
"""A registry that is there says "Pulling from ..." within this time."""

STALL_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_LAST_LINES = 15
_DPKG_SETTINGS = """\
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
force-unsafe-io
"""
_NO_SOURCES = """\
# There are no package sources here on purpose: this image was built from those of one machine, whose names and logins
# are nobody else's. To install packages by hand, write sources of your own into this file.
"""
_failed_pulls: dict[str, str] = {}
"""What an engine said when a pull failed; a process asks a registry once."""


def make_base(
    client: APIClient, journal: Journal, machine: Machine, tag: str, folder: Path, stop: threading.Event
) -> bytes:
    """Makes the base image. Gives the package lists that came up on the way, as a tar.

    `folder` is empty and the caller's to remove; `stop` ends a build early. Raises: InstallFailed.
    """
    with journal.step(f"pull {PULLED}", level="debug"):
        refused = _failed_pulls.get(client.base_url) or pull_refused(client, PULLED)
    if refused is None:
        with journal.step(f"make the base image from {PULLED}"):
            return _complete(client, machine, tag)
    _failed_pulls[client.base_url] = refused
    journal.say(f"{PULLED} cannot be pulled ({refused}); the base image is built from this machine's packages")
    with journal.step("build the base image"):
        return _bootstrap(client, machine, tag, folder, refused, stop)


def pull_refused(client: APIClient, reference: str, first: float = FIRST_ANSWER_SECONDS) -> str | None:
    """Pulls an image; None when it is there, else why not, in the engine's words.

    `first` bounds the wait for the registry's first answer, in seconds. A stalled pull goes on in a thread that does
    not hold up our end.
    """
    said: queue.Queue[Mapping[str, Any] | Exception | None] = queue.Queue()

    def pull() -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            for line in client.pull(reference, stream=True, decode=True):
                said.put(line)
            said.put(None)
        except (DockerException, RequestException) as error:
            said.put(error)

    threading.Thread(target=pull, daemon=True, name=f"pull {reference}").start()
    patience = first
    while True:
        try:
            line = said.get(timeout=patience)
        except queue.Empty:
            return f"no answer within {patience:g} s"
        match line:
            case None:
                return None
            case Exception():
                return masked(str(getattr(line, "explanation", None) or line).strip())
            case {"error": reason}:
                return masked(str(reason).strip())
        patience = STALL_SECONDS


def _complete(client: APIClient, machine: Machine, tag: str) -> bytes:
    """Adds our packages to the pulled image."""
    with builder(client, PULLED, tag) as build:
        prepare(build, machine, release_of(client, PULLED))
        environment = machine.build_environment()
        for command in (
            ("apt-get", "update"),
            ("apt-get", "install", "-y", "--no-install-recommends", *BASE_PACKAGES),
        ):
            code, output = build.run(*command, environment=environment)
            if code != 0:
                raise InstallFailed(
                    f"the base image could not be made: `{' '.join(command)}` in {PULLED} ended with {code}",
                    mend="see whether this machine reaches its package sources (`apt-get update`)",
                    evidence=masked(output).splitlines()[-_LAST_LINES:],
                )
        lists = build.lists()
        build.commit("base", tag)
    return lists


def release_of(client: APIClient, image: str) -> str:
    """The release an image of ours, or Debian's, is made of: "bookworm"."""
    found = client.inspect_image(image)  # type: ignore[no-untyped-call]  # the stubs lack it
    label: str = (found["Config"].get("Labels") or {}).get("clusterkit.release", "")
    return label or PULLED.partition(":")[2].partition("-")[0]


def _bootstrap(
    client: APIClient, machine: Machine, tag: str, folder: Path, refused: str, stop: threading.Event
) -> bytes:
    _, codename = machine.release()
    if not codename or not machine.sources(codename):
        raise InstallFailed(
            f"the base image can be neither pulled ({refused}) nor built: this machine has no package sources of "
            f"its own release ({codename or 'no Debian or Ubuntu'}) in /etc/apt",
            mend=f"make a registry reachable and try `docker pull {PULLED}`, or add package sources",
        )
    _require_mmdebstrap()
    _write_sources(machine, codename, folder)
    command = bootstrap_command(codename, folder, is_root=os.geteuid() == 0)
    log = folder / "mmdebstrap.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
            start_new_session=True,  # when it is ended, mmdebstrap hangs up on its whole process group: not on ours
        ) as program,
    ):
        assert program.stdout is not None
        while not select.select([program.stdout], [], [], _LOOK_SECONDS)[0]:
            if stop.is_set():
                program.terminate()
        head = program.stdout.read(512)
        if head:
            _import(client, tag, codename, _stream(head, program.stdout), folder)
    if program.returncode != 0:
        if head:
            client.remove_image(tag)
        raise InstallFailed(
            f"the base image could not be built: mmdebstrap ended with {program.returncode}",
            mend="see whether this machine reaches its package sources (`apt-get update`)",
            evidence=masked(log.read_text(errors="replace")).splitlines()[-_LAST_LINES:],
        )
    return tar_of(folder / "lists", LISTS)


def _import(client: APIClient, tag: str, codename: str, stream: Iterator[bytes], folder: Path) -> None:
    """The tree as an image. Its users are known when the tree is whole, which is before the first byte comes."""
    users = parse_passwd((folder / "passwd").read_text())
    made = {**labels("base", tag, users), "clusterkit.release": codename}
    repository, _, version = tag.rpartition(":")
    changes = [f"LABEL {name}='{value}'" for name, value in made.items()]
    client.import_image(
        src=stream, repository=repository, tag=version, changes=[*changes, "ENV LANG=C.UTF-8", 'CMD ["bash"]']
    )


def _stream(head: bytes, rest: IO[bytes]) -> Iterator[bytes]:
    yield head
    while part := rest.read(1 << 20):
        yield part


def bootstrap_command(codename: str, folder: Path, *, is_root: bool) -> list[str]:
    """mmdebstrap's argv; the image comes out of its stdout as a tar. `folder` holds what `_write_sources` wrote.

    The variant is "apt" (what is essential, and apt): minbase's other packages make no difference to a node. The
    exclusions stand in the tree instead of --dpkgopt, with which mmdebstrap unpacks four times as slowly. The hook
    merged-usr avoids the package usrmerge, which brings a whole Perl.
    """
    quoted = shlex.quote(str(folder))
    apt = folder / "apt"
    command = [
        "mmdebstrap",
        "--variant=apt",
        "--format=tar",
        f"--include={','.join(('usr-is-merged', *BASE_PACKAGES))}",
        f"--aptopt={apt}/apt.conf.d/99clusterkit-build",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f'--setup-hook=sh {quoted}/setup.sh "$1"',
        f'--customize-hook=sh {quoted}/customize.sh "$1"',
        codename,
        "-",
        f"{apt}/sources.list.d/clusterkit-build.sources",
    ]
    if not is_root:
        return command
    ram = 'mount -t tmpfs -o mode=0755 tmpfs "$TMPDIR" && exec setpriv --pdeathsig TERM "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", ram, "sh", *command]


def _write_sources(machine: Machine, codename: str, folder: Path) -> None:
    apt = folder / "apt"
    for file in machine.apt_files(codename, str(apt)):
        path = Path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=file.mode)
        path.write_bytes(file.content)
    (folder / "tmp").mkdir()
    quoted = shlex.quote(str(folder))
    (folder / "dpkg.cfg").write_text(_DPKG_SETTINGS)
    (folder / "sources.list").write_text(_NO_SOURCES)
    (folder / "setup.sh").write_text(f"""\
set -e
mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/apt/auth.conf.d"
cp {quoted}/dpkg.cfg "$1/etc/dpkg/dpkg.cfg.d/clusterkit"
for login in {quoted}/apt/auth.conf {quoted}/apt/auth.conf.d/*; do
  if [ -f "$login" ]; then cp "$login" "$1/etc/apt/auth.conf.d/"; fi
done
""")
    (folder / "customize.sh").write_text(f"""\
set -e
cp -a "$1{LISTS}" {quoted}/lists
cp "$1/etc/passwd" {quoted}/passwd
rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/auth.conf.d/* \\
  "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \\
  "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id "$1"/usr/share/man/* "$1"/usr/share/info/* \\
  "$1"/usr/share/locale/* "$1"/var/log/*.log "$1"/var/log/apt "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old
find "$1/usr/share/doc" -type f ! -name copyright -delete
cp {quoted}/sources.list "$1/etc/apt/sources.list"
""")


def _require_mmdebstrap() -> None:
    if shutil.which("mmdebstrap"):
        return
    install = "apt-get install mmdebstrap"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "mmdebstrap"]):
            ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if ended.returncode == 0:
            return
        raise InstallFailed(
            f"mmdebstrap, which builds the base image, could not be installed (apt-get ended with {ended.returncode})",
            mend=f"run `{install}` by hand",
            evidence=masked(ended.stdout + ended.stderr).splitlines()[-_LAST_LINES:],
        )
    raise InstallFailed("mmdebstrap, which builds the base image, is not installed", mend=f"run `{install}` as root")
