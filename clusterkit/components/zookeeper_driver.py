"""L3. ZooKeeper under a workload: every kind of object, made of znodes and their versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.versioned_driver import VersionedDriver
from clusterkit.components.zookeeper_client import (
    BAD_VERSION,
    NO_NODE,
    NODE_EXISTS,
    ZooKeeperError,
    connect,
    make_folder,
    path_of,
    put,
)

_REFUSED = frozenset({-5, -6, -8, -101, -102, -103, -108, -110, -111, -112, -118, -119, -125, -127})
"""Errors of a request that changed nothing: they are found before it is proposed, or make a transaction that does
nothing. Not among them: OperationTimeout and what servers say of themselves. Source: PrepRequestProcessor and
FinalRequestProcessor of ZooKeeper 3.8."""


class ZooKeeperDriver(VersionedDriver):
    """One client of one server, in one session. When the connection is lost after a request, nobody knows."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        super().__init__(purpose.kind, running.timeout)
        self._connection = connect(running, member)
        options = purpose.options
        self._is_synced = not purpose.is_local and (options is None or options.reads == "sync")
        self._folders: set[str] = set()

    def call(self, f: str, key: str, value: Any) -> Any:
        try:
            return super().call(f, path_of(self._kind, key), value)
        except ZooKeeperError as error:
            if error.number in _REFUSED:
                raise Refused(str(error)) from error
            raise

    def close(self) -> None:
        self._connection.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _set(self, f: str, path: str, value: Any) -> Any:
        """Each element is a child of the set's znode."""
        if f == "read":
            return [int(name) for name in self._children(path)]
        self._folder(path)
        if f == "add":
            self._connection.create(f"{path}/{value}", deadline=self._deadline)
            return None
        try:
            self._connection.delete(f"{path}/{value}", deadline=self._deadline)
        except ZooKeeperError as error:
            if error.number != NO_NODE:  # what is not there need not be removed
                raise
        return None

    def _queue(self, f: str, path: str, value: Any) -> Any:
        """Each element is a child with a number that the server gives; whoever deletes the lowest one has it.

        Only a list without children says that the queue is empty: where others took all of a list, more may have come.
        """
        self._folder(path)
        if f == "enqueue":
            self._connection.create(f"{path}/e-", json.dumps(value), is_sequential=True, deadline=self._deadline)
            return None
        while names := self._before_all(lambda: self._children(path)):
            for name in sorted(names):
                child = f"{path}/{name}"
                try:
                    found = self._before_all(partial(self._connection.get, child, self._deadline))[0]
                    self._connection.delete(child, deadline=self._deadline)
                except ZooKeeperError as error:
                    if error.number != NO_NODE:  # somebody else has it
                        raise
                else:
                    return json.loads(found)
            self._once_more()
        return None

    def _ids(self, _f: str, path: str, _value: Any) -> Any:
        """The number of a sequential child."""
        self._folder(path)
        made = self._connection.create(f"{path}/n-", is_sequential=True, deadline=self._deadline)
        return int(made.rpartition("-")[2])

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, path: str) -> Any:
        return self._look(path)[0]

    def _look(self, path: str) -> tuple[Any, int | None]:
        """The value and its version, None twice where there is no such znode."""
        if self._is_synced:
            self._connection.sync(path, self._deadline)
        try:
            data, stat = self._connection.get(path, self._deadline)
        except ZooKeeperError as error:
            if error.number == NO_NODE:
                return None, None
            raise
        return json.loads(data), stat.version

    def _children(self, path: str) -> list[str]:
        if self._is_synced:
            self._connection.sync(path, self._deadline)
        try:
            return self._connection.children(path, self._deadline)
        except ZooKeeperError as error:
            if error.number == NO_NODE:
                return []
            raise

    # -- writing -----------------------------------------------------------------------------------------------------

    def _folder(self, path: str) -> None:
        if path not in self._folders:
            self._before_all(lambda: make_folder(self._connection, path, self._deadline))
            self._folders.add(path)

    def _before_all(self, do: Callable[[], Any]) -> Any:
        """What is done before anything of the call is written. Raises: NotSent, ZooKeeperError for NoNode."""
        try:
            return do()
        except ZooKeeperError as error:
            if error.number == NO_NODE:
                raise
            raise NotSent(f"it could not be read before it is written: {error}") from error
        except (OSError, ClientError) as error:
            raise NotSent(f"it could not be read before it is written: {error}") from error

    def _first_look(self, path: str) -> tuple[Any, int | None]:
        found: tuple[Any, int | None] = self._before_all(lambda: self._look(path))
        return found

    def _write(self, path: str, value: Any) -> None:
        put(self._connection, path, json.dumps(value), self._deadline)

    def _if_unchanged(self, path: str, version: int | None, value: Any) -> bool:
        """Whether it was written: only where it still has this version, or is still not there (None)."""
        try:
            if version is None:
                self._folder(path.rpartition("/")[0])
                self._connection.create(path, json.dumps(value), deadline=self._deadline)
            else:
                self._connection.set(path, json.dumps(value), version, self._deadline)
        except ZooKeeperError as error:
            if error.number in (BAD_VERSION, NODE_EXISTS, NO_NODE):
                return False
            raise
        return True
