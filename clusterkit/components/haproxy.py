"""L3. HAProxy: sends clients on to the nodes of another component; of a postgres, to its primary and its replicas."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from clusterkit.client import Client, ClientError
from clusterkit.components import postgres, probes
from clusterkit.components.base import (
    Component,
    Finding,
    LogFormat,
    Member,
    Misfit,
    Never,
    Options,
    Port,
    Role,
    Running,
    Template,
    Unready,
)
from clusterkit.components.conditions import all_of, get_each, written_and_read
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration

CONFIG = "/etc/haproxy/node.cfg"

_STATS_PATH = "/stats;csv"
_NOT_SERVERS = ("FRONTEND", "BACKEND")


class HaproxyOptions(Options):
    """Options of haproxy."""

    backend: str
    """The component whose nodes get the clients."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Its port, on any node that accepts a connection there. Not for a postgres: there the role decides."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    check_every: Duration = Duration(1)
    """How often each node is looked at, and how long it may take to answer."""

    fall: int = Field(default=2, ge=1)
    """After so many bad looks a node gets no more clients, and those it has are cut off."""

    rise: int = Field(default=1, ge=1)
    """After so many good looks it gets clients again."""

    connect_timeout: Duration = Duration(2)
    """How long a connection to a node may take."""

    idle_timeout: Duration = Duration(1800)
    """How long a connection may be silent before it is closed."""

    max_connections: int | None = Field(default=None, ge=1)
    """Clients at a time, of each proxy; 500 if not given, 20000 with `production`."""

    @property
    def most_clients(self) -> int:
        return self.max_connections or (20000 if self.production else 500)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name in ("check_every", "connect_timeout", "idle_timeout"):
            if (given := getattr(self, name)).milliseconds < 1:
                raise ValueError(f"{name} is {given}; it must be 1ms or more")
        return self


@dataclass(frozen=True, kw_only=True)
class Through(Running):
    """A component as clients of its proxies see it: who dials a proxy is sent on to one of its nodes."""

    proxies: Running

    def dial(self, member: Member, port: str) -> tuple[str, int]:
        if member in self.proxies.members:
            return self.proxies.dial(member, "client")
        return super().dial(member, port)


def ports(options: HaproxyOptions) -> Mapping[str, Port]:
    by_role = {} if options.port else {"replicas": Port(5001)}
    return {"client": Port(5000), **by_role, "stats": Port(8404)}


def look(running: Running) -> tuple[dict[str, dict[str, dict[str, str]]], dict[str, str]]:
    """How each proxy takes each node: proxy -> "client" or "replicas" -> node -> status, as "UP" or "DOWN".

    And why a proxy says nothing. Source: HAProxy's Management Guide, "CSV format".
    """
    found, troubles = get_each(running, "stats", _STATS_PATH)
    seen = {}
    for name, answer in found.items():
        listeners: dict[str, dict[str, str]] = {"client": {}, "replicas": {}}
        for row in csv.DictReader(answer.text.removeprefix("# ").splitlines()):
            if row.get("pxname") in listeners and row.get("svname") not in _NOT_SERVERS:
                listeners[row["pxname"]][row["svname"]] = row["status"]
        if listeners["client"]:
            seen[name] = listeners
        else:
            troubles[name] = f"GET {_STATS_PATH}: status {answer.status}, and no list of servers"
    return seen, troubles


def sends_on(running: Running) -> Unready:
    """Each proxy has a node for its clients, and of a postgres one alone.

    Until its first looks are over a proxy takes every node for UP (`UP 1/2`), and would send writes to replicas.
    """
    seen, unready = look(running)
    for name, listeners in seen.items():
        checking = [node for node, status in listeners["client"].items() if status.startswith("UP ")]
        there = _up(listeners["client"])
        if checking:
            unready[name] = f"it has not made up its mind about {all_of(checking)}"
        elif not there:
            unready[name] = "it has no node to send clients to"
        elif len(there) > 1 and not running.group.options.port:
            unready[name] = f"it takes {all_of(there)} for the primary"
    return unready


