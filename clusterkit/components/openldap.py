"""L3. OpenLDAP: a directory whose servers all take writes alone, and converge later; the last writer wins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from clusterkit.client import ClientError
from clusterkit.clock import Deadline
from clusterkit.components.base import (
    Claims,
    Component,
    Finding,
    Group,
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
from clusterkit.components.conditions import all_of, ask_each, listening, replicated
from clusterkit.components.openldap_client import LdapConnection, connect
from clusterkit.units import Duration, Size

HOME = "/etc/clusterkit-openldap"
CONFIG = f"{HOME}/slapd.conf"
BASE = f"{HOME}/base.ldif"
START = f"{HOME}/start.sh"
LDAP_CONF = "/etc/ldap/ldap.conf"
DATA = "/var/lib/openldap"

_SUFFIX = re.compile(r"dc=[a-z0-9][a-z0-9-]*(,dc=[a-z0-9][a-z0-9-]*)*")
_DIRECTIVE = re.compile(r"[A-Za-z][A-Za-z-]*")
_OURS = (
    "access", "backend", "database", "include", "moduleload", "modulepath", "overlay", "serverid", "syncrepl",
    "threads",
)  # fmt: skip
_LEAST_SIZE = Size(16 * 2**20)


class OpenLdapOptions(Options):
    """Options of openldap."""

    production: bool = False
    """Settings as for a server of its own, not for a laptop with three of everything."""

    suffix: str = "dc=clusterkit"
    """The name of the directory's root, as dc=example,dc=org. It cannot change while there is data."""

    max_size: Size | None = None
    """The most that the data may take; 128MB if not given, 1GB with `production`."""

    retry: Duration = Duration(1)
    """How long a server waits until it tries again to reach one that it follows; whole seconds."""

    log: Literal["none", "stats", "sync"] = "none"
    """What is logged beside what matters: nothing, each operation of clients, each step of replication."""

    settings: dict[str, str | int] = Field(default_factory=dict)
    """Further lines of slapd.conf's global part, as {idletimeout: 60}."""

    @property
    def workers(self) -> int:
        return 16 if self.production else 4

    @property
    def files(self) -> int:
        """The most it may open, connections too."""
        return 8192 if self.production else 1024

    @property
    def most_bytes(self) -> int:
        return (self.max_size or Size((1024 if self.production else 128) * 2**20)).bytes

    @property
    def domain(self) -> str:
        """example of dc=example,dc=org."""
        return self.suffix.partition(",")[0].removeprefix("dc=")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if not _SUFFIX.fullmatch(self.suffix):
            raise ValueError(f'suffix is "{self.suffix}"; it must be as dc=example,dc=org, in small letters')
        if self.retry.seconds < 1 or self.retry.seconds % 1:
            raise ValueError(f"retry is {self.retry}; it must be whole seconds, 1s or more")
        if self.most_bytes < _LEAST_SIZE.bytes:
            raise ValueError(f"max_size is {self.max_size}; it must be {_LEAST_SIZE} or more")
        for key in self.settings:
            if not _DIRECTIVE.fullmatch(key):
                raise ValueError(f'settings: "{key}" is no directive of slapd.conf')
            if key.lower() in _OURS:
                raise ValueError(f'settings: "{key}" is set by clusterkit and cannot be changed')
        return self


@dataclass(frozen=True)
class Seen:
    """What a server says of itself.

    reach    the index of a server -> the last write of that one which it has, as a CSN: text that sorts by time
    follows  the address of a server that it follows -> whether it is connected, and past its first refresh
    """

    reach: Mapping[int, str]
    follows: Mapping[str, bool]


def look(running: Running) -> tuple[dict[str, Seen], dict[str, str]]:
    """What each server says, by member name; and why it says nothing."""
    return ask_each(running.up, lambda member: _look_at(running, member))


def _look_at(running: Running, member: Member) -> Seen:
    deadline, password = Deadline(running.timeout), running.group.secrets["password"]
    with closing(connect(running, member)) as data:
        root = data.search(running.group.options.suffix, ["contextCSN"], deadline)
    monitor = LdapConnection(*running.dial(member, "client"), deadline.left, "cn=admin,cn=monitor", password)
    with closing(monitor):
        names = ["olmSRProviderURIList", "olmSRConnection", "olmSRSyncPhase"]
        below = ("objectClass", "olmSyncReplInstance")
        consumers = monitor.search(_OF_DATA, names, deadline, below=below)
    return Seen(
        {int(csn.split("#")[2], 16): csn for csn in root[0].attributes.get("contextCSN", ())},
        {
            one.first("olmSRProviderURIList").removeprefix("ldap://"): bool(one.first("olmSRConnection"))
            and one.first("olmSRSyncPhase") == "Persist"
            for one in consumers
        },
    )


_OF_DATA = "cn=Database 2,cn=Databases,cn=Monitor"
"""The databases of slapd.conf count from 1, the monitor is the first."""


def follow_each_other(running: Running) -> Unready:
    """Every server follows every other one that runs."""
    seen, unready = look(running)
    for name, said in seen.items():
        missing = [
            other.name for other in running.up if other.name != name and not said.follows.get(other.at("client"), False)
        ]
        if missing:
            unready[name] = f"it does not follow {all_of(missing)}"
    return unready


