"""L3. NATS with JetStream: messages by subject, kept in streams of which a majority of servers has each message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.components import probes
from clusterkit.components.base import (
    KINDS,
    Claims,
    Component,
    Finding,
    Group,
    LogFormat,
    Member,
    Membership,
    Never,
    Options,
    Port,
    Role,
    Running,
    Template,
    Unready,
    WorkloadOptions,
)
from clusterkit.components.conditions import all_of, answers, get_each, written_and_read
from clusterkit.components.nats_client import USER, NatsConnection, connected
from clusterkit.errors import NodeUnreachable
from clusterkit.units import Size

CONFIG = "/etc/nats/nats.conf"
DATA = "/var/lib/nats"
SYSTEM_USER = "sys"

_STREAMS_PATH = "/jsz?accounts=true&streams=true"
_OURS = (
    "accounts", "authorization", "cluster", "cluster_name", "gateway", "http", "http_port", "https", "jetstream",
    "leafnodes", "listen", "log_file", "logfile", "monitor_port", "no_auth_user", "port", "server_name",
    "system_account",
)  # fmt: skip
_LEAN = {"max_memory_store": 64 * 2**20, "max_file_store": 2**30}
_OURS_OF_JETSTREAM = ("store_dir", "max_memory_store", "max_mem", "max_file_store", "max_file", "enabled")


class NatsOptions(Options):
    """Options of nats."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    max_memory: Size | None = None
    """The most that streams in memory may take, on each node; 64MB if not given, NATS' own limit with `production`."""

    max_file: Size | None = None
    """The most that streams on disk may take, on each node; 1GB if not given, NATS' own limit with `production`."""

    password: bool = True
    """Clients need a password, a random one; the user is clusterkit."""

    jetstream: dict[str, str | int | bool] = Field(default_factory=dict)
    """Further keys of the block jetstream. {sync_interval: always} syncs every message (an `image:` from 2.10 on)."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further keys of the configuration file, as {max_payload: 8MB}."""

    @property
    def limits(self) -> Mapping[str, int]:
        """What streams may take, in bytes, by NATS' own keys."""
        given = {"max_memory_store": self.max_memory, "max_file_store": self.max_file}
        lean = {} if self.production else _LEAN
        return lean | {key: int(size.bytes) for key, size in given.items() if size is not None}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for label, given, ours in (
            ("settings", self.settings, _OURS),
            ("jetstream", self.jetstream, _OURS_OF_JETSTREAM),
        ):
            for key in given:
                if key.lower() in ours:
                    raise ValueError(f'{label}: "{key}" is set by clusterkit and cannot be changed')
        return self


def look(running: Running) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """What each server says of JetStream (/jsz), by member name; and why it says nothing."""
    found, troubles = get_each(running, "monitor", _STREAMS_PATH)
    seen: dict[str, Mapping[str, Any]] = {}
    for name, answer in found.items():
        try:
            seen[name] = answer.json()
        except ValueError:
            troubles[name] = f"GET /jsz: status {answer.status}, and not JSON"
    return seen, troubles


def has_one_leader(running: Running) -> Unready:
    """Every server names a leader of JetStream, all the same, and counts as many servers as there are."""
    seen, unready = look(running)
    leaders = {name: _meta(said).get("leader", "") for name, said in seen.items()}
    unready |= {name: "it knows no leader of JetStream" for name, leader in leaders.items() if not leader}
    if not unready and len(set(leaders.values())) > 1:
        unready = {
            name: f"it takes {leader} for the leader of JetStream, others do not" for name, leader in leaders.items()
        }
    for name, said in seen.items():
        count = _meta(said).get("cluster_size", 0)
        if name not in unready and count < len(running.members):
            unready[name] = f"it knows {count} servers of {len(running.members)}"
    return unready


