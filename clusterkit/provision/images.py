"""L7. The images of a plan: which are there, which are missing, and who their users are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tarfile import open as open_tar
from typing import TYPE_CHECKING, Any

from clusterkit import locks, paths
from clusterkit.errors import EngineUnreachable, EnvironmentTrouble, InstallFailed
from clusterkit.journal import Journal
from clusterkit.model.image import BuildImage, Image, Install, Pull
from clusterkit.provision.base import STALL_SECONDS, make_base, pull_refused
from clusterkit.provision.builder import (
    HASH,
    KIND,
    USERS,
    builder_name,
    lock_name,
    parse_passwd,
    remove_container,
    sweep,
    work_folder,
    work_name,
)
from clusterkit.provision.install import install
from clusterkit.provision.recipe import base_tag, image_tag
from clusterkit.provision.sources import PROXIES, Machine, masked

if TYPE_CHECKING:
    from docker import APIClient

LOCK_SECONDS = 1800.0
"""How long we wait for another clusterkit that makes the same image."""

_LAST_LINES = 15


@dataclass(frozen=True)
class BuiltImage:
    """An image that is there. `tag` is what a container is made from; `users`: name -> (uid, gid).

    `identity`: the engine's, of an image whose tag does not say all: the same tag may name another one later.
    """

    tag: str
    users: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    identity: str = ""


class Images:
    """The images of one engine. `roles` are folders where outside components keep their roles."""

    def __init__(
        self, client: APIClient, journal: Journal, *, roles: Sequence[Path] = (), machine: Machine | None = None
    ) -> None:
        self._client = client
        self._journal = journal
        self._roles = tuple(roles)
        self._machine = machine or Machine()
        self._engine = re.sub(r"\W+", "-", str(client.base_url))

    def tags(self, images: Collection[Image]) -> Mapping[Image, str]:
        """The tag each one has or will have, in the order of the tags; the engine is not asked."""
        tags = {image: image_tag(image, self._roles) for image in images}
        return dict(sorted(tags.items(), key=lambda item: item[1]))

    def missing(self, images: Collection[Image]) -> tuple[Image, ...]:
        """Those that `ensure` would make, in the order of their tags."""
        tags = self.tags(images)
        present = self._present(tags)
        return tuple(image for image in tags if image not in present)

    def known(self, images: Collection[Image]) -> Mapping[Image, BuiltImage]:
        """What `ensure` gives, without making any: of those that are missing only the tag is known."""
        tags = self.tags(images)
        with _engine_words("look at the images"):
            present = self._present(tags)
        return {image: present.get(image) or BuiltImage(tag) for image, tag in tags.items()}

    def ensure(self, images: Collection[Image], *, rebuild: bool = False) -> Mapping[Image, BuiltImage]:
        """Makes what is missing, side by side; `rebuild`: and the users' own builds anew, whatever they were made from.

        Raises: InstallFailed, EngineUnreachable.
        """
        tags = self.tags(images)
        with _engine_words("make the images"):
            present = self._present(tags)
            if rebuild:
                self._rebuild({image: tag for image, tag in tags.items() if isinstance(image, BuildImage)})
                present = self._present(tags)
            lacking = {image: tag for image, tag in tags.items() if image not in present}
            if lacking:
                with self._journal.step(f"make {len(lacking)} {'image' if len(lacking) == 1 else 'images'}"):
                    self._make(lacking)
                present |= self._present(lacking)
        return {image: present[image] for image in tags}

    # -- what there is -----------------------------------------------------------------------------------------------

    def _present(self, tags: Mapping[Image, str]) -> dict[Image, BuiltImage]:
        """One call for all images of ours, one more for each that the user named."""
        ours = {
            tag: item
            for item in self._client.images(filters={"label": KIND})
            for tag in (name.removeprefix("localhost/") for name in item.get("RepoTags") or ())
        }
        found: dict[Image, BuiltImage] = {}
        for image, tag in tags.items():
            if isinstance(image, Pull):
                identity = self._local(tag)
                if identity:
                    found[image] = BuiltImage(tag, self._users_of(identity), identity)
            elif tag in ours and isinstance(image, Install):
                found[image] = BuiltImage(tag, _users(ours[tag]["Labels"][USERS]))
            elif tag in ours:
                identity = ours[tag]["Id"]
                found[image] = BuiltImage(tag, self._users_of(identity), identity)
        return found

    def _local(self, reference: str) -> str:
        from docker.errors import ImageNotFound

        try:
            found = self._client.inspect_image(reference)  # type: ignore[no-untyped-call]  # the stubs lack it
        except ImageNotFound:
            return ""
        return str(found["Id"])

    def _users_of(self, identity: str) -> Mapping[str, tuple[int, int]]:
        """Read once from an image that is not ours, through a container that never starts; then from our cache."""
        digest = identity.removeprefix("sha256:")
        kept = paths.cache() / "users" / f"{digest}.json"
        if kept.is_file():
            return _users(kept.read_text())
        work = f"users.{digest[:12]}"
        with locks.held(self._engine, lock_name(work), wait=LOCK_SECONDS):
            sweep(self._client, self._engine, {work})
            users = self._read_users(identity, builder_name(work))
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(users))
        new.replace(kept)
        return users

    def _read_users(self, identity: str, name: str) -> Mapping[str, tuple[int, int]]:
        from docker.errors import NotFound

        container = self._client.create_container(identity, ["true"], name=name)["Id"]
        try:
            parts, _ = self._client.get_archive(container, "/etc/passwd")
            with open_tar(fileobj=BytesIO(b"".join(parts))) as archive:
                passwd = archive.extractfile(archive.getmembers()[0])
                return parse_passwd(passwd.read().decode(errors="replace")) if passwd else {}
        except NotFound:
            return {}  # an image from scratch: it has numbers only
        finally:
            remove_container(self._client, container)

    # -- what is missing ---------------------------------------------------------------------------------------------

    def _make(self, lacking: Mapping[Image, str]) -> None:
        stop = threading.Event()
        works: list[Callable[[], None]] = [self._worker(image, tag) for image, tag in lacking.items()]
        installs: dict[Image, str] = {image: tag for image, tag in lacking.items() if isinstance(image, Install)}
        works = [work for image, work in zip(lacking, works, strict=True) if not isinstance(image, Install)]
        if installs:
            works.insert(0, lambda: self._install(installs, stop))
        with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
            futures: list[Future[None]] = [pool.submit(work) for work in works]
            try:
                wait(futures)
            except BaseException:
                stop.set()
                for future in futures:
                    future.cancel()
                raise
        for future in futures:
            future.result()

    def _worker(self, image: Image, tag: str) -> Callable[[], None]:
        if isinstance(image, BuildImage):
            return lambda: self._build(image, tag)
        return lambda: self._pull(tag)

    def _install(self, wanted: Mapping[Image, str], stop: threading.Event) -> None:
        """One at a time makes an image: whoever waited for a lock looks again before it begins."""
        with self._locked([*wanted.values(), base_tag()]):
            present = self._present(wanted)
            images = {
                image: tag for image, tag in wanted.items() if isinstance(image, Install) and image not in present
            }
            if not images:
                return
            sweep(self._client, self._engine, {work_name(tag) for tag in (*images.values(), base_tag())})
            folder = work_folder(work_name(next(iter(images.values()))))
            try:
                lists = self._base(folder / "base", stop)
                with self._journal.step(f"install {', '.join(image.role for image in images)}"):
                    install(
                        self._client,
                        self._journal,
                        self._machine,
                        images,
                        base_tag(),
                        lists,
                        folder,
                        self._roles,
                        stop,
                    )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _base(self, folder: Path, stop: threading.Event) -> bytes | None:
        if self._local(base_tag()):
            return None
        folder.mkdir()
        return make_base(self._client, self._journal, self._machine, base_tag(), folder, stop)

    def _rebuild(self, wanted: Mapping[BuildImage, str]) -> None:
        for image, tag in wanted.items():
            with self._locked([tag]), self._journal.step(f"build the image of {image.component} anew"):
                docker_build(self._journal, image, tag, use_cache=False)

    def _build(self, image: BuildImage, tag: str) -> None:
        with self._locked([tag]), self._journal.step(f"build the image of {image.component}"):
            if not self._present({image: tag}):
                docker_build(self._journal, image, tag)

    def _pull(self, reference: str) -> None:
        with self._journal.step(f"pull {reference}"):
            refused = pull_refused(self._client, reference, STALL_SECONDS)
        if refused is not None:
            raise InstallFailed(
                f'the image "{reference}" is not on this machine and cannot be pulled: {refused}',
                mend=f"see whether `docker pull {reference}` works; a local image needs its full name and tag",
            )

    @contextmanager
    def _locked(self, tags: Collection[str]) -> Iterator[None]:
        """All locks, in one order for all, so that two of us never wait for each other."""
        with ExitStack() as stack:
            for tag in sorted(tags):
                stack.enter_context(locks.held(self._engine, lock_name(work_name(tag)), wait=LOCK_SECONDS))
            yield


def docker_build(journal: Journal, image: BuildImage, tag: str, *, use_cache: bool = True) -> None:
    """`docker build`, by BuildKit where it is there, else by the classic builder. Raises: InstallFailed."""
    build = image.build
    command = [
        "docker",
        "build",
        *([] if use_cache else ["--no-cache"]),
        "--force-rm",
        "--tag",
        tag,
        "--file",
        str(build.context / build.dockerfile),
    ]
    command += ["--label", f"{KIND}=build", "--label", f"{HASH}={tag.rpartition(':')[2]}"]
    for name, value in build.args.items():
        command += ["--build-arg", f"{name}={value}"]
    command += _proxies(os.environ)
    environment = {**os.environ, "BUILDKIT_PROGRESS": "plain"}
    if subprocess.run(["docker", "buildx", "version"], check=False, capture_output=True).returncode != 0:
        environment["DOCKER_BUILDKIT"] = "0"
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        [*command, str(build.context)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
    ) as program:
        assert program.stdout is not None
        for line in program.stdout:
            shown = masked(line.rstrip(), {**os.environ, **build.args})
            if shown:
                last.append(shown)
                journal.say(shown, level="debug", component=image.component)
    if program.returncode != 0:
        raise InstallFailed(
            f'the image of "{image.component}" could not be built: docker build ended with {program.returncode}',
            where=build.context / build.dockerfile,
            mend=f"mend the Dockerfile; `docker build {build.context}` shows all of it",
            evidence=last,
        )


def _proxies(environment: Mapping[str, str]) -> list[str]:
    """Options that let a build use the proxies of this machine, and keep them out of the image.

    Docker knows these arguments by itself, and leaves them out of the history. Without a value it takes the one of its
    environment, so that no login stands in the list of processes. A proxy on loopback is reached through the host's
    network. Source: Docker's reference of Dockerfiles, "Predefined ARGs".
    """
    names = [name for word in PROXIES for name in (word, word.upper()) if environment.get(name)]
    options = [option for name in names for option in ("--build-arg", name)]
    is_here = any(re.search(r"//([^/@]*@)?(localhost|127\.|\[::1\])", environment[name]) for name in names)
    return [*options, "--network", "host"] if is_here else options


def _users(text: str) -> Mapping[str, tuple[int, int]]:
    said: Mapping[str, Any] = json.loads(text)
    return {name: (int(uid), int(gid)) for name, (uid, gid) in said.items()}


@contextmanager
def _engine_words(doing: str) -> Iterator[None]:
    """Turns the engine's errors into ours."""
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        reason = masked(str(error.explanation or error).strip())
        raise EnvironmentTrouble(f"could not {doing}: {reason}", mend="`clusterkit doctor` says more") from error
    except requests.exceptions.RequestException as error:
        raise EngineUnreachable(f"the engine does not answer; could not {doing}") from error
