"""L3. RabbitMQ: queues of messages; each quorum queue has a leader, and a majority of its servers has each message."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.components import probes
from clusterkit.components.base import (
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
from clusterkit.components.conditions import UNREACHABLE, all_of, ask_each, listening, words, written_and_read
from clusterkit.components.rabbitmq_client import PREFIX, USER, manage
from clusterkit.errors import NodeUnreachable
from clusterkit.node import Command
from clusterkit.units import Size

CONFIG = "/etc/rabbitmq/rabbitmq.conf"
HOME = "/var/lib/rabbitmq"
COOKIE = f"{HOME}/.erlang.cookie"
DATA = f"{HOME}/mnesia"
WORKLOAD_LEADER = "workload-leader"

_NODES = "/api/nodes?columns=name,running,partitions,mem_alarm,disk_free_alarm"
_QUEUES = "/api/queues?disable_stats=true&enable_queue_totals=true"
_CTL_SECONDS = 60.0
_QUEUES_SECONDS = 4.0
_COPIES = 3
"""RabbitMQ's own number for a new quorum queue, also in a larger cluster."""

_LEAN = {"raft.wal_max_size_bytes": 32 * 2**20, "vm_memory_high_watermark.absolute": 256 * 2**20}
_OURS = (
    "cluster_name", "cluster_partition_handling", "default_user", "default_pass", "loopback_users",
    "vm_memory_high_watermark.absolute", "vm_memory_high_watermark.relative", "disk_free_limit.absolute",
)  # fmt: skip
_OURS_BEGIN = ("listeners.", "management.tcp.", "management.ssl.", "cluster_formation.", "log.")


class RabbitmqOptions(Options):
    """Options of rabbitmq."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    partition_handling: Literal["pause_minority", "autoheal", "ignore"] = "pause_minority"
    """What servers do that lose sight of others: those of a minority stop serving; or one side is restarted when they
    meet again; or nothing. Quorum queues are safe under each of them."""

    max_memory: Size | None = None
    """A node that uses more takes no messages until it uses less; 256MB if not given, RabbitMQ's own (40 % of the
    machine) with `production`."""

    min_disk: Size = Size(50 * 2**20)
    """A node with less room than that on its disk takes no messages."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further lines of rabbitmq.conf, as {channel_max: 500}."""

    @property
    def limits(self) -> Mapping[str, int]:
        """By RabbitMQ's own keys; sizes in bytes."""
        found = {"disk_free_limit.absolute": int(self.min_disk.bytes)}
        if not self.production:
            found |= _LEAN
        if self.max_memory is not None:
            found["vm_memory_high_watermark.absolute"] = int(self.max_memory.bytes)
        return found

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for key in self.settings:
            if key in _OURS or key.startswith(_OURS_BEGIN):
                raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        return self


@dataclass(frozen=True)
class Queue:
    """A queue as the management API tells it. `leader`, `copies`, `there`: members of ours by name; `there` are the
    copies that are online. RabbitMQ tells too late of mirrored queues which ones have everything: not judged here.
    `waiting`: messages.
    """

    name: str
    kind: str
    leader: str
    copies: frozenset[str]
    there: frozenset[str]
    waiting: int


def node_name(member: Member) -> str:
    """What Erlang calls it: by its address, so that no names have to be known on the nodes."""
    return f"rabbit@{member.address}"


def look(running: Running) -> tuple[dict[str, dict[str, Mapping[str, Any]]], dict[str, str]]:
    """What each node says of all (name of Erlang's -> what it is), by member name; and why it says nothing."""

    def ask(member: Member) -> dict[str, Mapping[str, Any]]:
        return {one["name"]: one for one in _json(running, member, _NODES)}

    return ask_each(running.up, ask)


def queues(running: Running) -> list[Queue]:
    """All queues, by the word of the first node that has one. Raises: its trouble where none has.

    A node waits a second for each member of a quorum queue that is away, before it tells the queues.
    """
    running = replace(running, timeout=max(running.timeout, _QUEUES_SECONDS))
    trouble: Exception = NodeUnreachable("no node runs")
    for member in running.up:
        try:
            return [_queue(running, told) for told in _json(running, member, _QUEUES)]
        except UNREACHABLE as error:
            trouble = error
    raise trouble


def _queue(running: Running, told: Mapping[str, Any]) -> Queue:
    names = {node_name(member): member.name for member in running.members}

    def ours(key: str) -> frozenset[str]:
        return frozenset(names.get(node, node) for node in told.get(key) or ())

    home = names.get(told.get("node", ""), "")
    if told.get("type") == "quorum":
        leader = names.get(told.get("leader", ""), "")
        return Queue(told["name"], "quorum", leader, ours("members"), ours("online"), told.get("messages", 0))
    leader = home if told.get("state", "running") != "down" else ""
    copies = ours("slave_nodes") | ({home} - {""})
    return Queue(
        told["name"],
        str(told.get("type", "classic")),
        leader,
        copies,
        copies if leader else frozenset(),
        told.get("messages", 0),
    )


