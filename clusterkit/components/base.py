"""L3. What a component is: a description that starts nothing.

Three views of one component, from the least to the most known:
`ComponentSpec` (the user's words) -> `Group` of `Member`s (planned: addresses, ports, secrets) -> `Running` (a group
and the means to reach its members). Templates, commands and exports see a Group; conditions, roles and health see a
Running.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from clusterkit.client import Client, Driver
from clusterkit.components import probes
from clusterkit.model.topology import Build, ComponentSpec
from clusterkit.node import Node, Service


class Options(BaseModel):
    """The base of every kind's own options. Field names are the YAML keys; the text below a field is its help.

    That text is read by check_topology when it is needed: pydantic's `use_attribute_docstrings` would read every source
    again at each start, a fifth of what `validate` may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class WorkloadOptions(Options):
    """The base of what a `workload:` on a kind of component may say beside what all workloads say."""

    @property
    def spoken(self) -> frozenset[str] | None:
        """The calls that the options describe; None where the kind knows all by itself."""
        return None


@dataclass(frozen=True)
class Port:
    """A TCP port of every replica. A published one is reachable on loopback of the machine that runs the cluster."""

    number: int
    publish: bool = True


@dataclass(frozen=True)
class Template:
    """A file made from a Jinja2 template: `source` below templates/, that of the component's home if it has one."""

    source: str
    mode: int = 0o644
    owner: str = ""


@dataclass(frozen=True)
class Member:
    """One replica as planned.

    `index` counts from 1; `ports` name -> number inside the node; `host_ports` those published, on loopback.
    """

    name: str
    index: int
    zone: str
    address: str
    ports: Mapping[str, int]
    host_ports: Mapping[str, int] = field(default_factory=dict)

    def at(self, port: str) -> str:
        """address:port, as the other nodes reach it."""
        return f"{self.address}:{self.ports[port]}"


@dataclass(frozen=True)
class Group:
    """A component as planned. `needs` holds the groups it depends on, by component name."""

    cluster: str
    name: str
    kind: str
    options: Any
    members: tuple[Member, ...]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    needs: Mapping[str, Group] = field(default_factory=dict, repr=False)
    founders: tuple[str, ...] = ()
    """Names of the members that were there before the others came; none: all begin together."""

    def joins(self, member: Member) -> bool:
        """Whether it comes to a group that runs already."""
        return bool(self.founders) and member.name not in self.founders

    def met_by(self, member: Member) -> tuple[Member, ...]:
        """The members that are there when it starts for the first time, itself among them."""
        if not self.founders:
            return self.members
        return tuple(
            other
            for other in self.members
            if other.name in self.founders or (self.joins(member) and other.index <= member.index)
        )

    @property
    def first(self) -> Member:
        return self.members[0]

    @property
    def majority(self) -> int:
        return len(self.members) // 2 + 1

    def at(self, port: str, separator: str = ",") -> str:
        """address:port of all members, joined."""
        return separator.join(member.at(port) for member in self.members)


@dataclass(frozen=True)
class Running:
    """A component that may be up. `nodes` holds only members whose main process runs now, by member name.

    `timeout` bounds each call to a node, in seconds.
    """

    group: Group
    component: Component
    nodes: Mapping[str, Node]
    needs: Mapping[str, Running] = field(default_factory=dict)
    timeout: float = 1.0

    @property
    def members(self) -> tuple[Member, ...]:
        return self.group.members

    @property
    def up(self) -> tuple[Member, ...]:
        """The members whose main process runs."""
        return tuple(member for member in self.group.members if member.name in self.nodes)

    def dial(self, member: Member, port: str) -> tuple[str, int]:
        """Host and port for a client on this machine. Raises: KeyError where the member does not run."""
        return self.nodes[member.name].dial(member.ports[port])

    def client(self, member: Member) -> Client:
        """A new client pinned to this member; the caller closes it."""
        module, _, name = self.component.client.partition(":")
        made: Client = getattr(importlib.import_module(module), name)(self, member)
        return made

    def driver(self, member: Member, purpose: Purpose) -> Driver:
        """A new driver that talks to this member; the caller closes it. Raises: KeyError for a kind it has none for."""
        module, _, name = self.component.drivers[purpose.kind].partition(":")
        made: Driver = getattr(importlib.import_module(module), name)(self, member, purpose)
        return made


Unready = Mapping[str, str]
"""node name -> what was last seen that kept it from being ready. Empty: ready."""

Discover = Callable[[Running, int], tuple[Running, Member]]
"""(the component, how often this client has asked before, its own number added) -> whom it should talk to now, and of
which component. As the system's own clients find out: by asking it. Raises: OSError, ClientError where nobody says."""

Condition = Callable[[Running], Unready]
"""Looks once, never waits; a failure to connect is an Unready, not an exception."""


@dataclass(frozen=True)
class Role:
    """What a node says it is now: "leader", "replica"; `detail` in the system's own terms ("term 4, index 120").

    `of` names what it is leader of, where a system has several kinds of role (a stream, a queue); "" is the whole.
    """

    name: str
    detail: str = ""
    of: str = ""


