"""L3. Redis: one primary takes writes, the others copy it. Who is primary changes when Sentinel says so."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.components.base import (
    KINDS,
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
)
from clusterkit.components.conditions import PROBE_PREFIX, UNREACHABLE, all_of, ask_each, words
from clusterkit.components.redis_client import Reply, ask, connect
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration, Size

OPTIONS = "/etc/redis/options.conf"
DATA = "/var/lib/redis"
ROLE_FILE = f"{DATA}/redis.conf"

START = f"umask 077 && sed -i -n '/^replicaof /p' {ROLE_FILE} && exec redis-server {ROLE_FILE} --include {OPTIONS}"
"""Redis writes all of its configuration into the file it was started with, the role (`replicaof`) among it. The role
stays; the rest is dropped before each start, so that an option taken out of the topology is gone as well.
"""

_PROBE_SECONDS = 60
"""A key of a probe that was killed before it could delete it goes by itself."""

_FAR_BYTES = 2**20
"""A replica's distance to its primary that is no longer the work of a moment."""

LOG_LEVEL = r"^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ (?P<level>[.\-*#])"
"""2781:M 23 Nov 2026 04:32:47.031 * Running mode=standalone"""

LOG_WORDS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}

_OURS = (
    "aclfile", "bind", "cluster-enabled", "daemonize", "dir", "include", "logfile", "masterauth", "masteruser", "port",
    "replica-announce-ip", "replica-announce-port", "replicaof", "requirepass", "slaveof", "supervised", "user",
)  # fmt: skip
_OPTION_OF = {
    "appendfsync": "appendfsync",
    "maxmemory": "maxmemory",
    "min-replicas-to-write": "min_replicas_to_write",
    "min-replicas-max-lag": "min_replicas_max_lag",
}


