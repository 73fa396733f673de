"""L3. Redis Cluster: keys are split over several primaries by their slot; each may have replicas for its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.components import redis
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
    Port,
    Role,
    Running,
    Template,
    Unready,
)
from clusterkit.components.conditions import all_of, ask_each, written_and_read
from clusterkit.components.redis_client import ask, connect
from clusterkit.model.topology import ComponentSpec
from clusterkit.node import Command
from clusterkit.units import Duration

CLUSTER = "/etc/redis/cluster.conf"
NODES = f"{redis.DATA}/nodes.conf"
SLOTS = 16384

_LEAST_MASTERS = 3
"""Fewer could not agree that one is down. Source: redis-cli --cluster create refuses them."""

_OURS = (
    "cluster-announce-bus-port", "cluster-announce-ip", "cluster-announce-port", "cluster-config-file",
    "cluster-enabled", "cluster-port",
)  # fmt: skip
_OPTION_OF = {
    "cluster-node-timeout": "node_timeout",
    "cluster-require-full-coverage": "require_full_coverage",
}
_REBALANCE_SECONDS = 60.0


class Place(NamedTuple):
    """What a member is at first. `copies`: the id of the primary that it copies, "" for a primary."""

    member: Member
    id: str
    copies: str
    epoch: int
    slots: tuple[int, int] | None


class RedisClusterOptions(redis.RedisOptions):
    """Options of redis-cluster."""

    masters: int = Field(default=_LEAST_MASTERS, ge=_LEAST_MASTERS)
    """How many primaries share the keys. The other nodes are replicas of them, as evenly as can be."""

    node_timeout: Duration = Duration(3)
    """How long a node is silent before it counts as failed; a replica takes its place soon after."""

    require_full_coverage: bool = True
    """Without a node for every slot, no key is served at all; false: those that are there still are."""

    @model_validator(mode="after")
    def _fits_a_cluster(self) -> Self:
        if self.node_timeout.milliseconds < 1:
            raise ValueError(f"node_timeout is {self.node_timeout}; it must be 1ms or more")
        redis.check_settings(self.settings, _OURS, _OPTION_OF)
        return self

    def places(self, members: Sequence[Member]) -> tuple[Place, ...]:
        """Slots split evenly over the first members; each of the others copies one that is in another zone, if any."""
        masters = members[: self.masters]
        made = [
            Place(
                member, _id(member), "", place + 1, (_begin(place, len(masters)), _begin(place + 1, len(masters)) - 1)
            )
            for place, member in enumerate(masters)
        ]
        for place, member in enumerate(members[self.masters :]):
            of = masters[(place + 1) % len(masters)]
            made.append(Place(member, _id(member), _id(of), 0, None))
        return tuple(made)


def _begin(place: int, of: int) -> int:
    return round(SLOTS * place / of)


def _id(member: Member) -> str:
    """Any forty hexadecimal digits do; nodes of different clusters never meet."""
    return f"{member.index:040x}"


@dataclass(frozen=True)
class Seen:
    """One line of CLUSTER NODES. `master`: the id of whom it copies, ""; `slots`: (first, last) of each range."""

    id: str
    address: str
    flags: frozenset[str]
    master: str
    is_linked: bool
    slots: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        return sum(last - first + 1 for first, last in self.slots)

    @property
    def is_lost(self) -> bool:
        return not self.flags.isdisjoint({"fail", "fail?", "noaddr", "handshake"})


def parse(text: str) -> dict[str, Seen]:
    """By address, "192.0.2.11:6379". Source: the documentation of CLUSTER NODES."""
    found = {}
    for line in text.splitlines():
        identity, where, flags, master, _ping, _pong, _epoch, link, *slots = line.split()
        address = where.partition("@")[0]
        ranges = [slot.split("-") for slot in slots if not slot.startswith("[")]  # [: a slot on its way
        found[address] = Seen(
            id=identity,
            address=address,
            flags=frozenset(flags.split(",")),
            master="" if master == "-" else master,
            is_linked=link == "connected",
            slots=tuple((int(one[0]), int(one[-1])) for one in ranges),
        )
    return found


def look(running: Running) -> tuple[dict[str, Mapping[str, Seen]], dict[str, str]]:
    """How every node that runs sees all nodes, by member name; and why it says nothing."""
    return ask_each(running.up, lambda member: parse(str(ask(running, member, "CLUSTER", "NODES"))))


def _own(running: Running, seen: Mapping[str, Mapping[str, Seen]]) -> dict[str, Seen]:
    """What each says of itself, by member name."""
    return {
        member.name: next(one for one in seen[member.name].values() if "myself" in one.flags)
        for member in running.up
        if member.name in seen
    }


def is_whole(running: Running) -> Unready:
    """Every slot has a node, every node knows all others and is linked to them, and every replica to its primary."""
    seen, unready = look(running)
    addresses = {member.at("client"): member.name for member in running.members}
    for name, nodes in seen.items():
        strangers = [address for address in nodes if address not in addresses]
        lost = [addresses[address] for address, one in nodes.items() if address in addresses and one.is_lost]
        slots = sum(one.count for one in nodes.values() if not one.is_lost)
        if strangers:
            unready[name] = f"it knows {all_of(strangers)}, which is none of ours"
        elif len(nodes) < len(running.members):
            unready[name] = f"it knows {len(nodes)} nodes of {len(running.members)}"
        elif lost:
            unready[name] = f"it takes {all_of(lost)} for failed"
        elif slots < SLOTS:
            unready[name] = f"{SLOTS - slots} slots have no node"
    if unready:
        return unready
    said, troubles = ask_each(running.up, lambda member: ask(running, member, "ROLE"))
    unready = dict(troubles)
    for name, role in said.items():
        if isinstance(role, list) and role[0] == "slave" and role[3] != "connected":
            unready[name] = f"its link to its primary is {role[3]}"
    return unready


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """primary with its share of the slots; replica, and of whom."""
    seen, _ = look(running)
    roles = {}
    for name, own in _own(running, seen).items():
        if "master" in own.flags:
            roles[name] = (Role("primary", f"slots {_ranges(own)}, {own.count / SLOTS:.0%}"),)
        else:
            roles[name] = (Role("replica", f"of {_name_of(running, seen[name], own.master)}"),)
    return roles


def _ranges(node: Seen) -> str:
    return " ".join(f"{first}-{last}" for first, last in node.slots) or "none"


def _name_of(running: Running, nodes: Mapping[str, Seen], identity: str) -> str:
    address = next((one.address for one in nodes.values() if one.id == identity), identity)
    return next((member.name for member in running.members if member.at("client") == address), address)


def examine(running: Running) -> Iterator[Finding]:
    """Members, slots, and how the data is split: for each primary its slots, keys, memory, and who copies it."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say what it sees: {trouble}", is_ok=False, node=name)
    yield Finding(f"members: {len(seen)} of {len(running.members)} answer", is_ok=len(seen) == len(running.members))
    own = _own(running, seen)
    primaries = {name: one for name, one in own.items() if "master" in one.flags}
    served = sum(one.count for one in primaries.values())
    yield Finding(f"slots: {served} of {SLOTS} are served", is_ok=served == SLOTS)
    sizes, _ = ask_each(
        [member for member in running.up if member.name in primaries], lambda member: _size(running, member)
    )
    keys = sum(count for count, _ in sizes.values())
    for name, one in primaries.items():
        copies = [other for other, its in own.items() if its.master == one.id]
        count, used = sizes.get(name, (0, "?"))
        share = f"{count / keys:.0%} of the keys" if keys else "no keys"
        text = f"data: slots {_ranges(one)}, {one.count / SLOTS:.0%}; {count} keys, {share}; memory {used}; "
        is_copied = bool(copies) or len(running.members) <= running.group.options.masters
        yield Finding(
            text + (f"copied by {all_of(copies)}" if copies else "copied by nobody"), is_ok=is_copied, node=name
        )
    for name, nodes in seen.items():
        lost = [_name_of(running, nodes, node.id) for node in nodes.values() if node.is_lost]
        if lost:
            yield Finding(f"members: it takes {all_of(lost)} for failed", is_ok=False, node=name)


