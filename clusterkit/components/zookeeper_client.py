"""L3. A client of one ZooKeeper server: its binary protocol over a socket, one session for each connection.

Source: zookeeper.jute of ZooKeeper 3.8, and ClientCnxn for how a session begins.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clusterkit.client import ClientError
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.streams import Stream, connect_by

SESSION_MS = 4000
"""What a session is asked for; it ends with the connection, whose loss nobody mends."""

CREATE, DELETE, GET_DATA, SET_DATA, GET_CHILDREN, SYNC, CHECK, MULTI, CLOSE = 1, 2, 4, 5, 8, 9, 13, 14, -11
SEQUENTIAL = 2
ANY_VERSION = -1
ROOT = "/clusterkit"
_GOODBYE_S = 0.2

_OPEN_ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\5world\0\0\0\6anyone"
_STAT = struct.Struct(">qqqqiiiqiiq")
_EVENT = -1


class ZooKeeperError(ClientError):
    """What the server answered: the error's number and its name."""

    def __init__(self, number: int, path: str = "") -> None:
        name = ERRORS.get(number, f"error {number}")
        super().__init__(f"{name}: {path}" if path else name)
        self.number = number


NO_NODE, BAD_VERSION, NODE_EXISTS = -101, -103, -110
ERRORS = {
    -1: "SystemError",
    -2: "RuntimeInconsistency",
    -4: "ConnectionLoss",
    -5: "MarshallingError",
    -6: "Unimplemented",
    -7: "OperationTimeout",
    -8: "BadArguments",
    -101: "NoNode",
    -102: "NoAuth",
    -103: "BadVersion",
    -108: "NoChildrenForEphemerals",
    -110: "NodeExists",
    -111: "NotEmpty",
    -112: "SessionExpired",
    -118: "SessionMoved",
    -119: "NotReadOnly",
    -125: "QuotaExceeded",
    -127: "ThrottledOp",
}
"""Source: KeeperException.Code of ZooKeeper 3.8."""


@dataclass(frozen=True)
class Stat:
    """`version` of the data; `czxid`, `mzxid`: the transactions that made the node, and that changed it last."""

    czxid: int
    mzxid: int
    version: int


@dataclass(frozen=True)
class Op:
    """One request, or one part of a transaction: its type, the path it is about, and its fields as they are sent."""

    type: int
    path: str
    content: bytes


def create(path: str, data: str = "", *, is_sequential: bool = False) -> Op:
    content = _text(path) + _text(data) + _OPEN_ACL + struct.pack(">i", SEQUENTIAL if is_sequential else 0)
    return Op(CREATE, path, content)


def set_data(path: str, data: str, version: int = ANY_VERSION) -> Op:
    return Op(SET_DATA, path, _text(path) + _text(data) + struct.pack(">i", version))


def delete(path: str, version: int = ANY_VERSION) -> Op:
    return Op(DELETE, path, _text(path) + struct.pack(">i", version))