class RedisOptions(Options):
    """Options of redis."""

    appendfsync: Literal["always", "everysec", "no"] = "everysec"
    """When the append-only file reaches the disk: with every write, each second, or when the system likes."""

    maxmemory: Size = Size(0)
    """The most that values may take; 0B is no limit."""

    min_replicas_to_write: int = Field(default=0, ge=0)
    """The primary refuses writes when fewer replicas than this follow it. Fewer acknowledged writes are lost then."""

    min_replicas_max_lag: Duration = Duration(10)
    """A replica that was silent for longer does not count; whole seconds."""

    password: bool = True
    """Clients and replicas need a password, a random one."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further lines of redis.conf: name -> value, as text. true and false are written as yes and no."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.min_replicas_max_lag.seconds < 1 or self.min_replicas_max_lag.seconds % 1:
            raise ValueError(f"min_replicas_max_lag is {self.min_replicas_max_lag}; Redis counts whole seconds, as 10s")
        check_settings(self.settings, _OURS, _OPTION_OF)
        return self


def check_settings(settings: Mapping[str, object], ours: tuple[str, ...], option_of: Mapping[str, str]) -> None:
    """Raises: ValueError for a setting that clusterkit makes itself, and for one that would be two lines."""
    for key, value in settings.items():
        if key.lower() in option_of:
            raise ValueError(f'settings: "{key}" has an option of its own, {option_of[key.lower()]}')
        if key.lower() in ours:
            raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        if not key or len(key.split()) != 1 or len(str(value).splitlines()) > 1:
            raise ValueError(f'settings: "{key}" and its value must stand on one line')


@dataclass(frozen=True)
class Seen:
    """What ROLE says. `source` is the address a replica copies from, `link` its state; `replicas` their addresses."""

    role: Literal["primary", "replica"]
    offset: int
    replicas: tuple[str, ...] = ()
    source: str = ""
    link: str = ""


def look(running: Running) -> tuple[dict[str, Seen], dict[str, str]]:
    """ROLE of every node that runs, by member name; and why there is none."""
    return ask_each(running.up, lambda member: _seen(ask(running, member, "ROLE")))


def _seen(reply: Reply) -> Seen:
    """Source: the documentation of ROLE, its answers on a master and on a replica."""
    match reply:
        case ["master", int(offset), list(replicas)]:
            return Seen("primary", offset, replicas=tuple(str(one[0]) for one in replicas if isinstance(one, list)))
        case ["slave", str(source), _, str(link), int(offset)]:
            return Seen("replica", offset, source=source, link=link)
    raise ClientError(f"ROLE says {reply!r:.80}")


def find_primary(running: Running, turn: int) -> tuple[Running, Member]:
    """The member that says it is the primary, asked one after another. Raises: ClientError where none does."""
    members = running.members
    said: list[str] = []
    for step in range(len(members)):
        member = members[(turn + step) % len(members)]
        try:
            if _seen(ask(running, member, "ROLE")).role == "primary":
                return running, member
            said.append(f"{member.name} is a replica")
        except UNREACHABLE as error:
            said.append(f"{member.name}: {words(error)}")
    raise ClientError(f"no node says it is the primary: {'; '.join(said)}")


def answers_ping(running: Running) -> Unready:
    """PING is answered: the data is loaded, the password is the right one."""
    _, troubles = ask_each(running.up, lambda member: ask(running, member, "PING"))
    return {name: f"PING: {trouble}" for name, trouble in troubles.items()}


def has_one_primary(running: Running) -> Unready:
    """One node is the primary, and every other one is connected to it."""
    seen, unready = look(running)
    if unready:
        return unready
    primaries = [name for name, node in seen.items() if node.role == "primary"]
    if len(primaries) > 1:
        return {name: f"there are {len(primaries)} primaries: {all_of(primaries)}" for name in primaries}
    addresses = {member.name: member.address for member in running.members}
    if not primaries:
        return {name: f"it is a replica of {_name_of(running, node.source)}" for name, node in seen.items()}
    for name, node in seen.items():
        if node.role == "replica" and node.source != addresses[primaries[0]]:
            unready[name] = f"it is a replica of {_name_of(running, node.source)}, not of {primaries[0]}"
        elif node.role == "replica" and node.link != "connected":
            unready[name] = f"its link to {primaries[0]} is not connected: {node.link}"
    return unready


def replicates(running: Running) -> Unready:
    """A client writes through the primary, and reads the value through every replica (through itself, when alone)."""
    seen, troubles = look(running)
    if troubles:
        return troubles
    primary = next((member for member in running.up if seen[member.name].role == "primary"), None)
    if primary is None:
        return dict.fromkeys(seen, "no node is the primary")
    replicas = tuple(member for member in running.up if member is not primary)
    token = secrets.token_hex(8)
    key = f"{PROBE_PREFIX}{running.group.name}/{primary.name}/{token}"

    def write(member: Member) -> None:
        connection = connect(running, member)
        try:
            connection.ask("SET", key, token, "EX", _PROBE_SECONDS)
            # Copying takes a moment. What is late after half of our time is said by the reads.
            connection.ask("WAIT", len(replicas), round(running.timeout * 500))
        finally:
            connection.close()

    _, troubles = ask_each((primary,), write)
    if troubles:
        return {name: f"a write through it failed: {trouble}" for name, trouble in troubles.items()}
    found, troubles = ask_each(replicas or (primary,), lambda member: ask(running, member, "GET", key))
    ask_each((primary,), lambda member: ask(running, member, "DEL", key))
    unready = {name: f"a read through it failed: {trouble}" for name, trouble in troubles.items()}
    return unready | {
        name: f"it does not serve yet what was written through {primary.name}"
        for name, value in found.items()
        if value != token
    }


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """primary with its offset; replica with the state of its link and how far it is behind."""
    seen, _ = look(running)
    return {name: (Role(node.role, _detail(node, seen)),) for name, node in seen.items()}


def _detail(node: Seen, seen: Mapping[str, Seen]) -> str:
    if node.role == "primary":
        return f"offset {node.offset}, {len(node.replicas)} {'replica' if len(node.replicas) == 1 else 'replicas'}"
    behind = _behind(node, seen)
    return f"link {node.link}" + ("" if behind is None else f", {behind} bytes behind")


def _behind(node: Seen, seen: Mapping[str, Seen]) -> int | None:
    """Bytes between a replica and the primary, None where there is not exactly one.

    The two were not read at the same moment, so a negative distance is none.
    """
    offsets = [other.offset for other in seen.values() if other.role == "primary"]
    return max(0, offsets[0] - node.offset) if len(offsets) == 1 else None


def examine(running: Running) -> Iterator[Finding]:
    """Members, who is primary, and how each replica follows it."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its role: {trouble}", is_ok=False, node=name)
    yield Finding(f"members: {len(seen)} of {len(running.members)} answer", is_ok=len(seen) == len(running.members))
    primaries = [name for name, node in seen.items() if node.role == "primary"]
    text = all_of(primaries) if primaries else "none"
    yield Finding(f"primary: {text}", is_ok=len(primaries) == 1)
    for name, node in seen.items():
        if node.role == "replica":
            behind, source = _behind(node, seen), _name_of(running, node.source)
            is_near = behind is not None and behind < _FAR_BYTES
            yield Finding(
                f"replication: of {source}, {_detail(node, seen)}",
                is_ok=node.link == "connected" and [source] == primaries and is_near,
                node=name,
            )


def _name_of(running: Running, address: str) -> str:
    return next((member.name for member in running.members if member.address == address), address)


