"""Images made on a real engine: built from nothing, idempotent, without a trace of this machine, whatever is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from urllib.parse import urlsplit

import pytest
from docker import APIClient

from clusterkit.errors import InstallFailed
from clusterkit.journal import Entry, Journal
from clusterkit.model.image import BuildImage, Install, Pull
from clusterkit.model.topology import Build
from clusterkit.providers.engine import connect
from clusterkit.provision.base import make_base
from clusterkit.provision.builder import builder_name
from clusterkit.provision.images import Images
from clusterkit.provision.install import install
from clusterkit.provision.recipe import image_tag
from clusterkit.provision.sources import Machine

KINDS = (
    "etcd",
    "galera",
    "redis",
    "redis-sentinel",
    "service",
    "zookeeper",
    "postgres",
    "haproxy",
    "rabbitmq",
    "nats",
    "redis-cluster",
    "openldap",
)
DEADLINE_SECONDS = 120.0

PROGRAM = """\
import sys
from pathlib import Path
from clusterkit.journal import Journal
from clusterkit.model.image import Install
from clusterkit.providers.engine import connect
from clusterkit.provision.images import Images

def show(entry):
    print(entry.phase, entry.text, flush=True)

Images(connect(), Journal(show), roles=[Path(sys.argv[1])]).ensure({Install(sys.argv[2])})
"""


@dataclass
class Workshop:
    """An engine, with locks and folders that nobody else uses; what is made here is removed at the end."""

    client: APIClient
    folder: Path
    entries: list[Entry] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    @property
    def roles(self) -> Path:
        return self.folder / "roles"

    @property
    def images(self) -> Images:
        return Images(self.client, Journal(self.entries.append), roles=[self.roles])

    def role(self, tasks: str) -> Install:
        """A new role, with a name that nobody used before."""
        kind = f"test-{secrets.token_hex(4)}"
        path = self.roles / kind / "tasks" / "install.yml"
        path.parent.mkdir(parents=True)
        path.write_text(tasks)
        image = Install(kind)
        self.tags.append(image_tag(image, [self.roles]))
        return image

    def tag(self, name: str) -> str:
        self.tags.append(f"clusterkit/{name}:test-{secrets.token_hex(4)}")
        return self.tags[-1]

    def run(self, tag: str, *argv: str) -> str:
        done = subprocess.run(["docker", "run", "--rm", tag, *argv], check=True, capture_output=True, text=True)
        return done.stdout

    def builders(self) -> list[str]:
        found = self.client.containers(all=True, filters={"name": f"^/{builder_name('')}"})
        return [item["Names"][0] for item in found]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Workshop(connect(), tmp_path)
    yield made
    for builder in made.builders():
        made.client.remove_container(builder, force=True, v=True)
    for tag in made.tags:
        with contextlib.suppress(Exception):
            made.client.remove_image(tag, force=True)
    made.client.close()


def traces(client: APIClient, tag: str, words: set[str]) -> list[str]:
    """Files of an image that name any of the words, but for those that packages ship and nobody changed."""
    container = client.create_container(tag, ["true"])["Id"]
    found, shipped = [], set[str]()
    try:
        with TemporaryFile() as disk:
            for part in client.export(container):
                disk.write(part)
            disk.seek(0)
            with tarfile.open(fileobj=disk) as archive:
                for item in archive:
                    content = archive.extractfile(item) if item.isreg() else None
                    if content is None:
                        continue
                    text = content.read()
                    if item.name.startswith("var/lib/dpkg/info/") and item.name.endswith(".md5sums"):
                        shipped |= {line.split(maxsplit=1)[1] for line in text.decode().splitlines()}
                    if any(word.encode() in text for word in words):
                        found.append(item.name)
    finally:
        client.remove_container(container, v=True)
    return [name for name in found if name not in shipped]


def own_hosts() -> set[str]:
    machine = Machine()
    _, codename = machine.release()
    uris = [uri for source in machine.sources(codename) for uri in source.uris]
    return {host for uri in uris if (host := urlsplit(uri).hostname)}


def test_base_from_nothing_and_a_role_on_it_leave_no_trace_of_this_machine(workshop: Workshop) -> None:
    base, image, journal = workshop.tag("base"), workshop.tag("redis"), Journal(workshop.entries.append)
    work = workshop.folder / "work"
    (work / "base").mkdir(parents=True)
    lists = make_base(workshop.client, journal, Machine(), base, work / "base", Event())
    install(workshop.client, journal, Machine(), {Install("redis"): image}, base, lists, work, (), Event())

    assert own_hosts()
    assert traces(workshop.client, image, own_hosts()) == []
    found = workshop.client.inspect_image(image)  # type: ignore[no-untyped-call]  # the stubs lack it
    history = workshop.client.history(image)  # type: ignore[no-untyped-call]  # the same
    assert not any(host in str((found, history)) for host in own_hosts())
    assert found["Config"]["Volumes"] is None
    assert {name.partition("=")[0] for name in found["Config"]["Env"]} <= {"LANG", "PATH"}
    left = workshop.run(image, "sh", "-c", "find /usr/sbin/policy-rc.d /var/log/apt /var/lib/apt/lists -type f; true")
    assert left.splitlines() == ["/var/lib/apt/lists/lock"]
    assert workshop.run(image, "redis-server", "--version").startswith("Redis server")
    assert workshop.run(base, "sh", "-c", "python3 -c 'import ssl, apt' && tini --version").startswith("tini")
    assert str(work) not in Path("/proc/mounts").read_text()


def test_shipped_roles_install_and_a_second_run_changes_nothing(workshop: Workshop) -> None:
    wanted = {kind: Install(kind) for kind in KINDS}
    built = workshop.images.ensure(set(wanted.values()))
    users = {kind: built[image].users for kind, image in wanted.items()}
    for kind, user, folder in (("etcd", "etcd", "/var/lib/etcd"), ("redis", "redis", "/etc/redis")):
        said = workshop.run(built[wanted[kind]].tag, "sh", "-c", f"id -u {user}; id -g {user}; stat -c %u {folder}")
        uid, gid, owner = (int(number) for number in said.split())
        assert users[kind][user] == (uid, gid)
        assert owner == uid
    assert users["service"]["root"] == (0, 0)

    for kind, image in wanted.items():
        entries: list[Entry] = []
        work = workshop.folder / kind
        work.mkdir()
        again = {image: workshop.tag(kind)}
        install(workshop.client, Journal(entries.append), Machine(), again, built[image].tag, None, work, (), Event())
        tasks = [entry for entry in entries if "changed" in entry.fields]
        assert any("Make the folders" in entry.text for entry in tasks)
        assert [entry.text for entry in tasks if entry.fields["changed"]] == []


def test_a_service_with_packages(workshop: Workshop) -> None:
    image = Install("service", ("tree",))
    workshop.tags.append(image_tag(image))
    built = workshop.images.ensure({image})[image]
    assert "tree" in workshop.run(built.tag, "tree", "--version")
    assert workshop.images.missing({image}) == ()


def test_a_failing_role_tells_the_task_and_its_last_lines_and_the_others_are_kept(workshop: Workshop) -> None:
    bad = workshop.role(
        "---\n- name: Reach for the moon\n  ansible.builtin.command: sh -c 'echo the rocket is missing >&2; exit 3'\n"
    )
    good = workshop.role("---\n- name: Stay\n  ansible.builtin.command: 'true'\n")
    with pytest.raises(InstallFailed, match="Reach for the moon") as caught:
        workshop.images.ensure({bad, good})
    assert "the rocket is missing" in caught.value.evidence
    assert workshop.images.missing({bad, good}) == (bad,)
    assert workshop.builders() == []
    assert any(entry.level == "error" and "Reach for the moon" in entry.text for entry in workshop.entries)


def test_an_unknown_package_is_an_error_that_names_it(workshop: Workshop) -> None:
    with pytest.raises(InstallFailed, match="Install the packages") as caught:
        workshop.images.ensure({Install("service", ("no-such-package-anywhere",))})
    assert "no-such-package-anywhere" in "\n".join(caught.value.evidence)


def test_two_at_once_build_once(workshop: Workshop) -> None:
    image = workshop.role("---\n- name: Take a moment\n  ansible.builtin.command: sleep 1\n")
    workshop.images.ensure({Install("service")})  # the base is there
    begun = [begin(workshop, image) for _ in range(2)]
    said = [program.communicate(timeout=DEADLINE_SECONDS)[0] for program in begun]
    assert [program.returncode for program in begun] == [0, 0], said
    assert sum("Take a moment" in text for text in said) == 1, said
    assert workshop.builders() == []


def test_a_killed_build_is_cleaned_up_by_the_next(workshop: Workshop) -> None:
    image = workshop.role(
        "---\n- name: First\n  ansible.builtin.command: 'true'\n- name: Wait\n  ansible.builtin.command: sleep 10\n"
    )
    other = workshop.role("---\n- name: Stay\n  ansible.builtin.command: 'true'\n")
    workshop.images.ensure({Install("service")})
    program = begin(workshop, image)
    assert program.stdout is not None
    for line in program.stdout:
        if "First" in line:
            break
    program.send_signal(signal.SIGKILL)
    program.communicate()
    until(lambda: not programs_with(str(workshop.folder / "cache")))
    assert len(workshop.builders()) == 1
    volumes = {item["Name"] for item in (workshop.client.volumes() or {})["Volumes"] or []}

    workshop.images.ensure({other})

    assert workshop.builders() == []
    assert list((workshop.folder / "cache/clusterkit/builds").iterdir()) == []
    assert workshop.images.missing({image}) == (image,)
    now = {item["Name"] for item in (workshop.client.volumes() or {})["Volumes"] or []}
    assert len({name for name in volumes - now if len(name) == 64}) >= 3  # its package sources went with it


def test_a_killed_base_build_leaves_no_mount_and_no_program(workshop: Workshop) -> None:
    image = workshop.role("---\n- name: Stay\n  ansible.builtin.command: 'true'\n")
    other_base = "import clusterkit.provision.recipe as recipe\nrecipe.BASE_PACKAGES += ('tree',)\n"
    program = subprocess.Popen(
        [sys.executable, "-c", other_base + PROGRAM, str(workshop.roles), image.role], stdout=subprocess.PIPE, text=True
    )
    folder = workshop.folder / "cache/clusterkit/builds"
    until(lambda: any("extracting" in log.read_text() for log in folder.glob("*/base/mmdebstrap.log")))
    program.send_signal(signal.SIGKILL)
    program.communicate()
    until(lambda: not programs_with(str(folder)))
    assert str(folder) not in Path("/proc/mounts").read_text()

    workshop.images.ensure({image})
    assert list(folder.iterdir()) == []


def test_a_build_of_the_user_is_made_once_and_again_when_its_context_changes(workshop: Workshop) -> None:
    base = workshop.images.ensure({Install("service")})[Install("service")].tag
    context = workshop.folder / "api"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY greeting /greeting\nRUN useradd -u 4321 api\n")
    (context / "greeting").write_text("hello\n")
    image = BuildImage(f"test-{secrets.token_hex(4)}", Build(context))
    first = workshop.images.ensure({image})[image]
    workshop.tags.append(first.tag)
    assert first.users["api"] == (4321, 4321)
    assert workshop.run(first.tag, "cat", "/greeting") == "hello\n"
    entries = len(workshop.entries)
    assert workshop.images.ensure({image})[image] == first
    assert len(workshop.entries) == entries
    (context / "greeting").write_text("good day\n")
    second = workshop.images.ensure({image})[image]
    workshop.tags.append(second.tag)
    assert workshop.run(second.tag, "cat", "/greeting") == "good day\n"


def test_proxies_reach_a_build_and_stay_out_of_the_image(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    base = workshop.images.ensure({Install("service")})[Install("service")].tag
    secret = f"canary{secrets.token_hex(4)}"
    monkeypatch.setenv("http_proxy", f"http://{secret}:{secret}@127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{secret}@proxy.invalid:9")
    (workshop.folder / "Dockerfile").write_text(f"FROM {base}\nRUN echo ${{#http_proxy}} ${{#HTTPS_PROXY}} > /seen\n")
    image = BuildImage(f"test-{secrets.token_hex(4)}", Build(workshop.folder))
    tag = workshop.images.ensure({image})[image].tag
    workshop.tags.append(tag)
    lengths = [len(os.environ["http_proxy"]), len(os.environ["HTTPS_PROXY"])]
    assert workshop.run(tag, "cat", "/seen").split() == [str(length) for length in lengths]
    saved = subprocess.run(["docker", "save", tag], capture_output=True, check=True).stdout
    assert secret.encode() not in saved


def test_a_build_that_fails_shows_its_last_lines(workshop: Workshop) -> None:
    base = workshop.images.ensure({Install("service")})[Install("service")].tag
    (workshop.folder / "Dockerfile").write_text(f"FROM {base}\nRUN echo the oven is cold && exit 7\n")
    with pytest.raises(InstallFailed, match="could not be built") as caught:
        workshop.images.ensure({BuildImage("cake", Build(workshop.folder))})
    assert "the oven is cold" in "\n".join(caught.value.evidence)


def test_an_image_named_by_the_user_is_used_or_its_absence_told(workshop: Workshop) -> None:
    there = Pull(workshop.images.ensure({Install("redis")})[Install("redis")].tag)
    assert "redis" in workshop.images.ensure({there})[there].users
    with pytest.raises(InstallFailed, match=r"registry\.invalid/nothing:1.* cannot be pulled"):
        workshop.images.ensure({Pull("registry.invalid/nothing:1")})


def begin(workshop: Workshop, image: Install) -> subprocess.Popen[str]:
    """Another clusterkit that wants the image."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(workshop.roles), image.role], stdout=subprocess.PIPE, text=True
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.05)


def programs_with(word: str) -> list[str]:
    """Programs of this machine whose arguments or environment name `word`, this one left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            said = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            if f"{word}/".encode() in said:
                found.append(folder.name)
    return found
