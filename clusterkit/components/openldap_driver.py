"""L3. OpenLDAP under a workload: objects made of entries. Each call is about what one server has, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.openldap_client import (
    ASSERTION_FAILED,
    ENTRY_EXISTS,
    NO_SUCH_ATTRIBUTE,
    NO_SUCH_OBJECT,
    OF,
    VALUE,
    LdapError,
    connect,
    dn_of,
    folder_of,
    look,
    new_entry,
    put,
)
from clusterkit.components.versioned_driver import VersionedDriver

_REFUSED = frozenset(
    {1, 2, 3, 4, 8, 10, 11, 12, 13, *range(16, 22), *range(32, 37), *range(48, 52), 53, 54, *range(64, 72), 122}
)
"""Results of a request that changed nothing. Not among them: unavailable (52), which a server gives too while it ends,
and other (80), as when it could not end its transaction. Source: RFC 4511, Appendix A."""


class OpenLdapDriver(VersionedDriver):
    """One client of one server. When the connection is lost after a request, nobody knows."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        super().__init__(purpose.kind, running.timeout)
        self._connection = connect(running, member)
        self._folder = folder_of(running)
        self._is_one_entry = purpose.options is not None and purpose.options.elements == "values"

    def call(self, f: str, key: str, value: Any) -> Any:
        try:
            return super().call(f, f"{self._kind}/{key}", value)
        except LdapError as error:
            if error.code in _REFUSED:
                raise Refused(str(error)) from error
            raise

    def close(self) -> None:
        self._connection.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _set(self, f: str, key: str, value: Any) -> Any:
        """Each element is an entry, or all are values of one."""
        if self._is_one_entry:
            return self._set_of_values(f, key, value)
        if f == "read":
            found = self._connection.search(self._folder, [VALUE], self._deadline, below=(OF, key))
            return [int(entry.first(VALUE)) for entry in found]
        name = f"{key}/{value}"
        if f == "add":
            self._connection.add(self._dn(name), new_entry(name, str(value), key), self._deadline)
        else:
            self._unless(NO_SUCH_OBJECT, self._connection.delete, self._dn(name), self._deadline)
        return None

    def _set_of_values(self, f: str, key: str, value: Any) -> Any:
        dn = self._dn(key)
        if f == "read":
            found = look(self._connection, dn, self._deadline)
            return [] if found is None else [int(element) for element in found.attributes.get(VALUE, ())]
        if f == "add":
            if not self._unless(NO_SUCH_OBJECT, self._alter, dn, "add", value):
                self._unless(ENTRY_EXISTS, self._connection.add, dn, new_entry(key), self._deadline)
                self._alter(dn, "add", value)
        elif look(self._connection, dn, self._deadline) is not None:
            self._unless(NO_SUCH_ATTRIBUTE, self._alter, dn, "delete", value)
        return None

    def _alter(self, dn: str, how: str, value: Any) -> None:
        self._connection.modify(dn, how, VALUE, [str(value)], self._deadline)

    # -- values ------------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> Any:
        return self._look(key)[0]

    def _first_look(self, key: str) -> tuple[Any, str | None]:
        try:
            return self._look(key)
        except (OSError, ClientError) as error:
            raise NotSent(f"it could not be read before it is written: {error}") from error

    def _write(self, key: str, value: Any) -> None:
        put(self._connection, self._dn(key), key, json.dumps(value), self._deadline)

    def _if_unchanged(self, key: str, version: str | None, value: Any) -> bool:
        """Whether it was written: only where its entry here still has this version, or still is not (None)."""
        dn, text = self._dn(key), json.dumps(value)
        if version is None:
            return self._unless(ENTRY_EXISTS, self._connection.add, dn, new_entry(key, text), self._deadline)
        try:
            self._connection.modify(dn, "replace", VALUE, [text], self._deadline, only_if=("entryCSN", version))
        except LdapError as error:
            if error.code in (ASSERTION_FAILED, NO_SUCH_OBJECT):
                return False
            raise
        return True

    def _look(self, key: str) -> tuple[Any, str | None]:
        """The value and its version, None twice where there is no such entry."""
        found = look(self._connection, self._dn(key), self._deadline)
        return (None, None) if found is None else (json.loads(found.first(VALUE)), found.first("entryCSN"))

    def _dn(self, key: str) -> str:
        return dn_of(key, self._folder)

    @staticmethod
    def _unless(code: int, do: Callable[..., object], *arguments: Any) -> bool:
        """Does it; False where the server's answer was that code."""
        try:
            do(*arguments)
        except LdapError as error:
            if error.code != code:
                raise
            return False
        return True