def settle(running: Running) -> None:
    """Every replica copies from the primary itself: one that is new knows only the first node. Redis remembers it."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        raise ClientError(f"{name}: {trouble}")
    primaries = [member for member in running.up if seen[member.name].role == "primary"]
    if len(primaries) != 1:
        raise ClientError(f"there are {len(primaries)} primaries")
    follow(running, primaries[0], [member for member in running.up if _is_astray(seen[member.name], primaries[0])])


def _is_astray(node: Seen, primary: Member) -> bool:
    return node.role == "replica" and node.source != primary.address


def follow(running: Running, primary: Member, replicas: Iterable[Member]) -> None:
    """Each copies from that primary, and remembers it. Raises: OSError, ClientError."""
    for member in replicas:
        with closing(connect(running, member)) as connection:
            connection.ask("REPLICAOF", primary.address, str(primary.ports["client"]))
            connection.ask("CONFIG", "REWRITE")


def release(running: Running, leaving: Member) -> None:
    """Where it is the primary, hands over to the replica that has most, which first gets the rest: nothing is lost.

    Source: the documentation of FAILOVER (Redis 6.2), a coordinated failover.
    """
    seen, _ = look(running)
    if leaving.name not in seen or seen[leaving.name].role != "primary":
        return
    replicas = [member for member in running.up if member.name in seen and member is not leaving]
    if not replicas:
        raise ClientError(f"{leaving.name} is the primary, and there is no replica")
    heir = max(replicas, key=lambda member: seen[member.name].offset)
    state = ask(running, leaving, "INFO", "replication")
    if "master_failover_state:no-failover" in str(state):
        ask(running, leaving, "FAILOVER", "TO", heir.address, str(heir.ports["client"]), "TIMEOUT", "5000")
    raise ClientError(f"{leaving.name} hands over to {heir.name}")


def _misfits(spec: ComponentSpec, _all: Mapping[str, ComponentSpec]) -> Iterator[Misfit]:
    wanted = spec.options.min_replicas_to_write
    if wanted and wanted >= spec.replicas:
        yield Misfit(
            "min_replicas_to_write",
            f"min_replicas_to_write is {wanted}, but only {spec.replicas - 1} of {spec.replicas} nodes are replicas: "
            "no write would ever be taken",
            f"set it to {spec.replicas - 1} or less, or replicas to {wanted + 1} or more",
        )


def _url(group: Group) -> str:
    password = group.secrets["password"] if group.options.password else ""
    return f"redis://{f':{password}@' if password else ''}{group.first.at('client')}/0"


_LINKED = "info replication | grep -qE 'role:master|master_link_status:up'"
"""Serves, and follows its primary if it is not one. redis-cli takes its password from REDISCLI_AUTH."""

_BROKEN_DISK = frozenset({"disk", "power"})

NEVER = (
    Never(r"REDIS BUG REPORT|Redis \S+ crashed by signal|=== ASSERTION FAILED", "Redis crashed"),
    Never(r"Guru Meditation", "Redis met a state that cannot be"),
    Never(
        r"Bad file format reading the append only file|Unexpected end of file reading the append only file|"
        r"Internal error in RDB reading|Short read or OOM loading DB|Wrong RDB checksum|crc error",
        "data is damaged",
        _BROKEN_DISK,
    ),
)
"""Source: Redis 7.0, debug.c (bug report, assertions, Guru Meditation), aof.c and rdb.c (loading)."""


COMPONENT = Component(
    kind="redis",
    version="7.0",
    summary="a key-value store in memory; one primary and its replicas",
    options=RedisOptions,
    ports={"client": Port(6379)},
    files={OPTIONS: Template("redis/options.conf.j2", mode=0o640, owner="redis")},
    seeds={ROLE_FILE: Template("redis/redis.conf.j2", mode=0o640, owner="redis")},
    command=("sh", "-c", START),
    data=DATA,
    user="redis",
    # So that `clusterkit exec cache-1 redis-cli` needs no more words.
    environment={"REDISCLI_AUTH": "{{ component.secrets.password if component.options.password else '' }}"},
    secrets=("password",),
    exports={
        "primary": lambda group: group.first.at("client"),
        "password": lambda group: group.secrets["password"] if group.options.password else "",
        "url": _url,
    },
    check=_misfits,
    ready=(answers_ping, has_one_primary, replicates),
    roles=read_roles,
    health=examine,
    probe=lambda _group, member: ("sh", "-c", f"redis-cli -p {member.ports['client']} {_LINKED}"),
    checks="clusterkit.components.redis_checks",
    client="clusterkit.components.redis_client:RedisClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.redis_driver:NodeDriver"),
    discover=find_primary,
    claims=Claims(
        converges=True,
        weaknesses=(
            "an acknowledged write may be lost at a failover: replicas copy after the acknowledgement",
            "with appendfsync other than always, a node that loses its power loses its last writes",
        ),
    ),
    membership=Membership(settle=settle, release=release),
    never=NEVER,
    log=LogFormat(level=LOG_LEVEL, words=LOG_WORDS),
)