def behind(running: Running, seen: Mapping[str, Seen], name: str) -> dict[str, float]:
    """Whose writes this server lacks: the writer's name -> seconds from the last it has to the last that anyone has.

    By the writer's own clock; a server that nobody has a write of is no one to be behind.
    """
    names = {member.index: member.name for member in running.members}
    found = {}
    for index, writer in names.items():
        newest = max((one.reach.get(index, "") for one in seen.values()), default="")
        own = seen[name].reach.get(index, "")
        if newest > own:
            found[writer] = _time(newest) - _time(own) if own else 0.0
    return found


def _time(csn: str) -> float:
    """Seconds since 1970 of 20261124125049.157727Z#000000#001#000000."""
    return datetime.strptime(csn.partition("#")[0], "%Y%m%d%H%M%S.%fZ").replace(tzinfo=UTC).timestamp()


def read_roles(running: Running) -> Mapping[str, tuple[Role, ...]]:
    """provider, all alike: how many others it follows, and whose writes it lacks."""
    seen, _ = look(running)
    roles = {}
    for name, said in seen.items():
        follows = f"follows {sum(said.follows.values())} of {len(said.follows)}"
        late = behind(running, seen, name)
        lacks = f", lacks writes of {all_of(late)}" if late else ", has all writes"
        roles[name] = (Role("provider", follows + lacks),)
    return roles


def examine(running: Running) -> Iterator[Finding]:
    """Who answers, who follows whom, and who lacks whose writes."""
    seen, troubles = look(running)
    for name, trouble in troubles.items():
        yield Finding(f"does not say its state: {trouble}", is_ok=False, node=name)
    yield Finding(f"servers: {len(seen)} of {len(running.members)} answer", is_ok=len(seen) == len(running.members))
    addresses = {member.at("client"): member.name for member in running.members}
    for name, said in seen.items():
        lost = [addresses.get(address, address) for address, is_linked in said.follows.items() if not is_linked]
        text = f"replication: it does not follow {all_of(lost)}" if lost else "replication: it follows all others"
        yield Finding(text, is_ok=not lost, node=name)
        for writer, seconds in behind(running, seen, name).items():
            yield Finding(f"replication: {seconds:.1f} s behind the writes of {writer}", is_ok=not lost, node=name)


def release(running: Running, leaving: Member) -> None:
    """Its last write has to be with another server before it goes."""
    seen, _ = look(running)
    if leaving.name not in seen:
        return
    own = seen[leaving.name].reach.get(leaving.index, "")
    others = [one.reach.get(leaving.index, "") for name, one in seen.items() if name != leaving.name]
    if others and max(others) < own:
        raise ClientError(f"nobody else has the last writes of {leaving.name} yet")


_BROKEN_DISK = frozenset({"disk", "power"})

NEVER = (
    Never(r"Assertion .* failed", "the server crashed", _BROKEN_DISK),
    Never(r"MDB_CORRUPTED|MDB_PAGE_NOTFOUND|MDB_PANIC|MDB_INVALID", "data is damaged", _BROKEN_DISK),
)
"""Source: glibc, assert/assert.c; LMDB 0.9, mdb.c (mdb_errstr)."""


class OpenLdapWorkload(WorkloadOptions):
    """What a workload on openldap may say beside what all workloads say."""

    elements: Literal["entries", "values"] = "entries"
    """What the elements of a set are. values: of one entry; an entry is replicated as a whole, so that of two that
    were changed apart the later one wins, and the other's elements are lost."""


def _urls(group: Group) -> str:
    return " ".join(f"ldap://{member.at('client')}" for member in group.members)


COMPONENT = Component(
    kind="openldap",
    version="2.5",
    summary="OpenLDAP: a directory; each server takes writes alone, they converge, and the last writer wins",
    options=OpenLdapOptions,
    ports={"client": Port(1389)},
    files={
        CONFIG: Template("openldap/slapd.conf.j2", mode=0o640, owner="openldap"),
        BASE: Template("openldap/base.ldif.j2", mode=0o640, owner="openldap"),
        START: Template("openldap/start.sh.j2", mode=0o755),
        LDAP_CONF: Template("openldap/ldap.conf.j2"),
    },
    command=(START,),
    data=DATA,
    user="openldap",
    secrets=("password",),
    exports={
        "base": lambda group: group.options.suffix,
        "user": lambda group: f"cn=admin,{group.options.suffix}",
        "password": lambda group: group.secrets["password"],
        "urls": _urls,
    },
    ready=(listening("client"), follow_each_other, replicated),
    probe=lambda _group, _member: ("ldapsearch", "-x", "-LLL", "-s", "base", "dn"),
    roles=read_roles,
    health=examine,
    checks="clusterkit.components.openldap_checks",
    client="clusterkit.components.openldap_client:OpenLdapClient",
    drivers=dict.fromkeys(
        ("register", "set", "counter", "bank"), "clusterkit.components.openldap_driver:OpenLdapDriver"
    ),
    workload=OpenLdapWorkload,
    claims=Claims(
        durable=True,
        converges=True,
        weaknesses=(
            "an entry is replicated as a whole: of two changes of one entry that were made on servers apart, the later "
            "one by their clocks stays, and the other is lost, though it was acknowledged (seen here; OpenLDAP "
            "Administrator's Guide: it breaks the consistency guarantees of the directory model)",
            "where clocks differ, a server may keep a change that the others take for an old one, until that entry is "
            "written again (seen here; OpenLDAP FAQ: it needs clocks that are in step)",
        ),
    ),
    membership=Membership(release=release),
    never=NEVER,
)
