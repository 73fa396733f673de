"""OpenLDAP as seen through LDAP: options, roles, what is ready, what a client and a driver make of answers."""

from __future__ import annotations

import contextlib
import socketserver
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components import openldap
from clusterkit.components import openldap_client as client
from clusterkit.components.base import Purpose, Running
from clusterkit.components.openldap import Seen
from tests.unit.components.node_servers import SECRET, group, running, serving

Entries = dict[str, dict[str, list[str]]]
OBJECTS = "ou=objects,dc=clusterkit"
NOW = "20261124125049.000000Z#000000#001#000000"


@dataclass
class FakeServer:
    """A server with entries of its own. `fails`: name of a request -> the results of the next ones; -1: none comes."""

    entries: Entries = field(default_factory=dict)
    fails: dict[str, list[int]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda _what, _dn: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    written: int = 0

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self.rfile.read(2):
                    length = head[1]
                    if length & 0x80:
                        length = int.from_bytes(self.rfile.read(length & 0x7F), "big")
                    (_, number), (tag, content), *controls = client._items(self.rfile.read(length))
                    if tag == client._UNBIND:
                        return
                    for answer in fake.answer(tag, content, controls):
                        self.wfile.write(client._tlv(0x30, client._tlv(2, number) + answer))

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return serving(server)

    def answer(self, tag: int, content: bytes, controls: list[tuple[int, bytes]]) -> Iterator[bytes]:
        parts = list(client._items(content))
        what = {0x60: "bind", 0x63: "search", 0x66: "modify", 0x68: "add", 0x4A: "delete"}[tag]
        dn = content.decode() if what == "delete" else parts[what == "bind"][1].decode()
        self.asked.append((what, dn))
        self.before(what, dn)
        said = self.fails.get(what, [])
        if said:
            code = said.pop(0)
        elif what == "search":
            code = yield from self._found(dn, parts)
        else:
            code = self._do(what, dn, parts, controls)
        if code >= 0:  # else no answer at all
            result = client._tlv(0x0A, bytes([code])) + client._octets("") + client._octets("as asked" if code else "")
            yield client._tlv({0x4A: 0x6B}.get(tag, tag + 1 + (what == "search")), result)

    def _found(self, dn: str, parts: list[tuple[int, bytes]]) -> Generator[bytes, None, int]:
        one_level = parts[1][1] == b"\x01"
        if one_level:
            (_, name), (_, value) = client._items(parts[6][1])
            names = [it for it, its in self.entries.items() if value.decode() in its.get(name.decode(), [])]
        elif dn not in self.entries:
            return 32
        else:
            names = [dn]
        for name_of in names:
            listed = b"".join(
                client._tlv(0x30, client._octets(key) + client._values(its))
                for key, its in self.entries[name_of].items()
            )
            yield client._tlv(0x64, client._octets(name_of) + client._tlv(0x30, listed))
        return 0

    def _do(self, what: str, dn: str, parts: list[tuple[int, bytes]], controls: list[tuple[int, bytes]]) -> int:
        if what == "bind":
            return 0 if parts[2][1].decode() == SECRET else 49
        if (dn in self.entries) == (what == "add"):
            return 68 if what == "add" else 32
        if what == "delete":
            del self.entries[dn]
            return 0
        self.written += 1
        if what == "add":
            made = {}
            for _, each in client._items(parts[1][1]):
                (_, name), (_, values) = client._items(each)
                made[name.decode()] = [value.decode() for _, value in client._items(values)]
            self.entries[dn] = made | {"entryCSN": [str(self.written)]}
            return 0
        entry = self.entries[dn]
        if controls:
            ((_, control),) = client._items(controls[0][1])
            *_, (_, asserted) = client._items(control)
            ((_, equal),) = client._items(asserted)
            (_, name), (_, value) = client._items(equal)
            if value.decode() not in entry[name.decode()]:
                return 122
        ((_, change),) = client._items(parts[1][1])
        (_, how), (_, changed) = client._items(change)
        (_, name), (_, values) = client._items(changed)
        return self._change(entry, how[0], name.decode(), [value.decode() for _, value in client._items(values)])

    def _change(self, entry: dict[str, list[str]], how: int, name: str, values: list[str]) -> int:
        old = entry.get(name, [])
        if how == 1 and not set(values) <= set(old):
            return 16
        entry[name] = [old + values, [one for one in old if one not in values], values][how]
        entry["entryCSN"] = [str(self.written)]
        return 0


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def _running(port: int, **options: Any) -> Running:
    return running(openldap.COMPONENT, group(openldap.COMPONENT, options), {"openldap-1": port})


@contextlib.contextmanager
def _client(fake: FakeServer) -> Iterator[client.OpenLdapClient]:
    with fake.serve() as port:
        seen = _running(port)
        with contextlib.closing(client.OpenLdapClient(seen, seen.members[0])) as made:
            yield made


@contextlib.contextmanager
def _driver(fake: FakeServer, kind: str, **options: Any) -> Iterator[Driver]:
    with fake.serve() as port:
        seen = _running(port)
        said = openldap.OpenLdapWorkload.model_validate(options)
        made = seen.driver(seen.members[0], Purpose(kind, said))
        try:
            yield made
        finally:
            made.close()


# -- the client --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["colour", "a,b=c+d", ' "x" ', "ö", "x" * 300])
def test_what_is_written_is_read(server: FakeServer, key: str) -> None:
    with _client(server) as made:
        assert made.read(key) is None
        made.write(key, "green" * 100)
        made.write(key, "red")
        assert made.read(key) == "red"
        made.delete(key)
        made.delete(key)
        assert made.read(key) is None


def test_names_are_escaped() -> None:
    assert client.dn_of("a,b", OBJECTS) == rf"clusterkitKey=a\2cb,{OBJECTS}"
    assert client.dn_of("ö/1", OBJECTS) == rf"clusterkitKey=\c3\b6\2f1,{OBJECTS}"


def test_a_write_goes_on_where_somebody_else_makes_or_removes_the_entry(server: FakeServer) -> None:
    server.fails = {"modify": [32, 32], "add": [68]}
    with _client(server) as made:
        made.write("k", "v")
        assert [what for what, _ in server.asked] == ["bind", "modify", "add", "modify", "add"]
        assert made.read("k") == "v"


def test_a_wrong_password_is_said(server: FakeServer) -> None:
    server.fails = {"bind": [49]}
    with pytest.raises(client.LdapError, match="LDAP result 49: as asked"), _client(server):
        pass


def test_every_call_ends_in_time(server: FakeServer) -> None:
    with server.serve() as port:
        connection = client.LdapConnection("127.0.0.1", port, 5, "cn=admin", SECRET)
        server.fails = {"search": [-1]}
        with contextlib.closing(connection), pytest.raises(TimeoutError):
            connection.search("dc=clusterkit", [], Deadline(0.05))


def test_a_late_answer_is_not_taken_for_another_ones(server: FakeServer) -> None:
    server.entries = {"a": {"n": ["1"]}, "b": {"n": ["2"]}}
    with server.serve() as port:
        connection = client.LdapConnection("127.0.0.1", port, 5, "cn=admin", SECRET)
        with contextlib.closing(connection):
            connection._send(client._tlv(0x4A, b"nobody"), Deadline(5))
            assert connection.search("b", [], Deadline(5))[0].first("n") == "2"


# -- the driver --------------------------------------------------------------------------------------------------------


def test_registers(server: FakeServer) -> None:
    with _driver(server, "register") as made:
        assert made.call("read", "k", None) is None
        made.call("cas", "k", [None, 1])
        made.call("cas", "k", [1, 2])
        assert made.call("read", "k", None) == 2
        with pytest.raises(Unmet, match="the value is 2, not 1"):
            made.call("cas", "k", [1, 3])
        made.call("write", "k", 4)
        assert made.call("read", "k", None) == 4


def test_a_value_that_somebody_else_changed_is_not_overwritten(server: FakeServer) -> None:
    def meanwhile(what: str, dn: str) -> None:
        if what == "modify" and server.entries[dn]["entryCSN"] != ["x"]:
            server.entries[dn] |= {"entryCSN": ["x"], client.VALUE: ["7"]}

    with _driver(server, "register") as made:
        made.call("write", "k", 1)
        server.before = meanwhile
        with pytest.raises(Unmet, match="another value was written meanwhile"):
            made.call("cas", "k", [1, 2])
        assert made.call("read", "k", None) == 7


def test_counters_and_banks(server: FakeServer) -> None:
    with _driver(server, "counter") as made:
        made.call("add", "c", 2)
        made.call("add", "c", 3)
        assert made.call("read", "c", None) == 5
    with _driver(server, "bank") as made:
        made.call("open", "b", {"1": 10, "2": 0})
        made.call("transfer", "b", {"from": "1", "to": "2", "amount": 4})
        assert made.call("read", "b", None) == {"1": 6, "2": 4}


@pytest.mark.parametrize("elements", ["entries", "values"])
def test_sets(server: FakeServer, elements: str) -> None:
    with _driver(server, "set", elements=elements) as made:
        assert made.call("read", "s", None) == []
        for element in (1, 2, 3):
            made.call("add", "s", element)
        made.call("remove", "s", 2)
        made.call("remove", "s", 9)
        assert sorted(made.call("read", "s", None)) == [1, 3]
        assert made.call("read", "other", None) == []
    assert len(server.entries) == (2 if elements == "entries" else 1)


@pytest.mark.parametrize(
    ("code", "raised"), [(53, Refused), (50, Refused), (51, Refused), (52, client.LdapError), (80, client.LdapError)]
)
def test_what_an_answer_means(server: FakeServer, code: int, raised: type[Exception]) -> None:
    """A server that could not end its transaction, or is about to end, may have done it: nobody knows."""
    with _driver(server, "set") as made:
        server.fails = {"add": [code]}
        with pytest.raises(raised) as seen:
            made.call("add", "s", 1)
    assert isinstance(seen.value, Refused) == (raised is Refused)


def test_what_could_not_be_read_first_was_not_sent(server: FakeServer) -> None:
    with _driver(server, "counter") as made:
        server.fails = {"search": [52]}
        with pytest.raises(NotSent):
            made.call("add", "c", 1)


# -- what is seen ------------------------------------------------------------------------------------------------------


def _seen(*each: Seen, monkeypatch: pytest.MonkeyPatch) -> Running:
    made = running(
        openldap.COMPONENT, group(openldap.COMPONENT), {f"openldap-{number + 1}": 1 for number in range(len(each))}
    )
    monkeypatch.setattr(openldap, "_look_at", lambda _running, member: each[member.index - 1])
    return made


def _at(second: int, index: int) -> str:
    return f"202611241250{second:02}.500000Z#000000#00{index}#000000"


def _follows(*indices: int, lost: int = 0) -> Mapping[str, bool]:
    return {f"192.0.2.{10 + index}:1389": index != lost for index in indices}


ALL = {1: _at(1, 1), 2: _at(2, 2), 3: _at(3, 3)}


def test_servers_that_have_all_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _seen(
        Seen(ALL, _follows(2, 3)), Seen(ALL, _follows(1, 3)), Seen(ALL, _follows(1, 2)), monkeypatch=monkeypatch
    )
    assert openldap.follow_each_other(seen) == {}
    assert openldap.read_roles(seen)["openldap-1"][0].detail == "follows 2 of 2, has all writes"
    assert all(finding.is_ok for finding in openldap.examine(seen))


def test_a_server_that_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {1: _at(1, 1), 2: _at(1, 2), 3: _at(9, 3)}
    seen = _seen(
        Seen(ALL, _follows(2, 3, lost=3)),
        Seen(ALL, _follows(1, 3, lost=3)),
        Seen(late, {"192.0.2.11:1389": False, "192.0.2.12:1389": False}),
        monkeypatch=monkeypatch,
    )
    assert openldap.follow_each_other(seen) == {
        "openldap-1": "it does not follow openldap-3",
        "openldap-2": "it does not follow openldap-3",
        "openldap-3": "it does not follow openldap-1 and openldap-2",
    }
    roles = openldap.read_roles(seen)
    assert roles["openldap-1"][0].detail == "follows 1 of 2, lacks writes of openldap-3"
    assert roles["openldap-3"][0].detail == "follows 0 of 2, lacks writes of openldap-2"
    said = [finding.what for finding in openldap.examine(seen) if not finding.is_ok]
    assert "replication: 6.0 s behind the writes of openldap-3" in said
    assert "replication: it does not follow openldap-1 and openldap-2" in said


def test_one_that_leaves_waits_until_its_writes_are_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {**ALL, 3: _at(9, 3)}
    seen = _seen(Seen(ALL, {}), Seen(ALL, {}), Seen(newer, {}), monkeypatch=monkeypatch)
    with pytest.raises(ClientError, match="nobody else has the last writes of openldap-3 yet"):
        openldap.release(seen, seen.members[2])
    openldap.release(seen, seen.members[0])
    openldap.release(_seen(Seen(ALL, {}), monkeypatch=monkeypatch), seen.members[2])


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"suffix": "o=example"}, "must be as dc=example,dc=org"),
        ({"suffix": 'dc=a"'}, "must be as dc=example,dc=org"),
        ({"retry": "1500ms"}, "whole seconds"),
        ({"max_size": "1MB"}, "16MB or more"),
        ({"settings": {"syncrepl": "x"}}, "is set by clusterkit"),
        ({"settings": {"a b": "x"}}, "is no directive"),
    ],
)
def test_bad_options(given: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        openldap.OpenLdapOptions.model_validate(given)


def test_settings_of_a_server_of_its_own() -> None:
    lean, large = openldap.OpenLdapOptions(), openldap.OpenLdapOptions(production=True)
    assert (lean.workers, lean.most_bytes) == (4, 128 * 2**20)
    assert (large.workers, large.most_bytes) == (16, 2**30)
    assert openldap.OpenLdapOptions(suffix="dc=example,dc=org").domain == "example"
