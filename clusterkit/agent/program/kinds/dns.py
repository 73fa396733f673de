"""L5. Names that are answered wrongly, late or not at all: a name server of ours in the node's network namespace.

What the node's resolver file names is redirected to it, UDP and TCP, before any rule of the engine's own. The
addresses to be redirected expire by themselves in the kernel: where the agent dies and never comes back, so does the
fault. Names in the node's /etc/hosts are never asked for, and so not hit; nor are resolvers reached by IPv6.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import names, nft, nodes
from ..entry import Entry
from ..kind import Kind, Refused
from ..names import NameServer, Rule

_TABLE = "clusterkit_dns"
_GONE = f"add table ip {_TABLE}\ndelete table ip {_TABLE}"
_EXPIRES = "3s"
_LONGEST = 65535


@dataclass
class _Place:
    """Where a server stands: `network` is the inode of the namespace, another one after each start of the node."""

    network: int
    server: NameServer


class Dns(Kind):
    """`args`: `nodes`, `names` (globs; none is every name), `how` as names.Rule has it, `delay_s`, `address`.

    Of several faults on a node, the newest that hits a name decides.
    """

    name = "dns"

    def __init__(self, box: Any) -> None:
        super().__init__(box)
        self._places: dict[str, _Place] = {}

    def trial(self) -> str:
        """In the agent's own network namespace, with nobody redirected."""
        try:
            nft.run(_table(9, 9))
        finally:
            nft.run(_GONE)
        return ""

    def look(self, entry: Entry) -> dict[str, Any]:
        for node in entry.args["nodes"]:
            pid = nodes.init(node["id"])
            if pid is None:
                raise Refused(f"{node['name']} does not run: it asks for no names", f"clusterkit start {node['name']}")
            if not _resolvers(pid):
                raise Refused(f"{node['name']}: its /etc/resolv.conf names no IPv4 resolver: no name can be answered")
        return {}

    def make(self, entry: Entry) -> None:
        self._set(entry)

    def keep(self, entry: Entry) -> None:
        self._set(entry)

    def undo(self, entry: Entry) -> None:
        self._set(entry)

    def sweep(self) -> None:
        """Tables in the networks of nodes that have no such fault any more."""
        wanted = {node["id"] for entry in self.box.entries(self.name) for node in entry.args["nodes"]}
        seen = {_network(os.getpid())} | {_network(pid) for one in wanted if (pid := nodes.init(one)) is not None}
        for pid in nodes.pids():
            with contextlib.suppress(OSError):  # it ended while we looked
                network = _network(pid)
                if network not in seen:
                    seen.add(network)
                    if f"table ip {_TABLE}" in nft.run_in(pid, "list tables ip"):
                        nft.run_in(pid, _GONE)

    def _set(self, entry: Entry) -> None:
        """Makes the entry's nodes as all entries in force say. A node that does not run has nothing."""
        for node in entry.args["nodes"]:
            identity = node["id"]
            rules = self._rules(identity)
            pid = nodes.init(identity)
            try:
                if pid is not None and rules:
                    self._serve(identity, pid, rules)
                else:
                    self._end(identity, pid)
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                self._end(identity, None)

    def _rules(self, identity: str) -> tuple[Rule, ...]:
        return tuple(
            Rule(tuple(entry.args["names"]), entry.args["how"], entry.args["delay_s"], entry.args["address"])
            for entry in reversed(self.box.entries(self.name))
            if identity in (node["id"] for node in entry.args["nodes"])
        )

    def _serve(self, identity: str, pid: int, rules: tuple[Rule, ...]) -> None:
        place = self._places.get(identity)
        if place is None or place.network != _network(pid):
            if place is not None:
                self._end(identity, None)
            server = nodes.in_network(pid, NameServer)
            place = self._places[identity] = _Place(_network(pid), server)
            try:
                nft.run_in(pid, _table(server.udp_port, server.tcp_port))
            except BaseException:
                self._end(identity, None)
                raise
        place.server.rules = rules
        place.server.resolvers = tuple(_resolvers(pid))  # a node that is being started gets its own file a moment later
        if place.server.resolvers:
            elements = ", ".join(place.server.resolvers)
            timed = ", ".join(f"{address} timeout {_EXPIRES}" for address in place.server.resolvers)
            add = f"add element ip {_TABLE} resolvers {{ {timed} }}\n"
            nft.run_in(pid, f"{add}delete element ip {_TABLE} resolvers {{ {elements} }}\n{add}")

    def _end(self, identity: str, pid: int | None) -> None:
        """Rules before the server: nobody is sent to where nobody listens."""
        if pid is not None:
            nft.run_in(pid, _GONE)
        place = self._places.pop(identity, None)
        if place is not None:
            place.server.close()


