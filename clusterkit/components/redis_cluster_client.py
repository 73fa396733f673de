"""L3. A client of a Redis Cluster: begins at one node, and goes where that one sends it.

Source: the Redis Cluster specification, "Redirection and resharding".
"""

from __future__ import annotations

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.redis_client import RedisClient, Reply, RespConnection, connect

_MOST_TURNS = 5


class ClusterConnection:
    """Connections to those nodes that had to be asked. Not for use from several threads at once.

    Every command ends within the Running's timeout, with all of its redirections. Raises: OSError, NotSent where the
    node that has the key could not be reached, ClientError.
    `is_local`: what the first node itself has is read, also if it is a replica.
    """

    def __init__(self, running: Running, member: Member, *, is_local: bool = False) -> None:
        self._running, self._first = running, member
        self._there: dict[str, RespConnection] = {}
        self._known: dict[str, str] = {}
        connection = self._at(member.at("client"))
        if is_local:
            connection.ask("READONLY")

    def ask(self, *words: str | int) -> Reply:
        """The second word is the key, or the fourth of EVAL."""
        deadline = Deadline(self._running.timeout)
        key = str(words[3] if words[0] == "EVAL" else words[1])
        address, is_asking = self._known.get(key, self._first.at("client")), False
        for _ in range(_MOST_TURNS):
            connection = self._at(address)
            try:
                if is_asking:
                    connection.ask("ASKING", deadline=deadline)
                return connection.ask(*words, deadline=deadline)
            except ClientError as error:
                kind, *rest = str(error).split()
                if kind not in ("MOVED", "ASK") or len(rest) != 2:
                    raise
                address, is_asking = rest[1], kind == "ASK"
                if not is_asking:
                    self._known[key] = address
            except OSError:
                self._known.pop(key, None)
                raise
        raise Refused(f"sent on {_MOST_TURNS} times, the last time to {address}")

    def close(self) -> None:
        for connection in self._there.values():
            connection.close()

    def _at(self, address: str) -> RespConnection:
        """Raises: NotSent: nothing was asked of a node that cannot be reached."""
        if address not in self._there:
            member = next((one for one in self._running.members if one.at("client") == address), None)
            if member is None:
                raise NotSent(f"sent on to {address}, which is no node of ours")
            try:
                self._there[address] = connect(self._running, member)
            except (OSError, KeyError) as error:
                raise NotSent(f"{member.name} cannot be reached: {error}") from error
        return self._there[address]


class RedisClusterClient(RedisClient):
    """Begins at one member: what it has no slot for is asked of another one."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection = ClusterConnection(running, member)
