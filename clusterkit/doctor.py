"""L10. Tries what clusterkit needs from this machine: each probe does the thing itself, in small, and cleans up.

A probe says ok, missing (with the mend) or not tried (with what it waits for). Only a needed one that is missing makes
the machine unfit; the others are told.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.metadata
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clusterkit import locks, paths
from clusterkit.clock import Deadline
from clusterkit.errors import ClusterkitError, EngineUnreachable, Locked

if TYPE_CHECKING:
    from docker import APIClient

FREE_BYTES = 3 * 2**30
OPEN_FILES = 512
WATCHERS = 64
SKEW_SECONDS = 2.0
ANSWER_SECONDS = 3
OUTPUT_SECONDS = 30
LABEL = "clusterkit.doctor"

Status = Literal["ok", "missing", "not tried"]


@dataclass(frozen=True)
class Answer:
    """What a probe found, in a line; `mend` says what to do where it is not ok."""

    status: Status
    text: str
    mend: str = ""


@dataclass(frozen=True)
class Machine:
    """What probes look at: the engine (None where none answers) and an image of ours to start ("" where none is)."""

    engine: APIClient | None
    trouble: EngineUnreachable | None = None
    image: str = ""


@dataclass(frozen=True)
class Probe:
    """One thing to try. One that is not needed may be missing: some features are absent then."""

    name: str
    run: Callable[[Machine], Answer]
    is_needed: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """A probe's name and its answer."""

    name: str
    is_needed: bool
    answer: Answer

    @property
    def is_fatal(self) -> bool:
        return self.is_needed and self.answer.status == "missing"


def this_machine() -> Machine:
    """The engine that all commands use, and the newest image of ours on it."""
    from clusterkit.providers.engine import connect

    try:
        engine = connect(timeout=20)
    except EngineUnreachable as trouble:
        return Machine(None, trouble)
    images = engine.images("clusterkit/base")
    return Machine(engine, image=str(max(images, key=lambda image: image["Created"])["Id"]) if images else "")


