"""L3. MariaDB with Galera: a database whose members are all equal; each write is certified by all before it counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.components.base import (
    KINDS,
    Choice,
    Claims,
    Component,
    Fallen,
    Finding,
    LogFormat,
    Member,
    Membership,
    Never,
    Options,
    Port,
    Recovery,
    Role,
    Running,
    Template,
    Unready,
    Whole,
    WorkloadOptions,
)
from clusterkit.components.conditions import all_of, ask_each, written_and_read
from clusterkit.components.galera_client import DATABASE, USER, connect, status
from clusterkit.node import File, State
from clusterkit.units import Duration, Size

CONFIG = "/etc/mysql/mariadb.conf.d/99-clusterkit.cnf"
START = "/etc/clusterkit-galera/start.sh"
INIT = "/etc/clusterkit-galera/init.sql"
DATA = "/var/lib/galera"

_LEAST_POOL = Size(8 * 2**20)
_BEHIND = 100
"""Write-sets that wait to be applied, which are no longer the work of a moment."""

_OPTION_OF = {
    "innodb_buffer_pool_size": "buffer_pool",
    "innodb_flush_log_at_trx_commit": "flush",
    "wsrep_provider_options": "provider_settings",
}
_OURS = ("bind-address", "binlog_format", "datadir", "innodb_autoinc_lock_mode", "pid-file", "port", "socket")


class GaleraOptions(Options):
    """Options of galera."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    buffer_pool: Size | None = None
    """What InnoDB keeps in memory; 32MB if not given, 1GB with `production`."""

    gcache: Size | None = None
    """Writes that are kept for members that were away, so that they need no whole copy; 32MB if not given, 512MB with
    `production`."""

    suspect_timeout: Duration = Duration(5)
    """How long a member is silent before the others go on without it; nobody takes writes until then."""

    flush: Literal["commit", "second"] = "commit"
    """When a transaction is flushed to disk: before its commit is answered, or once in a second. Source: MariaDB,
    innodb_flush_log_at_trx_commit 1 and 0; makers and guides advise 0 or 2 for Galera."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further lines of the server's section [mysqld]."""

    provider_settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further options of the provider, as {gcs.fc_limit: 64}."""

    @property
    def buffer_pool_bytes(self) -> int:
        return (self.buffer_pool or Size((1024 if self.production else 32) * 2**20)).bytes

    @property
    def lean(self) -> Mapping[str, str | int]:
        """What a laptop has no room for."""
        if self.production:
            return {}
        return {"aria_pagecache_buffer_size": "1M", "innodb_log_buffer_size": "2M", "innodb_log_file_size": "16M"} | {
            "key_buffer_size": "1M",
            "max_connections": 60,
            "performance_schema": "OFF",
        }

    def provider(self, member: Member) -> str:
        """The provider's options as one line. Its other periods stand to `suspect_timeout` as by default to 5 s:
        it does not start where they are too long for it.
        """
        size = (self.gcache or Size((512 if self.production else 32) * 2**20)).bytes
        seconds = self.suspect_timeout.seconds
        options: dict[str, str | int | float | bool] = {
            "evs.inactive_check_period": f"PT{seconds / 10:g}S",
            "evs.inactive_timeout": f"PT{3 * seconds:g}S",
            "evs.install_timeout": f"PT{1.5 * seconds:g}S",
            "evs.join_retrans_period": f"PT{seconds / 5:g}S",
            "evs.keepalive_period": f"PT{seconds / 5:g}S",
            "evs.suspect_timeout": f"PT{seconds:g}S",
            "gcache.size": size,
            "gmcast.listen_addr": f"tcp://0.0.0.0:{member.ports['replication']}",
            "ist.recv_addr": member.at("increments"),
            "pc.recovery": "true",
            "pc.wait_prim_timeout": "PT60S",
        }
        words = {
            key: str(value).lower() if isinstance(value, bool) else value
            for key, value in (options | self.provider_settings).items()
        }
        return ";".join(f"{key}={value}" for key, value in sorted(words.items()))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.suspect_timeout.seconds < 1:
            raise ValueError(f"suspect_timeout is {self.suspect_timeout}; it must be 1s or more")
        if self.buffer_pool is not None and self.buffer_pool.bytes < _LEAST_POOL.bytes:
            raise ValueError(f"buffer_pool is {self.buffer_pool}; MariaDB does not start with less than {_LEAST_POOL}")
        for key in self.settings:
            if key in _OPTION_OF:
                raise ValueError(f'settings: "{key}" has an option of its own, {_OPTION_OF[key]}')
            if key in _OURS or key.startswith(("wsrep_cluster", "wsrep_node")):
                raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        return self


def look(running: Running) -> tuple[dict[str, Mapping[str, str]], dict[str, str]]:
    """What each node says (SHOW STATUS, names without "wsrep_"), by member name; and why it says nothing."""
    return ask_each(running.up, lambda member: status(running, member))


def is_synced(running: Running) -> Unready:
    """Every node is in the primary component, takes statements, has all writes, and counts all that run."""
    seen, unready = look(running)
    for name, said in seen.items():
        size = int(said.get("cluster_size", "0"))
        if said.get("cluster_status") != "Primary":
            unready[name] = f"it is in no primary component ({said.get('cluster_status', '?')})"
        elif said.get("ready") != "ON" or said.get("local_state_comment") != "Synced":
            unready[name] = f"it is {said.get('local_state_comment', '?')}, not Synced"
        elif size != len(running.up):
            unready[name] = f"it counts {size} members, {len(running.up)} run"
    return unready


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """member, all alike, with state, size and the last write; non-primary where it has lost the majority."""
    seen, _ = look(running)
    return {
        name: (
            Role(
                "member" if said.get("cluster_status") == "Primary" else "non-primary",
                f"{said.get('local_state_comment', '?')}, size {said.get('cluster_size', '?')}, "
                f"seqno {said.get('last_committed', '?')}",
            ),
        )
        for name, said in seen.items()
    }


def examine(running: Running) -> Iterator[Finding]:
    """Members against the majority, one history, each node's state, and how far it is behind."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its status: {trouble}", is_ok=False, node=name)
    primary = {name for name, said in seen.items() if said.get("cluster_status") == "Primary"}
    needed = running.group.majority
    yield Finding(
        f"quorum: {len(primary)} of {len(running.members)} members are in the primary component, {needed} are needed",
        is_ok=len(primary) >= needed,
    )
    histories = {seen[name].get("cluster_state_uuid", "") for name in primary}
    if len(histories) > 1:
        yield Finding(f"history: the members have {len(histories)}, they were begun apart", is_ok=False)
    for name, said in seen.items():
        state, waiting = said.get("local_state_comment", "?"), int(said.get("local_recv_queue", "0"))
        yield Finding(
            f"replication: {state}, seqno {said.get('last_committed', '?')}, {waiting} writes wait to be applied",
            is_ok=state in ("Synced", "Donor/Desynced") and waiting < _BEHIND,
            node=name,
        )
    away = [member.name for member in running.members if member.name not in primary]
    if primary and away:
        yield Finding(f"members: {all_of(away)} not in the primary component", is_ok=False)


