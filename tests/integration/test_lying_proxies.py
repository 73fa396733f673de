"""Every client and checker pair meets a system that tells one lie, and says so; and the same system without the lie."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from clusterkit.check_topology import read_topology
from clusterkit.checkers.base import Validity, judge
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.cluster import Site, planned
from clusterkit.components.base import Group, Member, Running
from clusterkit.components.registry import Registry
from clusterkit.components.service import ServiceWorkload
from clusterkit.health import roles, view
from clusterkit.history.codec import Recorder
from clusterkit.journal import Journal
from clusterkit.providers.docker import DockerProvider
from clusterkit.testing import FakeNode
from clusterkit.units import Rate
from clusterkit.workloads.base import Expect, Invocation, WorkloadSpec
from clusterkit.workloads.interpreter import Bench, Clients, Session, read_everything
from clusterkit.workloads.kinds import KINDS
from tests.integration.conftest import Folder
from tests.integration.liars import Changed, Drop, Lie, Stale, Twice, before, honest

pytestmark = pytest.mark.xdist_group("agent")

STEPS: dict[str, Sequence[tuple[str, Any]]] = {
    "register": [("write", 1), ("read", None), ("write", 2), ("read", None), ("cas", [2, 3]), ("read", None),
                 ("write", 4), ("read", None)],
    "set": [("add", 1), ("read", None), ("add", 2), ("read", None), ("add", 3), ("read", None), ("read", None)],
    "counter": [("add", 1), ("read", None), ("add", 2), ("read", None), ("add", 4), ("read", None)],
    "queue": [("enqueue", 1), ("enqueue", 2), ("enqueue", 3), ("dequeue", None), ("dequeue", None), ("dequeue", None),
              ("dequeue", None)],
    "bank": [("read", None), ("transfer", {"from": "0", "to": "1", "amount": 5}), ("read", None),
             ("transfer", {"from": "1", "to": "2", "amount": 7}), ("read", None)],
    "ids": [("generate", None), ("generate", None), ("generate", None)],
}  # fmt: skip
"""Kind -> the calls of one client, one after another: what an honest system answers is known beforehand."""


@dataclass(frozen=True)
class Real:
    """A real system: a component, the member that takes writes, and the protocol that it speaks."""

    running: Running
    member: Member
    protocol: str


STRICT = Expect(linearizable=True)


def _verdicts(
    real: Real, kind: str, lie: Lie, path: Path, options: Any = None, expect: Expect = STRICT
) -> dict[str, Validity]:
    """What each checker of a kind says of a client that met the system through a proxy."""
    port = real.running.dial(real.member, next(iter(real.member.ports)))
    made = KINDS[kind]
    spec = WorkloadSpec(kind, real.running.group.name, made.keys if kind == "bank" else 1, {}, options=options)
    workload = made(spec)
    ticks = count()
    with before(port, real.protocol, lie) as own, Recorder(path / f"{secrets.token_hex(4)}.jsonl") as recorder:
        number = next(iter(real.member.ports.values()))
        node = FakeNode(real.member.name, ports={number: ("127.0.0.1", own)})
        running = replace(real.running, nodes={real.member.name: node})
        bench = Bench(workload, running, recorder, lambda: next(ticks), f"l{secrets.token_hex(4)}", str(path))
        session = Session(bench, 0, found=(running, real.member))
        for call in workload.opening():
            session.ask(call)
        for f, value in STEPS[kind]:
            session.call(Invocation(f, None, value))
        session.close()
        assert bench.tally.bugs == []
        assert {op.error for op in recorder.history} == {""}
        return {checker.name: judge(checker, recorder.history).validity for checker in workload.checkers(expect)}


def _who_objects(verdicts: dict[str, Validity]) -> set[str]:
    """The checkers that say invalid; all others say valid."""
    objecting = {name for name, validity in verdicts.items() if validity is Validity.INVALID}
    assert {validity for name, validity in verdicts.items() if name not in objecting} <= {Validity.VALID}
    return objecting


# -- etcd and Redis --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def systems(arena: Folder) -> dict[str, Real]:
    provider = DockerProvider()
    topology, registry = read_topology(None, folder=arena.path, environ=os.environ)
    record = provider.find(arena.name)
    assert record is not None
    plan = planned(Site(provider, Journal(), arena.path / ".clusterkit" / arena.name), topology, registry, record)
    etcd, redis = (view.running(plan, provider, record, name, 5.0) for name in ("registry", "cache"))
    primary = next(node for node, held in roles.read(redis).items() if held[0].name == "primary")
    member = next(one for one in redis.members if one.name == primary)
    return {"etcd": Real(etcd, etcd.members[0], "http"), "redis": Real(redis, member, "resp")}


def _asks(*words: str) -> Callable[[bytes], bool]:
    """Whether a request of Redis begins with these words."""
    parts = [f"${len(word)}\r\n{word}\r\n".encode() for word in words]
    return lambda request: all(part in request for part in parts)


def _calls(path: str, holds: str = "") -> Callable[[bytes], bool]:
    """Whether a request of etcd is of this kind, on a key of the test."""
    return lambda request: request.startswith(f"POST /v3/kv/{path}\n".encode()) and holds.encode() in request


def _with_double(answer: bytes) -> bytes:
    """etcd's answer, with its first element twice."""
    status, _, body = answer.partition(b"\n")
    said = json.loads(body)
    return status + b"\n" + json.dumps({**said, "kvs": [said["kvs"][0], *said["kvs"]]}).encode()


