"""L6. The agent's container on an engine: one for all clusters and users of it, found by its label."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import struct
import tarfile
from importlib import resources
from typing import TYPE_CHECKING, Any

from clusterkit import locks
from clusterkit.agent.client import Agent
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.errors import EnvironmentTrouble
from clusterkit.providers.docker import engine_name, engine_words

if TYPE_CHECKING:
    from docker import APIClient

NAME = "clusterkit-agent"
VOLUME = "clusterkit-agent"
LABEL = "clusterkit.agent"
CAPABILITIES = (
    "NET_ADMIN",  # rules, queues
    "NET_RAW",  # packets that are sent twice
    "SYS_ADMIN",  # entering namespaces; mounts, and file systems that stop
    "SYS_PTRACE",  # reading and writing the memory of processes: clocks
    "SYS_CHROOT",  # entering a node's file system
    "DAC_OVERRIDE",  # data that belongs to the nodes' users
    "KILL",
)
_LOCK_SECONDS = 120.0
_RESTART_SECONDS = 5.0
_STDERR = 2


class DockerAgent:
    """Starts, finds and removes the agent. Its ledger is on a volume, so that a new one takes over from the last."""

    def __init__(self, client: APIClient) -> None:
        self._client = client

    def exists(self) -> bool:
        """Whether an agent, running or not, or its ledger is there: else no fault of ours can be."""
        label = {"label": LABEL}
        with engine_words("look for the agent"):
            if self._client.containers(all=True, filters=label):
                return True
            return bool((self._client.volumes(filters=label) or {}).get("Volumes"))

    def is_running(self, image: str | None = None) -> bool:
        """Whether one of this version runs; None: of any version. They all know the same orders."""
        with engine_words("look for the agent"):
            found = [item for item in self._found() if item["State"] == "running"]
        return any(image is None or item["Labels"][LABEL] == _version(image) for item in found)

    def start(self, image: str) -> None:
        """Makes sure that an agent of this version runs; one of another version gives way, its ledger stays."""
        with locks.held(engine_name(self._client), "agent", wait=_LOCK_SECONDS), engine_words("start the agent"):
            for item in self._found():
                if item["Labels"][LABEL] != _version(image):
                    self._client.remove_container(item["Id"], force=True)
                elif item["State"] == "running":
                    return
                else:
                    self._client.start(item["Id"])
                    return
            self._create(image)

    def connect(self) -> Agent:
        """A conversation with the running agent."""
        return Agent(self._stream)

    def _stream(self) -> _ExecStream:
        """Waits for an agent that the engine is starting again."""
        from docker.errors import APIError

        deadline = Deadline(_RESTART_SECONDS)
        argv = ["python3", "-IS", "/opt/clusterkit/agent/pipe.py"]
        while True:
            try:
                with engine_words("speak to the agent"):
                    made = self._client.exec_create(NAME, argv, stdin=True)
                    return _ExecStream(self._client, made["Id"])
            except EnvironmentTrouble as error:
                refused = error.__cause__
                if deadline.is_over or not isinstance(refused, APIError):
                    raise
                if refused.response is not None:
                    refused.response.close()  # it was to be a stream: nobody else closes its connection
            SYSTEM.sleep(0.1)

    def remove(self) -> None:
        """Ends the agent and forgets its ledger. Only for an engine without clusters: disks of nodes lie there too."""
        with locks.held(engine_name(self._client), "agent", wait=_LOCK_SECONDS), engine_words("remove the agent"):
            for item in self._found():
                self._client.remove_container(item["Id"], force=True)
            for volume in (self._client.volumes(filters={"label": LABEL}) or {}).get("Volumes") or []:
                self._client.remove_volume(volume["Name"], force=True)

    def _found(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.containers(all=True, filters={"label": LABEL})
        return found

    def _create(self, image: str) -> None:
        labels = {LABEL: _version(image)}
        self._client.create_volume(VOLUME, labels={LABEL: ""})
        host: dict[str, Any] = {
            "NetworkMode": "host",
            "PidMode": "host",
            "CgroupnsMode": "host",
            "UsernsMode": "host",
            "Init": True,
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["apparmor=unconfined"],
            "DeviceCgroupRules": ["b 7:* rwm", "c 10:237 rwm"],  # loop devices, and what makes them
            "Binds": [f"{VOLUME}:/var/lib/clusterkit:rw", "/dev:/host/dev:rw", "/sys/fs/cgroup:/host/cgroup:rw"],
            "RestartPolicy": {"Name": "always"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
        }
        config = {
            "Image": image,
            "Cmd": ["python3", "-m", "agent"],
            "Entrypoint": [],
            "WorkingDir": "/opt/clusterkit",
            "Env": ["PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"],
            "Labels": labels,
            "HostConfig": host,
        }
        container = self._client.create_container_from_config(config, NAME)["Id"]  # type: ignore[no-untyped-call]  # the stubs lack it
        self._client.put_archive(container, "/", _archive())
        self._client.start(container)


class _ExecStream:
    """The hijacked connection of an exec, with its frames taken off. Source: Docker's API, "Attach to a container"."""

    def __init__(self, client: APIClient, identity: str) -> None:
        self._client = client
        self._id = identity
        stream: Any = client.exec_start(identity, socket=True)
        self._stream = stream
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._socket.settimeout(None)
        self._rest = b""

    def send(self, line: bytes) -> None:
        self._socket.sendall(line)

    def receive(self) -> bytes:
        while b"\n" not in self._rest:
            head = self._exactly(8)
            if not head:
                return b""
            kind, length = struct.unpack(">BxxxL", head)
            body = self._exactly(length)
            if kind != _STDERR:
                self._rest += body
        line, _, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    def is_open(self) -> bool:
        from docker.errors import APIError

        try:
            return bool(self._client.exec_inspect(self._id)["Running"])
        except APIError:  # its container is no more
            return False

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it was gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        body = b""
        while len(body) < count:
            part = self._socket.recv(count - len(body))
            if not part:
                return b""
            body += part
        return body


def _program() -> dict[str, bytes]:
    """The agent's files, by their path in its container."""
    found = {}
    top = resources.files("clusterkit.agent") / "program"
    for folder, below in ((top, ""), (top / "kinds", "kinds/")):
        for item in folder.iterdir():
            if item.name.endswith(".py"):
                found[f"/opt/clusterkit/agent/{below}{item.name}"] = item.read_bytes()
    return dict(sorted(found.items()))


def _version(image: str) -> str:
    digest = hashlib.sha256(image.encode())
    for path, content in _program().items():
        digest.update(path.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]


def _archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, content in _program().items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()
