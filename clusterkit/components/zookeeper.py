"""L3. Apache ZooKeeper: a small tree of data that a majority agrees on, for others to coordinate by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from clusterkit.components.base import (
    KINDS,
    Claims,
    Component,
    Finding,
    Group,
    LogFormat,
    Member,
    Never,
    Options,
    Port,
    Role,
    Running,
    Template,
    Unready,
    WorkloadOptions,
)
from clusterkit.components.conditions import all_of, ask_each, written_and_read
from clusterkit.components.zookeeper_client import four_letters
from clusterkit.units import Duration, Size

CONFIG = "/etc/zookeeper/zoo.cfg"
DATA = "/var/lib/zookeeper"
MYID = f"{DATA}/myid"

_LEAN_HEAP, _HEAP = Size(128 * 2**20), Size(2**30)
_LEAST_TICKS = 2

_OPTION_OF = {"tickTime": "tick", "initLimit": "init_limit", "syncLimit": "sync_limit"}
_OURS = ("dataDir", "dataLogDir", "clientPort", "secureClientPort", "admin.enableServer", "4lw.commands.whitelist")
_OURS_BEGIN = ("server.", "dynamicConfigFile")


class ZooKeeperOptions(Options):
    """Options of zookeeper."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    heap: Size | None = None
    """Java's heap; 128MB if not given, 1GB with `production`."""

    tick: Duration = Duration(1)
    """ZooKeeper's unit of time, and how often servers tell each other that they live (twice in each)."""

    init_limit: int = Field(default=10, ge=_LEAST_TICKS)
    """Ticks that a follower may take to get the leader's data when it starts."""

    sync_limit: int = Field(default=5, ge=_LEAST_TICKS)
    """Ticks that a follower may be silent before the leader drops it; it holds the leader for lost after as many."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further lines of zoo.cfg, as {maxClientCnxns: 100}."""

    @property
    def heap_mb(self) -> int:
        size = self.heap or (_HEAP if self.production else _LEAN_HEAP)
        return int(size.bytes // 2**20)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.tick.milliseconds < 1:
            raise ValueError(f"tick is {self.tick}; it must be 1ms or more")
        if self.heap is not None and self.heap.bytes < 32 * 2**20:
            raise ValueError(f"heap is {self.heap}; ZooKeeper does not start with less than 32MB")
        for key in self.settings:
            if key in _OPTION_OF:
                raise ValueError(f'settings: "{key}" has an option of its own, {_OPTION_OF[key]}')
            if key in _OURS or key.startswith(_OURS_BEGIN):
                raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        return self


_CLASS_PATH = "/etc/zookeeper:/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar"
"""Debian's jar names those it needs, but none that prints: without slf4j-simple the server says nothing."""

_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_QUIET = "-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.NIOServerCnxn=warn"
"""It has a line for each question about health, and nothing else to say below a warning."""

_PRINTS = " ".join(
    f"-Dorg.slf4j.simpleLogger.{key}"
    for key in ("showDateTime=false", "levelInBrackets=true", "showShortLogName=true", "logFile=System.out")
)


def _command(group: Group, _member: Member) -> tuple[str, ...]:
    """Debian's package has no program to start the server with; the makers' image has, and finds its own jars."""
    heap = group.options.heap_mb
    lean = "" if group.options.production else "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 "
    java = f"-Xms{min(heap, 64)}m -Xmx{heap}m {lean}-XX:+ExitOnOutOfMemoryError"
    makers = f'export SERVER_JVMFLAGS="{java}"; exec zkServer.sh --config /etc/zookeeper start-foreground'
    ours = f"exec java {java} {_PRINTS} {_QUIET} -cp {_CLASS_PATH} {_MAIN} {CONFIG}"
    return ("sh", "-c", f"if command -v zkServer.sh >/dev/null; then {makers}; else {ours}; fi")


Seen = dict[str, Mapping[str, str]]
"""What servers say, by member name: the system's own name of a figure -> its value."""


def look(running: Running, word: str, separator: str) -> tuple[Seen, dict[str, str]]:
    """What each server answers to a four-letter word; and why it says nothing, in its own words where it does."""

    def ask(member: Member) -> str:
        return four_letters(*running.dial(member, "client"), word, running.timeout)

    said, troubles = ask_each(running.up, ask)
    seen: Seen = {}
    for name, text in said.items():
        fields = dict(line.split(separator, 1) for line in text.splitlines() if separator in line)
        if fields:
            seen[name] = fields
        else:
            troubles[name] = text.strip() or "it closed the connection"
    return seen, troubles


def _monitored(running: Running) -> tuple[Seen, dict[str, str]]:
    return look(running, "mntr", "\t")


def _served(running: Running) -> tuple[Seen, dict[str, str]]:
    return look(running, "srvr", ": ")


def has_one_leader(running: Running) -> Unready:
    """Every server serves, one leads, and all others follow it."""
    seen, unready = _monitored(running)
    if unready:
        return unready
    leaders = [name for name, fields in seen.items() if fields["zk_server_state"] == "leader"]
    if len(running.members) == 1:
        return {}
    if len(leaders) != 1:
        what = f"there are {len(leaders)} leaders: {all_of(leaders)}" if leaders else "no server leads"
        return dict.fromkeys(leaders or seen, what)
    following = int(float(seen[leaders[0]].get("zk_synced_followers", "0")))
    if following < len(running.up) - 1:
        return {leaders[0]: f"{following} of {len(running.up) - 1} servers follow it"}
    return {}


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """leader, follower or standalone, and the last transaction that it has; one that looks for a leader is absent."""
    seen, _ = _served(running)
    return {
        name: (Role(fields["Mode"], "epoch {}, transaction {}".format(*_zxid(fields))),)
        for name, fields in seen.items()
    }


def _zxid(fields: Mapping[str, str]) -> tuple[int, int]:
    """The leader's epoch, and the number of the transaction in it. Source: ZooKeeper's ZxidUtils."""
    return divmod(int(fields["Zxid"], 16), 2**32)


def examine(running: Running) -> Iterator[Finding]:
    """Servers against the majority, who leads, how far each is behind, and requests that wait."""
    seen, troubles = _served(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not serve: {trouble}", is_ok=False, node=name)
    needed = running.group.majority
    yield Finding(
        f"quorum: {len(seen)} of {len(running.members)} servers take part, {needed} are needed",
        is_ok=len(seen) >= needed,
    )
    leaders = [name for name, fields in seen.items() if fields["Mode"] in ("leader", "standalone")]
    yield Finding(f"leader: {all_of(leaders) if leaders else 'none'}", is_ok=len(leaders) == 1)
    last = max((_zxid(fields) for fields in seen.values()), default=(0, 0))
    for name, fields in seen.items():
        epoch, number = _zxid(fields)
        behind = last[1] - (number if epoch == last[0] else 0)  # a follower is in the epoch by its first transaction
        yield Finding(f"replication: {behind} transactions behind", is_ok=behind < _FAR, node=name)
        waiting = int(fields["Outstanding"])
        connections = fields["Connections"]
        yield Finding(f"load: {connections} connections, {waiting} requests wait", is_ok=waiting < _MANY, node=name)


_FAR = 1000
"""Transactions behind the furthest server that are no longer the work of a moment."""

_MANY = 1000
"""Requests that wait: ZooKeeper takes no more from its clients then. Source: its globalOutstandingLimit."""

NEVER = (
    Never(r"java\.lang\.OutOfMemoryError", "the server has no memory left", frozenset({"resource"})),
    Never(
        r"Unable to load database on disk|Last transaction was partial|CRC check failed|Got error DigestMismatch",
        "data is damaged",
        frozenset({"disk", "power"}),
    ),
    Never(r"digests are not matching|Digest mismatch", "the servers' data differs"),
)
"""Not "Severe unrecoverable error, from thread": a follower that loses its leader says so too, and finds the next one.
Source: ZooKeeper 3.8, FileTxnSnapLog, FileTxnLog and DataTree."""


class ZooKeeperWorkload(WorkloadOptions):
    """What a workload on zookeeper may say beside what all workloads say."""

    reads: Literal["sync", "plain"] = "sync"
    """sync: each read is preceded by a sync, so that it has all that was acknowledged before. plain: what the server
    itself has, which may be old. ZooKeeper promises less then; the verdict does not."""


COMPONENT = Component(
    kind="zookeeper",
    version="3.8",
    summary="a small tree of data that a majority agrees on (ZAB); leader and followers",
    options=ZooKeeperOptions,
    ports={"client": Port(2181), "peer": Port(2888, publish=False), "election": Port(3888, publish=False)},
    files={CONFIG: Template("zookeeper/zoo.cfg.j2")},
    seeds={MYID: Template("zookeeper/myid.j2", owner="zookeeper")},
    command=_command,
    data=DATA,
    user="zookeeper",
    ready=(has_one_leader, written_and_read),
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.zookeeper_checks",
    client="clusterkit.components.zookeeper_client:ZooKeeperClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.zookeeper_driver:ZooKeeperDriver"),
    workload=ZooKeeperWorkload,
    claims=Claims(
        linearizable=True,
        durable=True,
        converges=True,
        weaknesses=(
            "a sync asks the leader, which asks nobody: one that was replaced and does not know it yet may answer, "
            "and a read may be old for as long as that",
            "with `reads: plain` a server answers from what it has: it may be old, at any time (writes stay in order)",
            "a follower tells a new leader that it has its data before that is on disk: killed right then, it may lose "
            "acknowledged writes (ZOOKEEPER-3023, ZOOKEEPER-4646)",
        ),
    ),
    needs_quorum=True,
    replicas="odd",
    never=NEVER,
    log=LogFormat(level=r"\[(?P<level>TRACE|DEBUG|INFO|WARN|ERROR)\]"),
)
