"""L3. PostgreSQL under Patroni: one primary, replicas that have its data, and a vote in etcd for the next primary."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.components import probes
from clusterkit.components.base import (
    KINDS,
    Bootstrap,
    Claims,
    Component,
    Finding,
    Group,
    LogFormat,
    Member,
    Membership,
    Misfit,
    Never,
    Options,
    Port,
    Role,
    Running,
    Template,
    Unready,
    WorkloadOptions,
)
from clusterkit.components.conditions import PROBE_PREFIX, UNREACHABLE, all_of, ask_each, get_each, words
from clusterkit.components.http_client import HttpConnection
from clusterkit.components.postgres_client import USER
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration, Size

CONFIG = "/etc/patroni/config.yml"
DATA = "/var/lib/postgresql/data"
PATRONI_USER = "patroni"

_LOOK_AGAIN_SECONDS = 0.02

_FAR_BYTES = 16 * 2**20
"""A replica's distance to the primary that is no longer the work of a moment: one segment of the log."""

_LEAST = {"ttl": Duration(20), "loop_wait": Duration(1), "retry_timeout": Duration(3)}
"""Source: Patroni's documentation, "Dynamic configuration settings"."""

_OURS = (
    "cluster_name", "data_directory", "hba_file", "hot_standby", "ident_file", "listen_addresses", "max_connections",
    "max_prepared_transactions", "max_wal_senders", "port", "primary_conninfo", "primary_slot_name", "shared_buffers",
    "synchronous_standby_names", "unix_socket_directories", "wal_level", "wal_log_hints",
)  # fmt: skip
_OPTION_OF = {"max_connections": "max_connections", "shared_buffers": "shared_buffers"}