_RECOVER_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_NO_HISTORY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Saved:
    """What a stopped node says of its data (grastate.dat): which history, how far (-1: unknown), and whether it was the
    last one that went.
    """

    uuid: str
    seqno: int
    is_last: bool


def read_state(text: str) -> Saved:
    """grastate.dat, or the position that a start for recovery found ("uuid:seqno")."""
    if "\n" not in text.strip():
        uuid, _, seqno = text.strip().rpartition(":")
        return Saved(uuid, int(seqno) if uuid else -1, is_last=False)
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Saved(
        fields.get("uuid", "").strip(),
        int(fields.get("seqno", "-1")),
        is_last=fields.get("safe_to_bootstrap", "0").strip() == "1",
    )


def choose(fallen: Fallen, wish: str) -> Choice | None:
    """The one with the most writes, of those that run without a primary component, or of those that are stopped.

    Source: Galera's documentation, "Quorum reset" and "Restarting the cluster".
    """
    if fallen.running.up:
        return _choose_running(fallen, wish)
    saved = {name: found for name, node in fallen.nodes.items() if (found := _saved(node)) is not None}
    if not saved or (not wish and _finds_itself(fallen, saved)):
        return None
    saved = {name: _recovered(fallen.nodes[name]) if one.seqno < 0 else one for name, one in saved.items()}
    best = max(saved, key=lambda name: (saved[name].seqno, saved[name].is_last, -_index(fallen, name)))
    chosen = wish or best
    if chosen not in saved:
        raise ClientError(f"{chosen} has no data to begin from; {all_of(saved)} {'have' if len(saved) > 1 else 'has'}")
    loses = ""
    if saved[chosen].seqno < saved[best].seqno:
        loses = f"the writes {saved[chosen].seqno + 1} to {saved[best].seqno}, which {best} has"
    elif len({one.uuid for one in saved.values()}) > 1:
        loses = "what the other members have: their data has another history"
    elif missing := [member.name for member in fallen.running.members if member.name not in saved]:
        loses = f"what only {all_of(missing)} had: no data of {'them' if len(missing) > 1 else 'it'} is there"
    elif unknown := [name for name, one in saved.items() if one.seqno < 0]:
        loses = f"what only {all_of(unknown)} had: how far the data goes is not known"
    last = ", the last one that went" if saved[chosen].is_last else ""
    return Choice(chosen, f"its data goes to write {saved[chosen].seqno}{last}", loses)


