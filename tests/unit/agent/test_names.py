"""The name server's messages, and which rule decides."""

from __future__ import annotations

import contextlib
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.agent.program import names
from clusterkit.agent.program.names import Rule

ASKED = names.query(7, "Cache-1.Shop")


def _ask(message: bytes) -> bytes:
    return names.answer(message, names.NO_ERROR, "10.64.0.11")


def test_a_question_is_read_as_it_was_written() -> None:
    found = names.question(ASKED)
    assert (found.name, found.kind, found.end) == ("cache-1.shop", names.ADDRESS, len(ASKED))


def test_an_answer_repeats_the_question_and_has_the_address() -> None:
    said = names.answer(ASKED, names.NO_ERROR, "192.0.2.1")
    assert said[:2] == ASKED[:2]
    assert names.code(said) == names.NO_ERROR
    assert said[12 : len(ASKED)] == ASKED[12:]
    assert names.addresses(said) == ["192.0.2.1"]
    assert names.addresses(names.answer(ASKED, names.NO_SUCH_NAME)) == []


def test_what_follows_the_question_is_not_repeated() -> None:
    """A resolver's extensions (EDNS) come after it."""
    extended = ASKED[:10] + b"\0\1" + ASKED[12:] + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    assert names.answer(extended, names.SERVER_FAILED) == names.answer(ASKED, names.SERVER_FAILED)


def test_addresses_are_found_behind_other_records() -> None:
    alias = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 3) + b"\1a\0"
    address = b"\1a\0" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("10.0.0.9")
    said = names.answer(ASKED, names.NO_ERROR)
    assert names.addresses(said[:6] + b"\0\2" + said[8:] + alias + address) == ["10.0.0.9"]


@pytest.mark.parametrize("message", [b"", b"short", ASKED[:14], ASKED[:-3], ASKED[:12] + b"\xc0\x0c\0\1\0\1"])
def test_what_is_no_question_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="question"):
        names.question(message)


def test_a_question_is_no_answer() -> None:
    with pytest.raises(ValueError, match="not an answer"):
        names.code(ASKED)


@given(st.binary(max_size=80))
def test_no_message_does_more_than_be_refused(message: bytes) -> None:
    for read in (names.question, names.addresses, names.code):
        with contextlib.suppress(ValueError):
            assert read(message) is not None


@pytest.mark.parametrize(
    ("how", "code", "addresses"),
    [
        ("nxdomain", names.NO_SUCH_NAME, []),
        ("servfail", names.SERVER_FAILED, []),
        ("wrong", names.NO_ERROR, ["192.0.2.1"]),
        ("slow", names.NO_ERROR, ["10.64.0.11"]),
    ],
)
def test_the_first_rule_that_hits_decides(how: str, code: int, addresses: list[str]) -> None:
    rules = [Rule(("registry-*",), "silent"), Rule(("CACHE-?.*",), how, address="192.0.2.1"), Rule((), "silent")]
    said = names.said_by(rules, ASKED, _ask)
    assert said is not None
    assert (names.code(said), names.addresses(said)) == (code, addresses)


def test_silence_and_what_no_rule_hits() -> None:
    assert names.said_by([Rule((), "silent")], ASKED, _ask) is None
    assert names.said_by([Rule(("cache-1",), "silent")], ASKED, _ask) == _ask(ASKED)


def test_a_wrong_address_is_of_its_own_kind() -> None:
    """For IPv6 there is none; other records are asked for as before."""
    rules = [Rule((), "wrong", address="192.0.2.1")]
    six = names.said_by(rules, names.query(1, "cache-1", 28), _ask)
    assert six is not None
    assert (names.code(six), names.addresses(six)) == (names.NO_ERROR, [])
    mail = names.query(1, "cache-1", 15)
    assert names.said_by(rules, mail, _ask) == _ask(mail)


def test_resolvers_are_those_of_ipv4() -> None:
    text = "# nameserver 10.0.0.1\nsearch shop\nnameserver 127.0.0.11\nnameserver ::1\nnameserver\nnameserver 9.9.9.9\n"
    assert names.resolvers(text) == ["127.0.0.11", "9.9.9.9"]
