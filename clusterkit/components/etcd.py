"""L3. etcd: a key-value store that a majority agrees on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.components.base import (
    KINDS,
    Bootstrap,
    Choice,
    Claims,
    Component,
    Fallen,
    Finding,
    Group,
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
    WorkloadOptions,
)
from clusterkit.components.conditions import UNREACHABLE, all_of, ask_each, get_each, written_and_read
from clusterkit.components.etcd_client import USER, EtcdClient
from clusterkit.errors import NodeUnreachable
from clusterkit.node import File, Node
from clusterkit.units import Duration, Size

T = TypeVar("T")

CONFIG = "/etc/etcd/etcd.yml"
DATA = "/var/lib/etcd"

_LEAST_ELECTION = 5
"""Elections in heartbeats: fewer, and a single late heartbeat starts one. Source: etcd, it refuses to start."""

_MOST_ELECTION = Duration(50)
"""Source: etcd, it refuses to start with more."""

_FAR = 1000
"""Raft entries behind the furthest node that are no longer the work of a moment."""

_OPTION_OF = {
    "heartbeat-interval": "heartbeat_interval",
    "election-timeout": "election_timeout",
    "snapshot-count": "snapshot_count",
    "quota-backend-bytes": "quota",
}
_OURS = ("name", "data-dir", "enable-grpc-gateway")
_OURS_BEGIN = ("initial-", "listen-", "advertise-", "discovery")


class EtcdOptions(Options):
    """Options of etcd."""

    heartbeat_interval: Duration = Duration(0.1)
    """How often the leader tells the others that it lives."""

    election_timeout: Duration = Duration(1)
    """How long a follower hears nothing before it calls an election; at least five heartbeats."""

    snapshot_count: int | None = None
    """Writes between two snapshots of the raft log; etcd's own default where it is not given."""

    quota: Size | None = None
    """The most that the database may take; etcd's own default (2 GB) where it is not given."""

    password: bool = True
    """Only the user root, with a random password, may read and write."""

    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further keys of etcd's configuration file."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.election_timeout.seconds < _LEAST_ELECTION * self.heartbeat_interval.seconds:
            least = Duration(_LEAST_ELECTION * self.heartbeat_interval.seconds)
            raise ValueError(
                f"election_timeout {self.election_timeout} is less than {_LEAST_ELECTION} heartbeats of "
                f"{self.heartbeat_interval}, and etcd would not start; set it to {least} or more"
            )
        if self.election_timeout > _MOST_ELECTION:
            raise ValueError(f"election_timeout {self.election_timeout} is more than etcd's limit, {_MOST_ELECTION}")
        if self.heartbeat_interval.milliseconds < 1:
            raise ValueError("heartbeat_interval is less than 1ms")
        if self.snapshot_count is not None and self.snapshot_count < 1:
            raise ValueError(f"snapshot_count is {self.snapshot_count}; it must be 1 or more")
        for key in self.settings:
            if key in _OPTION_OF:
                raise ValueError(f'settings: "{key}" has an option of its own, {_OPTION_OF[key]}')
            if key in _OURS or key.startswith(_OURS_BEGIN):
                raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        return self


def statuses(running: Running) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Each server's own view, by member name; and why there is none."""

    def ask(member: Member) -> Mapping[str, Any]:
        client = EtcdClient(running, member)
        try:
            return client.status()
        finally:
            client.close()

    return ask_each(running.up, ask)


def is_healthy(running: Running) -> Unready:
    """GET /health says "true" on every node: it knows a leader and could agree with a majority."""
    found, troubles = get_each(running, "client", "/health")
    unready = {name: f"GET /health: {trouble}" for name, trouble in troubles.items()}
    for name, answer in found.items():
        if '"health":"true"' not in answer.text.replace(" ", ""):
            unready[name] = f"GET /health: {answer.text[:120] or answer.status}"
    return unready


def has_one_leader(running: Running) -> Unready:
    """Every node names a leader, and all the same."""
    found, troubles = statuses(running)
    leaders = {name: _leader(status) for name, status in found.items()}
    unready = dict(troubles) | {name: "it knows no leader" for name, leader in leaders.items() if not leader}
    if not unready and len(set(leaders.values())) > 1:
        return {name: f"it takes {leader} for the leader, others do not" for name, leader in leaders.items()}
    return unready


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """leader or follower, with term and raft index; a node that knows no leader is a candidate."""
    found, _ = statuses(running)
    roles = {}
    for name, status in found.items():
        leader = _leader(status)
        role = "candidate" if not leader else "leader" if leader == status["header"]["member_id"] else "follower"
        roles[name] = (Role(role, f"term {status.get('raftTerm', '0')}, index {status.get('raftIndex', '0')}"),)
    return roles