def writes_arrive(running: Running) -> Unready:
    """What is written through one proxy is read through another. Only where clusterkit knows what is behind them."""
    return {} if running.group.options.port else written_and_read(running)


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """Proxies are equal; each says whom it sends clients to."""
    seen, _ = look(running)
    return {name: (Role("proxy", _text(listeners)),) for name, listeners in seen.items()}


def _text(listeners: Mapping[str, Mapping[str, str]]) -> str:
    there, copies = _up(listeners["client"]), _up(listeners["replicas"])
    return f"to {all_of(there) or 'nobody'}" + (f", reads to {all_of(copies)}" if copies else "")


def examine(running: Running) -> Iterator[Finding]:
    """Whom each proxy sends clients to; of a postgres also whether that node says that it is the primary."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say what it sees: {trouble}", is_ok=False, node=name)
    primaries = None
    if not running.group.options.port:
        said, _ = postgres.look(_backend(running))
        primaries = [name for name, one in said.items() if postgres.role_of(one) == "primary"]
    for name, listeners in seen.items():
        there = _up(listeners["client"])
        is_ok = bool(there) if primaries is None else there == primaries
        yield Finding(f"clients: {_text(listeners)}", is_ok=is_ok, node=name)


def client(running: Running, member: Member) -> Client:
    """A client of the component behind the proxy, by the proxy."""
    return _through(running).client(member)


def next_proxy(running: Running, turn: int) -> tuple[Running, Member]:
    """The next proxy in turn, which finds the primary. Raises: ClientError where no postgres is behind it."""
    if running.group.options.port:
        raise ClientError("clusterkit speaks through a haproxy only to a postgres: name the component behind it")
    return _through(running), running.members[turn % len(running.members)]


def _backend(running: Running) -> Running:
    return running.needs[running.group.options.backend]


def _through(running: Running) -> Through:
    behind = _backend(running)
    return Through(behind.group, behind.component, behind.nodes, behind.needs, running.timeout, proxies=running)


def _up(servers: Mapping[str, str]) -> list[str]:
    return [node for node, status in servers.items() if status.startswith("UP")]


def _misfits(spec: ComponentSpec, everything: Mapping[str, ComponentSpec]) -> Iterable[Misfit]:
    other = everything.get(spec.options.backend)
    if other is None:
        return
    if other.kind == "postgres" and spec.options.port:
        yield Misfit("port", f'"{other.name}" is a postgres, whose roles decide who gets clients', "leave port away")
    if other.kind != "postgres" and not spec.options.port:
        yield Misfit(
            "backend",
            f'backend names "{other.name}", which is of kind {other.kind}, and no port',
            "add port: the one that its clients use",
        )


COMPONENT = Component(
    kind="haproxy",
    version="2.6",
    summary="sends clients on to another component: to a postgres' primary, or to any node that is there",
    options=HaproxyOptions,
    ports=ports,
    files={CONFIG: Template("haproxy/node.cfg.j2", owner="haproxy", mode=0o640)},
    command=("haproxy", "-W", "-db", "-f", CONFIG),
    user="haproxy",
    exports={
        "replica_endpoints": lambda group: "" if group.options.port else group.at("replicas"),
    },
    depends_on=lambda options: (options.backend,),
    check=_misfits,
    ready=(sends_on, writes_arrive),
    roles=read_roles,
    health=examine,
    probe=lambda _group, member: probes.http(member, "stats", _STATS_PATH, 200),
    checks="clusterkit.components.haproxy_checks",
    client="clusterkit.components.haproxy:client",
    drivers=postgres.COMPONENT.drivers,
    workload=postgres.PostgresWorkload,
    discover=next_proxy,
    claims=postgres.COMPONENT.claims,
    never=(Never(r"\[ALERT\].*(?:Current worker .* exited with code|Fatal errors found)", "a proxy's process ended"),),
    log=LogFormat(
        level=r"(?:^\[|<)(?P<level>DEBUG|NOTICE|WARNING|ALERT|EMERG)",
        words={"NOTICE": "info", "ALERT": "error", "EMERG": "critical"},
    ),
)