def _with_double_member(answer: bytes) -> bytes:
    """Redis' answer, an array of texts, with its first one twice."""
    head, _, rest = answer.partition(b"\r\n")
    first = re.match(rb"\$\d+\r\n[^\r]*\r\n", rest)
    assert first is not None
    return b"*%d\r\n" % (int(head[1:]) + 1) + first.group() + rest


def _with_more_money(answer: bytes) -> bytes:
    """etcd's answer, with another first balance."""
    status, _, body = answer.partition(b"\n")
    said = json.loads(body)
    said["kvs"][0]["value"] = base64.b64encode(b"1000").decode()
    return status + b"\n" + json.dumps(said).encode()


def _with_more_money_in_a_hash(answer: bytes) -> bytes:
    """Redis' answer, an array of accounts and balances, with another first balance."""
    return re.sub(rb"\A(\*\d+\r\n\$\d+\r\n[^\r]*\r\n)\$\d+\r\n[^\r]*", rb"\g<1>$4\r\n1000", answer)


def _with_old_revision(answer: bytes) -> bytes:
    """etcd's answer to a put, with the revision of the put before it."""
    status, _, body = answer.partition(b"\n")
    said = json.loads(body)
    said["header"]["revision"] = str(int(said["header"]["revision"]) - 1)
    return status + b"\n" + json.dumps(said).encode()