def begin(fallen: Fallen, name: str) -> None:
    """Makes a primary component of the one that runs, and of those that it sees; or marks it to begin at its start."""
    if name in fallen.running.nodes:
        member = next(member for member in fallen.running.members if member.name == name)
        with closing(connect(fallen.running, member)) as connection:
            connection.ask("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")
        return
    node = fallen.nodes[name]
    state = node.read(f"{DATA}/grastate.dat").decode()
    state = re.sub(r"(?m)^safe_to_bootstrap:.*$", "safe_to_bootstrap: 1", state)
    node.put([File(f"{DATA}/grastate.dat", state.encode(), 0o666), File(f"{DATA}/BOOTSTRAP", b"", 0o666)])


def _choose_running(fallen: Fallen, wish: str) -> Choice | None:
    seen, _ = look(fallen.running)
    if any(said.get("cluster_status") == "Primary" for said in seen.values()):
        return None
    if not seen:
        raise ClientError("no member answers; stop those that run first: clusterkit stop")
    reach = {name: int(said.get("last_committed", "-1")) for name, said in seen.items()}
    best = max(reach, key=lambda name: (reach[name], -_index(fallen, name)))
    chosen = wish or best
    if chosen not in reach:
        raise ClientError(f"{chosen} does not answer; {all_of(reach)} {'do' if len(reach) > 1 else 'does'}")
    loses = ""
    if reach[chosen] < reach[best]:
        loses = f"the writes {reach[chosen] + 1} to {reach[best]}, which {best} has"
    elif silent := [member.name for member in fallen.running.members if member.name not in seen]:
        loses = f"what only {all_of(silent)} had: it is not known how far their data goes"
    return Choice(chosen, f"it has write {reach[chosen]}, and is in no primary component", loses)


def _index(fallen: Fallen, name: str) -> int:
    return next(member.index for member in fallen.running.members if member.name == name)


def _saved(node: Whole) -> Saved | None:
    """None where it has no data, or only a part of a copy that was never finished."""
    try:
        found = read_state(node.read(f"{DATA}/grastate.dat").decode())
    except FileNotFoundError:
        return None
    return None if found.uuid == _NO_HISTORY else found


def _finds_itself(fallen: Fallen, saved: Mapping[str, Saved]) -> bool:
    """After a crash of all, they remember whom they were with (gvwstate.dat), and go on when all of these are back."""
    views = {_view(node) for name, node in fallen.nodes.items() if name in saved}
    if len(views) != 1:
        return False
    view = views.pop()
    return len(view) == len(saved)