@dataclass(frozen=True)
class Finding:
    """One fact of a health report in the component's own terms: quorum, members, replication."""

    what: str
    is_ok: bool
    node: str = ""


KINDS = ("register", "set", "counter", "queue", "bank", "ids")
"""The kinds of workload."""


@dataclass(frozen=True)
class Purpose:
    """What a driver is made for.

    `kind`: one of KINDS. `options`: what the workload says beside what all workloads say,
    read by Component.workload. `client`: the number of the client, from 0; `folder`: where the topology lies.
    `is_local`: reads are to show what this member itself has now, not what the system agreed on.
    """

    kind: str
    options: Any = None
    client: int = 0
    folder: str = ""
    is_local: bool = False


@dataclass(frozen=True)
class Claims:
    """What a user relies on when a write was acknowledged. `weaknesses` are known and named beside a verdict."""

    linearizable: bool = False
    durable: bool = False
    converges: bool = False
    weaknesses: tuple[str, ...] = ()


@dataclass(frozen=True)
class LogFormat:
    """How a component's lines carry their level.

    `level`: a regular expression with a group named "level" (for lines that are not JSON); `words` maps the system's
    own words to debug, info, warning, error, critical, beside the usual ones; `json_level`: the key in JSON lines.
    """

    level: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    json_level: str = "level"


@dataclass(frozen=True)
class Never:
    """What no log line of a sound system says: a regular expression, and what it means when it is there.

    `unless`: families of faults (disk, power, resource) after which a node may say so.
    """

    pattern: str
    why: str
    unless: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Misfit:
    """An option that does not fit the rest of the topology: its YAML key, what is wrong, how to mend it."""

    option: str
    what: str
    mend: str


@dataclass(frozen=True)
class Bootstrap:
    """A step done once in a cluster's life, after the start, before readiness. `is_needed` asks the system itself."""

    is_needed: Callable[[Running], bool]
    run: Callable[[Running], None]


def _nothing(_running: Running, _member: Member) -> None:
    """A system that need not be told."""


def _settled(_running: Running) -> None:
    """A system that finds out by itself."""


@dataclass(frozen=True)
class Membership:
    """How members come and go while a system runs, by its own procedure.

    Every step may be done again to no harm, and is while it raises OSError or ClientError. Members come and go one at
    a time.

    admit      tells those that run of a member that has no data, before its first start
    settle     all members run: those that are new count, those that are gone are forgotten
    release    a member is to go, of this component or of one that it needs: what only it has goes to another one
    step_down  a member is about to be restarted, of this component or of one that it needs: another one leads. Only
               where the system does not do so by itself when that member is stopped, or loses writes by it
    counts     the names of the members that the system counts, and its own words for whoever is none of them. Only
               where it keeps a list of them
    """

    admit: Callable[[Running, Member], None] = _nothing
    settle: Callable[[Running], None] = _settled
    release: Callable[[Running, Member], None] = _nothing
    step_down: Callable[[Running, Member], None] = _nothing
    counts: Callable[[Running], frozenset[str]] | None = None


class Whole(Node, Service, Protocol):
    """A node whose service can be started and stopped too."""


@dataclass(frozen=True)
class Fallen:
    """A component whose members may be down, or up without serving. `nodes`: all that exist, by member name.

    `running`: those that run, as always.
    """

    running: Running
    nodes: Mapping[str, Whole]


@dataclass(frozen=True)
class Choice:
    """Whom a system is to begin again from, and why.

    `loses`: what may be gone then; "" where nothing that was acknowledged is.
    """

    node: str
    why: str
    loses: str = ""


@dataclass(frozen=True)
class Recovery:
    """How a system comes back whose members do not find each other again by themselves, by its own procedure.

    choose  whom it would begin from, or what it means to begin from the one that is named; None where it serves, or
            comes back by itself when its members are started. It changes nothing that counts
    begin   makes that one begin alone: at once where it runs, else at its next start
    joins   the others have to forget what they have and join anew: they are removed with their data

    Both may raise OSError, ClientError, ClusterkitError. A choice that loses nothing is carried out by every `up` and
    `start` of a component of which no member runs.
    """

    choose: Callable[[Fallen, str], Choice | None]
    begin: Callable[[Fallen, str], None]
    joins: bool = False


def next_member(running: Running, turn: int) -> tuple[Running, Member]:
    """Where every member serves every client: the next one in turn."""
    return running, running.members[turn % len(running.members)]


def _first_port(_group: Group, member: Member) -> Sequence[str]:
    return probes.tcp(member, next(iter(member.ports))) if member.ports else ()


def _no_misfits(_spec: ComponentSpec, _all: Mapping[str, ComponentSpec]) -> Iterable[Misfit]:
    return ()


def _no_roles(_running: Running) -> Mapping[str, tuple[Role, ...]]:
    return {}


def _no_findings(_running: Running) -> Iterable[Finding]:
    return ()