class PostgresOptions(Options):
    """Options of postgres."""

    votes: str
    """The component of kind etcd in which Patroni keeps who is the primary."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    synchronous: Literal["off", "on", "strict"] = "off"
    """on: a commit waits for a replica, as long as there is one. strict: without a replica nothing is written."""

    ttl: Duration = Duration(20)
    """How long a primary that is silent keeps its place."""

    loop_wait: Duration = Duration(5)
    """How often Patroni looks."""

    retry_timeout: Duration = Duration(5)
    """How long Patroni tries again, before a primary that cannot reach etcd gives up its place."""

    max_connections: int = Field(default=50, ge=10)
    """Sessions at a time."""

    shared_buffers: Size | None = None
    """Pages that the server keeps in memory; 32MB if not given, 128MB with `production`."""

    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further settings of PostgreSQL, as {work_mem: 8MB}."""

    @property
    def buffers_mb(self) -> int:
        size = self.shared_buffers or Size((128 if self.production else 32) * 2**20)
        return int(size.bytes // 2**20)

    @property
    def dynamic(self) -> dict[str, Any]:
        """What Patroni decides on for the whole cluster, and keeps in etcd from the first start on."""
        lean = {} if self.production else {"max_wal_size": "256MB", "wal_keep_size": "64MB"}
        parameters = {"max_connections": self.max_connections, "shared_buffers": f"{self.buffers_mb}MB"}
        return {
            "ttl": int(self.ttl.seconds),
            "loop_wait": int(self.loop_wait.seconds),
            "retry_timeout": int(self.retry_timeout.seconds),
            "maximum_lag_on_failover": 2**20,
            "synchronous_mode": self.synchronous != "off",
            "synchronous_mode_strict": self.synchronous == "strict",
            "postgresql": {
                "use_pg_rewind": True,
                "use_slots": True,
                "parameters": {**parameters, "wal_log_hints": "on", **lean, **self.parameters},
            },
        }

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, least in _LEAST.items():
            given: Duration = getattr(self, name)
            if given < least or given.seconds % 1:
                raise ValueError(f"{name} is {given}; Patroni counts whole seconds, {least} or more")
        if self.ttl.seconds < self.loop_wait.seconds + 2 * self.retry_timeout.seconds:
            least = Duration(self.loop_wait.seconds + 2 * self.retry_timeout.seconds)
            raise ValueError(
                f"ttl {self.ttl} is less than loop_wait and twice retry_timeout; set it to {least} or more"
            )
        for key in self.parameters:
            if key.lower() in _OPTION_OF:
                raise ValueError(f'parameters: "{key}" has an option of its own, {_OPTION_OF[key.lower()]}')
            if key.lower() in _OURS:
                raise ValueError(f'parameters: "{key}" is set by clusterkit and cannot be changed')
        return self


def look(running: Running) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """What Patroni says of each node that runs (GET /patroni), by member name; and why it says nothing."""
    found, troubles = get_each(running, "patroni", "/patroni")
    seen: dict[str, Mapping[str, Any]] = {}
    for name, answer in found.items():
        try:
            seen[name] = answer.json()
        except ValueError:
            troubles[name] = f"GET /patroni: status {answer.status}, and not JSON"
    return seen, troubles


def role_of(said: Mapping[str, Any]) -> str:
    """Patroni 3.0 calls the primary master."""
    role = str(said.get("role", ""))
    return "primary" if role in ("master", "primary") else role or "unknown"


def has_one_primary(running: Running) -> Unready:
    """Every server runs, one is the primary, and all others stream from it, by its own word.

    A replica says `running` also when it cannot follow: so it does not count what it says of itself.
    """
    seen, unready = look(running)
    unready |= {
        name: f"it is {said.get('state', 'silent')}" for name, said in seen.items() if said.get("state") != "running"
    }
    if unready:
        return unready
    primaries = [name for name, said in seen.items() if role_of(said) == "primary"]
    if len(primaries) != 1:
        what = f"there are {len(primaries)} primaries: {all_of(primaries)}" if primaries else "no node is the primary"
        return dict.fromkeys(primaries or seen, what)
    streaming = {one["application_name"] for one in streams(seen[primaries[0]])}
    return {
        name: f"it does not stream from {primaries[0]}"
        for name in seen
        if name not in streaming and name not in primaries
    }


def streams(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The replicas that stream from a primary, as it says."""
    return [one for one in said.get("replication") or () if one.get("state") == "streaming"]


def replicates(running: Running) -> Unready:
    """A client writes through the primary, and reads the value through every replica (through itself, when alone)."""
    seen, troubles = look(running)
    if troubles:
        return troubles
    primary = next((member for member in running.up if role_of(seen[member.name]) == "primary"), None)
    if primary is None:
        return dict.fromkeys(seen, "no node is the primary")
    token = secrets.token_hex(8)
    key = f"{PROBE_PREFIX}{running.group.name}/{primary.name}"

    def write(member: Member) -> None:
        with closing(running.client(member)) as client:
            client.write(key, token)

    def read(member: Member) -> str | None:
        """A replica is a moment behind: that is no trouble yet."""
        deadline = Deadline(running.timeout / 2)
        with closing(running.client(member)) as client:
            while (value := client.read(key)) != token and not deadline.is_over:
                SYSTEM.sleep(_LOOK_AGAIN_SECONDS)
            return value

    _, troubles = ask_each((primary,), write)
    if troubles:
        return {name: f"a write through it failed: {trouble}" for name, trouble in troubles.items()}
    replicas = tuple(member for member in running.up if member is not primary) or (primary,)
    found, troubles = ask_each(replicas, read)
    unready = {name: f"a read through it failed: {trouble}" for name, trouble in troubles.items()}
    late = {
        name: f"it does not serve yet what was written through {primary.name}"
        for name, value in found.items()
        if value != token
    }
    return unready | late


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """primary, replica or standby_leader, with timeline; a replica with its distance, as the primary sees it."""
    seen, _ = look(running)
    leading = next((said for said in seen.values() if role_of(said) == "primary"), {})
    copies = {one["application_name"]: one for one in streams(leading)}
    return {name: (Role(role_of(said), _detail(name, said, leading, copies)),) for name, said in seen.items()}


def _detail(name: str, said: Mapping[str, Any], leading: Mapping[str, Any], copies: Mapping[str, Any]) -> str:
    timeline = f"timeline {said.get('timeline', '?')}"
    if role_of(said) == "primary":
        return f"{timeline}, {len(copies)} streaming"
    if name not in copies:
        return f"{timeline}, does not stream"
    behind = _behind(said, leading)
    kind = "synchronous" if copies[name].get("sync_state") in ("sync", "quorum") else "asynchronous"
    return f"{timeline}, {kind}" + ("" if behind is None else f", {behind} bytes behind")


def _behind(said: Mapping[str, Any], leading: Mapping[str, Any]) -> int | None:
    """The two were not asked at the same moment, so that a negative distance is none."""
    there, here = leading.get("xlog", {}).get("location"), said.get("xlog", {}).get("replayed_location")
    return None if there is None or here is None else max(0, int(there) - int(here))


def examine(running: Running) -> Iterator[Finding]:
    """Members, who is the primary, how each replica follows, and whether Patroni is paused."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its state: {trouble}", is_ok=False, node=name)
    well = [name for name, said in seen.items() if said.get("state") == "running"]
    yield Finding(f"members: {len(well)} of {len(running.members)} run", is_ok=len(well) == len(running.members))
    primaries = [name for name, said in seen.items() if role_of(said) == "primary"]
    yield Finding(f"primary: {all_of(primaries) if primaries else 'none'}", is_ok=len(primaries) == 1)
    leading = seen[primaries[0]] if primaries else {}
    copies = {one["application_name"]: one for one in streams(leading)}
    for name, said in seen.items():
        if name in primaries:
            continue
        behind = _behind(said, leading)
        is_near = behind is not None and behind < _FAR_BYTES
        text = _detail(name, said, leading, copies)
        yield Finding(f"replication: {text}", is_ok=name in copies and is_near, node=name)
    if any(said.get("pause") for said in seen.values()):
        yield Finding("Patroni is paused: nobody takes the place of a lost primary", is_ok=False)
    if running.group.options.synchronous != "off" and leading:
        held = [name for name, one in copies.items() if one.get("sync_state") in ("sync", "quorum")]
        yield Finding(f"synchronous: {all_of(held) if held else 'no replica'}", is_ok=bool(held))


def find_primary(running: Running, turn: int) -> tuple[Running, Member]:
    """The member whose Patroni says that it is the primary. Raises: ClientError where none does.

    Source: Patroni's documentation, "Patroni REST API": GET /primary is 200 on the node that holds the lock.
    """
    from clusterkit.components.http_client import get

    members, said = running.members, []
    for step in range(len(members)):
        member = members[(turn + step) % len(members)]
        try:
            status = get(*running.dial(member, "patroni"), "/primary", running.timeout).status
            if status == 200:
                return running, member
            said.append(f"{member.name} is a replica")
        except (*UNREACHABLE, KeyError) as error:
            said.append(f"{member.name}: {words(error)}")
    raise ClientError(f"no node says it is the primary: {'; '.join(said)}")


def step_down(running: Running, member: Member) -> None:
    """A primary that is to be restarted, or to go, hands over to a replica (switchover): nothing is lost.

    Source: Patroni's documentation, "Patroni REST API", POST /switchover.
    """
    if len(running.members) < 2 or member.name not in running.nodes:
        return
    seen, _ = look(running)
    if member.name not in seen or role_of(seen[member.name]) != "primary":
        return
    connection = HttpConnection(*running.dial(member, "patroni"), max(10.0, running.timeout))
    try:
        answer = connection.request("POST", "/switchover", {"leader": member.name}, _login(running.group))
    finally:
        connection.close()
    raise ClientError(f"{member.name} hands over: {answer.text[:120]}")


def _login(group: Group) -> Mapping[str, str]:
    text = base64.b64encode(f"{PATRONI_USER}:{group.secrets['patroni']}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def _misfits(spec: ComponentSpec, everything: Mapping[str, ComponentSpec]) -> Iterable[Misfit]:
    other = everything.get(spec.options.votes)
    if other is not None and other.kind != "etcd":
        kinds = [known.name for known in everything.values() if known.kind == "etcd"]
        yield Misfit(
            "votes",
            f'votes names "{spec.options.votes}", which is of kind {other.kind}; Patroni votes in an etcd',
            f"name one of kind etcd: {', '.join(kinds)}" if kinds else "add a component of kind etcd",
        )
    if spec.options.synchronous != "off" and spec.replicas < 2:
        yield Misfit("synchronous", "synchronous needs a replica, and there is one node", "set replicas to 3")


def _url(group: Group) -> str:
    """All nodes, and whoever of them takes writes: as libpq reads it."""
    hosts = ",".join(member.at("client") for member in group.members)
    return f"postgresql://{USER}:{group.secrets['password']}@{hosts}/postgres?target_session_attrs=read-write"


def has_other_config(running: Running) -> bool:
    """Whether the cluster was set up by other options than it has now."""
    wanted = running.group.options.dynamic
    return any(_differs(_dynamic(running, member), wanted) for member in running.up[:1])


def set_config(running: Running) -> None:
    connection = HttpConnection(*running.dial(running.up[0], "patroni"), running.timeout)
    try:
        answer = connection.request("PATCH", "/config", running.group.options.dynamic, _login(running.group))
    finally:
        connection.close()
    if answer.status != 200:
        raise ClientError(f"PATCH /config: status {answer.status} {answer.text[:120]}")


def _dynamic(running: Running, member: Member) -> Mapping[str, Any]:
    connection = HttpConnection(*running.dial(member, "patroni"), running.timeout)
    try:
        found: Mapping[str, Any] = connection.request("GET", "/config").json()
    except ValueError as error:
        raise ClientError("GET /config: not JSON") from error
    finally:
        connection.close()
    return found


def _differs(now: Any, wanted: Any) -> bool:
    """Whether something that is wanted is not so; what is there beside it does not count."""
    if isinstance(wanted, Mapping):
        return not isinstance(now, Mapping) or any(_differs(now.get(key), value) for key, value in wanted.items())
    return json.dumps(now) != json.dumps(wanted)


NEVER = (
    Never(r"PANIC:", "PostgreSQL panicked", frozenset({"disk", "power", "resource"})),
    Never(
        r"invalid page in block|could not read block|checksum mismatch|page verification failed",
        "data is damaged",
        frozenset({"disk", "power"}),
    ),
)
"""Source: PostgreSQL 15, what bufmgr.c and bufpage.c report; PANIC is its worst level."""


class PostgresWorkload(WorkloadOptions):
    """What a workload on postgres may say beside what all workloads say."""

    isolation: Literal["serializable", "repeatable read", "read committed"] = "serializable"
    """Of a bank's transfers: less than serializable lets two of them overwrite each other, or fail."""


COMPONENT = Component(
    kind="postgres",
    version="15",
    summary="a relational database; Patroni elects the primary by a vote in etcd",
    options=PostgresOptions,
    ports={"client": Port(5432), "patroni": Port(8008)},
    files={CONFIG: Template("postgres/config.yml.j2", mode=0o600, owner="postgres")},
    command=("patroni", CONFIG),
    data=DATA,
    user="postgres",
    environment={
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        # So that `clusterkit exec db-1 psql` needs no more words.
        "PGHOST": "/var/run/postgresql",
        "PGUSER": USER,
    },
    secrets=("password", "replication", "rewind", "patroni"),
    exports={
        "user": lambda _group: USER,
        "password": lambda group: group.secrets["password"],
        "url": _url,
    },
    depends_on=lambda options: (options.votes,),
    check=_misfits,
    bootstrap=Bootstrap(is_needed=has_other_config, run=set_config),
    ready=(has_one_primary, replicates),
    roles=read_roles,
    health=examine,
    probe=lambda _group, member: probes.http(member, "patroni", "/health", 200),
    checks="clusterkit.components.postgres_checks",
    client="clusterkit.components.postgres_client:PostgresClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.postgres_driver:PostgresDriver"),
    workload=PostgresWorkload,
    discover=find_primary,
    claims=Claims(
        converges=True,
        weaknesses=(
            "with synchronous: off, an acknowledged write may be lost at a failover: replicas copy after the "
            "acknowledgement",
            "with synchronous: on, a primary that has lost its last replica goes on alone, and may lose what it takes",
            "with synchronous: on or strict, a primary that was cut off serves, once it is a replica and until it is "
            "rewound, what it never acknowledged and nobody else has",
        ),
    ),
    membership=Membership(step_down=step_down, release=step_down),
    never=NEVER,
    log=LogFormat(
        level=r"(?:^|\s)(?P<level>DEBUG|INFO|NOTICE|WARNING|LOG|ERROR|FATAL|PANIC|CRITICAL):",
        words={"LOG": "info", "NOTICE": "info", "FATAL": "error", "PANIC": "critical"},
    ),
)