class ZooKeeperConnection:
    """One connection and its session. Not for use from several threads at once.

    Every call ends within `timeout` seconds, or by the deadline that it is given. Raises: OSError (also when the server
    closes the connection, as one does that has lost its quorum), ZooKeeperError.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._timeout = timeout
        self._xid = 0
        deadline = Deadline(timeout)
        self._stream = Stream(host, port, deadline)
        try:
            self._send(struct.pack(">iqiqi16s?", 0, 0, SESSION_MS, 0, 16, bytes(16), False), deadline)
            granted = struct.unpack_from(">ii", self._frame(deadline))[1]
            if granted <= 0:
                raise ZooKeeperError(-112)
        except (OSError, ClientError):
            self._stream.close()
            raise

    def get(self, path: str, deadline: Deadline | None = None) -> tuple[str, Stat]:
        """Data and version, as this server has them."""
        said = self._call(Op(GET_DATA, path, _text(path) + b"\0"), deadline)
        data, place = _text_at(said, 0)
        return data, _stat_at(said, place)

    def children(self, path: str, deadline: Deadline | None = None) -> list[str]:
        """Names, in no order, as this server has them."""
        said = self._call(Op(GET_CHILDREN, path, _text(path) + b"\0"), deadline)
        (count,), place, found = struct.unpack_from(">i", said), 4, []
        for _ in range(count):
            name, place = _text_at(said, place)
            found.append(name)
        return found

    def sync(self, path: str, deadline: Deadline | None = None) -> None:
        """What the leader has when it is asked is there when this returns. The leader asks nobody."""
        self._call(Op(SYNC, path, _text(path)), deadline)

    def create(
        self, path: str, data: str = "", *, is_sequential: bool = False, deadline: Deadline | None = None
    ) -> str:
        """The path, with its number where it is sequential. A majority has it then."""
        return _text_at(self._call(create(path, data, is_sequential=is_sequential), deadline), 0)[0]

    def set(self, path: str, data: str, version: int = ANY_VERSION, deadline: Deadline | None = None) -> Stat:
        return _stat_at(self._call(set_data(path, data, version), deadline), 0)

    def delete(self, path: str, version: int = ANY_VERSION, deadline: Deadline | None = None) -> None:
        self._call(delete(path, version), deadline)

    def multi(self, ops: Sequence[Op], deadline: Deadline | None = None) -> None:
        """All of them or none. Raises: ZooKeeperError of the first that could not be."""
        content = b"".join(struct.pack(">i?i", op.type, False, -1) + op.content for op in ops)
        said = self._call(Op(MULTI, ops[0].path, content + struct.pack(">i?i", -1, True, -1)), deadline)
        place = 0
        for op in ops:
            kind, _, error = struct.unpack_from(">i?i", said, place)
            place += 9
            if kind == -1:
                number = struct.unpack_from(">i", said, place)[0]
                place += 4
                if number not in (0, -2):  # -2: another one failed
                    raise ZooKeeperError(number or error, op.path)
            elif kind == CREATE:
                place = _text_at(said, place)[1]
            elif kind == SET_DATA:
                place += _STAT.size

    def close(self) -> None:
        """Ends the session, if the server can be told at once; else it ends by itself, and the server complains."""
        deadline = Deadline(min(_GOODBYE_S, self._timeout))
        try:
            self._send(struct.pack(">ii", self._xid + 1, CLOSE), deadline)
            self._frame(deadline)
        except OSError:
            pass
        finally:
            self._stream.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _call(self, op: Op, deadline: Deadline | None = None) -> bytes:
        deadline = deadline or Deadline(self._timeout)
        self._xid += 1
        self._send(struct.pack(">ii", self._xid, op.type) + op.content, deadline)
        while True:
            said = self._frame(deadline)
            xid, _zxid, error = struct.unpack_from(">iqi", said)
            if xid == _EVENT or xid < self._xid:  # the late answer to a call that was given up
                continue
            if error:
                raise ZooKeeperError(error, op.path)
            return said[16:]

    def _send(self, content: bytes, deadline: Deadline) -> None:
        self._stream.send(struct.pack(">i", len(content)) + content, deadline)

    def _frame(self, deadline: Deadline) -> bytes:
        length = struct.unpack(">i", self._stream.exactly(4, deadline))[0]
        return self._stream.exactly(length, deadline)


class ZooKeeperClient:
    """Pinned to one server; it passes writes on to the leader, and reads are synced first."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection, self._timeout = connect(running, member), running.timeout

    def write(self, key: str, value: str) -> None:
        put(self._connection, path_of("client", key), value, Deadline(self._timeout))

    def read(self, key: str) -> str | None:
        path, deadline = path_of("client", key), Deadline(self._timeout)
        self._connection.sync(path, deadline)
        try:
            return self._connection.get(path, deadline)[0]
        except ZooKeeperError as error:
            if error.number == NO_NODE:
                return None
            raise

    def delete(self, key: str) -> None:
        try:
            self._connection.delete(path_of("client", key))
        except ZooKeeperError as error:
            if error.number != NO_NODE:  # what is not there need not be removed
                raise

    def close(self) -> None:
        self._connection.close()


def connect(running: Running, member: Member) -> ZooKeeperConnection:
    """A connection to a member, and a session. Raises: OSError, ClientError."""
    return ZooKeeperConnection(*running.dial(member, "client"), running.timeout)


def path_of(kind: str, key: str) -> str:
    """A key is one znode: slashes, which would make a tree, are written as colons."""
    return f"{ROOT}/{kind}/{key.replace('/', ':')}"


def make_folder(connection: ZooKeeperConnection, path: str, deadline: Deadline | None = None) -> None:
    """A znode and those above it, where they are not yet."""
    parts = path.strip("/").split("/")
    for depth in range(len(parts)):
        try:
            connection.create("/" + "/".join(parts[: depth + 1]), deadline=deadline)
        except ZooKeeperError as error:
            if error.number != NODE_EXISTS:
                raise


def put(connection: ZooKeeperConnection, path: str, value: str, deadline: Deadline) -> None:
    """Sets the data, and makes the znode first where there is none. Somebody else may be quicker at either."""
    while True:
        try:
            connection.set(path, value, deadline=deadline)
        except ZooKeeperError as error:
            if error.number != NO_NODE:
                raise
        else:
            return
        make_folder(connection, path.rpartition("/")[0], deadline)
        try:
            connection.create(path, value, deadline=deadline)
        except ZooKeeperError as error:
            if error.number != NODE_EXISTS:
                raise
        else:
            return


def four_letters(host: str, port: int, word: str, timeout: float) -> str:
    """The answer to a four-letter word. Raises: OSError."""
    with connect_by(Deadline(timeout), host, port) as connection:
        connection.sendall(word.encode())
        return b"".join(iter(lambda: connection.recv(io.DEFAULT_BUFFER_SIZE), b"")).decode(errors="replace")


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">i", len(data)) + data


def _text_at(content: bytes, place: int) -> tuple[str, int]:
    """A text, and where it ends; -1 is the length of none."""
    length = max(0, struct.unpack_from(">i", content, place)[0])
    return content[place + 4 : place + 4 + length].decode(), place + 4 + length


def _stat_at(content: bytes, place: int) -> Stat:
    fields: tuple[Any, ...] = _STAT.unpack_from(content, place)
    return Stat(czxid=fields[0], mzxid=fields[1], version=fields[4])