@dataclass(frozen=True)
class Component:
    """How one system is installed, started, judged ready, read and spoken to.

    kind         the word in the topology; the role is playbooks/roles/KIND, templates lie in templates/KIND
    home         the folder of an outside component that holds its roles/KIND and templates/; "" for clusterkit's own
    version      the release this was written for and tested with
    ports        name -> Port; the first is the one that clients use
    files        path on the node -> template; rendered at each `up`, part of what decides on a recreate
    seeds        the same, but put only where no such file is: the system rewrites them itself. They lie below `data`
    command      the main process, one per node; a function where it depends on the member. Programs are found by PATH,
                 since the user's own `image:` is started with it too; empty: the image's own
    data         the folder that outlives the container ("" where nothing does)
    user         who runs the main process ("" is root). It exists in the role's image; a user's own `image:` is run as
                 root. A function of the options decides for every image
    secrets      names of passwords, random per cluster
    exports      what `{{ components.NAME.KEY }}` gives to other components, beside endpoints, addresses, nodes, port
    depends_on   components that the options name (a sentinel's `watches`)
    check        what does not fit between this component and the whole topology (component name -> spec); its options
                 alone are checked by their type. Names in depends_on are known to be there
    membership   how members come and go while it runs; None where each is for itself
    recovery     how it comes back after an outage; None where starting its members is all that can be done
    hosts        put the addresses of the component's own members into /etc/hosts
    ready        all must be empty of Unready; from the quickest to the slowest
    roles        node name -> roles, the main one first; nodes that do not answer are absent
    health       the component's own view; may write and read back through the client
    probe        a program that ends with 0 on a node that serves, for those who cannot ask by a client (a Compose file,
                 a playbook); without it, the first port accepts a connection
    setup        the same as `bootstrap`, for them: a program, run on the first node when all serve. It prints "changed"
                 where it did something; a second run does nothing. Empty where there is nothing to do
    checks       a module of testinfra checks (functions test_*(host)), or the path of a Python file
    client       "module:Class", called with (Running, Member); imported when needed
    drivers      kind of workload -> "module:Class" of the Driver that speaks it; imported when needed
    workload     what a `workload:` on this component may say beside what all workloads say
    discover     how clients find the member to talk to
    begins_again what the last lines say of a start that failed by the system's own race with others that start: it is
                 made again; a regular expression, "" where there is none
    never        what no log line of it may say; a function where the options add to it
    build        the Dockerfile that a component's options name, None otherwise
    packages     packages that a component's options name, installed beside the role's own
    """

    kind: str
    version: str
    summary: str
    ports: Mapping[str, Port] | Callable[[Any], Mapping[str, Port]]
    command: Sequence[str] | Callable[[Group, Member], Sequence[str]]
    home: str = ""
    options: type[Options] = Options
    files: Mapping[str, Template] = field(default_factory=dict)
    seeds: Mapping[str, Template] = field(default_factory=dict)
    data: str = ""
    user: str | Callable[[Any], str] = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    exports: Mapping[str, Callable[[Group], str]] = field(default_factory=dict)
    depends_on: Callable[[Any], tuple[str, ...]] = lambda _options: ()
    check: Callable[[ComponentSpec, Mapping[str, ComponentSpec]], Iterable[Misfit]] = _no_misfits
    build: Callable[[Any], Build | None] = lambda _options: None
    packages: Callable[[Any], tuple[str, ...]] = lambda _options: ()
    working_dir: Callable[[Any], str] = lambda _options: ""
    hosts: bool = False
    ready: tuple[Condition, ...] = ()
    bootstrap: Bootstrap | None = None
    roles: Callable[[Running], Mapping[str, tuple[Role, ...]]] = _no_roles
    health: Callable[[Running], Iterable[Finding]] = _no_findings
    probe: Callable[[Group, Member], Sequence[str]] = _first_port
    setup: Callable[[Group], Sequence[str]] = lambda _group: ()
    checks: str = ""
    client: str = ""
    drivers: Mapping[str, str] = field(default_factory=dict)
    workload: type[WorkloadOptions] = WorkloadOptions
    discover: Discover = next_member
    claims: Claims = Claims()
    needs_quorum: bool = False
    membership: Membership | None = None
    recovery: Recovery | None = None
    replicas: Literal["any", "odd"] = "any"
    log: LogFormat = LogFormat()
    never: tuple[Never, ...] | Callable[[Any], tuple[Never, ...]] = ()
    begins_again: str = ""
    stop_signal: str = "TERM"

    @property
    def export_names(self) -> tuple[str, ...]:
        """What a reference may name. Without a port there is neither `port` nor `endpoints`."""
        return ("name", "nodes", "addresses", "members", "port", "endpoints", *self.exports)

    def never_for(self, options: Any) -> tuple[Never, ...]:
        return self.never(options) if callable(self.never) else self.never

    def ports_for(self, options: Any) -> Mapping[str, Port]:
        return self.ports(options) if callable(self.ports) else self.ports