def _table(udp_port: int, tcp_port: int) -> str:
    return f"""
add table ip {_TABLE}
add set ip {_TABLE} resolvers {{ type ipv4_addr; flags timeout; }}
add chain ip {_TABLE} output {{ type nat hook output priority -150; policy accept; }}
flush chain ip {_TABLE} output
add rule ip {_TABLE} output meta mark {names.MARK} return
add rule ip {_TABLE} output ip daddr @resolvers udp dport {names.PORT} redirect to :{udp_port}
add rule ip {_TABLE} output ip daddr @resolvers tcp dport {names.PORT} redirect to :{tcp_port}
"""


def _resolvers(pid: int) -> list[str]:
    try:
        return names.resolvers((nodes.root(pid) / "etc/resolv.conf").read_text())
    except OSError:
        return []


def _network(pid: int) -> int:
    """Which network namespace a process is in."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def lookups(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Asks from each of `asks`, [node, name], for the name's IPv4 address: from the node's network, the first address
    in its resolver file; each over UDP and over TCP, and each once more past all faults.

    `wait_s` is how long an answer may take. Gives for each four mappings, `udp`, `tcp`, `true_udp` and `true_tcp`, of
    `said` ("address", "nothing", "NXDOMAIN", "SERVFAIL", "refusal", "silence"), `addresses` and `took_ms`; and
    `trouble` ("" unless it could not be tried).
    """
    found: list[dict[str, Any]] = []
    pending: dict[socket.socket, tuple[dict[str, Any], bytes, float, bool]] = {}
    with contextlib.ExitStack() as stack:
        for node, name in args["asks"]:
            one: dict[str, Any] = {"trouble": ""}
            found.append(one)
            for way in ("udp", "tcp", "true_udp", "true_tcp"):
                one[way] = {"said": "silence", "addresses": [], "took_ms": float(args["wait_s"]) * 1000}
                try:
                    made, resolver = _socket(node["id"], way)
                except OSError as error:
                    one["trouble"] = f"it cannot be tried: {error.strerror or error}"
                    break
                stack.enter_context(made)
                made.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    made.connect((resolver, names.PORT))
                pending[made] = one[way], names.query(len(pending) + 1, name), time.monotonic(), way.endswith("tcp")
        _exchange(pending, time.monotonic() + float(args["wait_s"]))
    return found


def _exchange(pending: dict[socket.socket, tuple[dict[str, Any], bytes, float, bool]], until: float) -> None:
    unsent = set(pending)
    while pending and time.monotonic() < until:
        ready, free, _ = select.select(list(pending), list(unsent), [], max(0.0, until - time.monotonic()))
        for made in free:
            unsent.discard(made)
            _, message, _, is_tcp = pending[made]
            with contextlib.suppress(OSError):  # refused: no answer will come
                made.send(struct.pack(">H", len(message)) + message if is_tcp else message)
        for made in ready:
            one, _, begun, is_tcp = pending[made]
            try:
                said = made.recv(_LONGEST)[2 if is_tcp else 0 :]
                one |= {"said": _said(said), "addresses": names.addresses(said)}
            except (OSError, ValueError):
                one["said"] = "refusal"
            one["took_ms"] = (time.monotonic() - begun) * 1000
            unsent.discard(made)
            del pending[made]


def _said(message: bytes) -> str:
    code = names.code(message)
    if code == names.NO_ERROR:
        return "address" if names.addresses(message) else "nothing"
    return {names.NO_SUCH_NAME: "NXDOMAIN", names.SERVER_FAILED: "SERVFAIL"}.get(code, f"code {code}")


def _socket(identity: str, way: str) -> tuple[socket.socket, str]:
    """Opened in the node's network, and the resolver to connect it to."""
    pid = nodes.init(identity)
    if pid is None:
        raise OSError(errno.ESRCH, "the node does not run")
    found = _resolvers(pid)
    if not found:
        raise OSError(errno.ENOENT, "it names no resolver")
    kind = socket.SOCK_STREAM if way.endswith("tcp") else socket.SOCK_DGRAM

    def opened() -> socket.socket:
        return names.marked(kind) if way.startswith("true") else socket.socket(socket.AF_INET, kind)

    return nodes.in_network(pid, opened), found[0]


KINDS = (Dns,)
CALLS = {"lookups": lookups}
