"""How clients speak to a service of one's own: what counts as done, as surely not done, and as unknown."""

from __future__ import annotations

import json
import socketserver
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.components.base import Group, Member, Purpose, Running
from clusterkit.components.registry import Registry
from clusterkit.components.service import ServiceWorkload
from clusterkit.testing import FakeNode
from tests.unit.components.node_servers import ADDRESS, serving

MEMBER = Member("api-1", 1, "a", "127.0.0.1", {"http": 80, "raft-peer": 81})


def _driver(options: dict[str, Any], port: int, folder: Path = Path(), timeout: float = 5.0, **more: Any) -> Driver:
    node = FakeNode("api-1", ports={80: ("127.0.0.1", port), 81: ("127.0.0.1", 4711)})
    running = Running(
        Group("c", "api", "service", None, (MEMBER,)), Registry()["service"], {"api-1": node}, timeout=timeout
    )
    kind = "set" if "set" in more else "register"
    purpose = Purpose(kind, ServiceWorkload.model_validate(options), 0, str(folder), is_local="local" in more)
    return running.driver(MEMBER, purpose)


class _Server(socketserver.ThreadingTCPServer):
    """Answers every request as `answer` says; `seen`: first lines and bodies."""

    daemon_threads = True
    answer = (200, "")
    seen: list[tuple[str, str]]


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while header := self.rfile.readline().strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.server.seen.append((line.decode().rpartition(" ")[0], self.rfile.read(length).decode()))
            status, text = self.server.answer
            self.wfile.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server(ADDRESS, _Handler)
    made.seen = []
    with serving(made):
        yield made


CALLS = {
    "write": {"method": "PUT", "path": "/kv/{key}", "body": "{value}", "headers": {"X-Key": "{key}"}},
    "read": {"path": "/kv/{key}", "value": "items.0.value"},
    "cas": {"method": "POST", "path": "/kv/{key}/{old}", "body": {"old": "{old}", "new": ["{new}", "n{new}"]}},
    "peek": {"path": "/local/{key}"},
}


def _http(server: _Server, **more: Any) -> Driver:
    return _driver({"http": {"calls": CALLS}}, server.server_address[1], **more)


def test_a_request_is_made_as_it_is_described(server: _Server) -> None:
    driver = _http(server)
    assert driver.call("write", "a b/c", 7) is None
    driver.call("cas", "k", [None, 3])
    assert server.seen == [
        ("PUT /kv/a%20b%2Fc", "7"),
        ("POST /kv/k/", json.dumps({"old": None, "new": [3, "n3"]})),
    ]
    driver.close()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"items": [{"value": 17}]}', 17),
        ('{"items": [{"value": "17"}]}', 17),
        ('{"items": [{"value": ["1", 2]}]}', [1, 2]),
        ('{"items": [{"value": null}]}', None),
        ('{"items": [{"value": "-4"}]}', -4),
        ('{"items": [{"value": "x1"}]}', "x1"),
    ],
)
def test_the_value_is_where_the_description_says(server: _Server, text: str, value: Any) -> None:
    server.answer = (200, text)
    driver = _http(server)
    assert driver.call("read", "k", None) == value
    driver.close()


def test_a_node_is_asked_for_what_it_has_itself_by_its_own_call(server: _Server) -> None:
    server.answer = (200, "5")
    driver = _http(server, local=True)
    assert driver.call("read", "k", None) == 5
    assert server.seen[0][0] == "GET /local/k"
    driver.close()


@pytest.mark.parametrize(
    ("f", "status", "raises"),
    [
        ("write", 500, ClientError),
        ("write", 404, ClientError),
        ("write", 302, ClientError),
        ("write", 503, Refused),
        ("write", 421, Refused),
        ("cas", 409, Unmet),
        ("cas", 412, Unmet),
        ("read", 500, ClientError),
    ],
)
def test_what_a_status_means(server: _Server, f: str, status: int, raises: type[Exception]) -> None:
    server.answer = (status, "sorry")
    driver = _http(server)
    with pytest.raises(raises, match=f"status {status}: sorry") as raised:
        driver.call(f, "k", [1, 2] if f == "cas" else 1)
    assert type(raised.value) is raises
    driver.close()


def test_nothing_there_is_nothing(server: _Server) -> None:
    server.answer = (404, "no such key")
    driver = _http(server)
    assert driver.call("read", "k", None) is None
    driver.close()


