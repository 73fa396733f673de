"""A tiny store of sets with one leader: Raft (Ongaro & Ousterhout, 2014), as short as it can be.

The leader takes all writes and copies its log to the others; who does not hear of it for a while stands for election.

    python3 store.py ME ALL at-once        acknowledges what is in the leader's own log (the mistake)
    python3 store.py ME ALL by-majority    acknowledges what a majority has (the mended one)

PUT /sets/SET/ELEMENT adds, GET /sets/SET lists (both at the leader; others answer 421), GET /local/SET lists what this
node knows to be agreed, GET /role says leader, follower or candidate.
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
BEAT_SECONDS = 0.1
ELECTION_SECONDS = (0.6, 1.2)
WAIT_SECONDS = 0.8
MOST_AT_ONCE = 500
FILE = "/var/tmp/log.jsonl"


class Raft:
    """One member. `log` holds [term, set, element]; of it, the first `agreed` entries are on a majority for ever."""

    def __init__(self, me: str, peers: list[str], acknowledge: str) -> None:
        self.me, self.peers, self.acknowledge = me, peers, acknowledge
        self.term, self.vote, self.log, self.agreed, self.role = 0, "", [], 0, "follower"
        self.heard, self.patience = time.monotonic(), random.uniform(*ELECTION_SECONDS)
        self.next: dict[str, int] = {}
        self.matched: dict[str, int] = {}
        self.changed = threading.Condition(threading.RLock())
        with open(FILE, "a+b") as kept:
            kept.seek(0)
            whole = [line for line in kept if line.endswith(b"\n")]
            kept.truncate(sum(map(len, whole)))  # the last line may have been cut off by a crash
        for line in whole:
            self.term, self.vote, at, entries = json.loads(line)
            self.log[at:] = entries
        self.file = open(FILE, "a", encoding="utf-8")  # noqa: SIM115 - it is open as long as the program runs

    def keep(self, at: int | None = None) -> None:
        """Term, vote and the log from `at` on are on disk before anybody is told of them."""
        at = len(self.log) if at is None else at
        self.file.write(json.dumps([self.term, self.vote, at, self.log[at:]]) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def follow(self, term: int) -> None:
        """Whoever sees a later term is no leader any more."""
        if term > self.term:
            self.term, self.vote = term, ""
            self.keep()
        self.role = "follower"
        self.changed.notify_all()

    def last(self) -> list[int]:
        """How new the log is: the term of its last entry, then its length."""
        return [self.log[-1][0] if self.log else 0, len(self.log)]

    def add(self, name: str, element: str) -> int:
        """Gives a status: 200, 421 (not the leader, nothing was done), 504 (nobody knows)."""
        with self.changed:
            if self.role != "leader":
                return 421
            term = self.term
            self.log.append([term, name, element])
            index = len(self.log)
            self.keep(index - 1)
            self.changed.notify_all()
            if self.acknowledge == "at-once":
                # Here is the mistake. The entry is on one disk only. If this node is not the leader any more, and only
                # does not know it yet, the next leader overwrites the entry, and the client was told that it is safe.
                return 200
            self.changed.wait_for(lambda: self.agreed >= index or self.term != term, WAIT_SECONDS)
            return 200 if self.agreed >= index and self.log[index - 1][0] == term else 504

    def elements(self, name: str, upto: int) -> str:
        with self.changed:
            return json.dumps(list(dict.fromkeys(element for _, of, element in self.log[:upto] if of == name)))

    def asked_for_vote(self, term: int, candidate: str, last: list[int]) -> dict[str, Any]:
        """Only for one whose log is at least as new: it has all that was ever agreed on."""
        with self.changed:
            if term > self.term:
                self.follow(term)
            granted = term == self.term and self.vote in ("", candidate) and last >= self.last()
            if granted:
                self.vote, self.heard = candidate, time.monotonic()
                self.keep()
            return {"term": self.term, "granted": granted}

    def told_to_append(self, term: int, at: int, before: int, entries: list[Any], agreed: int) -> dict[str, Any]:
        """`before` is the term of the entry before `at`: where it is another here, the leader has to go back."""
        with self.changed:
            if term < self.term:
                return {"term": self.term, "ok": False}
            self.follow(term)
            self.heard = time.monotonic()
            if len(self.log) < at or (at and self.log[at - 1][0] != before):
                return {"term": self.term, "ok": False}
            if self.log[at : at + len(entries)] != entries:
                self.log[at:] = entries
                self.keep(at)
            self.agreed = max(self.agreed, min(agreed, at + len(entries)))
            return {"term": self.term, "ok": True}

    def watch(self) -> None:
        """Stands for election when no leader was heard for a while; how long differs, so that few stand at once."""
        while True:
            time.sleep(0.02)
            with self.changed:
                if self.role == "leader" or time.monotonic() - self.heard < self.patience:
                    continue
                self.term, self.vote, self.role = self.term + 1, self.me, "candidate"
                self.heard, self.patience = time.monotonic(), random.uniform(*ELECTION_SECONDS)
                self.keep()
                asked, votes = {"term": self.term, "candidate": self.me, "last": self.last()}, [self.me]
            for peer in self.peers:
                threading.Thread(target=self.ask_for_vote, args=(peer, asked, votes), daemon=True).start()

    def ask_for_vote(self, peer: str, asked: dict[str, Any], votes: list[str]) -> None:
        answer = call(peer, "/vote", asked)
        with self.changed:
            if answer and answer["term"] > self.term:
                self.follow(answer["term"])
            if not answer or not answer["granted"] or self.term != asked["term"] or self.role != "candidate":
                return
            votes.append(peer)
            if len(votes) > (len(self.peers) + 1) // 2:
                self.role = "leader"
                self.next, self.matched = dict.fromkeys(self.peers, len(self.log)), dict.fromkeys(self.peers, 0)
                self.log.append([self.term, "", ""])  # only by an entry of its own term does it learn what is agreed
                self.keep(len(self.log) - 1)
                self.changed.notify_all()
                print(f"{self.me} leads in term {self.term}", flush=True)

    def lead(self, peer: str) -> None:
        """Copies the log to one of the others while this node leads; at least once in each beat."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.role == "leader" and self.next[peer] < len(self.log), BEAT_SECONDS)
                if self.role != "leader":
                    continue
                term, at = self.term, self.next[peer]
                entries, before = self.log[at : at + MOST_AT_ONCE], self.log[at - 1][0] if at else 0
                asked = {"term": term, "at": at, "before": before, "entries": entries, "agreed": self.agreed}
            answer = call(peer, "/append", asked)
            with self.changed:
                if answer and answer["term"] > self.term:
                    self.follow(answer["term"])
                if not answer or self.role != "leader" or self.term != term:
                    continue
                if not answer["ok"]:
                    self.next[peer] = max(0, at - MOST_AT_ONCE)
                    continue
                self.next[peer] = self.matched[peer] = at + len(entries)
                on_majority = sorted([len(self.log), *self.matched.values()])[len(self.peers) // 2]
                if on_majority > self.agreed and self.log[on_majority - 1][0] == term:
                    self.agreed = on_majority
                    self.changed.notify_all()


def call(peer: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer; an empty one where there was none."""
    connection = http.client.HTTPConnection(peer, PORT, timeout=0.5)
    try:
        connection.request("POST", path, json.dumps(asked))
        return dict(json.loads(connection.getresponse().read()))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    raft: Raft

    def do_GET(self) -> None:
        raft, (_, what, *name) = self.raft, self.path.split("/")
        if what == "role":
            self.answer(200, raft.role)
        elif what == "local" or raft.role == "leader":
            everything = raft.acknowledge == "at-once" and what != "local"
            self.answer(200, raft.elements(name[0], len(raft.log) if everything else raft.agreed))
        else:
            self.answer(421, "not the leader")

    def do_PUT(self) -> None:
        _, _, name, element = self.path.split("/")
        self.answer(self.raft.add(name, element), "")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        do = self.raft.asked_for_vote if self.path == "/vote" else self.raft.told_to_append
        self.answer(200, json.dumps(do(**asked)))

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are many and all alike: they are not logged."""


if __name__ == "__main__":
    me, everybody, acknowledge = sys.argv[1:]
    Handler.raft = Raft(me, [one for one in everybody.split(",") if one != me], acknowledge)
    for other in Handler.raft.peers:
        threading.Thread(target=Handler.raft.lead, args=(other,), daemon=True).start()
    threading.Thread(target=Handler.raft.watch, daemon=True).start()
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
