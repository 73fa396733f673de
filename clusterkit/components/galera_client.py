"""L3. A client of one node of Galera: PyMySQL on a socket that ends every call in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clusterkit.client import ClientError, NotSent
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.streams import connect_by

USER = "clusterkit"
DATABASE = "clusterkit"

_LOST = range(2000, 3000)
"""Numbers of errors that the client library makes itself, of a connection. Source: MySQL's errmsg.h."""


class SqlError(ClientError):
    """What the server answered: its own words, and the number of the error."""

    def __init__(self, number: int, said: str) -> None:
        super().__init__(f"{number}: {said}")
        self.number = number


class GaleraConnection:
    """One connection, logged in. Each statement is a transaction of its own, unless one is begun.

    `timeout` bounds each `ask` as a whole, in seconds, and connecting. Raises: NotSent while connecting, later
    ConnectionError or TimeoutError (the connection is of no use then) and SqlError with the server's answer.
    """

    def __init__(self, host: str, port: int, timeout: float, password: str) -> None:
        self.timeout = timeout
        deadline = Deadline(timeout)
        try:
            self._socket = connect_by(deadline, host, port)
        except OSError as error:
            raise NotSent(f"no connection: {error}") from error
        self._connection: Any = _library().Connection(
            user=USER, password=password, database=DATABASE, autocommit=None, defer_connect=True, charset="utf8mb4"
        )
        try:
            self._guarded(lambda: self._connection.connect(self._socket))
        except (OSError, ClientError) as error:
            self.close()
            raise NotSent(f"no log-in: {error}") from error

    def ask(
        self, statement: str, values: Sequence[object] = (), deadline: Deadline | None = None
    ) -> tuple[tuple[tuple[Any, ...], ...], int, int]:
        """Rows, how many rows a write met, and the id that an insert made (0: none)."""
        self._socket.deadline = deadline or Deadline(self.timeout)

        def run() -> tuple[tuple[tuple[Any, ...], ...], int, int]:
            with self._connection.cursor() as cursor:
                met = cursor.execute(statement, tuple(values) or None)
                return tuple(cursor.fetchall()), met, cursor.lastrowid or 0

        result: tuple[tuple[tuple[Any, ...], ...], int, int] = self._guarded(run)
        return result

    def close(self) -> None:
        """Without a good-bye: a node that does not answer must not keep us. The server rolls back what was open."""
        self._connection._force_close()
        self._socket.close()

    @staticmethod
    def _guarded(do: Any) -> Any:
        from pymysql import err

        try:
            return do()
        except err.InterfaceError as error:
            raise ConnectionError("the connection was closed") from error
        except err.MySQLError as error:
            number, said = (*error.args, "", "")[:2]
            if not isinstance(number, int) or number in _LOST:
                raise ConnectionError(str(said or number)) from error
            raise SqlError(number, str(said)) from error


def _library() -> Any:
    from pymysql import connections

    return connections


def connect(running: Running, member: Member) -> GaleraConnection:
    """Raises: NotSent."""
    return GaleraConnection(*running.dial(member, "client"), running.timeout, running.group.secrets["password"])


def status(running: Running, member: Member) -> Mapping[str, str]:
    """What the node says of itself and of its cluster: name without "wsrep_" -> value. Raises: OSError, ClientError."""
    connection = connect(running, member)
    try:
        rows, _, _ = connection.ask("SHOW GLOBAL STATUS LIKE 'wsrep_%'")
    finally:
        connection.close()
    return {name.removeprefix("wsrep_"): str(value) for name, value in rows}


class GaleraClient:
    """Texts by key. A read waits until this node has all that was acknowledged anywhere before (wsrep_sync_wait)."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection = connect(running, member)
        try:
            self._connection.ask("SET SESSION wsrep_sync_wait = 1")
        except (OSError, ClientError):
            self.close()
            raise

    def write(self, key: str, value: str) -> None:
        self._connection.ask("REPLACE INTO texts (name, value) VALUES (%s, %s)", (key, value))

    def read(self, key: str) -> str | None:
        rows, _, _ = self._connection.ask("SELECT value FROM texts WHERE name = %s", (key,))
        return str(rows[0][0]) if rows else None

    def delete(self, key: str) -> None:
        self._connection.ask("DELETE FROM texts WHERE name = %s", (key,))

    def close(self) -> None:
        self._connection.close()
