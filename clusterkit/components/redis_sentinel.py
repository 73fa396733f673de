"""L3. Redis Sentinel: watches a Redis primary and, when enough sentinels miss it, makes a replica the primary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.components import redis
from clusterkit.components.base import (
    Component,
    Finding,
    Group,
    LogFormat,
    Member,
    Membership,
    Misfit,
    Options,
    Port,
    Role,
    Running,
    Template,
    Unready,
)
from clusterkit.components.conditions import UNREACHABLE, all_of, ask_each, words
from clusterkit.components.redis_client import Reply, RespConnection, ask, connect
from clusterkit.model.topology import ComponentSpec
from clusterkit.units import Duration

OPTIONS = "/etc/redis/sentinel-options.conf"
DATA = "/var/lib/redis"
STATE_FILE = f"{DATA}/sentinel.conf"

_PAUSE_MS = 5000
"""How long a primary that hands over takes no writes, at most. It begins anew with each try."""

_OURS = ("bind", "daemonize", "dir", "include", "logfile", "port", "requirepass", "user")


class SentinelOptions(Options):
    """Options of redis-sentinel."""

    watches: str
    """The component of kind redis that these sentinels watch."""

    quorum: int | None = Field(default=None, ge=1)
    """How many sentinels must miss the primary before a failover begins; more than half of them if not given."""

    down_after: Duration = Duration(2)
    """How long a node is silent before a sentinel takes it for down."""

    failover_timeout: Duration = Duration(10)
    """How long a failover may take before another one is tried."""

    parallel_syncs: int = Field(default=1, ge=1)
    """How many replicas turn to a new primary at the same time."""

    password: bool = True
    """Clients and the other sentinels need a password, a random one."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further lines of sentinel.conf that are not about the watched component: name -> value, as text."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name, value in (("down_after", self.down_after), ("failover_timeout", self.failover_timeout)):
            if value.milliseconds < 1:
                raise ValueError(f"{name} is {value}; it must be 1ms or more")
        redis.check_settings(self.settings, _OURS, {})
        return self


def quorum(group: Group) -> int:
    """As the options say, else a majority."""
    return int(group.options.quorum or group.majority)


def watched(group: Group) -> Group:
    """The redis component."""
    return group.needs[group.options.watches]


def _start(group: Group, _member: Member) -> tuple[str, ...]:
    """Sentinel keeps what it found out in the file that it was started with: the primary, epochs, its peers.

    The quorum stands there in the middle of a line that must stay; it is read, as all other options, from a file of
    their own. It rewrites that file, which holds passwords, with the rights that its umask leaves.
    """
    name = group.options.watches
    keep = f"/^sentinel \\(monitor\\|config-epoch\\|leader-epoch\\|known-[a-z]*\\) {name} /p; "
    keep += "/^sentinel \\(myid\\|current-epoch\\) /p"
    change = f"s/^\\(sentinel monitor {name} [^ ]* [^ ]*\\) .*/\\1 '$quorum'/"
    script = f"umask 077 && quorum=$(sed -n 's/^# quorum \\([0-9]*\\) .*/\\1/p' {OPTIONS}) && "
    script += f"sed -i -n '{change}; {keep}' {STATE_FILE} && "
    return ("sh", "-c", script + f"exec redis-sentinel {STATE_FILE} --include {OPTIONS}")


@dataclass(frozen=True)
class Seen:
    """What one sentinel says of the primary: its address, whether a majority could act, and whom it knows.

    `peers` and `replicas`: address -> flags ("sentinel", "s_down,slave", "disconnected").
    """

    primary: str
    verdict: str
    peers: Mapping[str, str]
    replicas: Mapping[str, str]


def look(running: Running) -> tuple[dict[str, Seen], dict[str, str]]:
    """What every sentinel that runs says, by member name; and why it says nothing."""
    name = running.group.options.watches

    def ask(member: Member) -> Seen:
        connection = connect(running, member)
        try:
            address = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
            return Seen(
                primary=str(address[0]) if isinstance(address, list) else "",
                verdict=_verdict(connection, name),
                peers=_flags(connection.ask("SENTINEL", "SENTINELS", name)),
                replicas=_flags(connection.ask("SENTINEL", "REPLICAS", name)),
            )
        finally:
            connection.close()

    return ask_each(running.up, ask)


def _verdict(connection: RespConnection, name: str) -> str:
    """Starts with "OK", else says why no majority could act."""
    try:
        return str(connection.ask("SENTINEL", "CKQUORUM", name))
    except ClientError as error:
        return str(error)


def _flags(reply: Reply) -> Mapping[str, str]:
    found = [_fields(one) for one in reply] if isinstance(reply, list) else []
    return {f"{fields['ip']}:{fields['port']}": fields["flags"] for fields in found}


