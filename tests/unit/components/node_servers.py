"""Small servers on loopback that answer as etcd and Redis do, and groups of nodes that reach them."""

from __future__ import annotations

import base64
import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clusterkit.components.base import Component, Group, Member, Running
from clusterkit.testing import FakeNode

SECRET = "s3cret"
ADDRESS = ("127.0.0.1", 0)


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The port that a server answers on, until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def group(component: Component, options: Mapping[str, Any] | None = None, replicas: int = 3, **more: Any) -> Group:
    """`name` is the kind unless given; addresses are 192.0.2.11 and up."""
    made = component.options.model_validate(dict(options or {}), context=more.pop("context", None))
    name = more.pop("name", component.kind)
    ports = {port: described.number for port, described in component.ports_for(made).items()}
    members = tuple(
        Member(f"{name}-{index}", index, "abc"[index % 3 - 1], f"192.0.2.{10 + index}", ports)
        for index in range(1, replicas + 1)
    )
    secrets = dict.fromkeys(component.secrets, SECRET)
    return Group("shop", name, component.kind, made, members, secrets, **more)


def running(
    component: Component, of: Group, ports: Mapping[str, int], needs: Mapping[str, Running] | None = None
) -> Running:
    """`ports`: member name -> the port on loopback where its server answers. Those without one do not run."""
    nodes = {
        member.name: FakeNode(
            member.name,
            member.address,
            ports=dict.fromkeys(member.ports.values(), ("127.0.0.1", ports[member.name])),
        )
        for member in of.members
        if member.name in ports
    }
    return Running(of, component, nodes, needs or {}, timeout=0.5)


class _Threading(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@dataclass
class FakeRedis:
    """A server that knows the commands that clusterkit sends. `answers` come before all others."""

    answers: dict[str, Any] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    password: str = SECRET
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                is_known = not fake.password
                while words := _read_words(self.rfile):
                    fake.asked.append(words)
                    if words[0] == "AUTH":
                        is_known = words[1:] == ("default", fake.password) or not fake.password
                        self.wfile.write(b"+OK\r\n" if is_known else b"-WRONGPASS invalid password\r\n")
                    elif not is_known:
                        self.wfile.write(b"-NOAUTH Authentication required.\r\n")
                    else:
                        self.wfile.write(_encoded(fake.answer(words)))

        return serving(_Threading(ADDRESS, Handler))

    def answer(self, words: tuple[str, ...]) -> Any:
        named = self.answers.get(" ".join(words[:2]), self.answers.get(words[0]))
        if named is not None:
            return named
        known: dict[str, Callable[..., Any]] = {
            "PING": lambda: "PONG",
            "SET": lambda key, value, *_: self.values.update({key: value}) or "OK",
            "GET": self.values.get,
            "DEL": lambda key: int(self.values.pop(key, None) is not None),
            "WAIT": lambda count, _: int(count),
        }
        return known[words[0]](*words[1:]) if words[0] in known else Exception(f"ERR unknown command '{words[0]}'")


def _read_words(stream: Any) -> tuple[str, ...]:
    line = stream.readline()
    words = []
    for _ in range(int(line[1:] or 0)):
        length = int(stream.readline()[1:])
        words.append(stream.read(length + 2)[:-2].decode())
    return tuple(words)


def _encoded(value: Any) -> bytes:
    if isinstance(value, Exception):
        return f"-{value}\r\n".encode()
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(_encoded, value))
    text = str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