def examine(machine: Machine, probes: tuple[Probe, ...]) -> Iterator[Diagnosis]:
    """Runs all probes side by side; gives the answers in the order of the probes, each as soon as it is known."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = [pool.submit(_tried, probe, machine) for probe in probes]
        for probe, answer in zip(probes, answers, strict=True):
            yield Diagnosis(probe.name, probe.is_needed, answer.result())


def _tried(probe: Probe, machine: Machine) -> Answer:
    """A trial that ends in an error found something missing: that is what it was for."""
    import requests.exceptions
    from docker.errors import DockerException

    try:
        return probe.run(machine)
    except ClusterkitError as error:
        return Answer("missing", error.what, error.mend or "")
    except (OSError, subprocess.SubprocessError, DockerException, requests.exceptions.RequestException) as error:
        return Answer("missing", " ".join(str(error).split())[:300])


def try_engine(machine: Machine) -> Answer:
    if machine.engine is None:
        if machine.trouble and "permission denied" in machine.trouble.what:
            return Answer(
                "missing", machine.trouble.what, "sudo usermod -aG docker $USER, then log in again (or: newgrp docker)"
            )
        return Answer("missing", machine.trouble.what if machine.trouble else "none", "`make engine`, or start Docker")
    info, version = machine.engine.info(), machine.engine.version()
    return Answer(
        "ok",
        f"{info.get('OperatingSystem', '')}: version {version['Version']}, API {version['ApiVersion']}, "
        f"{info['Driver']}, cgroup v{info.get('CgroupVersion', '1')}, {info['NCPU']} cpus, "
        f"{info['MemTotal'] / 2**30:.1f} GB",
    )


def try_docker_program(_machine: Machine) -> Answer:
    """Mitogen, testinfra and image builds call it."""
    if shutil.which("docker") is None:
        return Answer("missing", "the docker program is not on the PATH", "install it (Debian: docker.io)")
    found = _output("docker", "version", "--format", "{{.Client.Version}}, reaches engine {{.Server.Version}}")
    if found.returncode != 0:
        return Answer("missing", f"it does not reach the engine: {_last_line(found.stderr)}", "see `docker version`")
    return Answer("ok", f"version {found.stdout.strip()}")


def try_container(machine: Machine) -> Answer:
    engine = machine.engine
    if engine is None or not machine.image:
        return _untried(machine)
    begun = time.monotonic()
    with _container(engine, machine.image, ["true"]) as container:
        code = engine.wait(container, timeout=ANSWER_SECONDS * 5)["StatusCode"]
    if code != 0:
        return Answer("missing", f"a container with an init ended with {code}", "see the engine's log")
    return Answer("ok", f"made, run under an init and removed in {time.monotonic() - begun:.1f} s")


def try_loopback(machine: Machine) -> Answer:
    """A port published on loopback answers from here."""
    engine = machine.engine
    if engine is None or not machine.image:
        return _untried(machine)
    with _container(engine, machine.image, ["python3", "-m", "http.server", "8080"], port=8080) as container:
        ports = engine.inspect_container(container)["NetworkSettings"]["Ports"]
        host_port = int(ports["8080/tcp"][0]["HostPort"])
        deadline = Deadline(ANSWER_SECONDS * 2)
        while not deadline.is_over:
            if _says_http(host_port):
                return Answer("ok", f"127.0.0.1:{host_port} reached a container")
            time.sleep(0.05)
    return Answer(
        "missing",
        f"a container's port published on 127.0.0.1:{host_port} did not answer",
        "a firewall, or an engine on another machine: see docker-proxy and iptables there",
    )


def try_subnet(machine: Machine) -> Answer:
    from clusterkit.providers.docker import DockerProvider

    if machine.engine is None:
        return _untried(machine)
    provider = DockerProvider(machine.engine)
    name = f"doctor-{secrets.token_hex(4)}"
    try:
        subnet = provider.create_network(name, "doctor")
    finally:
        provider.remove_rest(name, data=True)
    return Answer("ok", f"{subnet} was free, and a network in it was made and removed")


def try_clock(machine: Machine) -> Answer:
    """Log lines carry the engine's time, our own steps this machine's."""
    if machine.engine is None:
        return _untried(machine)
    before = time.time()
    told = str(machine.engine.info()["SystemTime"])
    here = (before + time.time()) / 2
    engine_time = datetime.fromisoformat(told[:19] + "+00:00" if told.endswith("Z") else told[:19] + told[-6:])
    skew = abs(engine_time.timestamp() + 0.5 - here)  # the fraction of the second is cut off: half of it on average
    if skew > SKEW_SECONDS:
        return Answer(
            "missing", f"the engine's clock is {skew:.1f} s off this machine's", "set both clocks (NTP), or logs mix up"
        )
    return Answer("ok", "the engine's clock and this machine's agree")


def try_disk(machine: Machine) -> Answer:
    if machine.engine is None:
        return _untried(machine)
    root = str(machine.engine.info()["DockerRootDir"])
    if not Path(root).is_dir():
        return Answer("not tried", f"the engine's {root} is not on this machine")
    free = shutil.disk_usage(root).free
    if free < FREE_BYTES:
        return Answer("missing", f"{root} has {free / 2**30:.1f} GB left", "free some: docker system df")
    return Answer("ok", f"{root} has {free / 2**30:.0f} GB left")


def try_limits(_machine: Machine) -> Answer:
    handles: list[int] = []
    try:
        handles += (os.open(os.devnull, os.O_RDONLY) for _ in range(OPEN_FILES))
    except OSError:
        return Answer("missing", f"fewer than {OPEN_FILES} files can be open at once", "ulimit -n 4096")
    finally:
        for handle in handles:
            os.close(handle)
    watchers = Path("/proc/sys/fs/inotify/max_user_instances")
    if watchers.exists() and int(watchers.read_text()) < WATCHERS:
        return Answer(
            "missing",
            f"the engine may watch {watchers.read_text().strip()} log files at once",
            "sysctl fs.inotify.max_user_instances=512",
        )
    return Answer("ok", f"{OPEN_FILES} files could be open at once")


def try_ansible(_machine: Machine) -> Answer:
    for module in ("ansible_mitogen", "ansible_runner"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return Answer("missing", str(error), "install clusterkit anew: pip install clusterkit")
    found = _output(sys.executable, "-m", "ansible", "playbook", "--version")
    if found.returncode != 0:
        return Answer(
            "missing", f"ansible-playbook does not start: {_last_line(found.stderr)}", "export LC_ALL=C.UTF-8"
        )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ansible-core", "mitogen"))
    return Answer("ok", versions)


def try_sources(machine: Machine) -> Answer:
    """Where the base image would come from: a registry that answers the engine, else this machine's Debian sources."""
    if machine.image:
        return Answer("ok", "the base image is there already")
    if machine.engine is not None and _registry_answers():
        return Answer("ok", "the engine reaches a registry that has debian:bookworm-slim")
    if shutil.which("mmdebstrap") is None:
        return Answer("missing", "no registry answers, and mmdebstrap is not there", "apt-get install mmdebstrap")
    return _package_comes("tini")


