"""L3. A client of one OpenLDAP server: as much of LDAP as entries need, over a socket.

Source: RFC 4511 (the protocol), RFC 4514 (names as text), RFC 4528 (the assertion control). A client of our own, since
each call is to end in time as a whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clusterkit.client import ClientError
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.streams import Stream

Attributes = Mapping[str, Sequence[str]]

NO_SUCH_OBJECT, ENTRY_EXISTS, VALUE_EXISTS, NO_SUCH_ATTRIBUTE, ASSERTION_FAILED = 32, 68, 20, 16, 122

KEY, VALUE, OF = "clusterkitKey", "clusterkitValue", "clusterkitOf"
"""Attributes of the entries that clients of ours write."""

_BIND, _BOUND, _UNBIND, _SEARCH, _ENTRY, _DONE = 0x60, 0x61, 0x42, 0x63, 0x64, 0x65
_MODIFY, _MODIFIED, _ADD, _ADDED, _DELETE, _DELETED = 0x66, 0x67, 0x68, 0x69, 0x4A, 0x6B
_BOOLEAN, _INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
_SIMPLE, _CONTROLS, _EQUAL, _PRESENT = 0x80, 0xA0, 0xA3, 0x87
_ASSERTION = "1.3.6.1.1.12"
_CHANGES = {"add": 0, "delete": 1, "replace": 2}
_SCOPES = {"base": 0, "one": 1}
_LONG = 0x80


class LdapError(ClientError):
    """A result that is no success: its code and the server's own words."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"LDAP result {code}{f': {said}' if said else ''}")
        self.code = code


@dataclass(frozen=True)
class Entry:
    """One that a search found. Names of attributes as the server writes them."""

    dn: str
    attributes: Attributes

    def first(self, name: str) -> str:
        """Its value, or the first of several; "" where it has none."""
        return next(iter(self.attributes.get(name, ())), "")


class LdapConnection:
    """One connection, bound as `dn`. Not for use from several threads at once.

    Every call ends by its deadline. Raises: OSError, LdapError. What is raised while connecting is raised before
    anything was asked; after an OSError the connection is good for nothing but `close`.
    """

    def __init__(self, host: str, port: int, timeout: float, dn: str, password: str) -> None:
        deadline = Deadline(timeout)
        self._number = 0
        self._stream = Stream(host, port, deadline)
        try:
            bind = _tlv(_INTEGER, b"\x03") + _octets(dn) + _tlv(_SIMPLE, password.encode())
            self._done(_tlv(_BIND, bind), _BOUND, deadline)
        except (OSError, ClientError):
            self._stream.close()
            raise

    def add(self, dn: str, attributes: Attributes, deadline: Deadline) -> None:
        listed = b"".join(_tlv(_SEQUENCE, _octets(name) + _values(its)) for name, its in attributes.items())
        self._done(_tlv(_ADD, _octets(dn) + _tlv(_SEQUENCE, listed)), _ADDED, deadline)

    def modify(
        self,
        dn: str,
        how: str,
        name: str,
        values: Sequence[str],
        deadline: Deadline,
        *,
        only_if: tuple[str, str] = ("", ""),
    ) -> None:
        """`how`: add, delete, replace. `only_if`: an attribute and its value that the entry must have; else
        ASSERTION_FAILED, and nothing is changed.
        """
        change = _tlv(_ENUMERATED, bytes([_CHANGES[how]])) + _tlv(_SEQUENCE, _octets(name) + _values(values))
        asked = _tlv(_MODIFY, _octets(dn) + _tlv(_SEQUENCE, _tlv(_SEQUENCE, change)))
        controls = b""
        if only_if != ("", ""):
            said = _tlv(_OCTETS, _equal(*only_if))
            controls = _tlv(_SEQUENCE, _octets(_ASSERTION) + _tlv(_BOOLEAN, b"\xff") + said)
        self._done(asked, _MODIFIED, deadline, controls)

    def delete(self, dn: str, deadline: Deadline) -> None:
        self._done(_tlv(_DELETE, dn.encode()), _DELETED, deadline)

    def search(
        self,
        base: str,
        attributes: Sequence[str],
        deadline: Deadline,
        *,
        below: tuple[str, str] | None = None,
    ) -> list[Entry]:
        """The entry `base` itself; with `below` those right below it whose attribute has that value.

        Raises: LdapError NO_SUCH_OBJECT where there is no `base`.
        """
        scope = _SCOPES["base" if below is None else "one"]
        chosen = _tlv(_PRESENT, b"objectClass") if below is None else _equal(*below)
        asked = _tlv(
            _SEARCH,
            _octets(base)
            + _tlv(_ENUMERATED, bytes([scope]))
            + _tlv(_ENUMERATED, b"\0")  # aliases are entries like others
            + _tlv(_INTEGER, b"\0") * 2  # no limit of ours
            + _tlv(_BOOLEAN, b"\0")
            + chosen
            + _tlv(_SEQUENCE, b"".join(map(_octets, attributes))),
        )
        self._send(asked, deadline)
        found = []
        while True:
            tag, said = self._answer(deadline)
            if tag == _ENTRY:
                found.append(_entry(said))
            elif tag == _DONE:
                _raise_if_failed(said)
                return found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._send(_tlv(_UNBIND, b""), Deadline(0.1))
        self._stream.close()

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _done(self, asked: bytes, answer: int, deadline: Deadline, controls: bytes = b"") -> None:
        self._send(asked, deadline, controls)
        tag, said = self._answer(deadline)
        if tag != answer:
            raise ConnectionError(f"an answer of type {tag:#x} to a request of type {asked[0]:#x}")
        _raise_if_failed(said)

    def _send(self, asked: bytes, deadline: Deadline, controls: bytes = b"") -> None:
        self._number += 1
        number = self._number.to_bytes(4, "big")
        message = _tlv(_INTEGER, number) + asked + (_tlv(_CONTROLS, controls) if controls else b"")
        self._stream.send(_tlv(_SEQUENCE, message), deadline)

    def _answer(self, deadline: Deadline) -> tuple[int, bytes]:
        """Tag and content of the next answer to the last request."""
        while True:
            head = self._stream.exactly(2, deadline)
            length = head[1]
            if length & _LONG:
                length = int.from_bytes(self._stream.exactly(length & ~_LONG, deadline), "big")
            (_, number), (tag, said), *_ = _items(self._stream.exactly(length, deadline))
            if int.from_bytes(number, "big") == self._number:  # else the late answer to a call that was given up
                return tag, said