_RANGE_ALL = '"keys_only"'
LIES: dict[tuple[str, str, str], Callable[[], Any]] = {
    ("etcd", "register", "drop"): lambda: Drop(_calls("put")),
    ("etcd", "register", "drop a swap"): lambda: Drop(_calls("txn"), turn=1, answer=b'200\n{"succeeded":true}'),
    ("etcd", "register", "stale"): lambda: Stale(_calls("range")),
    ("etcd", "set", "drop"): lambda: Drop(_calls("put")),
    ("etcd", "set", "stale"): lambda: Stale(_calls("range", _RANGE_ALL)),
    ("etcd", "set", "double"): lambda: Changed(_calls("range", _RANGE_ALL), _with_double),
    ("etcd", "counter", "drop"): lambda: Drop(_calls("txn")),
    ("etcd", "counter", "double"): lambda: Twice(_calls("txn")),
    ("etcd", "counter", "stale"): lambda: Stale(_calls("range", '"serializable"')),
    ("etcd", "queue", "drop"): lambda: Drop(_calls("put")),
    ("etcd", "queue", "double"): lambda: Drop(_calls("txn")),
    ("etcd", "bank", "drop"): lambda: Drop(_calls("txn", '"compare"')),
    ("etcd", "bank", "double"): lambda: Twice(_calls("txn", '"compare"')),
    ("etcd", "bank", "stale"): lambda: Stale(_calls("range", _RANGE_ALL)),
    ("etcd", "bank", "invent"): lambda: Changed(_calls("range", _RANGE_ALL), _with_more_money),
    ("etcd", "ids", "double"): lambda: Changed(_calls("put"), _with_old_revision),
    ("redis", "register", "drop"): lambda: Drop(_asks("SET")),
    ("redis", "register", "drop a swap"): lambda: Drop(_asks("EVAL"), turn=1, answer=b":1\r\n"),
    ("redis", "register", "stale"): lambda: Stale(_asks("GET")),
    ("redis", "set", "drop"): lambda: Drop(_asks("SADD")),
    ("redis", "set", "stale"): lambda: Stale(_asks("SMEMBERS")),
    ("redis", "set", "double"): lambda: Changed(_asks("SMEMBERS"), _with_double_member),
    ("redis", "counter", "drop"): lambda: Drop(_asks("INCRBY")),
    ("redis", "counter", "double"): lambda: Twice(_asks("INCRBY")),
    ("redis", "counter", "stale"): lambda: Stale(_asks("GET")),
    ("redis", "queue", "drop"): lambda: Drop(_asks("RPUSH")),
    ("redis", "queue", "double"): lambda: Drop(_asks("LPOP")),
    ("redis", "bank", "drop"): lambda: Drop(_asks("EVAL")),
    ("redis", "bank", "double"): lambda: Twice(_asks("EVAL")),
    ("redis", "bank", "stale"): lambda: Stale(_asks("HGETALL")),
    ("redis", "bank", "invent"): lambda: Changed(_asks("HGETALL"), _with_more_money_in_a_hash),
    ("redis", "ids", "double"): lambda: Drop(_asks("INCR")),
}


QUICK = {
    "register": "linearizable",
    "set": "set",
    "counter": "counter",
    "queue": "queue",
    "bank": "bank",
    "ids": "unique ids",
}
"""Kind -> the checker that judges it where no order is promised, or where there is no other."""


BLIND = {
    ("set", "double"): "linearizable",
    ("bank", "drop"): "bank",
    ("bank", "double"): "bank",
    ("bank", "stale"): "bank",
}
"""(kind, lie) -> the checker that cannot see it: the model of a set takes what was read as a set, and the sum of a bank
is right after any transfer, whether it was lost, doubled or not seen yet."""


def _objecting(kind: str, lie: str) -> set[str]:
    """Who sees the lie where order is promised."""
    judges = {QUICK[kind]} if kind == "ids" else {QUICK[kind], "linearizable"}
    return judges - {BLIND.get((kind, lie))}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("system", ["etcd", "redis"])
def test_an_honest_system_is_valid(systems: dict[str, Real], system: str, kind: str, tmp_path: Path) -> None:
    assert _who_objects(_verdicts(systems[system], kind, honest, tmp_path)) == set()


@pytest.mark.parametrize(("system", "kind", "lie"), LIES)
def test_one_lie_is_enough(systems: dict[str, Real], system: str, kind: str, lie: str, tmp_path: Path) -> None:
    told = LIES[system, kind, lie]()
    assert _who_objects(_verdicts(systems[system], kind, told, tmp_path)) == _objecting(kind, lie)
    assert told.told


