"""A tiny masterless store of sets: every node takes every write, gossip spreads it, the last writer wins.

Each element has one record: when it was last written, and whether that was an add or a remove. A removed element keeps
its record, a tombstone, so that a node that has not heard of the remove does not bring the element back. Run it as

    python3 store.py --peers 10.0.0.11,10.0.0.12 --forget-after 3        (the mistake)
    python3 store.py --peers 10.0.0.11,10.0.0.12 --forget-after never    (the mended one)

PUT /sets/SET/ELEMENT adds, DELETE removes, GET /sets/SET lists; GET /healthz says that it is up.
"""

import argparse
import http.client
import json
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080
GOSSIP_SECONDS = 0.2
FILE = "/var/tmp/store.jsonl"


class Store:
    """All records: (set, element) -> (version, is there). A version is (time in ns, node): never two alike."""

    def __init__(self, node: str, forget_after: float) -> None:
        self.node = node
        self.forget_after = forget_after
        self.records: dict[tuple[str, str], tuple[tuple[int, str], bool]] = {}
        self.lock = threading.Lock()
        self.last_ns = 0
        with open(FILE, "a+b") as kept:
            kept.seek(0)
            whole = [line for line in kept if line.endswith(b"\n")]
            kept.truncate(sum(map(len, whole)))  # the last line may have been cut off by a crash
        for line in whole:
            self.merge(json.loads(line), keep=False)
        self.file = open(FILE, "a", encoding="utf-8")  # noqa: SIM115 - it is open as long as the program runs

    def write(self, name: str, element: str, is_there: bool) -> None:
        """Returns when it is on disk here. The others hear of it by gossip."""
        with self.lock:
            self.last_ns = max(time.time_ns(), self.last_ns + 1)  # later than all that this node has seen
            record = [name, element, self.last_ns, self.node, is_there]
        self.merge([record])

    def merge(self, records: list[list[Any]], keep: bool = True) -> None:
        """Takes over what is newer than what is here: in whatever order records come, all nodes end up alike."""
        newer = []
        with self.lock:
            for name, element, time_ns, node, is_there in records:
                known = self.records.get((name, element))
                if known is None or known[0] < (time_ns, node):
                    self.records[name, element] = ((time_ns, node), is_there)
                    self.last_ns = max(self.last_ns, time_ns)
                    newer.append([name, element, time_ns, node, is_there])
            if keep and newer:
                self.file.write(json.dumps(newer) + "\n")
                self.file.flush()
                os.fsync(self.file.fileno())

    def everything(self) -> list[list[Any]]:
        with self.lock:
            return [[*key, *version, is_there] for key, (version, is_there) in self.records.items()]

    def elements(self, name: str) -> list[str]:
        with self.lock:
            return [element for (of, element), (_, is_there) in self.records.items() if of == name and is_there]

    def forget(self) -> None:
        """Drops tombstones that are old, "because everybody must have heard of them by now".

        Here is the mistake. A node that was cut off for longer has not heard, still has the element, and gossips it:
        nobody remembers that it was removed, so it is back, everywhere and for good.
        """
        oldest = time.time_ns() - int(self.forget_after * 1e9)
        with self.lock:
            for key, ((time_ns, _), is_there) in list(self.records.items()):
                if not is_there and time_ns < oldest:
                    del self.records[key]


def gossip(store: Store, peers: list[str]) -> None:
    """Now and then, tells one of the others all that is known here. Who cannot be reached hears it later."""
    while True:
        time.sleep(GOSSIP_SECONDS * random.uniform(0.5, 1.5))
        if store.forget_after < float("inf"):
            store.forget()
        try:
            connection = http.client.HTTPConnection(random.choice(peers), PORT, timeout=1)
            connection.request("POST", "/gossip", json.dumps(store.everything()))
            connection.getresponse().read()
            connection.close()
        except OSError:
            continue


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, "ok")
        else:
            self.answer(200, json.dumps(self.store.elements(self.path.split("/")[2])))

    def do_PUT(self) -> None:
        self.change(is_there=True)

    def do_DELETE(self) -> None:
        self.change(is_there=False)

    def do_POST(self) -> None:
        self.store.merge(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(200, "")

    def change(self, is_there: bool) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, _, name, element = self.path.split("/")
        self.store.write(name, element, is_there)
        self.answer(200, "")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are many and all alike: they are not logged."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True, help="all nodes' addresses, comma between them")
    parser.add_argument("--me", required=True, help="this node's own address")
    parser.add_argument("--forget-after", required=True, help="seconds until a tombstone is dropped, or never")
    given = parser.parse_args()
    seconds = float("inf") if given.forget_after == "never" else float(given.forget_after)
    Handler.store = Store(given.me, seconds)
    peers = [peer for peer in given.peers.split(",") if peer != given.me]
    threading.Thread(target=gossip, args=(Handler.store, peers), daemon=True).start()
    print(f"{given.me} gossips with {', '.join(peers)}, forgets after {given.forget_after}", flush=True)
    server = ThreadingHTTPServer(("", PORT), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