def streams_are_whole(running: Running) -> Unready:
    """Every stream has a leader, and all of its copies have what it has."""
    seen, unready = look(running)
    for name, said in seen.items():
        for stream in _streams(said):
            cluster = stream.get("cluster", {})
            late = [copy["name"] for copy in cluster.get("replicas", ()) if not copy.get("current")]
            if not cluster.get("leader"):
                unready.setdefault(name, f"stream {stream['name']} has no leader")
            elif cluster["leader"] == name and late:
                unready.setdefault(name, f"stream {stream['name']}: {all_of(late)} must catch up")
    return unready


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """leader or follower of JetStream itself, then orders-leader where it leads a stream called orders."""
    seen, _ = look(running)
    roles = {}
    for name, said in seen.items():
        leader = _meta(said).get("leader", "")
        role = "candidate" if not leader else "leader" if leader == name else "follower"
        mine = [stream for stream in _streams(said) if stream.get("cluster", {}).get("leader") == name]
        text = f"{said.get('streams', 0)} streams, {said.get('messages', 0)} messages"
        roles[name] = (
            Role(role, text),
            *(
                Role(f"{stream['name']}-leader", f"{stream['state']['messages']} messages", of=stream["name"])
                for stream in mine
            ),
        )
    return roles


def examine(running: Running) -> Iterator[Finding]:
    """Servers against the majority, the leader of JetStream, and each stream: who leads it, how far its copies are."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its state: {trouble}", is_ok=False, node=name)
    there, needed = sum(bool(_meta(said).get("leader")) for said in seen.values()), running.group.majority
    yield Finding(
        f"quorum: {there} of {len(running.members)} servers take part, {needed} are needed", is_ok=there >= needed
    )
    leaders = {_meta(said).get("leader", "") for said in seen.values()} - {""}
    text = all_of(leaders) if leaders else "none"
    yield Finding(f"leader of JetStream: {text}", is_ok=len(leaders) == 1)
    for name, said in seen.items():
        for stream in _streams(said):
            cluster, state = stream.get("cluster", {}), stream["state"]
            if cluster.get("leader") not in (name, None):
                continue
            late = [copy["name"] for copy in cluster.get("replicas", ()) if not copy.get("current")]
            size = f"{state['messages']} messages, {Size(state['bytes'])}"
            whole = f"; behind: {all_of(late)}" if late else ""
            led = f"led by {name}" if cluster.get("leader") else "led by nobody"
            yield Finding(
                f"stream {stream['name']}: {led}, {size}{whole}", is_ok=not late and "leader" in cluster, node=name
            )


def release(running: Running, leaving: Member) -> None:
    """Streams that have a copy on it get another server for it, where there is one, and that has everything."""
    seen, _ = look(running)
    with _through(running, leaving) as connection:
        for stream in {one["name"]: one for said in seen.values() for one in _streams(said)}.values():
            told = connection.api(f"STREAM.INFO.{stream['name']}")
            cluster = told["cluster"]
            copies = [cluster.get("leader", ""), *(copy["name"] for copy in cluster.get("replicas", ()))]
            late = [copy["name"] for copy in cluster.get("replicas", ()) if not copy.get("current")]
            if leaving.name in copies and len(copies) < len(running.members):
                connection.api(f"STREAM.PEER.REMOVE.{stream['name']}", {"peer": leaving.name})
                raise ClientError(f"stream {stream['name']} moves from {leaving.name}")
            if leaving.name in copies and len(copies) > 1:
                fewer = {**told["config"], "num_replicas": len(copies) - 1}
                connection.api(f"STREAM.UPDATE.{stream['name']}", fewer)
                raise ClientError(f"stream {stream['name']} has one copy less")
            if late or not cluster.get("leader"):
                raise ClientError(f"stream {stream['name']} is not whole yet")


def settle(running: Running) -> None:
    """Servers that are gone are forgotten, by the system account."""
    ours = {member.name for member in running.members}
    for name in counted(running) - ours:
        with _as_system(running) as connection:
            connection.api("SERVER.REMOVE", {"peer": name})


def counted(running: Running) -> frozenset[str]:
    """The servers that JetStream's leader counts. Raises: ClientError where there is none."""
    seen, _ = look(running)
    for name, said in seen.items():
        meta = _meta(said)
        if meta.get("leader") == name:
            return frozenset({name, *(one["name"] for one in meta.get("replicas") or ())})
    raise ClientError("JetStream has no leader")