class OpenLdapClient:
    """Pinned to one server, which takes writes by itself and answers with what it has."""

    def __init__(self, running: Running, member: Member) -> None:
        self._connection, self._timeout = connect(running, member), running.timeout
        self._folder = folder_of(running)

    def write(self, key: str, value: str) -> None:
        put(self._connection, dn_of(f"client/{key}", self._folder), f"client/{key}", value, Deadline(self._timeout))

    def read(self, key: str) -> str | None:
        found = look(self._connection, dn_of(f"client/{key}", self._folder), Deadline(self._timeout))
        return None if found is None else found.first(VALUE)

    def delete(self, key: str) -> None:
        try:
            self._connection.delete(dn_of(f"client/{key}", self._folder), Deadline(self._timeout))
        except LdapError as error:
            if error.code != NO_SUCH_OBJECT:  # what is not there need not be removed
                raise

    def close(self) -> None:
        self._connection.close()


def connect(running: Running, member: Member) -> LdapConnection:
    """A connection to a member, bound as the administrator of the data. Raises: OSError, ClientError."""
    admin = f"cn=admin,{running.group.options.suffix}"
    return LdapConnection(*running.dial(member, "client"), running.timeout, admin, running.group.secrets["password"])


def folder_of(running: Running) -> str:
    """Below which entries of ours lie."""
    return f"ou=objects,{running.group.options.suffix}"


def dn_of(key: str, folder: str) -> str:
    """The name of the entry of that key; whatever might mean something in a name is escaped."""
    safe = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:02x}" for byte in key.encode())
    return f"{KEY}={safe},{folder}"


def look(connection: LdapConnection, dn: str, deadline: Deadline) -> Entry | None:
    """The entry with its value and version, None where there is none."""
    try:
        return connection.search(dn, [VALUE, "entryCSN"], deadline)[0]
    except LdapError as error:
        if error.code == NO_SUCH_OBJECT:
            return None
        raise


def put(connection: LdapConnection, dn: str, key: str, value: str, deadline: Deadline) -> None:
    """Writes the value, whether there is an entry or not."""
    while True:
        try:
            connection.modify(dn, "replace", VALUE, [value], deadline)
        except LdapError as error:
            if error.code != NO_SUCH_OBJECT:
                raise
        else:
            return
        try:
            connection.add(dn, new_entry(key, value), deadline)
        except LdapError as error:
            if error.code != ENTRY_EXISTS:  # somebody was first
                raise
        else:
            return


def new_entry(key: str, value: str | None = None, of: str = "") -> Attributes:
    """What an entry of ours is made of."""
    made = {"objectClass": ["clusterkitObject"], KEY: [key]}
    return made | ({} if value is None else {VALUE: [value]}) | ({OF: [of]} if of else {})


# -- BER ---------------------------------------------------------------------------------------------------------------


def _tlv(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _LONG:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG | len(size)]) + size + content


def _octets(text: str) -> bytes:
    return _tlv(_OCTETS, text.encode())


def _values(values: Sequence[str]) -> bytes:
    return _tlv(_SET, b"".join(map(_octets, values)))


def _equal(name: str, value: str) -> bytes:
    return _tlv(_EQUAL, _octets(name) + _octets(value))


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each."""
    place = 0
    while place < len(content):
        tag, length, place = content[place], content[place + 1], place + 2
        if length & _LONG:
            size = length & ~_LONG
            length, place = int.from_bytes(content[place : place + size], "big"), place + size
        yield tag, content[place : place + length]
        place += length


def _entry(said: bytes) -> Entry:
    (_, dn), (_, attributes) = _items(said)
    found = {}
    for _, each in _items(attributes):
        (_, name), (_, values) = _items(each)
        found[name.decode()] = [value.decode(errors="replace") for _, value in _items(values)]
    return Entry(dn.decode(), found)


def _raise_if_failed(said: bytes) -> None:
    """`said`: an LDAPResult. Raises: LdapError."""
    (_, code), (_, _matched), (_, text), *_ = _items(said)
    if any(code):
        raise LdapError(int.from_bytes(code, "big"), text.decode(errors="replace"))
