"""L3. The user's own program: built from a Dockerfile, taken from an image, or a command on clusterkit's base image."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from clusterkit.components import probes
from clusterkit.components.base import (
    KINDS,
    Component,
    Group,
    Member,
    Misfit,
    Never,
    Options,
    Port,
    Role,
    Running,
    Unready,
    WorkloadOptions,
)
from clusterkit.components.conditions import answers, ask_each, get_each, listening
from clusterkit.model.topology import Build, ComponentSpec
from clusterkit.model.words import did_you_mean
from clusterkit.node import Command


def _words(value: object) -> object:
    """A command as text is split as a shell does, without a shell. Raises: ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f'"{value}" cannot be split into words: {str(error).lower()}') from error


Words = Annotated[tuple[str, ...], BeforeValidator(_words, json_schema_input_type=str | list[str])]


class BuildOptions(Options):
    """A Dockerfile of the user's."""

    context: Path
    """The folder that is built, relative to the topology."""

    dockerfile: str = "Dockerfile"
    """The Dockerfile, relative to the context."""

    args: dict[str, str] = Field(default_factory=dict)
    """Build arguments."""


class PortOptions(Options):
    """A port that the program listens on."""

    port: int = Field(ge=1, le=65535)
    """The number inside the node."""

    publish: bool = True
    """Make it reachable on loopback of this machine."""


class HttpHealth(Options):
    """Healthy when a GET has the status."""

    port: str
    """The name of a port."""

    path: str = "/"
    """What is asked for."""

    status: int = Field(default=200, ge=100, le=599)
    """The status that means healthy."""


class TcpHealth(Options):
    """Healthy when a connection is accepted."""

    port: str
    """The name of a port."""


