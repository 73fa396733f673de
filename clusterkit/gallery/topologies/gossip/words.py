"""Sets of words on equal nodes: every node takes every write, and gossip spreads it.

    python3 words.py ME EVERYBODY        addresses; EVERYBODY with commas between

PUT /sets/SET/WORD adds, GET /sets/SET lists, GET /healthz says ok. A set only grows, so nodes may hear of words in
whatever order and as often as they like, and are alike in the end (a "grow-only set", the simplest of the CRDTs). Words
are in a file before they are acknowledged.
"""

import http.client
import json
import os
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080
GOSSIP_SECONDS = 0.2
FILE = "/var/tmp/words.jsonl"  # noqa: S108 - a node has one user


class Words:
    """set -> its words."""

    def __init__(self) -> None:
        self.sets: dict[str, set[str]] = {}
        self.lock = threading.Lock()
        with open(FILE, "a+b") as kept:
            kept.seek(0)
            whole = [line for line in kept if line.endswith(b"\n")]
            kept.truncate(sum(map(len, whole)))  # the last line may have been cut off by a crash
        for line in whole:
            name, words = json.loads(line)
            self.sets.setdefault(name, set()).update(words)
        self.file = open(FILE, "a", encoding="utf-8")  # noqa: SIM115 - it is open as long as the program runs

    def add(self, name: str, words: list[str]) -> None:
        """Returns when they are on disk here. The others hear of them by gossip."""
        with self.lock:
            new = sorted(set(words) - self.sets.get(name, set()))
            if new:
                self.file.write(json.dumps([name, new]) + "\n")
                self.file.flush()
                os.fsync(self.file.fileno())
                self.sets.setdefault(name, set()).update(new)

    def everything(self) -> dict[str, list[str]]:
        with self.lock:
            return {name: sorted(words) for name, words in self.sets.items()}


def gossip(words: Words, peers: list[str]) -> None:
    """Now and then, tells one of the others all that is known here. Who cannot be reached hears it later."""
    while peers:
        time.sleep(GOSSIP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - whom to tell is no secret
        connection = http.client.HTTPConnection(random.choice(peers), PORT, timeout=1)  # noqa: S311 - the same
        try:
            connection.request("POST", "/gossip", json.dumps(words.everything()))
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    words: Words

    def do_GET(self) -> None:
        _, what, *name = self.path.split("/")
        self.answer("ok" if what == "healthz" else json.dumps(self.words.everything().get(name[0], [])))

    def do_PUT(self) -> None:
        self.body()
        _, _, name, word = self.path.split("/")
        self.words.add(name, [word])
        self.answer("")

    def do_POST(self) -> None:
        for name, words in json.loads(self.body()).items():
            self.words.add(name, words)
        self.answer("")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, said: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Requests are many and all alike: they are not logged."""


if __name__ == "__main__":
    me, everybody = sys.argv[1:]
    Handler.words = Words()
    peers = [one for one in everybody.split(",") if one != me]
    threading.Thread(target=gossip, args=(Handler.words, peers), daemon=True).start()
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