def examine(running: Running) -> Iterator[Finding]:
    """Members, quorum, one leader in one term, alarms, and how far each node is behind."""
    found, troubles = statuses(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its status: {trouble}", is_ok=False, node=name)
    needed, there = running.group.majority, sum(bool(_leader(status)) for status in found.values())
    yield Finding(
        f"quorum: {there} of {len(running.members)} members take part, {needed} are needed", is_ok=there >= needed
    )
    if not found:
        return
    leaders = {_leader(status) for status in found.values()} - {""}
    leading = {name for name, status in found.items() if _leader(status) == status["header"]["member_id"]}
    if len(leaders) == 1 and len(leading) == 1:
        term = max(int(status.get("raftTerm", 0)) for status in found.values())
        yield Finding(f"leader: {next(iter(leading))}, term {term}", is_ok=True)
    elif not leading:
        yield Finding("leader: none among the nodes that answer", is_ok=False)
    else:
        yield Finding(f"leader: the nodes disagree; by its own word: {all_of(leading)}", is_ok=False)
    furthest = max(int(status.get("raftIndex", 0)) for status in found.values())
    for name, status in found.items():
        behind = furthest - int(status.get("raftIndex", 0))
        size = Size(int(status.get("dbSize", 0)) // 2**10 * 2**10)
        yield Finding(f"replication: {behind} entries behind, database of {size}", is_ok=behind < _FAR, node=name)
        for trouble in status.get("errors", ()):
            yield Finding(f"alarm: {trouble}", is_ok=False, node=name)


def _has_other_auth(running: Running) -> bool:
    """Whether the password is on where none is asked for, or off. Raises: what asking does while no majority agrees."""

    def is_on(client: EtcdClient) -> bool:
        try:
            client.log_in(running.group.secrets["password"])
        except ClientError as error:
            if "authentication is not enabled" in str(error):
                return False
            raise
        return True

    wanted: bool = running.group.options.password
    return _through_any(running, is_on) is not wanted


def _switch_auth(running: Running) -> None:
    """Makes the user root with the password and turns authentication on; or turns it off again.

    An `up` that was killed may have done a part of it: that part is then done once more, to no harm.
    """
    secret = running.group.secrets["password"]

    def switch(client: EtcdClient) -> None:
        if not running.group.options.password:
            client.log_in(secret)
            client.call("/v3/auth/disable", {})
            return
        try:
            client.call("/v3/auth/user/add", {"name": USER, "password": secret})
        except ClientError as error:
            if "already exists" not in str(error):
                raise
            client.call("/v3/auth/user/changepw", {"name": USER, "password": secret})
        try:
            client.call("/v3/auth/role/add", {"name": USER})
        except ClientError as error:
            if "already exists" not in str(error):
                raise
        client.call("/v3/auth/user/grant", {"user": USER, "role": USER})
        client.call("/v3/auth/enable", {})

    _through_any(running, switch)


def _members(client: EtcdClient) -> dict[str, Mapping[str, Any]]:
    """What the system counts: address of a member for its peers -> what is known of it."""
    listed = client.call("/v3/cluster/member/list", {}).get("members") or []
    return {member["peerURLs"][0]: member for member in listed}


def _peer_url(member: Member) -> str:
    return f"http://{member.at('peer')}"


def counted(running: Running) -> frozenset[str]:
    """The members that etcd counts; of one that is not ours, its URL. Raises: what asking does without a majority."""
    ours = {_peer_url(member): member.name for member in running.members}
    return frozenset(ours.get(url, url) for url in _through_any(running, _members, log_in=True))


def admit(running: Running, new: Member) -> None:
    """Adds it as a learner, which has no vote until it has caught up: a vote is never made harder by a newcomer.

    One that is listed and has started before has lost its data: etcd would refuse it under its old identity.
    Source: etcd's operations guide, "Runtime reconfiguration" and "Learner".
    """

    def add(client: EtcdClient) -> None:
        listed = _members(client).get(_peer_url(new))
        if listed is not None and not listed.get("name"):
            return
        if listed is not None:
            client.call("/v3/cluster/member/remove", {"ID": listed["ID"]})
        client.call("/v3/cluster/member/add", {"peerURLs": [_peer_url(new)], "isLearner": True})

    _through_any(replace(running, nodes=_without(running, new)), add, log_in=True)


def settle(running: Running) -> None:
    """Promotes learners that have caught up; removes members that are not in the topology."""
    ours = {_peer_url(member) for member in running.members}

    def change(client: EtcdClient) -> None:
        for url, listed in _members(client).items():
            if url not in ours:
                client.call("/v3/cluster/member/remove", {"ID": listed["ID"]})
            elif listed.get("isLearner") and not listed.get("name"):
                raise ClientError(f"the learner at {url} has not started")
            elif listed.get("isLearner"):
                client.call("/v3/cluster/member/promote", {"ID": listed["ID"]})

    _through_any(running, change, log_in=True)


def release(running: Running, leaving: Member) -> None:
    """Gives the leadership to another member, where it has it, and takes it out of the vote."""

    def remove(client: EtcdClient) -> None:
        listed = _members(client)
        mine = listed.pop(_peer_url(leaving), None)
        if mine is None:
            return
        if _leader(client.status()) == mine["ID"]:
            voters = [other["ID"] for other in listed.values() if other.get("name") and not other.get("isLearner")]
            with closing(EtcdClient(running, leaving)) as leader:
                leader.call("/v3/maintenance/transfer-leadership", {"targetID": voters[0]})
        client.call("/v3/cluster/member/remove", {"ID": mine["ID"]})

    _through_any(replace(running, nodes=_without(running, leaving)), remove, log_in=True)


_RECOVER_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_FORCE = b"force-new-cluster: true\n"


def choose(fallen: Fallen, wish: str) -> Choice | None:
    """Of those that run and know no leader, the one with the most entries; all that only the others had is lost.

    Where none runs, or a majority does, there is nothing to choose: they find each other, if they are let.
    """
    found, _ = statuses(fallen.running)
    if not 0 < len(found) < fallen.running.group.majority or any(_leader(status) for status in found.values()):
        return None
    reach = {name: int(status.get("raftIndex", 0)) for name, status in found.items()}
    best = max(sorted(reach), key=lambda name: reach[name])
    chosen = wish or best
    if chosen not in reach:
        raise ClientError(f"{chosen} does not answer; {all_of(reach)} {'do' if len(reach) > 1 else 'does'}")
    silent = [member.name for member in fallen.running.members if member.name not in found]
    what = f"what only {all_of(silent)} had"
    if reach[chosen] < reach[best]:
        what += f", and the entries {reach[chosen] + 1} to {reach[best]}, which {best} has"
    return Choice(chosen, f"it has entry {reach[chosen]}, and knows no leader", what)


def begin(fallen: Fallen, name: str) -> None:
    """Makes a cluster of this member alone, with its data; it is started once with force-new-cluster.

    All others must be down by then, or they would go on as another cluster. Source: etcd 3.4, "Disaster recovery", and
    the flag's own text; the flag is taken away again, since a member that has it forgets the others at each start.
    """
    for node in fallen.nodes.values():
        node.stop()
    chosen = fallen.nodes[name]
    config = chosen.read(CONFIG)
    member = next(member for member in fallen.running.members if member.name == name)
    alone = replace(fallen.running, nodes={name: chosen})
    chosen.put([File(CONFIG, config + _FORCE)])
    try:
        chosen.start()
        _wait_for_lead(alone, member)
        chosen.stop()
    finally:
        chosen.put([File(CONFIG, config)])
    chosen.start()
    _wait_for_lead(alone, member)


def _wait_for_lead(running: Running, member: Member) -> None:
    deadline = Deadline(_RECOVER_SECONDS)
    while not deadline.is_over:
        found, _ = statuses(running)
        if member.name in found and _leader(found[member.name]):
            return
        SYSTEM.sleep(_LOOK_SECONDS)
    raise ClientError(f"{member.name} did not lead within {_RECOVER_SECONDS:g} s; its log says why")


def _without(running: Running, member: Member) -> Mapping[str, Node]:
    return {name: node for name, node in running.nodes.items() if name != member.name}


_SWITCH_AUTH_ON = """set -e
etcdctl endpoint health
login=$ETCDCTL_USER
unset ETCDCTL_USER
if etcdctl user list; then
    etcdctl user delete root >/dev/null 2>&1 || true
    etcdctl user add "$login"
    etcdctl role add root >/dev/null 2>&1 || true
    etcdctl user grant-role root root
    etcdctl auth enable
    echo changed
fi"""
"""With authentication on, nobody without a name may list users. What an interrupted run left is made anew."""


def _setup(group: Group) -> tuple[str, ...]:
    if not group.options.password:
        return ()
    return ("env", f"ETCDCTL_ENDPOINTS={group.at('client')}", "sh", "-c", _SWITCH_AUTH_ON)


def _through_any(running: Running, do: Callable[[EtcdClient], T], *, log_in: bool = False) -> T:
    """Through the first member that knows a leader; one that knows none would keep us waiting.

    Raises: the trouble of the last one.
    """
    trouble: Exception = NodeUnreachable("no node runs")
    for member in running.up:
        try:
            with closing(EtcdClient(running, member, password=None if log_in else "")) as client:
                status = client.status()
                if not _leader(status) or status.get("isLearner"):
                    raise ClientError("it knows no leader, or has no vote")
                return do(client)
        except UNREACHABLE as error:
            trouble = error
    raise trouble


def _leader(status: Mapping[str, Any]) -> str:
    """The leader's id, "" where none is known: proto3 leaves out a 0 in JSON, and the gateway of 3.4 writes "0"."""
    leader = str(status.get("leader", "0"))
    return "" if leader == "0" else leader


def _password(group: Group) -> str:
    return group.secrets["password"] if group.options.password else ""


_BROKEN_DISK = frozenset({"disk", "power"})

NEVER = (
    Never(r"^panic: |\bgoroutine \d+ \[running\]", "etcd panicked", _BROKEN_DISK),
    Never(r'"level":"(panic|fatal)"|\[FATAL\]| C \| ', "etcd gave up", _BROKEN_DISK),
    Never(r"found (hash|data) inconsistency|data[- ]inconsistency", "the members' data differs"),
    Never(r"crc mismatch|checksum mismatch|file corrupt|is corrupted|wal: .*corrupt", "data is damaged", _BROKEN_DISK),
)
"""Source: etcd 3.4, server/wal/wal.go, etcdserver/corrupt.go, and what zap prints at its two worst levels."""


class EtcdWorkload(WorkloadOptions):
    """What a workload on etcd may say beside what all workloads say."""

    reads: Literal["linearizable", "serializable"] = "linearizable"
    """serializable: what the member itself has, which may be old. etcd promises less then; the verdict does not."""


COMPONENT = Component(
    kind="etcd",
    version="3.4",
    summary="a key-value store that a majority agrees on (Raft); leader and followers",
    options=EtcdOptions,
    ports={"client": Port(2379), "peer": Port(2380, publish=False)},
    files={CONFIG: Template("etcd/etcd.yml.j2")},
    command=("etcd", "--config-file", CONFIG),
    data=DATA,
    user="etcd",
    environment={
        # So that `clusterkit exec registry-1 etcdctl get KEY` needs no more words.
        "ETCDCTL_API": "3",
        "ETCDCTL_USER": "{{ 'root:' ~ component.secrets.password if component.options.password else '' }}",
    },
    secrets=("password",),
    exports={
        "urls": lambda group: ",".join(f"http://{member.at('client')}" for member in group.members),
        "user": lambda group: USER if group.options.password else "",
        "password": _password,
    },
    bootstrap=Bootstrap(is_needed=_has_other_auth, run=_switch_auth),
    ready=(is_healthy, has_one_leader, written_and_read),
    probe=lambda _group, member: ("etcdctl", "--endpoints", f"http://{member.at('client')}", "endpoint", "health"),
    setup=_setup,
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.etcd_checks",
    client="clusterkit.components.etcd_client:EtcdClient",
    drivers=dict.fromkeys(KINDS, "clusterkit.components.etcd_driver:EtcdDriver"),
    workload=EtcdWorkload,
    claims=Claims(linearizable=True, durable=True, converges=True),
    needs_quorum=True,
    membership=Membership(admit=admit, settle=settle, release=release, counts=counted),
    recovery=Recovery(choose, begin, joins=True),
    replicas="odd",
    never=NEVER,
    log=LogFormat(words={"panic": "critical", "dpanic": "critical", "fatal": "critical"}),
)
