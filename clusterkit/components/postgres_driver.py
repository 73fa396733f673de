"""L3. PostgreSQL under a workload: every kind of object, made of rows, by single statements or short transactions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.postgres_client import UPSERT, PostgresConnection, SqlError, connect

_REFUSED = (
    "0A", "22", "23", "25", "28", "3D", "3F", "40001", "40P01", "42", "53", "54", "55", "57014", "57P03", "57P04",
)  # fmt: skip
"""Classes and codes of SQLSTATE after which the transaction is rolled back: wrong statements, constraints, read-only
(25006), serialization failures and deadlocks, lack of resources, a server that starts or stops and takes nobody in. Not
among them: 57P01 and 57P02 (the server ends while it works: a commit may have happened), 08 and 40003.
Source: PostgreSQL 15, "Appendix A. PostgreSQL Error Codes"."""

_SERIALIZABLE = "BEGIN ISOLATION LEVEL SERIALIZABLE"


class PostgresDriver:
    """One client in one session. What is sent and gets no answer may have been committed."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        self._start(connect(running, member), running.timeout, purpose)

    def _start(self, connection: PostgresConnection, timeout: float, purpose: Purpose) -> None:
        self._connection, self._timeout, self._kind = connection, timeout, purpose.kind
        options = purpose.options
        self._begin = f"BEGIN ISOLATION LEVEL {options.isolation.upper()}" if options is not None else _SERIALIZABLE
        self._deadline = Deadline(timeout)
        try:
            if not connection.has_tables() and not purpose.is_local:
                connection.make_tables()
        except (OSError, ClientError):
            self.close()
            raise

    def call(self, f: str, key: str, value: Any) -> Any:
        self._deadline = Deadline(self._timeout)
        do: Callable[[str, str, Any], Any] = getattr(self, f"_{self._kind}")
        try:
            return do(f, key, value)
        except SqlError as error:
            if error.state.startswith(_REFUSED):
                raise Refused(str(error)) from error
            raise

    def close(self) -> None:
        self._connection.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _register(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return self._value(key)
        if f == "write":
            self._run(UPSERT, key=key, value=json.dumps(value))
        elif value[0] is None:
            sql = (
                "INSERT INTO clusterkit.registers (key, value) VALUES (:key, :new) ON CONFLICT DO NOTHING RETURNING key"
            )
            self._or_unmet(self._run(sql, key=key, new=json.dumps(value[1])), value[0])
        else:
            sql = "UPDATE clusterkit.registers SET value = :new WHERE key = :key AND value = :old RETURNING key"
            self._or_unmet(self._run(sql, key=key, old=json.dumps(value[0]), new=json.dumps(value[1])), value[0])
        return None

    def _set(self, f: str, key: str, value: Any) -> Any:
        """Each element is a row; nothing keeps one from being there twice."""
        if f == "read":
            return [row[0] for row in self._run("SELECT value FROM clusterkit.elements WHERE key = :key", key=key)]
        if f == "add":
            self._run("INSERT INTO clusterkit.elements (key, value) VALUES (:key, :value)", key=key, value=value)
        else:
            self._run("DELETE FROM clusterkit.elements WHERE key = :key AND value = :value", key=key, value=value)
        return None

    def _counter(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return self._value(key) or 0
        sql = """INSERT INTO clusterkit.registers AS old (key, value) VALUES (:key, :value)
                 ON CONFLICT (key) DO UPDATE SET value = (old.value::bigint + excluded.value::bigint)::text"""
        self._run(sql, key=key, value=str(value))
        return None

    def _queue(self, f: str, key: str, value: Any) -> Any:
        """Each element is a row; whoever deletes the oldest one that nobody else holds has it."""
        if f == "enqueue":
            self._run("INSERT INTO clusterkit.queue (key, value) VALUES (:key, :value)", key=key, value=value)
            return None
        sql = """DELETE FROM clusterkit.queue WHERE id = (
                   SELECT id FROM clusterkit.queue WHERE key = :key ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
                 ) RETURNING value"""
        rows = self._run(sql, key=key)
        return rows[0][0] if rows else None

    def _bank(self, f: str, key: str, value: Any) -> Any:
        """Each account is a row; a transfer reads two and writes two, in one transaction."""
        if f == "read":
            rows = self._run("SELECT name, balance FROM clusterkit.accounts WHERE key = :key", key=key)
            return dict(rows)
        if f == "open":
            for name, balance in value.items():
                self._run(_OPEN, key=key, name=name, balance=balance)
            return None
        self._before_the_commit(lambda: self._move(key, value))
        self._run("COMMIT")
        return None

    def _move(self, key: str, value: Any) -> None:
        self._run(self._begin)
        has = self._balance(key, value["from"])
        if has < value["amount"]:
            raise Unmet(f"account {value['from']} has {has}")
        gets = self._balance(key, value["to"])
        self._put(key, value["from"], has - value["amount"])
        self._put(key, value["to"], gets + value["amount"])

    def _ids(self, _f: str, _key: str, _value: Any) -> Any:
        """The next number of a sequence."""
        return self._run("SELECT nextval('clusterkit.ids')")[0][0]

    # -- statements --------------------------------------------------------------------------------------------------

    def _run(self, sql: str, **values: Any) -> list[list[Any]]:
        return self._connection.run(sql, self._deadline, **values)

    def _value(self, key: str) -> Any:
        rows = self._run("SELECT value FROM clusterkit.registers WHERE key = :key", key=key)
        return json.loads(rows[0][0]) if rows else None

    def _or_unmet(self, rows: list[list[Any]], old: Any) -> None:
        if not rows:
            raise Unmet(f"the value is not {old}")

    def _balance(self, key: str, name: str) -> int:
        sql = "SELECT balance FROM clusterkit.accounts WHERE key = :key AND name = :name"
        rows = self._run(sql, key=key, name=name)
        if not rows:  # the account was lost, with an acknowledged write
            raise Unmet(f"there is no account {name}")
        return int(rows[0][0])

    def _put(self, key: str, name: str, balance: int) -> None:
        sql = "UPDATE clusterkit.accounts SET balance = :balance WHERE key = :key AND name = :name"
        self._run(sql, key=key, name=name, balance=balance)

    def _before_the_commit(self, do: Callable[[], None]) -> None:
        """What fails here is rolled back, by us or by the server. Raises: NotSent, Refused."""
        try:
            do()
        except Refused:
            self._run("ROLLBACK")
            raise
        except SqlError as error:
            self._run("ROLLBACK")
            raise Refused(str(error)) from error
        except OSError as error:
            raise NotSent(f"it broke before the commit: {error}") from error


_OPEN = """
INSERT INTO clusterkit.accounts (key, name, balance) VALUES (:key, :name, :balance)
ON CONFLICT (key, name) DO NOTHING
"""