class HealthOptions(Options):
    """How to tell that the program is ready: one of these."""

    http: HttpHealth | None = None
    """A GET has this status."""

    tcp: TcpHealth | None = None
    """A connection is accepted."""

    command: Words | None = None
    """A program, run on the node, ends with 0."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("http", "tcp", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"health needs one of http, tcp and command, and has {' and '.join(given) or 'none'}")
        if self.command == ():
            raise ValueError("health: the command is empty")
        return self


class HttpRole(Options):
    """The role is what a GET answers."""

    port: str
    """The name of a port."""

    path: str = "/"
    """What is asked for."""

    key: str = ""
    """In a JSON object: the key that holds the role. Else the whole text is the role."""


class RoleOptions(Options):
    """Where a node says which role it has."""

    http: HttpRole
    """A GET answers with it."""


class WatchOptions(Options):
    """What `clusterkit watch` does when a file of yours changes."""

    path: Path
    """A folder or file of this machine, relative to the topology."""

    action: Literal["restart", "signal", "exec", "rebuild", "sync", "sync+restart", "sync+signal", "sync+exec"] = (
        "restart"
    )
    """restart, signal, exec: what a node does that sees the change by a mount. sync: copy what changed into the node
    (with build:), and nothing more or one of those. rebuild: build the image, make the nodes anew."""

    target: str = ""
    """With sync: where in the node it is copied to."""

    signal: str = "HUP"
    """With signal: which one the program gets."""

    command: Words = ()
    """With exec: what is run on the node."""

    ignore: tuple[str, ...] = ()
    """Files that do not matter: "*.log" by name, "tmp/" a folder, "docs/*.md" by the way below the path."""

    @property
    def is_copied(self) -> bool:
        return self.action.startswith("sync")

    @property
    def then(self) -> str:
        """What follows when the files are there: restart, signal, exec, rebuild or ""."""
        return self.action.removeprefix("sync").removeprefix("+")

    @field_validator("path")
    @classmethod
    def _path_is_there(cls, value: Path, info: ValidationInfo) -> Path:
        path = Path((info.context or {}).get("folder", "."), value).resolve()
        if not path.exists():
            raise ValueError(f'"{value}" is not there to be watched\nmend: make it; looked for {path}')
        return path

    @field_validator("signal")
    @classmethod
    def _signal_is_known(cls, value: str) -> str:
        name = value.upper().removeprefix("SIG")
        known = [one.name.removeprefix("SIG") for one in signal.Signals]
        if name not in known:
            raise ValueError(f'"{value}" is no signal; {did_you_mean(name, known, "signals")}')
        return name

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.is_copied and not (self.target.startswith("/") and self.target.rstrip("/")):
            raise ValueError(f'{self.action} needs a target, a path below / in the node, and has "{self.target}"')
        if self.target and not self.is_copied:
            raise ValueError(
                f"target is for what is copied, and {self.action} copies nothing"
                "\nmend: write action: sync or sync+restart, or take target away"
            )
        if (self.then == "exec") != bool(self.command):
            raise ValueError("action: exec and command: go together; give both or none")
        if self.then != "signal" and "signal" in self.model_fields_set:
            raise ValueError(f"signal is for action: signal or sync+signal, and the action is {self.action}")
        return self


class ServiceOptions(Options):
    """Options of service."""

    build: BuildOptions | None = None
    """A folder with a Dockerfile, or {context, dockerfile, args}."""

    command: Words = ()
    """The program and its arguments: a list, or text that is split as a shell does. Without it, the image's own."""

    packages: tuple[str, ...] = ()
    """Debian packages to install on the base image."""

    ports: dict[str, PortOptions] = Field(default_factory=dict)
    """Name -> number, or {port, publish}. The first is the one that clients use."""

    health: HealthOptions | None = None
    """How to tell that it is ready. Without it: the program runs, and the first port accepts a connection."""

    role: RoleOptions | None = None
    """Where a node says which role it has, if it has one."""

    working_dir: str = ""
    """The folder that the program starts in."""

    never: tuple[str, ...] = ()
    """Regular expressions that no log line may match, beside those that no healthy program prints."""

    user: str = ""
    """Who runs the program: a name or number that the image has. Without it, the image's own."""

    watch: tuple[WatchOptions, ...] = ()
    """What `clusterkit watch` does when your files change. A path alone means: restart."""

    @field_validator("build", mode="before", json_schema_input_type=BuildOptions | str | None)
    @classmethod
    def _build_of_a_path(cls, value: object) -> object:
        return {"context": value} if isinstance(value, str) else value

    @field_validator("build")
    @classmethod
    def _build_is_there(cls, value: BuildOptions | None, info: ValidationInfo) -> BuildOptions | None:
        """A relative path begins at the topology's folder: `folder` in the context of the validation."""
        if value is None:
            return None
        context = Path((info.context or {}).get("folder", "."), value.context).resolve()
        if not context.is_dir():
            raise ValueError(
                f'"{value.context}" is not a folder\nmend: make {context}, or name the folder of your Dockerfile'
            )
        if not (context / value.dockerfile).is_file():
            raise ValueError(
                f'"{value.context}" has no {value.dockerfile}; put one there, or name it with `dockerfile:`'
            )
        return value.model_copy(update={"context": context})

    @field_validator("ports", mode="before", json_schema_input_type=dict[str, PortOptions | int])
    @classmethod
    def _port_of_a_number(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {name: {"port": port} if isinstance(port, int) else port for name, port in value.items()}

    @field_validator("watch", mode="before", json_schema_input_type=tuple[WatchOptions | str, ...])
    @classmethod
    def _watch_of_a_path(cls, value: object) -> object:
        if isinstance(value, list | tuple):
            return [{"path": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("never")
    @classmethod
    def _never_is_an_expression(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f'never: "{pattern}" is no regular expression: {error}; put a \\ before signs'
                ) from None
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.build is not None and self.packages:
            raise ValueError("packages are for the base image; with build, install them in the Dockerfile")
        if self.working_dir and not self.working_dir.startswith("/"):
            raise ValueError(f'working_dir is "{self.working_dir}"; it must begin with /')
        numbers = [port.port for port in self.ports.values()]
        twice = next((number for number in numbers if numbers.count(number) > 1), None)
        if twice is not None:
            raise ValueError(f"ports: {twice} has two names")
        for where, named in self._named_ports():
            if named not in self.ports:
                there = ", ".join(self.ports) or "none"
                raise ValueError(f'{where} names the port "{named}"; the ports are: {there}')
        return self

    def _named_ports(self) -> Iterator[tuple[str, str]]:
        if self.health is not None and self.health.http is not None:
            yield "health", self.health.http.port
        if self.health is not None and self.health.tcp is not None:
            yield "health", self.health.tcp.port
        if self.role is not None:
            yield "role", self.role.http.port


def is_ready(running: Running) -> Unready:
    """As `health` says; without it, the first port accepts a connection. That the program runs was seen before."""
    options: ServiceOptions = running.group.options
    health = options.health
    if health is None:
        return listening(next(iter(options.ports)))(running) if options.ports else {}
    if health.http is not None:
        return answers(health.http.port, health.http.path, health.http.status)(running)
    if health.tcp is not None:
        return listening(health.tcp.port)(running)
    return _ends_well(running, health.command or ())


def _probe(group: Group, member: Member) -> tuple[str, ...]:
    """As is_ready, by a program on the node."""
    options: ServiceOptions = group.options
    health = options.health
    if health is None:
        return probes.tcp(member, next(iter(options.ports))) if options.ports else ()
    if health.http is not None:
        return probes.http(member, health.http.port, health.http.path, health.http.status)
    if health.tcp is not None:
        return probes.tcp(member, health.tcp.port)
    return health.command or ()


def _ends_well(running: Running, argv: tuple[str, ...]) -> Unready:
    def run(member: Member) -> str:
        result = running.nodes[member.name].run(Command(argv, timeout=running.timeout))
        last = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()[-1:]
        return (
            ""
            if result.code == 0
            else f"{argv[0]} ended with code {result.code}" + "".join(f": {line}" for line in last)
        )

    found, troubles = ask_each(running.up, run)
    return {name: said for name, said in {**found, **troubles}.items() if said}


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """What each node answers, where the options say whom to ask. Nodes without a clear answer are absent."""
    options: ServiceOptions = running.group.options
    if options.role is None:
        return {}
    asked = options.role.http
    found, _ = get_each(running, asked.port, asked.path)
    roles = {}
    for name, answer in found.items():
        role = _role(answer.text, asked.key)
        if answer.status < 300 and role:
            roles[name] = (Role(role),)
    return roles


_LONGEST_ROLE = 40


def _role(text: str, key: str) -> str:
    """The first line of the text, or the value of the key in it; "" where there is none."""
    if key:
        try:
            said = json.loads(text)
        except ValueError:
            return ""
        text = str(said.get(key, "")) if isinstance(said, dict) else ""
    return text.partition("\n")[0].strip()[:_LONGEST_ROLE]


def _misfits(spec: ComponentSpec, _all: Mapping[str, ComponentSpec]) -> Iterator[Misfit]:
    options: ServiceOptions = spec.options
    if spec.image is not None and options.build is not None:
        yield Misfit("build", "build and image are both given", "keep one of them")
    if spec.image is not None and options.packages:
        yield Misfit(
            "packages",
            "packages are for the base image, and image is given",
            "make an image that has them, or use build",
        )
    if spec.image is None and options.build is None and not options.command:
        yield Misfit(
            "command",
            f"{spec.name} has nothing to run: none of build, image and command is given",
            "give build: a folder with a Dockerfile, image: a name, or command: a program on the base image",
        )

    for watched in options.watch:
        yield from _watch_misfits(watched, options.build, spec)


def _watch_misfits(watched: WatchOptions, build: BuildOptions | None, spec: ComponentSpec) -> Iterator[Misfit]:
    """A change that nodes never see, or that the next `up` would take away."""
    if watched.is_copied or watched.action == "rebuild":
        # A node that is made anew has what is in its image. So only what goes into the image may be copied.
        if build is None:
            yield Misfit(
                "watch",
                f"{watched.action} is for a component with build:, since a node that is made anew comes from its image",
                "mount the path and write action: restart, or use build",
            )
        elif not watched.path.is_relative_to(build.context):
            yield Misfit(
                "watch",
                f"{watched.path} is not in the folder that is built, {build.context}",
                "watch what goes into the image, or mount the path and write action: restart",
            )
    elif not any(watched.path.is_relative_to(mount.source.resolve()) for mount in spec.mounts):
        yield Misfit(
            "watch",
            f"no node sees a change of {watched.path}: it is not mounted",
            "mount it; or with build, write action: sync+restart and a target",
        )


def _build(options: ServiceOptions) -> Build | None:
    given = options.build
    return None if given is None else Build(given.context, given.dockerfile, given.args)


def _command(group: Group, _member: Member) -> tuple[str, ...]:
    command: tuple[str, ...] = group.options.command
    return command


def _ports(options: ServiceOptions) -> Mapping[str, Port]:
    return {name: Port(port.port, port.publish) for name, port in options.ports.items()}


CALLS = frozenset(
    {"read", "write", "cas", "add", "remove", "enqueue", "dequeue", "open", "transfer", "generate", "peek"}
)
"""All that clients of any kind of workload may call; peek is a read of what one node has."""

WORDS = ("key", "value", "old", "new", "from", "to", "amount")
"""What may stand in braces, in the description of a call."""


def _each(value: object) -> object:
    """One status is a list of one."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


Statuses = Annotated[tuple[int, ...], BeforeValidator(_each, json_schema_input_type=int | list[int])]


class HttpCall(WorkloadOptions):
    """A call as an HTTP request. {key}, {value}, {old}, {new}, {from}, {to} and {amount} stand for what is called."""

    method: str = "GET"
    """GET, PUT, POST, ..."""

    path: str
    """What is asked for, for example /kv/{key}."""

    body: str | int | dict[str, Any] | list[Any] | None = None
    """Text as it is, or a mapping or list that is sent as JSON."""

    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers."""

    value: str = ""
    """Where the value is in a JSON answer: value, items.0.name; the whole answer if not given."""

    missing: Statuses = (404,)
    """Statuses that mean: there is nothing."""

    unmet: Statuses = (409, 412)
    """Statuses that mean: the condition did not hold, so nothing was done."""

    refused: Statuses = (421, 429, 503)
    """Statuses by which the service says that it surely did not, and will not."""

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        """Those of a body are not looked at: braces are JSON's too."""
        for text in (self.path, *self.headers.values()):
            for word in re.findall(r"\{(\w*)\}", text):
                if word not in WORDS:
                    known = ", ".join(f"{{{each}}}" for each in WORDS)
                    raise ValueError(f'"{text}" has {{{word}}}; what can be filled in is {known}')
        return self


class HttpCalls(WorkloadOptions):
    """How clients speak to the service by HTTP."""

    port: str = ""
    """The name of a port; the first one if not given."""

    calls: dict[str, HttpCall]
    """Call -> request. peek, where it is given, reads what the node itself has."""

    @field_validator("calls")
    @classmethod
    def _calls_are_known(cls, value: dict[str, HttpCall]) -> dict[str, HttpCall]:
        for name in value:
            if name not in CALLS:
                raise ValueError(f'no workload makes the call "{name}"; {did_you_mean(name, CALLS, "calls")}')
        return value


class ServiceWorkload(WorkloadOptions):
    """How clients speak to your own service: one of http, python and program."""

    http: HttpCalls | None = None
    """By requests that are described here."""

    python: Path | None = None
    """By a Python file with a class Client, relative to the topology."""

    program: Words | None = None
    """By a program that speaks JSON lines; a path with a / is relative to the topology."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("http", "python", "program") if getattr(self, name) is not None]
        if len(given) != 1:
            has = " and ".join(given) or "none"
            raise ValueError(
                f"a workload on a service needs one of http, python and program, and has {has}"
                "; see docs/your-own-service.md"
            )
        return self

    @field_validator("python")
    @classmethod
    def _python_is_there(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        """Looked for where the topology lies: `folder` in the context of the validation."""
        path = None if value is None or not info.context else Path(info.context["folder"], value)
        if path is not None and not path.is_file():
            raise ValueError(f'"{value}" is not a file\nmend: make {path}, with a class Client')
        return value

    @field_validator("program")
    @classmethod
    def _program_is_there(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        """One without a / is looked for in PATH when it is run."""
        if value == ():
            raise ValueError("the program is empty")
        if value is None or not info.context or "/" not in value[0]:
            return value
        path = Path(info.context["folder"], value[0])
        if not path.is_file():
            raise ValueError(f'"{value[0]}" is not a program\nmend: make {path}')
        if not os.access(path, os.X_OK):
            raise ValueError(f'"{value[0]}" is not a program\nmend: chmod +x {path}')
        return value

    @property
    def spoken(self) -> frozenset[str] | None:
        return None if self.http is None else frozenset(self.http.calls)


NEVER = (
    Never(r"^panic: |^fatal error: ", "it panicked"),
    Never(r"\bAssertionError\b|\bAssertion .*failed", "an assertion failed"),
    Never(r"WARNING: DATA RACE|AddressSanitizer|ThreadSanitizer", "a sanitizer found a bug"),
    Never(r"Segmentation fault|core dumped", "it crashed"),
)
"""What no healthy program prints, in whatever language."""


def _never(options: ServiceOptions) -> tuple[Never, ...]:
    return (*NEVER, *(Never(pattern, f'the topology says never: "{pattern}"') for pattern in options.never))


COMPONENT = Component(
    kind="service",
    version="1",
    summary="your own program: build, image, or a command on the base image",
    options=ServiceOptions,
    ports=_ports,
    command=_command,
    user=lambda options: str(options.user),
    check=_misfits,
    build=_build,
    packages=lambda options: tuple(options.packages),
    working_dir=lambda options: str(options.working_dir),
    ready=(is_ready,),
    probe=_probe,
    roles=read_roles,
    drivers=dict.fromkeys(KINDS, "clusterkit.components.service_driver:driver"),
    workload=ServiceWorkload,
    never=_never,
)