def is_one_cluster(running: Running) -> Unready:
    """Every node sees all nodes run, and none beyond a partition."""
    seen, unready = look(running)
    wanted = {node_name(member): member.name for member in running.members}
    for name, nodes in seen.items():
        missing = [member for node, member in wanted.items() if not nodes.get(node, {}).get("running")]
        beyond = nodes.get(_of(running, name), {}).get("partitions") or ()
        if missing:
            unready[name] = f"it does not see {all_of(missing)} run"
        elif beyond:
            unready[name] = f"it was cut off from {all_of(wanted.get(node, node) for node in beyond)}"
    return unready


def queues_are_whole(running: Running) -> Unready:
    """Every queue has a leader, and all of its copies are there."""
    try:
        found = queues(running)
    except UNREACHABLE as error:
        return {member.name: f"it does not tell its queues: {words(error)}" for member in running.up[:1]}
    unready: dict[str, str] = {}
    for queue in found:
        whom = queue.leader or running.members[0].name
        if not queue.leader:
            unready.setdefault(whom, f"queue {queue.name} has no leader")
        elif queue.copies - queue.there:
            unready.setdefault(whom, f"queue {queue.name}: {all_of(queue.copies - queue.there)} is away")
    return unready


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """running, then orders-leader where it leads a queue called orders; workload-leader for those of a workload."""
    seen, _ = look(running)
    try:
        found = queues(running)
    except UNREACHABLE:
        found = []
    roles = {}
    for name, nodes in seen.items():
        mine = [queue for queue in found if queue.leader == name]
        runs = sum(bool(node.get("running")) for node in nodes.values())
        roles[name] = (
            Role("running", f"sees {runs} of {len(running.members)} run, leads {len(mine)} queues"),
            *(
                Role(
                    WORKLOAD_LEADER if queue.name.startswith(PREFIX) else f"{queue.name}-leader",
                    f"{queue.kind}, {queue.waiting} messages",
                    of=queue.name,
                )
                for queue in mine
            ),
        )
    return roles


def examine(running: Running) -> Iterator[Finding]:
    """Nodes against the majority, partitions, alarms, and each queue: who leads it, and whose copy is away."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its state: {trouble}", is_ok=False, node=name)
    needed = running.group.majority
    yield Finding(
        f"quorum: {len(seen)} of {len(running.members)} nodes serve, {needed} are needed", is_ok=len(seen) >= needed
    )
    for name, nodes in seen.items():
        own = nodes.get(_of(running, name), {})
        if own.get("partitions"):
            yield Finding(f"partition: cut off from {all_of(own['partitions'])}", is_ok=False, node=name)
        for key, what in (("mem_alarm", "memory"), ("disk_free_alarm", "room on the disk")):
            if own.get(key):
                yield Finding(f"alarm: too little {what}, it takes no messages", is_ok=False, node=name)
    try:
        found = queues(running)
    except UNREACHABLE as error:
        yield Finding(f"queues: not told: {words(error)}", is_ok=False)
        return
    for queue in found:
        away = queue.copies - queue.there
        led = f"led by {queue.leader}" if queue.leader else "led by nobody"
        late = f"; away: {all_of(away)}" if away else ""
        yield Finding(
            f"queue {queue.name}: {queue.kind}, {led}, {len(queue.copies)} copies, {queue.waiting} messages{late}",
            is_ok=bool(queue.leader) and not away,
            node=queue.leader,
        )


def counted(running: Running) -> frozenset[str]:
    """The members that the cluster counts, running or not. Raises: what asking does."""
    names = {node_name(member): member.name for member in running.members}
    trouble: Exception = NodeUnreachable("no node runs")
    for member in running.up:
        try:
            return frozenset(names.get(node["name"], node["name"]) for node in _json(running, member, _NODES))
        except UNREACHABLE as error:
            trouble = error
    raise trouble


def admit(running: Running, new: Member) -> None:
    """One that is counted already has lost its data: the others would refuse it. It is forgotten, and joins anew."""
    if new.name in counted(running):
        _forget(running, node_name(new))


def settle(running: Running) -> None:
    """Nodes that are gone are forgotten; quorum queues that have too few copies get them on others."""
    for known in counted(running) - {member.name for member in running.members}:
        _forget(running, known)
    _spread(running, running.members)


def release(running: Running, leaving: Member) -> None:
    """Its copies of quorum queues go to others, where there are enough; then they are taken away, a vote less each."""
    _spread(running, [member for member in running.members if member != leaving], leaving)
    if any(queue.kind == "quorum" and leaving.name in queue.copies for queue in queues(running)):
        _ctl(running, "rabbitmq-queues", "shrink", node_name(leaving), leaving=leaving)


def _spread(running: Running, members: Sequence[Member], leaving: Member | None = None) -> None:
    """Every quorum queue has three copies on these members, or one on each where they are fewer.

    Raises: ClientError while one has not; the program says of some failures only that it did what it could.
    """
    wanted = min(_COPIES, len(members))

    def poor() -> list[tuple[Queue, Member]]:
        return [
            (queue, next(member for member in members if member.name not in queue.copies))
            for queue in queues(running)
            if queue.kind == "quorum" and sum(member.name in queue.copies for member in members) < wanted
        ]

    for _ in members:
        for queue, on in poor():
            only = ("--queue-pattern", f"^{re.escape(queue.name)}$")
            _ctl(running, "rabbitmq-queues", "grow", node_name(on), "all", *only, leaving=leaving)
    if left := poor():
        raise ClientError(f"queue {left[0][0].name} has fewer than {wanted} copies")


def _forget(running: Running, node: str) -> None:
    """Raises: ClientError, also while that node still runs."""
    gone = [member for member in running.members if node_name(member) == node]
    _ctl(running, "rabbitmq-queues", "shrink", node, leaving=gone[0] if gone else None)
    _ctl(running, "rabbitmqctl", "forget_cluster_node", node, leaving=gone[0] if gone else None)


def _ctl(running: Running, *argv: str, leaving: Member | None = None) -> None:
    """Runs one of RabbitMQ's own programs on a node that stays. Raises: ClientError with its last line."""
    staying = [member for member in running.up if member != leaving]
    if not staying:
        raise NodeUnreachable("no other node runs")
    result = running.nodes[staying[0].name].run(Command(argv, user="rabbitmq", timeout=_CTL_SECONDS))
    if result.code:
        said = (result.stderr or result.stdout).decode(errors="replace").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        raise ClientError(f"{' '.join(argv)}: {lines[-1] if lines else f'status {result.code}'}")