@dataclass
class FakeEtcd:
    """A JSON gateway of one member. Several with the same `values` are one cluster. `token` changes at a restart.

    `before` sees each request of keys first: it may change what is there, or answer in our place.
    """

    member_id: str = "1"
    leader: str = "1"
    health: str = '{"health":"true"}'
    values: dict[str, str] = field(default_factory=dict)
    is_auth_on: bool = True
    token: str = "token.1"
    users: dict[str, str] = field(default_factory=lambda: {"root": SECRET})
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], tuple[int, dict[str, Any]] | None] = lambda _path: None
    revision: int = 1
    revisions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """key -> revision when it was made, and when it was written last"""
    serializable: list[bool] = field(default_factory=list)
    """Of each read: whether it asked for what the member itself has."""

    def serve(self) -> contextlib.AbstractContextManager[int]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._send(200, fake.health.encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = fake.answer(self.path, body, self.headers.get("Authorization", ""))
                self._send(status, json.dumps(answer).encode())

            def _send(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_args: Any) -> None:
                """Tests are quiet."""

        server = ThreadingHTTPServer(ADDRESS, Handler)
        server.daemon_threads = True
        return serving(server)

    def answer(self, path: str, body: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        open_to_all: dict[str, Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]] = {
            "/v3/maintenance/status": self._status,
            "/v3/auth/authenticate": self._authenticate,
        }
        if path in open_to_all:
            return open_to_all[path](body)
        if self.is_auth_on and token != self.token:
            return 401, {"message": "etcdserver: invalid auth token", "code": 16}
        return self._rest(path, body)

    def _status(self, _body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        said = {"header": {"member_id": self.member_id}, "raftTerm": "4", "raftIndex": "120", "dbSize": "20480"}
        return 200, said | ({"leader": self.leader} if self.leader else {})

    def _authenticate(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not self.is_auth_on:
            return 400, {"message": "etcdserver: authentication is not enabled"}
        if self.users.get(body["name"]) != body["password"]:
            return 400, {"message": "etcdserver: authentication failed, invalid user ID or password"}
        return 200, {"token": self.token}

    def _rest(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path.startswith("/v3/kv/") and (answer := self.before(path)):
            return answer
        match path:
            case "/v3/kv/put":
                return 200, self._put(body)
            case "/v3/kv/range":
                return 200, self._range(body)
            case "/v3/kv/deleterange":
                self.remove(_plain(body["key"]))
            case "/v3/kv/txn":
                return 200, self._transaction(body)
            case "/v3/auth/user/add" if body["name"] in self.users:
                return 400, {"message": "etcdserver: user name already exists"}
            case "/v3/auth/user/add" | "/v3/auth/user/changepw":
                self.users[body["name"]] = body["password"]
            case "/v3/auth/enable" | "/v3/auth/disable":
                self.is_auth_on = path.endswith("enable")
        return 200, {}

    def write(self, key: str, value: str) -> None:
        """As another client does."""
        self.revision += 1
        made, _ = self.revisions.get(key, (self.revision, 0))
        self.values[key], self.revisions[key] = value, (made, self.revision)

    def _put(self, body: dict[str, Any]) -> dict[str, Any]:
        self.write(_plain(body["key"]), _plain(body["value"]))
        return {"header": {"revision": str(self.revision)}}

    def remove(self, key: str) -> None:
        self.revision += 1
        self.values.pop(key, None)
        self.revisions.pop(key, None)

    def _range(self, body: dict[str, Any]) -> dict[str, Any]:
        """What is empty is left out, as etcd does."""
        self.serializable.append(body.get("serializable", False))
        first, end = _plain(body["key"]), _plain(body.get("range_end", ""))
        keys = sorted(key for key in self.values if key == first or first <= key < end)
        if body.get("sort_target") == "CREATE":
            keys.sort(key=lambda key: self.revisions[key][0])
        kvs = [
            {"key": _coded(key), "mod_revision": str(self.revisions.get(key, (1, 1))[1])}
            | ({} if body.get("keys_only") else {"value": _coded(self.values[key])})
            for key in keys[: body.get("limit")]
        ]
        return {"kvs": kvs} if kvs else {}

    def _transaction(self, body: dict[str, Any]) -> dict[str, Any]:
        if not all(map(self._holds, body.get("compare", ()))):
            return {}
        for step in body["success"]:
            if "request_put" in step:
                self._put(step["request_put"])
            else:
                self.remove(_plain(step["request_delete_range"]["key"]))
        return {"succeeded": True}

    def _holds(self, compare: dict[str, Any]) -> bool:
        key = _plain(compare["key"])
        if compare["target"] == "VALUE":
            return self.values.get(key) == _plain(compare["value"])
        made, written = self.revisions.get(key, (0, 0))
        if compare["target"] == "CREATE":
            return made == int(compare["create_revision"])
        return written == int(compare["mod_revision"])


def _plain(text: str) -> str:
    return base64.b64decode(text).decode()


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
