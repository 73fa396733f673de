"""L3. A client of one PostgreSQL server, by pg8000; every statement is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clusterkit.client import ClientError
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.streams import connect_by

USER = "postgres"
DATABASE = "postgres"
READ_ONLY = "25006"

_TABLES = """
SELECT pg_advisory_lock(90210);
CREATE SCHEMA IF NOT EXISTS clusterkit;
CREATE TABLE IF NOT EXISTS clusterkit.registers (key text PRIMARY KEY, value text);
CREATE TABLE IF NOT EXISTS clusterkit.elements (key text, value bigint);
CREATE INDEX IF NOT EXISTS elements_by_key ON clusterkit.elements (key);
CREATE TABLE IF NOT EXISTS clusterkit.accounts (key text, name text, balance bigint, PRIMARY KEY (key, name));
CREATE TABLE IF NOT EXISTS clusterkit.queue (id bigserial PRIMARY KEY, key text, value bigint);
CREATE SEQUENCE IF NOT EXISTS clusterkit.ids;
SELECT pg_advisory_unlock(90210);
"""
"""Two that make a table at the same time would fail, in spite of IF NOT EXISTS: so they wait for each other."""


class SqlError(ClientError):
    """What the server said: its SQLSTATE and its words."""

    def __init__(self, state: str, said: str) -> None:
        super().__init__(f"{said} ({state})")
        self.state = state


class PostgresConnection:
    """One session. Not for use from several threads at once.

    Every call ends within `timeout` seconds, or by its deadline; after a time-out the session is of no more use.
    Raises: OSError, SqlError.
    """

    def __init__(self, host: str, port: int, timeout: float, password: str) -> None:
        from pg8000.native import Connection

        self._timeout, deadline = timeout, Deadline(timeout)
        self._socket = connect_by(deadline, host, port)
        try:
            self._session = self._bounded(
                deadline,
                # Without False it loads all of this machine's certificates for each session, only to be told no.
                lambda: Connection(USER, password=password, database=DATABASE, sock=self._socket, ssl_context=False),
            )
        except (OSError, ClientError):
            self._socket.close()
            raise

    def run(self, sql: str, deadline: Deadline | None = None, **values: Any) -> list[list[Any]]:
        """Rows of a statement; values stand in it as `:name`. Outside of BEGIN and COMMIT it commits by itself.

        A commit whose wait for its replica was cancelled is no success, though the server calls it one, with a warning:
        it is committed there alone. Raises: ConnectionError for it too.
        """
        found = self._bounded(deadline or Deadline(self._timeout), lambda: self._session.run(sql, **values)) or []
        check_warnings(self._session.notices)
        return found

    def make_tables(self) -> None:
        """Those of a workload, where they are not there yet: on a replica they must have come already."""
        for statement in filter(None, map(str.strip, _TABLES.split(";"))):
            self.run(statement)

    def has_tables(self) -> bool:
        return self.run("SELECT to_regclass('clusterkit.ids') IS NOT NULL")[0][0] is True

    def close(self) -> None:
        """Says good-bye if that can be said at once."""
        from pg8000.exceptions import Error

        try:
            self._socket.deadline = Deadline(0.1)
            self._session.close()
        except (OSError, Error, ValueError):  # the server is gone; the socket is ours to close
            pass
        finally:
            self._socket.close()

    def _bounded(self, deadline: Deadline, do: Any) -> Any:
        from pg8000.exceptions import DatabaseError, Error

        if deadline.is_over:
            raise TimeoutError("timed out")
        self._socket.deadline = deadline
        try:
            return do()
        except DatabaseError as error:
            said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
            raise SqlError(str(said.get("C", "")), str(said.get("M", error))) from error
        except Error as error:  # the library's word for a connection that broke; what broke it is the cause
            if isinstance(error.__cause__, TimeoutError):
                raise TimeoutError("timed out") from error
            raise ConnectionError(f"{error}: {error.__cause__ or 'the connection was closed'}") from error


def check_warnings(notices: Iterable[Mapping[bytes, bytes]]) -> None:
    """Source: PostgreSQL 15, SyncRepWaitForLSN() in syncrep.c. `notices`: their fields as the protocol names them."""
    for notice in notices:
        said = notice.get(b"M", b"").decode(errors="replace")
        if "wait for synchronous replication" in said:
            raise ConnectionError(said)


class PostgresClient:
    """Pinned to one server: a replica refuses its writes, and serves what it has replayed so far."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection = connect(running, member)

    def write(self, key: str, value: str) -> None:
        if not self._connection.has_tables():
            self._connection.make_tables()
        self._connection.run(UPSERT, key=key, value=value)

    def read(self, key: str) -> str | None:
        if not self._connection.has_tables():
            return None
        rows = self._connection.run("SELECT value FROM clusterkit.registers WHERE key = :key", key=key)
        return rows[0][0] if rows else None

    def delete(self, key: str) -> None:
        self._connection.run("DELETE FROM clusterkit.registers WHERE key = :key", key=key)

    def close(self) -> None:
        self._connection.close()


UPSERT = """
INSERT INTO clusterkit.registers (key, value) VALUES (:key, :value)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""


def connect(running: Running, member: Member, port: str = "client", password: str | None = None) -> PostgresConnection:
    """A session with a member, as the superuser. Raises: OSError, ClientError."""
    secret = running.group.secrets["password"] if password is None else password
    return PostgresConnection(*running.dial(member, port), running.timeout, secret)