def _through(running: Running, leaving: Member | None = None) -> contextlib.AbstractContextManager[NatsConnection]:
    """A connection to a server that stays. Raises: OSError, ClientError, NodeUnreachable."""
    return connected(running, _staying(running, leaving))


def _as_system(running: Running) -> contextlib.AbstractContextManager[NatsConnection]:
    """The same, as the user of the system account, who may change which servers there are."""
    host, port = running.dial(_staying(running, None), "client")
    return contextlib.closing(
        NatsConnection(host, port, running.timeout, SYSTEM_USER, running.group.secrets["password"])
    )


def _staying(running: Running, leaving: Member | None) -> Member:
    for member in running.up:
        if member != leaving:
            return member
    raise NodeUnreachable("no other node runs")


def _meta(said: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = said.get("meta_cluster") or {}
    return found


def _streams(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [stream for account in said.get("account_details") or () for stream in account.get("stream_detail") or ()]


def _password(group: Group) -> str:
    return group.secrets["password"] if group.options.password else ""


def _urls(group: Group) -> str:
    login = f"{USER}:{_password(group)}@" if group.options.password else ""
    return ",".join(f"nats://{login}{member.at('client')}" for member in group.members)


NEVER = (
    Never(r"^panic: |\bgoroutine \d+ \[running\]|\[FTL\]", "the server gave up"),
    Never(
        r"(?i)corrupt|bad checksum|error recovering|could not recover|lost data",
        "data is damaged",
        frozenset({"disk", "power"}),
    ),
)
"""Source: NATS server 2.9, filestore.go and raft.go."""


class NatsWorkload(WorkloadOptions):
    """What a workload on nats may say beside what all workloads say."""

    reads: Literal["leader", "direct"] = "leader"
    """leader: the stream's leader is asked. direct: any server that has a copy, whose answer may be old."""


COMPONENT = Component(
    kind="nats",
    version="2.9",
    summary="messages by subject; JetStream keeps them in streams, with a leader and copies each",
    options=NatsOptions,
    ports={"client": Port(4222), "monitor": Port(8222), "cluster": Port(6222, publish=False)},
    files={CONFIG: Template("nats/nats.conf.j2", mode=0o640, owner="nats")},
    command=("nats-server", "-c", CONFIG),
    data=DATA,
    user="nats",
    secrets=("password",),
    exports={
        "urls": _urls,
        "user": lambda group: USER if group.options.password else "",
        "password": _password,
    },
    ready=(answers("monitor", "/healthz"), has_one_leader, streams_are_whole, written_and_read),
    probe=lambda _group, member: probes.http(member, "monitor", "/healthz", 200),
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.nats_checks",
    client="clusterkit.components.nats_client:NatsClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.nats_driver:NatsDriver"),
    workload=NatsWorkload,
    claims=Claims(
        durable=True,
        converges=True,
        weaknesses=(
            "a read may be old: a stream's leader does not ask a majority before it answers",
            "a message is acknowledged before it is on a disk, by minutes: when a majority loses power, acknowledged "
            "messages are lost (from 2.10 on, jetstream: {sync_interval: always} syncs first)",
        ),
    ),
    needs_quorum=True,
    membership=Membership(settle=settle, release=release, counts=counted),
    replicas="odd",
    never=NEVER,
    log=LogFormat(
        level=r"\[(?P<level>TRC|DBG|INF|WRN|ERR|FTL)\]",
        words={"TRC": "debug", "DBG": "debug", "INF": "info", "WRN": "warning", "ERR": "error", "FTL": "critical"},
    ),
)