def try_ssh(_machine: Machine) -> Answer:
    return _program("ssh", "-V", mend="for real hosts: apt-get install openssh-client")


def try_vagrant(_machine: Machine) -> Answer:
    return _program("vagrant", "--version", mend="for virtual machines: https://developer.hashicorp.com/vagrant")


def try_leftovers(machine: Machine) -> Answer:
    """What killed runs left: locks that nobody holds, clusters without a node, containers that built images."""
    left = [f"lock {path.name}" for path in _stale_locks()]
    if machine.engine is not None:
        from clusterkit.providers.docker import DockerProvider

        empty = [record.name for record in DockerProvider(machine.engine).clusters() if not record.nodes]
        left += [f'cluster "{name}" without a node' for name in empty if not name.startswith("doctor-")]
        left += [f"builder {name}" for name in _stale_builders(machine.engine)]
    if not left:
        return Answer("ok", "killed runs left nothing")
    return Answer(
        "missing", f"there is {', '.join(left)}", "`clusterkit down --name NAME`; the next `up` mends the rest"
    )


def try_faults(machine: Machine) -> Answer:
    """What the agent has tried, where it runs: how links are impaired, and which kinds of faults cannot be made."""
    from clusterkit.model.image import Install
    from clusterkit.providers.docker_agent import DockerAgent
    from clusterkit.provision.recipe import image_tag

    if machine.engine is None:
        return _untried(machine)
    container = DockerAgent(machine.engine)
    if not container.is_running(image_tag(Install("agent"))):
        return Answer("not tried", "the first `clusterkit chaos` starts the agent, which tries what it can do")
    agent = container.connect()
    try:
        trials, backend = agent.trials(), agent.call("link_backend")
    finally:
        agent.close()
    return judged(trials, str(backend))


def judged(trials: Mapping[str, str], backend: str) -> Answer:
    """`trials`: kind -> why not, "" where it can be made. `backend`: how links are impaired."""
    missing = [f"{kind}: {why}" for kind, why in trials.items() if why]
    if missing:
        return Answer(
            "missing",
            f"{len(missing)} of {len(trials)} kinds cannot be made here ({'; '.join(missing)}); links by {backend}",
            "`clusterkit chaos list` says which faults need them",
        )
    return Answer("ok", f"all {len(trials)} kinds can be made here; links by {backend}")


