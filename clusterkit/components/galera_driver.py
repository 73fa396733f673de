"""L3. Galera under a workload: every kind of object, made of rows, by transactions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clusterkit.client import NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.galera_client import SqlError, connect

DEADLOCK = 1213
NOT_PREPARED = 1047

_NOT_COMMITTED = (DEADLOCK, NOT_PREPARED)
"""What the server answers to a COMMIT that it did not carry out, and never will.

1213: another write was first (by a lock here, or by certification), and this one was rolled back. 1047: the node is in
no primary component and did not begin with it; what was open ends with the connection. Not among them: 1180 (error
during commit), which the provider gives too when it lost its group while the write was on its way, and all others.
Source: MariaDB 10.11, sql/wsrep_mysqld.cc (wsrep_override_error), sql/sql_parse.cc (dispatch_command); wsrep-lib,
src/transaction.cpp (certify_commit)."""

_ISOLATION = {
    "read-committed": "READ COMMITTED",
    "repeatable-read": "REPEATABLE READ",
    "serializable": "SERIALIZABLE",
}


class GaleraDriver:
    """One client of one node. Until COMMIT is sent nothing has happened: the server rolls back what loses its client.

    After an error that leaves a transaction open the connection is made anew.
    """

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        options = purpose.options
        self._connection = connect(running, member)
        self._timeout = running.timeout
        self._kind = purpose.kind
        is_synced = not purpose.is_local and (options is None or options.reads == "sync")
        isolation = "repeatable-read" if options is None else options.isolation
        self._lock = " FOR UPDATE" if options is not None and options.locking else ""
        self._deadline = Deadline(running.timeout)
        try:
            self._ask(f"SET SESSION wsrep_sync_wait = {int(is_synced)}")
            self._ask(f"SET SESSION TRANSACTION ISOLATION LEVEL {_ISOLATION[isolation]}")
        except (OSError, SqlError) as error:
            self.close()
            raise NotSent(str(error)) from error

    def call(self, f: str, key: str, value: Any) -> Any:
        self._deadline = Deadline(self._timeout)
        do: Callable[[str, str, Any], Any] = getattr(self, f"_{self._kind}")
        return self._transaction(lambda: do(f, key, value))

    def close(self) -> None:
        self._connection.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _register(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            rows = self._rows("SELECT value FROM numbers WHERE name = %s", key)
            return rows[0][0] if rows else None
        if f == "write":
            self._ask("REPLACE INTO numbers (name, value) VALUES (%s, %s)", key, value)
        elif value[0] is None:
            if not self._ask("INSERT IGNORE INTO numbers (name, value) VALUES (%s, %s)", key, value[1]):
                raise Unmet("there is a value")
        elif not self._ask("UPDATE numbers SET value = %s WHERE name = %s AND value = %s", value[1], key, value[0]):
            raise Unmet(f"the value is not {value[0]}")
        return None

    def _set(self, f: str, key: str, value: Any) -> Any:
        """Each element is a row."""
        if f == "read":
            return [row[0] for row in self._rows("SELECT element FROM elements WHERE name = %s", key)]
        if f == "add":
            self._ask("INSERT IGNORE INTO elements (name, element) VALUES (%s, %s)", key, value)
        else:
            self._ask("DELETE FROM elements WHERE name = %s AND element = %s", key, value)
        return None

    def _counter(self, f: str, key: str, value: Any) -> Any:
        """The server adds, on the row as it is when it has its lock."""
        if f == "read":
            rows = self._rows("SELECT value FROM numbers WHERE name = %s", key)
            return rows[0][0] if rows else 0
        self._ask(
            "INSERT INTO numbers (name, value) VALUES (%s, %s) ON DUPLICATE KEY UPDATE value = value + %s",
            key,
            value,
            value,
        )
        return None

    def _queue(self, f: str, key: str, value: Any) -> Any:
        """Each element is a row, the lowest id is the head. Nodes give ids in steps of their own: no order is kept."""
        if f == "enqueue":
            self._ask("INSERT INTO queued (name, element) VALUES (%s, %s)", key, value)
            return None
        rows = self._rows("SELECT id, element FROM queued WHERE name = %s ORDER BY id LIMIT 1 FOR UPDATE", key)
        if not rows:
            return None
        self._ask("DELETE FROM queued WHERE id = %s", rows[0][0])
        return rows[0][1]

    def _bank(self, f: str, key: str, value: Any) -> Any:
        """Each account is a row. A transfer reads two of them, then writes what it has worked out, as programs do."""
        if f == "read":
            return dict(self._rows("SELECT account, balance FROM accounts WHERE name = %s", key))
        if f == "open":
            for account, balance in value.items():
                self._ask("REPLACE INTO accounts (name, account, balance) VALUES (%s, %s, %s)", key, account, balance)
            return None
        sides = (value["from"], value["to"])
        asked = "SELECT account, balance FROM accounts WHERE name = %s AND account IN (%s, %s) ORDER BY account"
        has: dict[str, int] = dict(self._rows(asked + self._lock, key, *sides))
        if has.get(sides[0], 0) < value["amount"]:
            raise Unmet(f"account {sides[0]} has {has.get(sides[0])}")
        for account, more in zip(sides, (-value["amount"], value["amount"]), strict=True):
            balance = has.get(account, 0) + more
            self._ask("UPDATE accounts SET balance = %s WHERE name = %s AND account = %s", balance, key, account)
        return None

    def _ids(self, _f: str, _key: str, _value: Any) -> Any:
        """What the server counts up by itself (AUTO_INCREMENT), each node in steps of its own."""
        return self._connection.ask("INSERT INTO ids () VALUES ()", deadline=self._deadline)[2]

    # -- transactions ------------------------------------------------------------------------------------------------

    def _transaction(self, work: Callable[[], Any]) -> Any:
        """Raises: Refused, NotSent (before COMMIT, or where the answer to it is a clean no); else nobody knows."""
        try:
            self._ask("START TRANSACTION")
            result = work()
        except Unmet:
            self._roll_back()
            raise
        except SqlError as error:
            self._roll_back()
            raise Refused(str(error)) from error
        except OSError as error:
            self.close()
            raise NotSent(f"it was lost before it was committed: {error}") from error
        try:
            self._ask("COMMIT")
        except SqlError as error:
            self.close()
            if error.number in _NOT_COMMITTED:
                raise Refused(str(error)) from error
            raise
        except OSError:
            self.close()
            raise
        return result

    def _roll_back(self) -> None:
        """A connection that cannot do so is closed, which does it."""
        try:
            self._connection.ask("ROLLBACK")
        except (OSError, SqlError):
            self.close()

    def _rows(self, statement: str, *values: object) -> tuple[tuple[Any, ...], ...]:
        return self._connection.ask(statement, values, self._deadline)[0]

    def _ask(self, statement: str, *values: object) -> int:
        return self._connection.ask(statement, values, self._deadline)[1]