def _size(running: Running, member: Member) -> tuple[int, str]:
    """How many keys it has, and what memory it uses in Redis' own words."""
    with closing(connect(running, member)) as connection:
        count = connection.ask("DBSIZE")
        info = str(connection.ask("INFO", "memory"))
    used = next((line.partition(":")[2] for line in info.splitlines() if line.startswith("used_memory_human:")), "?")
    return int(str(count)), used


# -- members -----------------------------------------------------------------------------------------------------------


def settle(running: Running) -> None:
    """New nodes meet the others; the first ones get slots, the others copy; those that are gone are forgotten.

    Source: Redis' documentation, "Scaling with Redis Cluster" (adding and removing a node, resharding).
    """
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        raise ClientError(f"{name}: {trouble}")
    ours = {member.at("client"): member for member in running.members}
    first = max(running.up, key=lambda member: len(set(seen[member.name]) & set(ours)))
    for address, member in ours.items():
        if address not in seen[first.name]:
            ask(running, first, "CLUSTER", "MEET", member.address, member.ports["client"])
            raise ClientError(f"{member.name} meets the others")
    for member in running.up:
        for address, node in seen[member.name].items():
            if address not in ours and "handshake" not in node.flags:
                ask(running, member, "CLUSTER", "FORGET", node.id)
    _give_work(running, seen, first)