def _fields(reply: Reply) -> Mapping[str, str]:
    """Source: SENTINEL MASTER, and REPLICAS and SENTINELS for each, answer with field, value, field, value ..."""
    words = [str(word) for word in reply] if isinstance(reply, list) else []
    return dict(zip(words[::2], words[1::2], strict=True))


def _is_lost(flags: str) -> bool:
    """Not so by "master_down": that is what a peer thinks of the primary."""
    return not {"s_down", "o_down", "disconnected"}.isdisjoint(flags.split(","))


def agrees(running: Running) -> Unready:
    """A majority could act, every sentinel is linked to all others and knows all replicas, all name one primary."""
    seen, unready = look(running)
    peers, replicas = len(running.members) - 1, len(watched(running.group).members) - 1
    primaries = {node.primary for node in seen.values()}
    for name, node in seen.items():
        lost = [_name_of(running, peer) for peer, flags in node.peers.items() if _is_lost(flags)]
        if not node.verdict.startswith("OK"):
            unready[name] = f"CKQUORUM: {node.verdict}"
        elif len(node.peers) != peers:
            unready[name] = f"it knows {len(node.peers)} other sentinels of {peers}"
        elif lost and len(running.up) == len(running.members):
            unready[name] = f"it has no link to {all_of(lost)}"
        elif len(node.replicas) != replicas:
            unready[name] = f"it knows {len(node.replicas)} replicas of {replicas}"
        elif len(primaries) > 1:
            unready[name] = f"it takes {_name_of(running, node.primary)} for the primary, others do not"
    return unready