@pytest.mark.parametrize(
    ("kind", "lie", "is_seen"),
    [
        ("set", "drop", True),
        ("set", "double", True),
        ("set", "stale", False),
        ("counter", "drop", True),
        ("counter", "double", True),
        ("queue", "drop", True),
        ("queue", "double", True),
        ("bank", "invent", True),
        ("bank", "stale", False),
        ("ids", "double", True),
    ],
)
@pytest.mark.parametrize("system", ["etcd", "redis"])
def test_one_lie_where_no_order_is_promised(
    systems: dict[str, Real], system: str, kind: str, lie: str, is_seen: bool, tmp_path: Path
) -> None:
    told = LIES[system, kind, lie]()
    verdicts = _verdicts(systems[system], kind, told, tmp_path, expect=Expect())
    assert verdicts == {QUICK[kind]: Validity.INVALID if is_seen else Validity.VALID}
    assert told.told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("system", ["etcd", "redis"])
def test_an_honest_system_is_valid_with_many_clients(
    systems: dict[str, Real], system: str, kind: str, tmp_path: Path
) -> None:
    """All on one object, so that they are in each other's way."""
    real, made = systems[system], KINDS[kind]
    keys = made.keys if kind == "bank" else 1
    spec = WorkloadSpec(kind, real.running.group.name, keys, dict(made.mix), clients=4, rate=Rate(1000))
    workload = made(spec)
    with Recorder(tmp_path / "history.jsonl") as recorder:
        bench = Bench(workload, real.running, recorder, SYSTEM.monotonic_ns, f"l{secrets.token_hex(4)}", str(tmp_path))
        session = Session(bench, 0, found=(real.running, real.member))
        for call in workload.opening():
            session.ask(call)
        session.close()
        stop = threading.Event()
        clients = Clients(bench, 7, stop)
        clients.start()
        deadline = Deadline(30)
        while bench.tally.ok < 200 and not deadline.is_over:
            SYSTEM.sleep(0.02)
        stop.set()
        clients.join()
        read_everything(bench)
        verdicts = {checker.name: judge(checker, recorder.history).validity for checker in workload.checkers(STRICT)}
    assert bench.tally.bugs == []
    assert bench.tally.ok >= 200
    assert _who_objects(verdicts) == set()


# -- the user's own service, by all three ways -----------------------------------------------------------------------


