"""How clients speak to a service of one's own: what counts as done, as surely not done, and as unknown."""

from __future__ import annotations

import json
import os
import select
import socketserver
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.components.base import Group, Member, Purpose, Running
from clusterkit.components.registry import Registry
from clusterkit.components.service import HttpCall, ServiceWorkload
from clusterkit.testing import FakeNode
from tests.unit.components.node_servers import ADDRESS, serving

MEMBER = Member("api-1", 1, "a", "127.0.0.1", {"http": 80, "raft-peer": 81})


def _driver(
    options: dict[str, Any],
    port: int,
    folder: Path = Path(),
    timeout: float = 5.0,
    kind: str = "register",
    *,
    local: bool = False,
) -> Driver:
    node = FakeNode("api-1", ports={80: ("127.0.0.1", port), 81: ("127.0.0.1", 4711)})
    running = Running(
        Group("c", "api", "service", None, (MEMBER,)), Registry()["service"], {"api-1": node}, timeout=timeout
    )
    purpose = Purpose(kind, ServiceWorkload.model_validate(options), 0, str(folder), is_local=local)
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
        ('{"items": [{"value": null}]}', None),
        ('{"items": [{"value": "-4"}]}', -4),
        ('{"items": [{"value": "x1"}]}', "x1"),
        ('{"items": [{"value": "007"}]}', "007"),
        ('{"items": [{"value": "--7"}]}', "--7"),
        ('{"items": [{"value": ""}]}', None),
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


def test_a_single_status_needs_no_list() -> None:
    call = HttpCall.model_validate({"path": "/kv/{key}", "missing": 410, "unmet": 422, "refused": [429, 503]})
    assert (call.missing, call.unmet, call.refused) == ((410,), (422,), (429, 503))


@pytest.mark.parametrize("status", ["404", True, 404.5, {}])
def test_a_status_is_a_number(status: Any) -> None:
    with pytest.raises(ValueError, match="missing"):
        HttpCall.model_validate({"path": "/kv/{key}", "missing": status})


def test_nothing_there_is_nothing(server: _Server) -> None:
    server.answer = (404, "no such key")
    driver = _http(server)
    assert driver.call("read", "k", None) is None
    driver.close()


@pytest.mark.parametrize(
    ("kind", "f", "text", "gives"),
    [
        ("set", "read", '["1", 2]', [1, 2]),
        ("set", "read", "null", []),
        ("counter", "read", "17", 17),
        ("counter", "read", "", 0),
        ("bank", "read", '{"a": "90", "b": 10}', {"a": 90, "b": 10}),
        ("queue", "dequeue", "", None),
        ("ids", "generate", "12e4567", "12e4567"),
        ("ids", "generate", "8", 8),
        ("set", "add", "<html>thanks</html>", None),
    ],
)
def test_each_kind_has_its_own_form_of_a_value(server: _Server, kind: str, f: str, text: str, gives: Any) -> None:
    server.answer = (200, text)
    driver = _driver({"http": {"calls": {f: {"path": "/"}}}}, server.server_address[1], kind=kind)
    assert driver.call(f, "k", None) == gives
    driver.close()


@pytest.mark.parametrize(
    ("kind", "f", "text", "wants"),
    [
        ("set", "read", "<html>sorry</html>", "read of a set gives a list of numbers, and this gave '<html>"),
        ("set", "read", '{"values": [1]}', "a list of numbers"),
        ("set", "read", "[[1]]", "a list of numbers"),
        ("register", "read", '{"value": 1}', "a number or nothing"),
        ("register", "read", "true", "a number or nothing"),
        ("counter", "read", "many", "a number"),
        ("bank", "read", "[1, 2]", "the balance of each account"),
        ("bank", "read", '{"a": "some"}', "the balance of each account"),
        ("queue", "dequeue", "[1]", "a number or nothing"),
        ("ids", "generate", "", "a number or text"),
    ],
)
def test_what_is_nothing_of_the_kind_is_no_value(server: _Server, kind: str, f: str, text: str, wants: str) -> None:
    server.answer = (200, text)
    driver = _driver({"http": {"calls": {f: {"path": "/"}}}}, server.server_address[1], kind=kind)
    with pytest.raises(ClientError, match=wants):
        driver.call(f, "k", None)
    driver.close()


def test_a_set_that_is_not_there_yet_is_empty(server: _Server) -> None:
    server.answer = (404, "no such set")
    driver = _driver({"http": {"calls": {"read": {"path": "/"}}}}, server.server_address[1], kind="set")
    assert driver.call("read", "k", None) == []
    driver.close()


def test_a_port_that_is_not_there_is_told(server: _Server) -> None:
    options = {"http": {"port": "htp", "calls": CALLS}}
    with pytest.raises(NotSent, match='api-1 has not the port "htp" to talk to; its ports are: http, raft-peer'):
        _driver(options, server.server_address[1])


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
        "    def __init__(self, host, port, timeout_s): self.made = (host, port, f'{timeout_s:g}')\n"
        "    def call(self, f, key, value): return [*self.made, f, key, value]\n"
        "    def close(self): raise ValueError('never open')\n",
    )
    driver = _driver(options, 9999, tmp_path, kind="set")
    made = driver.call("read", "k", 1)
    assert made == ["127.0.0.1", 9999, "5", "read", "k", 1]
    with pytest.raises(ClientError, match="ValueError: never open"):
        driver.close()