def _give_work(running: Running, seen: Mapping[str, Mapping[str, Seen]], first: Member) -> None:
    """A primary without slots is a new node: it gets its share, or copies the primary with fewest replicas."""
    own = _own(running, seen)
    masters = running.group.options.masters
    idle = [member for member in running.up if "master" in own[member.name].flags and not own[member.name].slots]
    busy = [member for member in running.up if "master" in own[member.name].flags and own[member.name].slots]
    if any(len(nodes) < len(running.members) for nodes in seen.values()):
        raise ClientError("the nodes get to know each other")
    if idle and len(busy) < masters:
        _rebalance(running, first, "--cluster-use-empty-masters")
        raise ClientError("slots move to new primaries")
    for member in idle:
        counts = {one.name: sum(its.master == own[one.name].id for its in own.values()) for one in busy}
        chosen = min(busy, key=lambda one: (counts[one.name], one.zone == member.zone))
        ask(running, member, "CLUSTER", "REPLICATE", own[chosen.name].id)
        raise ClientError(f"{member.name} copies {chosen.name}")


def step_down(running: Running, member: Member) -> None:
    """A replica takes the place of a primary that is to be restarted, or to go, when it has all that the primary has.

    Source: the documentation of CLUSTER FAILOVER, a manual failover.
    """
    seen, _ = look(running)
    own = _own(running, seen)
    if member.name not in own or not own[member.name].slots:
        return
    heirs = [other for other in running.up if other.name in own and own[other.name].master == own[member.name].id]
    if heirs:
        ask(running, heirs[0], "CLUSTER", "FAILOVER")
        raise ClientError(f"{heirs[0].name} takes the place of {member.name}")


def release(running: Running, leaving: Member) -> None:
    """What nobody else has goes to others: the place of a primary to its replica; without one, its slots and keys."""
    step_down(running, leaving)
    seen, _ = look(running)
    own = _own(running, seen)
    if leaving.name not in own or not own[leaving.name].slots:
        return
    others = [member for member in running.up if member is not leaving]
    _rebalance(running, others[0], "--cluster-weight", f"{own[leaving.name].id}=0")
    raise ClientError(f"slots move away from {leaving.name}")


def _rebalance(running: Running, through: Member, *words: str) -> None:
    """By redis-cli on a node. Raises: ClientError with its last line."""
    argv = ("redis-cli", "--cluster", "rebalance", through.at("client"), "--cluster-threshold", "1", *words)
    done = running.nodes[through.name].run(Command(argv, timeout=_REBALANCE_SECONDS))
    if done.code:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise ClientError(f"redis-cli --cluster rebalance: {said[-1] if said else done.code}")


def _misfits(spec: ComponentSpec, _all: Mapping[str, ComponentSpec]) -> Iterator[Misfit]:
    if spec.replicas < spec.options.masters:
        yield Misfit(
            "masters",
            f"masters is {spec.options.masters}, but there are {spec.replicas} nodes",
            f"set replicas to {2 * spec.options.masters} (each primary has a replica then), or masters to fewer",
        )


def _urls(group: Group) -> str:
    password = group.secrets["password"] if group.options.password else ""
    return ",".join(f"redis://{f':{password}@' if password else ''}{one.at('client')}" for one in group.members)


COMPONENT = Component(
    kind="redis-cluster",
    version="7.0",
    summary="Redis with its keys split over several primaries, each with replicas of its own",
    options=RedisClusterOptions,
    ports={"client": Port(6379), "bus": Port(16379, publish=False)},
    files={
        redis.OPTIONS: Template("redis/options.conf.j2", mode=0o640, owner="redis"),
        CLUSTER: Template("redis-cluster/cluster.conf.j2", mode=0o640, owner="redis"),
    },
    seeds={NODES: Template("redis-cluster/nodes.conf.j2", mode=0o640, owner="redis")},
    command=("redis-server", redis.OPTIONS, "--include", CLUSTER),
    data=redis.DATA,
    user="redis",
    environment=redis.COMPONENT.environment,
    secrets=("password",),
    exports={
        "password": lambda group: group.secrets["password"] if group.options.password else "",
        "urls": _urls,
    },
    check=_misfits,
    ready=(redis.answers_ping, is_whole, written_and_read),
    roles=read_roles,
    health=examine,
    probe=lambda _group, member: (
        "sh",
        "-c",
        f"redis-cli -p {member.ports['client']} cluster info | grep -q cluster_state:ok",
    ),
    checks="clusterkit.components.redis_cluster_checks",
    client="clusterkit.components.redis_cluster_client:RedisClusterClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.redis_cluster_driver:RedisClusterDriver"),
    claims=Claims(
        converges=True,
        weaknesses=(
            *redis.COMPONENT.claims.weaknesses,
            "a primary that is cut off takes writes until node_timeout is over; they are lost when it follows another",
        ),
    ),
    needs_quorum=True,
    membership=Membership(settle=settle, release=release, step_down=step_down),
    never=redis.NEVER,
    log=LogFormat(level=redis.LOG_LEVEL, words=redis.LOG_WORDS),
)
