"""A small web service with two stores, to show how a program lives in a cluster that fails now and then.

    GET, PUT  /keys/NAME     kept in etcd: the loss of any one node loses nothing
    GET, PUT  /cache/NAME    kept in Redis, on whichever node Sentinel says is the primary now
    GET       /healthz       200 when both stores answer, else 503

Every call has a time-out, every request a deadline. Within it a call that failed is tried again: PUT stores one value
under one name, so doing it twice is as good as once. Only Python's standard library is used.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

CALL_SECONDS = 1.0
REQUEST_SECONDS = 10.0
PAUSE_SECONDS = 0.25
LARGEST_VALUE = 64 * 1024
NODE = os.environ.get("NODE", socket.gethostname())

T = TypeVar("T")


class StoreError(Exception):
    """The store answered with an error, or did not answer as it should."""


TROUBLES = (OSError, http.client.HTTPException, StoreError)


def said(trouble: BaseException) -> str:
    return str(trouble) or type(trouble).__name__


def log(level: str, message: str, **fields: object) -> None:
    """One JSON object on one line; a single write, so that lines of several threads never mix."""
    entry = {"level": level, "message": message, **fields, "node": NODE, "time": datetime.now(UTC).isoformat()}
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


def patiently(what: str, call: Callable[[], T], seconds: float) -> T:
    """Calls until it works or the seconds are over. Raises the last trouble."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except TROUBLES as trouble:
            if time.monotonic() + PAUSE_SECONDS > end:
                raise
            log("warning", f"{what}: {said(trouble)}; trying again")
        time.sleep(PAUSE_SECONDS)