def test_a_python_file_may_have_dataclasses_and_neighbours_and_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "clusterkit_test_neighbour.py").write_text("NAME = 'neighbour'\n")
    options = _file(
        tmp_path,
        "from __future__ import annotations\n"
        "import itertools\n"
        "from dataclasses import dataclass\n"
        "from clusterkit_test_neighbour import NAME\n"
        "made = itertools.count()\n"
        "@dataclass\n"
        "class Client:\n"
        "    host: str\n"
        "    port: int\n"
        "    timeout_s: float\n"
        "    def __post_init__(self): self.number = next(made)\n"
        "    def call(self, f, key, value): return {NAME, self.number}\n",
    )
    for number in range(2):
        driver = _driver(options, 9999, tmp_path, kind="set")
        assert set(driver.call("read", "k", None)) == {"neighbour", number}
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


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "has no class Client"),
        (None, "there is no Python file"),
        ("class Client", "client.py cannot be run: SyntaxError: "),
        ("import clusterkit_gone", "client.py cannot be run: ModuleNotFoundError: "),
        ("class Client: pass", r"Client cannot be made: TypeError: Client\(\) takes no arguments"),
    ],
)
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
        said = {"type": "info", "error": [os.environ[name] for name in ("HOST", "PORT", "PORT_RAFT_PEER", "TIMEOUT_S")]}
    elif f == "sleep":
        time.sleep(60)
    elif f == "nonsense":
        print("nonsense", flush=True)
        continue
    elif f == "chatter":
        print("x" * 200_000, file=sys.stderr)
        said = {"type": "ok"}
    elif f == "die":
        print("it hurts", file=sys.stderr)
        sys.exit(3)
    else:
        said = asked["value"]
    print(json.dumps(said), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Makes drivers of PROGRAM, and ends them."""
    with ExitStack() as made:

        def make(timeout: float = 5.0) -> Driver:
            (tmp_path / "client.py").write_text(PROGRAM)
            driver = _driver({"program": ["python3", "client.py"]}, 9999, tmp_path, timeout, kind="set")
            made.callback(driver.close)
            return driver

        yield make


def test_a_program_answers_line_by_line(program: Callable[..., Driver]) -> None:
    driver = program()
    assert driver.call("read", "k", {"type": "ok", "value": [1, 2]}) == [1, 2]
    assert driver.call("add", "k", {"type": "ok", "value": "thanks"}) is None
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


def test_a_program_knows_whom_to_talk_to(program: Callable[..., Driver]) -> None:
    with pytest.raises(ClientError, match=r"\['127.0.0.1', '9999', '4711', '5'\]"):
        program().call("environment", "k", None)


def test_a_program_that_says_nothing_in_time(program: Callable[..., Driver]) -> None:
    with pytest.raises(TimeoutError):
        program(timeout=0.3).call("sleep", "k", None)


def test_a_program_may_say_much_on_stderr(program: Callable[..., Driver]) -> None:
    assert program().call("chatter", "k", None) is None


def test_a_program_that_talks_nonsense_or_dies(program: Callable[..., Driver]) -> None:
    driver = program()
    with pytest.raises(ClientError, match="no JSON object"):
        driver.call("nonsense", "k", None)
    with pytest.raises(ClientError, match="ended with code 3: it hurts"):
        driver.call("die", "k", None)
    with pytest.raises(NotSent, match="has ended with code 3"):
        driver.call("add", "k", None)


def test_what_a_program_has_started_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "client.sh").write_text('sleep 600 & echo \'{"type": "info", "error": "\'$!\'"}\'; wait')
    driver = _driver({"program": ["sh", "client.sh"]}, 9999, tmp_path)
    with pytest.raises(ClientError) as raised:
        driver.call("read", "k", None)
    started = os.pidfd_open(int(str(raised.value)))  # readable once the process has ended
    assert not select.select([started], [], [], 0)[0]
    driver.close()
    assert select.select([started], [], [], 30)[0]
    os.close(started)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match="cannot be run: No such file"):
        _driver({"program": "./gone"}, 9999, tmp_path)


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"python": "a.py", "program": "b"}])
def test_there_is_one_way(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs one of http, python and program"):
        ServiceWorkload.model_validate(given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"http": {"calls": {"wirte": {"path": "/"}}}}, 'no workload makes the call "wirte"; did you mean "write"?'),
        ({"http": {"calls": {"read": {"path": "/{kye}"}}}}, '"/{kye}" has {kye}; .*{key}'),
        ({"http": {"calls": {"read": {"path": "/", "headers": {"X": "{vaule}"}}}}}, '"{vaule}" has {vaule}; .*{value}'),
        ({"python": "gone.py"}, '"gone.py" is not a file\nmend: make .*/gone.py'),
        ({"program": "./gone --fast"}, '"./gone" is not a program\nmend: make .*/gone'),
        ({"program": "./client.sh"}, '"./client.sh" is not a program\nmend: chmod \\+x .*/client.sh'),
        ({"program": []}, "the program is empty"),
    ],
)
def test_slips_are_told_when_the_topology_is_read(tmp_path: Path, given: dict[str, Any], why: str) -> None:
    (tmp_path / "client.sh").write_text("")
    with pytest.raises(ValueError, match=why):
        ServiceWorkload.model_validate(given, context={"folder": tmp_path})


def test_what_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "client").write_text("")
    (tmp_path / "client").chmod(0o755)
    for given in ({"python": "client"}, {"program": "./client --fast"}, {"program": ["python3", "x.py"]}):
        assert ServiceWorkload.model_validate(given, context={"folder": tmp_path}).spoken is None


def test_only_what_is_described_is_spoken() -> None:
    assert ServiceWorkload.model_validate({"http": {"calls": CALLS}}).spoken == frozenset(CALLS)
    assert ServiceWorkload.model_validate({"python": "a.py"}).spoken is None