@pytest.mark.parametrize("text", ["{}", '{"items": []}', "[]", "7", "not json"])
def test_an_answer_without_the_value_says_nothing(server: _Server, text: str) -> None:
    server.answer = (200, text)
    driver = _http(server)
    with pytest.raises(ClientError, match=r'there is no "items.0.value" in the answer'):
        driver.call("read", "k", None)
    driver.close()


# -- a Python file ---------------------------------------------------------------------------------------------------


def _file(folder: Path, body: str) -> dict[str, Any]:
    (folder / "client.py").write_text(body)
    return {"python": "client.py"}


def test_a_python_file_is_called(tmp_path: Path) -> None:
    options = _file(
        tmp_path,
        "class Client:\n"
        "    def __init__(self, host, port, timeout_s): self.made = (host, port, timeout_s)\n"
        "    def call(self, f, key, value): return [*self.made, f, key, value]\n"
        "    def close(self): self.made = None\n",
    )
    driver = _driver(options, 9999, tmp_path)
    assert driver.call("read", "k", 1) == ["127.0.0.1", 9999, 5.0, "read", "k", 1]
    driver.close()


def test_whatever_it_raises_means_that_nobody_knows(tmp_path: Path) -> None:
    options = _file(
        tmp_path,
        "class Client:\n"
        "    def __init__(self, host, port, timeout_s): pass\n"
        "    def call(self, f, key, value): return {}[key]\n",
    )
    driver = _driver(options, 9999, tmp_path)
    with pytest.raises(ClientError, match="KeyError: 'k'"):
        driver.call("read", "k", None)
    driver.close()


@pytest.mark.parametrize(("body", "why"), [("", "has no class Client"), (None, "there is no Python file")])
def test_a_file_that_is_none(tmp_path: Path, body: str | None, why: str) -> None:
    if body is not None:
        (tmp_path / "client.py").write_text(body)
    with pytest.raises(NotSent, match=why):
        _driver({"python": "client.py"}, 9999, tmp_path)


# -- a program -------------------------------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    f = asked["f"]
    if f == "environment":
        said = {"type": "ok", "value": [os.environ[name] for name in ("HOST", "PORT", "PORT_RAFT_PEER", "TIMEOUT_S")]}
    elif f == "sleep":
        time.sleep(60)
    elif f == "nonsense":
        print("nonsense", flush=True)
        continue
    elif f == "die":
        print("it hurts", file=sys.stderr)
        sys.exit(3)
    else:
        said = asked["value"]
    print(json.dumps(said), flush=True)
"""


def _program(folder: Path, timeout: float = 5.0) -> Driver:
    (folder / "client.py").write_text(PROGRAM)
    return _driver({"program": ["python3", "client.py"]}, 9999, folder, timeout)


def test_a_program_answers_line_by_line(tmp_path: Path) -> None:
    driver = _program(tmp_path)
    assert driver.call("environment", "k", None) == ["127.0.0.1", "9999", "4711", "5"]
    assert driver.call("add", "k", {"type": "ok", "value": [1, 2]}) == [1, 2]
    for said, raises in (
        ({"type": "fail", "error": "no leader"}, Refused),
        ({"type": "fail"}, Unmet),
        ({"type": "info", "error": "timed out"}, ClientError),
        ({"type": "maybe"}, ClientError),
        ([], ClientError),
    ):
        with pytest.raises(raises) as raised:
            driver.call("add", "k", said)
        assert type(raised.value) is raises
    driver.close()


def test_a_program_that_says_nothing_in_time(tmp_path: Path) -> None:
    driver = _program(tmp_path, timeout=0.3)
    with pytest.raises(TimeoutError):
        driver.call("sleep", "k", None)
    driver.close()


def test_a_program_that_talks_nonsense_or_dies(tmp_path: Path) -> None:
    driver = _program(tmp_path)
    with pytest.raises(ClientError, match="no JSON object"):
        driver.call("nonsense", "k", None)
    with pytest.raises(ClientError, match="ended with code 3: it hurts"):
        driver.call("die", "k", None)
    with pytest.raises(NotSent, match="has ended with code 3"):
        driver.call("add", "k", None)
    driver.close()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="cannot be run: No such file"):
        _driver({"program": "./gone"}, 9999, tmp_path)


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"python": "a.py", "program": "b"}])
def test_there_is_one_way(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs one of http, python and program"):
        ServiceWorkload.model_validate(given)


def test_only_what_is_described_is_spoken() -> None:
    assert ServiceWorkload.model_validate({"http": {"calls": CALLS}}).spoken == frozenset(CALLS)
    assert ServiceWorkload.model_validate({"python": "a.py"}).spoken is None