def _view(node: Whole) -> frozenset[str]:
    """The members of its last primary component; none where it left that in good order, or lost the file."""
    try:
        text = node.read(f"{DATA}/gvwstate.dat").decode()
    except FileNotFoundError:
        return frozenset()
    return frozenset(line.split()[1] for line in text.splitlines() if line.startswith("member:"))


def _recovered(node: Whole) -> Saved:
    """How far its data goes: the server is started for that alone. -1 where it does not say."""
    node.put([File(f"{DATA}/RECOVER", b"", 0o666)])
    node.start()
    deadline = Deadline(_RECOVER_SECONDS)
    while node.state() is not State.EXITED:
        if deadline.is_over:
            node.kill()
            raise ClientError(f"{node.name} did not say within {_RECOVER_SECONDS:g} s how far its data goes")
        SYSTEM.sleep(_LOOK_SECONDS)
    try:
        return read_state(node.read(f"{DATA}/RECOVERED").decode() or ":-1")
    except FileNotFoundError as error:
        raise ClientError(f"{node.name} could not say how far its data goes; its log says why") from error


_BROKEN_DISK = frozenset({"disk", "power"})

NEVER = (
    Never(r"mariadbd got signal|mysqld got signal", "the server crashed", _BROKEN_DISK),
    Never(
        r"Inconsistent by consensus|Node consistency compromised|inconsistent with group", "the members' data differs"
    ),
    Never(r"states? diverged", "the members' data differs"),
    Never(r"page corruption|is corrupted|checksum mismatch", "data is damaged", _BROKEN_DISK),
)
"""Source: MariaDB 10.11, sql/signal_handler.cc, InnoDB's buf0buf.cc; Galera 26.4, replicator_smm.cpp."""


class GaleraWorkload(WorkloadOptions):
    """What a workload on galera may say beside what all workloads say."""

    reads: Literal["sync", "plain"] = "sync"
    """sync: a transaction begins when its node has all writes that came before it (wsrep_sync_wait). plain: with what
    the node itself has, which may be old. Galera promises less then; the verdict does not."""

    isolation: Literal["read-committed", "repeatable-read", "serializable"] = "repeatable-read"
    """How transactions on one node are kept apart; between nodes it is first committer wins."""

    locking: bool = False
    """A transfer of a bank reads its two accounts by SELECT ... FOR UPDATE."""


COMPONENT = Component(
    kind="galera",
    version="10.11",
    summary="MariaDB with Galera: a database without a leader; every node takes writes, all certify them",
    options=GaleraOptions,
    ports={
        "client": Port(3306),
        "replication": Port(4567, publish=False),
        "increments": Port(4568, publish=False),
        "transfer": Port(4444, publish=False),
    },
    files={
        CONFIG: Template("galera/galera.cnf.j2"),
        START: Template("galera/start.sh.j2", mode=0o755),
        INIT: Template("galera/init.sql.j2", mode=0o640, owner="mysql"),
    },
    command=(START,),
    data=DATA,
    user="mysql",
    secrets=("password",),
    exports={
        "user": lambda _group: USER,
        "database": lambda _group: DATABASE,
        "password": lambda group: group.secrets["password"],
    },
    ready=(is_synced, written_and_read),
    probe=lambda _group, _member: (
        "sh",
        "-c",
        "mariadb -N -e \"SHOW STATUS LIKE 'wsrep_local_state_comment'\" | grep -q Synced",
    ),
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.galera_checks",
    client="clusterkit.components.galera_client:GaleraClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.galera_driver:GaleraDriver"),
    workload=GaleraWorkload,
    claims=Claims(
        durable=True,
        converges=True,
        weaknesses=(
            "no first committer wins among transactions that only read what they write from: a transfer that does not "
            "lock what it reads may undo another one (Jepsen 2015, and MariaDB Galera Cluster 12.1.2, 2026: lost "
            "updates, stale reads, and committed transactions lost after crashes)",
        ),
    ),
    needs_quorum=True,
    membership=Membership(),
    recovery=Recovery(choose, begin),
    never=NEVER,
    log=LogFormat(level=r"\[(?P<level>Note|Warning|ERROR)\]", words={"note": "info"}),
)