class _Store(BaseHTTPRequestHandler):
    """A set and a register for each key, honest and in memory."""

    protocol_version = "HTTP/1.1"
    sets: dict[str, list[int]]
    values: dict[str, int]

    def do_GET(self) -> None:
        _, what, key = self.path.split("/")
        if what == "sets":
            self._answer(200, json.dumps({"elements": self.sets.get(key, [])}))
        else:
            self._answer(*((200, str(self.values[key])) if key in self.values else (404, "nothing")))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        _, what, key = self.path.split("/")
        if what == "sets":
            self.sets.setdefault(key, []).append(json.loads(body)["add"])
        elif what == "swap":
            asked = json.loads(body)
            if self.values.get(key) != asked["old"]:
                self._answer(409, "another value")
                return
            self.values[key] = asked["new"]
        else:
            self.values[key] = int(body)
        self._answer(200, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Nobody reads them."""


CLIENT = """
import http.client, json

from clusterkit.client import Unmet


class Client:
    def __init__(self, host, port, timeout_s):
        self.connection = http.client.HTTPConnection(host, port, timeout=timeout_s)

    def call(self, f, key, value):
        if f == "read":
            status, body = self.ask("GET", f"/values/{key}")
            return None if status == 404 else int(body)
        if f == "cas":
            status, body = self.ask("PUT", f"/swap/{key}", json.dumps({"old": value[0], "new": value[1]}))
            if status == 409:
                raise Unmet(body)
            return None
        if f == "add":
            return self.ask("PUT", f"/sets/{key}", json.dumps({"add": value})) and None
        return self.ask("PUT", f"/values/{key}", str(value)) and None

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def close(self):
        self.connection.close()
"""
PROGRAM = """
import json, os, sys
from client import Client

client = Client(os.environ["HOST"], int(os.environ["PORT"]), float(os.environ["TIMEOUT_S"]))
for line in sys.stdin:
    asked = json.loads(line)
    try:
        said = {"type": "ok", "value": client.call(asked["f"], asked["key"], asked["value"])}
    except Exception as error:
        said = {"type": "fail" if type(error).__name__ == "Unmet" else "info", "error": ""}
    print(json.dumps(said), flush=True)
"""
HTTP: dict[str, dict[str, Any]] = {
    "register": {
        "write": {"method": "PUT", "path": "/values/{key}", "body": "{value}"},
        "cas": {"method": "PUT", "path": "/swap/{key}", "body": {"old": "{old}", "new": "{new}"}},
        "read": {"path": "/values/{key}"},
    },
    "set": {
        "add": {"method": "PUT", "path": "/sets/{key}", "body": {"add": "{value}"}},
        "read": {"path": "/sets/{key}", "value": "elements"},
    },
}


@pytest.fixture
def service() -> Iterator[Real]:
    handler = type("Store", (_Store,), {"sets": {}, "values": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        member = Member("api-1", 1, "a", "127.0.0.1", {"http": 80})
        group = Group("c", "api", "service", None, (member,))
        node = FakeNode("api-1", ports={80: ("127.0.0.1", server.server_address[1])})
        yield Real(Running(group, Registry()["service"], {"api-1": node}, timeout=5.0), member, "http")
        server.shutdown()


def _options(way: str, kind: str, path: Path) -> ServiceWorkload:
    (path / "client.py").write_text(CLIENT)
    (path / "program.py").write_text(PROGRAM)
    ways: dict[str, Any] = {
        "http": {"calls": HTTP[kind]},
        "python": "client.py",
        "program": [sys.executable, "program.py"],
    }
    return ServiceWorkload.model_validate({way: ways[way]})


def _is(method: str) -> Callable[[bytes], bool]:
    return lambda request: request.startswith(method.encode()) and b"/swap/" not in request


SERVICE_LIES: dict[tuple[str, str], Callable[[], Any]] = {
    ("register", "drop"): lambda: Drop(_is("PUT")),
    ("register", "stale"): lambda: Stale(_is("GET")),
    ("set", "drop"): lambda: Drop(_is("PUT")),
    ("set", "stale"): lambda: Stale(_is("GET")),
    ("set", "double"): lambda: Twice(_is("PUT")),
}
WAYS = [("http", "register"), ("http", "set"), ("python", "register"), ("program", "register")]


@pytest.mark.parametrize(("way", "kind"), WAYS)
def test_an_honest_service_is_valid(service: Real, way: str, kind: str, tmp_path: Path) -> None:
    assert _who_objects(_verdicts(service, kind, honest, tmp_path, _options(way, kind, tmp_path))) == set()


@pytest.mark.parametrize(
    ("way", "kind", "lie"),
    [(way, kind, lie) for way, kind in WAYS for of, lie in SERVICE_LIES if of == kind],
)
def test_one_lie_of_a_service_is_enough(service: Real, way: str, kind: str, lie: str, tmp_path: Path) -> None:
    told = SERVICE_LIES[kind, lie]()
    assert _who_objects(_verdicts(service, kind, told, tmp_path, _options(way, kind, tmp_path))) == _objecting(
        kind, lie
    )
    assert told.told


def test_keys_on_the_wire_are_what_etcd_takes(systems: dict[str, Real], tmp_path: Path) -> None:
    """The proxy sees what it is meant to see: the keys of the test, in base64."""
    seen: list[bytes] = []

    def note(request: bytes, forward: Callable[[bytes], bytes]) -> bytes:
        seen.append(request)
        return forward(request)

    assert _who_objects(_verdicts(systems["etcd"], "register", note, tmp_path)) == set()
    puts = [json.loads(one.partition(b"\n")[2]) for one in seen if one.startswith(b"POST /v3/kv/put")]
    assert [base64.b64decode(put["value"]) for put in puts] == [b"1", b"2", b"4"]