class Etcd:
    """Speaks to any etcd server: all of them serve reads and writes. Each knows only the logins made with itself."""

    def __init__(self, endpoints: list[str], user: str, password: str) -> None:
        self.endpoints = endpoints
        self.login = {"name": user, "password": password}
        self.tokens: dict[str, str] = {}

    def get(self, name: str) -> bytes | None:
        found = self._call("/v3/kv/range", {"key": _base64(name.encode())}).get("kvs", [])
        return base64.b64decode(found[0]["value"]) if found else None

    def put(self, name: str, value: bytes) -> None:
        self._call("/v3/kv/put", {"key": _base64(name.encode()), "value": _base64(value)})

    def _call(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        endpoint, *others = self.endpoints
        self.endpoints = [*others, endpoint]  # when this server does not answer, the next try asks another one
        token = self.tokens.pop(endpoint, "")  # when it is refused, the next try logs in again
        if self.login["password"] and not token:
            token = self._post(endpoint, "/v3/auth/authenticate", self.login)["token"]
        found = self._post(endpoint, path, body, token)
        self.endpoints = [endpoint, *others]
        self.tokens[endpoint] = token
        return found

    def _post(self, endpoint: str, path: str, body: dict[str, str], token: str = "") -> dict[str, Any]:
        connection = http.client.HTTPConnection(endpoint, timeout=CALL_SECONDS)
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
            connection.request("POST", path, json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise StoreError(f"etcd at {endpoint} says {answer.status}: {content.decode(errors='replace')[:200]}")
        found: dict[str, Any] = json.loads(content)
        return found


class Redis:
    """Speaks to the Redis that is primary now; after any trouble it asks the Sentinels anew who that is."""

    def __init__(self, sentinels: list[str], sentinel_password: str, name: str, password: str) -> None:
        self.sentinels = sentinels
        self.sentinel_password = sentinel_password
        self.name = name
        self.password = password
        self.primary = ""

    def get(self, name: str) -> bytes | None:
        value = self._call("GET", name)
        return value if isinstance(value, bytes) else None

    def put(self, name: str, value: bytes) -> None:
        self._call("SET", name, value)

    def ping(self) -> None:
        self._call("PING")

    def _call(self, *words: str | bytes) -> object:
        primary = self.primary or self._ask_sentinels()
        try:
            return resp(primary, words, self.password)
        except (OSError, StoreError):  # dead, or no longer the primary (then it refuses writes: READONLY)
            self.primary = ""
            raise

    def _ask_sentinels(self) -> str:
        for sentinel in self.sentinels:
            try:
                found = resp(sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name), self.sentinel_password)
            except (OSError, StoreError) as trouble:
                log("warning", f"sentinel {sentinel} does not help: {trouble}")
                continue
            if isinstance(found, list):
                self.primary = b":".join(found).decode()
                log("info", f"primary {self.primary}", of=self.name)
                return self.primary
        raise StoreError(f"no sentinel knows the primary of {self.name}")


def resp(address: str, words: tuple[str | bytes, ...], password: str) -> object:
    """One command to a Redis or a Sentinel over a connection of its own (a busier service would keep some open)."""
    host, _, port = address.rpartition(":")
    commands = [("AUTH", password), words] if password else [words]
    with socket.create_connection((host, int(port)), CALL_SECONDS) as connection, connection.makefile("rwb") as stream:
        for command in commands:
            parts = [word.encode() if isinstance(word, str) else word for word in command]
            stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
            stream.flush()
            answer = read_answer(stream)
    return answer


def read_answer(stream: io.BufferedRWPair) -> object:
    """Bytes, None, an int, or a list of these. Source: the Redis serialization protocol, version 2."""
    line = stream.readline()
    kind, rest = line[:1], line[1:].rstrip(b"\r\n")
    if kind == b"-":
        raise StoreError(rest.decode(errors="replace"))
    if kind == b"+":
        return rest
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
    if kind == b"*":
        return [read_answer(stream) for _ in range(int(rest))] if int(rest) >= 0 else None
    raise ConnectionError("the connection was closed")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Health:
    """Whether both stores answer now. A change is logged, a look is not."""

    def __init__(self) -> None:
        self.was = ""

    def look(self) -> tuple[int, str]:
        try:
            ETCD.get("health")
            REDIS.ping()
            status, now = 200, "ok"
        except TROUBLES as trouble:
            status, now = 503, said(trouble)
        if now != self.was:
            log("info" if status == 200 else "warning", f"health: {now}")
            self.was = now
        return status, now


class Handler(BaseHTTPRequestHandler):
    """One request; each runs in a thread of its own."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds a client may be silent

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(*HEALTH.look())
            return
        store, name = self._named()
        if store is None:
            self._answer(404, "there are /keys/NAME, /cache/NAME and /healthz")
            return
        self._guarded(f"get {name}", lambda: self._found(store.get(name)))

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_VALUE:
            self.close_connection = True  # the body was not read
            self._answer(413, f"a value has a length, of at most {LARGEST_VALUE} bytes")
            return
        value = self.rfile.read(int(length))
        store, name = self._named()
        if store is None:
            self._answer(404, "there are /keys/NAME and /cache/NAME")
            return

        def put() -> tuple[int, bytes]:
            store.put(name, value)
            log("info", f"stored {self.path}", bytes=len(value))
            return 200, b"stored\n"

        self._guarded(f"put {name}", put)

    def _named(self) -> tuple[Etcd | Redis | None, str]:
        """The store and the name in it that the path means."""
        match = re.fullmatch(r"/(keys|cache)/([A-Za-z0-9._-]{1,200})", self.path)
        return (STORES[match[1]], match[2]) if match else (None, "")

    def _found(self, value: bytes | None) -> tuple[int, bytes]:
        return (404, b"no such name\n") if value is None else (200, value)

    def _guarded(self, what: str, call: Callable[[], tuple[int, bytes]]) -> None:
        try:
            status, body = patiently(what, call, REQUEST_SECONDS)
        except TROUBLES as trouble:
            log("error", f"{what}: {said(trouble)}; gave up")
            status, body = 503, f"{what}: {said(trouble)}\n".encode()
        self._answer(status, body)

    def _answer(self, status: int, body: bytes | str) -> None:
        content = body if isinstance(body, bytes) else f"{body}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are told by what they do, in JSON; a line for each health probe would hide them."""


ETCD = Etcd(os.environ["ETCD"].split(","), os.environ["ETCD_USER"], os.environ["ETCD_PASSWORD"])
REDIS = Redis(
    os.environ["SENTINELS"].split(","),
    os.environ["SENTINEL_PASSWORD"],
    os.environ["CACHE"],
    os.environ["CACHE_PASSWORD"],
)
HEALTH = Health()
STORES: dict[str, Etcd | Redis] = {"keys": ETCD, "cache": REDIS}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log("info", "listening on port 8080")
    ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()  # noqa: S104  the node's network is its own