def find_primary(running: Running, turn: int) -> tuple[Running, Member]:
    """The node that the sentinels name, once it says itself that it is the primary.

    Source: "Guidelines for Redis clients with support for Redis Sentinel": ask one sentinel after another, then ROLE.
    Raises: ClientError where nobody names one.
    """
    members, name = running.members, running.group.options.watches
    cache = running.needs[name]
    said: list[str] = []
    for step in range(len(members)):
        sentinel = members[(turn + step) % len(members)]
        try:
            reply = ask(running, sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
            address = str(reply[0]) if isinstance(reply, list) else ""
            named = next((member for member in cache.members if address == member.address), None)
            if named is None:
                said.append(f"{sentinel.name} names {address or 'nobody'}")
                continue
            held = ask(cache, named, "ROLE")
            if isinstance(held, list) and held[0] == "master":
                return cache, named
            said.append(f"{sentinel.name} names {named.name}, which is no primary")
        except UNREACHABLE as error:
            said.append(f"{sentinel.name}: {words(error)}")
    raise ClientError(f"no sentinel leads to a primary: {'; '.join(said)}")


def settle(running: Running) -> None:
    """Tells all the quorum; makes each forget sentinels and replicas that are gone.

    A sentinel that forgets finds the others again within seconds. They do so one after another, so that a majority
    could act at any time. Source: Redis' documentation of Sentinel, "Removing the old master or unreachable replicas".
    """
    name, wanted = running.group.options.watches, str(quorum(running.group))
    seen, troubles = look(running)
    for name_of, trouble in troubles.items():
        raise ClientError(f"{name_of}: {trouble}")
    for member in running.up:
        with closing(connect(running, member)) as connection:
            if _fields(connection.ask("SENTINEL", "MASTER", name)).get("quorum") != wanted:
                connection.ask("SENTINEL", "SET", name, "quorum", wanted)
    peers = {member.at("client") for member in running.members}
    replicas = {member.at("client") for member in watched(running.group).members}
    for member in running.up:
        node = seen[member.name]
        if set(node.peers) <= peers and set(node.replicas) <= replicas:
            continue
        blind = [other for other, them in seen.items() if other != member.name and len(them.peers) < len(peers) - 1]
        if blind:
            raise ClientError(f"{all_of(blind)} must first find the other sentinels again")
        ask(running, member, "SENTINEL", "RESET", name)
        raise ClientError(f"{member.name} has just been told to forget who is gone")


def step_down(running: Running, member: Member) -> None:
    """A primary that is to go, or to be restarted, hands over first; nothing that it acknowledged is lost.

    Its writes pause until its replicas have all of them; the sentinels then choose one of those, as they always do; and
    the old one follows it. Sentinels would make it do so only seconds later, and it would take writes until then.
    Source: the documentation of CLIENT PAUSE, and of SENTINEL FAILOVER.
    """
    cache, name = running.needs[running.group.options.watches], running.group.options.watches
    if member not in cache.members or not running.up:
        return
    held, _ = redis.look(cache)
    if member.name not in held or held[member.name].role != "primary":
        return
    seen, _ = look(running)
    named = {node.primary for node in seen.values()} - {member.address}
    heirs = [
        other
        for other in cache.up
        if other.address in named and held.get(other.name, held[member.name]).role == "primary"
    ]
    with closing(connect(cache, member)) as connection:
        if heirs:
            redis.follow(cache, heirs[0], [member])
            connection.ask("CLIENT", "UNPAUSE")
            return
        connection.ask("CLIENT", "PAUSE", _PAUSE_MS, "WRITE")
    held, _ = redis.look(cache)
    late = [other for other, node in held.items() if node.offset < held[member.name].offset]
    if late:
        raise ClientError(f"{all_of(late)} must first have all that {member.name} has")
    ask(running, running.up[0], "SENTINEL", "FAILOVER", name)
    raise ClientError(f"the sentinels choose another primary than {member.name}")


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """Sentinels are equal; each says whom it takes for the primary."""
    seen, _ = look(running)
    return {name: (Role("sentinel", f"primary {_name_of(running, node.primary)}"),) for name, node in seen.items()}


def examine(running: Running) -> Iterator[Finding]:
    """Members, quorum, what each sentinel believes, and whether the nodes themselves say the same."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say what it sees: {trouble}", is_ok=False, node=name)
    yield Finding(f"members: {len(seen)} of {len(running.members)} answer", is_ok=len(seen) == len(running.members))
    for name, node in seen.items():
        yield Finding(f"quorum: {node.verdict}", is_ok=node.verdict.startswith("OK"), node=name)
        down = [_name_of(running, other) for other, flags in {**node.peers, **node.replicas}.items() if _is_lost(flags)]
        if down:
            yield Finding(f"members: it takes {all_of(down)} for down", is_ok=False, node=name)
    named = {_name_of(running, node.primary) for node in seen.values()}
    if len(named) > 1:
        for name, node in seen.items():
            yield Finding(f"primary: it names {_name_of(running, node.primary)}; they disagree", is_ok=False, node=name)
    elif named:
        yield from _compare(running, named.pop())


def _compare(running: Running, named: str) -> Iterator[Finding]:
    """What the sentinels say, beside what the node itself says."""
    there, _ = redis.look(running.needs[running.group.options.watches])
    says = there[named].role if named in there else ""
    if says == "primary":
        yield Finding(f"primary: all name {named}, and so does it", is_ok=True)
    else:
        yield Finding(
            f"primary: all name {named}, which {f'says it is a {says}' if says else 'does not answer'}", is_ok=False
        )


def _name_of(running: Running, address: str) -> str:
    """The node's name, whether of a sentinel or of what they watch; the address where it is neither's."""
    for member in (*watched(running.group).members, *running.members):
        if address in (member.address, member.at("client")):
            return member.name
    return address or "nobody"


def _misfits(spec: ComponentSpec, everything: Mapping[str, ComponentSpec]) -> Iterator[Misfit]:
    name = spec.options.watches
    other = everything.get(name)
    if other is not None and other.kind != "redis":
        kinds = [known.name for known in everything.values() if known.kind == "redis"]
        yield Misfit(
            "watches",
            f'watches names "{name}", which is of kind {other.kind}; sentinels watch a redis',
            f"name one of kind redis: {', '.join(kinds)}" if kinds else "add a component of kind redis",
        )
    if (spec.options.quorum or 1) > spec.replicas:
        yield Misfit(
            "quorum",
            f"quorum is {spec.options.quorum}, but there are {spec.replicas} sentinels: no failover would ever begin",
            f"set it to {spec.replicas} or less",
        )


COMPONENT = Component(
    kind="redis-sentinel",
    version="7.0",
    summary="watches a redis and promotes a replica when its primary is lost",
    options=SentinelOptions,
    ports={"client": Port(26379)},
    files={OPTIONS: Template("redis-sentinel/options.conf.j2", mode=0o640, owner="redis")},
    seeds={STATE_FILE: Template("redis-sentinel/sentinel.conf.j2", mode=0o640, owner="redis")},
    command=_start,
    data=DATA,
    user="redis",
    environment={"REDISCLI_AUTH": "{{ component.secrets.password if component.options.password else '' }}"},
    secrets=("password",),
    exports={
        "password": lambda group: group.secrets["password"] if group.options.password else "",
        "watches": lambda group: str(group.options.watches),
    },
    depends_on=lambda options: (options.watches,),
    check=_misfits,
    ready=(redis.answers_ping, agrees),
    roles=read_roles,
    health=examine,
    probe=lambda _group, member: ("sh", "-c", f"redis-cli -p {member.ports['client']} ping | grep -q PONG"),
    checks="clusterkit.components.redis_sentinel_checks",
    drivers=redis.COMPONENT.drivers,
    discover=find_primary,
    claims=redis.COMPONENT.claims,
    needs_quorum=True,
    membership=Membership(settle=settle, release=step_down, step_down=step_down),
    never=redis.NEVER,
    log=LogFormat(level=redis.LOG_LEVEL, words=redis.LOG_WORDS),
)