PROBES = (
    Probe("engine", try_engine),
    Probe("docker program", try_docker_program),
    Probe("ansible", try_ansible),
    Probe("image sources", try_sources),
    Probe("container", try_container),
    Probe("loopback ports", try_loopback),
    Probe("subnet", try_subnet),
    Probe("clock", try_clock),
    Probe("disk space", try_disk),
    Probe("limits", try_limits),
    Probe("leftovers", try_leftovers, is_needed=False),
    Probe("faults", try_faults, is_needed=False),
    Probe("ssh", try_ssh, is_needed=False),
    Probe("vagrant", try_vagrant, is_needed=False),
)


def _untried(machine: Machine) -> Answer:
    if machine.engine is None:
        return Answer("not tried", "no engine answers")
    return Answer("not tried", "the base image is not built yet; the first `up` makes it")


@contextlib.contextmanager
def _container(engine: APIClient, image: str, command: list[str], port: int | None = None) -> Iterator[str]:
    """A started container with an init, removed at the end whatever happens."""
    host = engine.create_host_config(init=True, port_bindings={port: ("127.0.0.1", None)} if port else None)
    made = engine.create_container(
        image, command, ports=[port] if port else None, host_config=host, labels={LABEL: ""}, entrypoint=[]
    )["Id"]
    try:
        engine.start(made)
        yield made
    finally:
        engine.remove_container(made, force=True, v=True)


def _says_http(port: int) -> bool:
    """The engine's proxy accepts before the container listens, so that only an answer counts."""
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(4) == b"HTTP"
    except OSError:
        return False


def _registry_answers() -> bool:
    import requests.exceptions
    from docker.errors import DockerException

    from clusterkit.providers.engine import connect

    try:
        engine = connect(timeout=ANSWER_SECONDS)
        engine.inspect_distribution("debian:bookworm-slim")  # type: ignore[no-untyped-call]  # the stubs lack it
    except (DockerException, requests.exceptions.RequestException):
        return False
    return True


def _package_comes(name: str) -> Answer:
    """Downloads one small package by apt's own ways, so that its mirrors, proxies and certificates count."""
    asked = _output("apt-get", "--print-uris", "download", name)
    uri = asked.stdout.partition("'")[2].partition("'")[0]
    if not uri:
        return Answer("not tried", "no registry answers; this machine's package lists are empty (apt-get update)")
    with tempfile.TemporaryDirectory() as folder:
        bounds = ("-o", f"Acquire::http::Timeout={ANSWER_SECONDS}", "-o", f"Acquire::https::Timeout={ANSWER_SECONDS}")
        got = _output(
            "/usr/lib/apt/apt-helper", *bounds, "-o", "Acquire::Retries=0", "download-file", uri, f"{folder}/p"
        )
    if got.returncode != 0:
        return Answer(
            "missing",
            f"no registry answers, nor do the package sources: {_last_line(got.stderr)}",
            "see `apt-get update`",
        )
    return Answer("ok", "no registry answers, but the package sources do, and mmdebstrap is there")


def _stale_locks() -> Iterator[Path]:
    for path in sorted((paths.cache() / "locks").glob("*.lock")):
        with path.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield path


def _stale_builders(engine: APIClient) -> Iterator[str]:
    """Containers in which nobody builds any more: whoever builds holds a lock."""
    from clusterkit.providers.docker import DockerProvider
    from clusterkit.provision.builder import builder_name, lock_name

    prefix = builder_name("")
    for item in engine.containers(all=True, filters={"name": f"^/{prefix}"}):
        name = item["Names"][0].lstrip("/")
        try:
            with locks.held(DockerProvider(engine).engine, lock_name(name.removeprefix(prefix))):
                yield name
        except Locked:
            continue


def _program(name: str, flag: str, *, mend: str) -> Answer:
    if shutil.which(name) is None:
        return Answer("missing", f"{name} is not on the PATH", mend)
    found = _output(name, flag)
    return Answer("ok", (found.stdout or found.stderr).strip().splitlines()[0])


def _output(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=OUTPUT_SECONDS, stdin=subprocess.DEVNULL, check=False
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it says nothing"