def _json(running: Running, member: Member, path: str) -> list[Mapping[str, Any]]:
    try:
        found: list[Mapping[str, Any]] = manage(running, member, "GET", path).json()
    except ValueError as error:
        raise ClientError(f"GET {path}: not JSON") from error
    return found


def _of(running: Running, name: str) -> str:
    return next(node_name(member) for member in running.members if member.name == name)


def _urls(group: Group) -> str:
    password = group.secrets["password"]
    return ",".join(f"amqp://{USER}:{password}@{member.at('client')}/" for member in group.members)


NEVER = (
    Never(r"Kernel pid terminated|erl_crash\.dump|\bBOOT FAILED\b", "the server gave up"),
    Never(r"wal_checksum_validation_failure|cannot_repair", "data is damaged", frozenset({"disk"})),
)
"""Source: RabbitMQ 3.10, rabbit_prelaunch_errors.erl; ra, ra_log_wal.erl (what recovery ends with where the log is
damaged in its middle); OTP, the emulator's last words, and Mnesia's."""


class RabbitmqWorkload(WorkloadOptions):
    """What a workload on rabbitmq may say beside what all workloads say."""

    queues: Literal["quorum", "mirrored", "classic"] = "quorum"
    """quorum: a majority has each message. mirrored: classic queues with a copy on every node (ha-mode all), which
    RabbitMQ 4 has no longer. classic: on one node only."""


COMPONENT = Component(
    kind="rabbitmq",
    version="3.10",
    summary="queues of messages; a quorum queue has a leader, and a majority has each message",
    options=RabbitmqOptions,
    ports={
        "client": Port(5672),
        "management": Port(15672),
        "names": Port(4369, publish=False),
        "cluster": Port(25672, publish=False),
    },
    files={
        CONFIG: Template("rabbitmq/rabbitmq.conf.j2", mode=0o640, owner="rabbitmq"),
        "/etc/rabbitmq/rabbitmq-env.conf": Template("rabbitmq/rabbitmq-env.conf.j2"),
        "/etc/rabbitmq/enabled_plugins": Template("rabbitmq/enabled_plugins.j2"),
        COOKIE: Template("rabbitmq/erlang.cookie.j2", mode=0o400, owner="rabbitmq"),
    },
    # The one in /usr/sbin sends what the server says to a file.
    command=("/usr/lib/rabbitmq/bin/rabbitmq-server",),
    data=DATA,
    user="rabbitmq",
    environment={"HOME": HOME, "LANG": "C.UTF-8"},
    secrets=("password", "cookie"),
    exports={
        "urls": _urls,
        "user": lambda _group: USER,
        "password": lambda group: group.secrets["password"],
    },
    ready=(listening("client"), is_one_cluster, queues_are_whole, written_and_read),
    probe=lambda _group, member: probes.tcp(member, "client"),
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.rabbitmq_checks",
    client="clusterkit.components.rabbitmq_client:RabbitmqClient",
    drivers={"queue": "clusterkit.components.rabbitmq_driver:RabbitmqDriver"},
    workload=RabbitmqWorkload,
    claims=Claims(
        durable=True,
        converges=True,
        weaknesses=(
            "a message may be delivered twice: an acknowledgement of a consumer has no answer, and one that is lost "
            "with its server brings the message back",
            "mirrored queues lose acknowledged messages in partitions (Jepsen, RabbitMQ, 2014)",
        ),
    ),
    needs_quorum=True,
    membership=Membership(admit=admit, settle=settle, release=release, counts=counted),
    replicas="odd",
    begins_again=r"incompatible_feature_flags,\{badrpc.*badmap",
    never=NEVER,
    log=LogFormat(words={"notice": "info", "alert": "critical", "emergency": "critical"}),
)
