"""Gives out tickets, each once. Three of it run; one leads, by a key in etcd that goes with its lease.

POST /tickets gives one (the others answer 421, "not the leader"), GET /role says leader or follower, GET /healthz ok.
A ticket is TERM-NUMBER. The term is etcd's revision of the key `leader`: it only grows, so a former leader that does
not know yet that it is one gives out tickets of its own old term, and never one of the next leader's.
"""

import base64
import json
import os
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ETCD = os.environ["ETCD"].split(",")
NODE = os.environ["NODE"]
LEASE_SECONDS = int(os.environ.get("LEASE_SECONDS", "2"))
BEAT_SECONDS = LEASE_SECONDS / 4


def etcd(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Calls etcd's JSON gateway, the next server where one does not answer. Raises: OSError when none does."""
    trouble = OSError("no etcd server is known")
    for server in ETCD:
        request = urllib.request.Request(f"http://{server}/v3/{path}", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=BEAT_SECONDS) as answer:  # noqa: S310 - the same
                return dict(json.load(answer))
        except OSError as error:
            trouble = error
    raise trouble


def text(value: str) -> str:
    """The gateway takes keys and values in base64."""
    return base64.b64encode(value.encode()).decode()


class Office:
    """Stands for election, and gives out tickets while it leads."""

    def __init__(self) -> None:
        self.term, self.given, self.leads_until = "", 0, 0.0
        self.lock = threading.Lock()

    def leads(self) -> bool:
        return time.monotonic() < self.leads_until

    def ticket(self) -> str:
        """A ticket, or "" when this node does not lead."""
        with self.lock:
            if not self.leads():
                return ""
            self.given += 1
            return f"{self.term}-{self.given}"

    def campaign(self) -> None:
        """For ever: holds a lease, and takes the key `leader` with it whenever nobody has it."""
        lease = ""
        while True:
            try:
                lease = self.stand(lease)
            except OSError as error:
                print(f"{NODE}: etcd does not answer: {error}", flush=True)
            time.sleep(BEAT_SECONDS)

    def stand(self, lease: str) -> str:
        """Renews the lease, or takes a new one, and tries to get the key. Gives the lease."""
        asked = time.monotonic()  # the lease is counted from before the call: it may have been under way for long
        if not lease or not int(etcd("lease/keepalive", {"ID": lease}).get("result", {}).get("TTL", 0)):
            lease = str(etcd("lease/grant", {"TTL": LEASE_SECONDS})["ID"])
        key = text("leader")
        answer = etcd(
            "kv/txn",
            {
                "compare": [{"key": key, "target": "CREATE", "result": "EQUAL", "createRevision": "0"}],
                "success": [{"requestPut": {"key": key, "value": text(NODE), "lease": lease}}],
                "failure": [{"requestRange": {"key": key}}],
            },
        )
        if answer.get("succeeded"):
            self.lead(str(answer["header"]["revision"]), asked)
        else:
            (held,) = answer["responses"][0]["response_range"].get("kvs") or [{}]
            if held.get("lease") == lease:
                self.lead(str(held["create_revision"]), asked)
        return lease

    def lead(self, term: str, asked: float) -> None:
        with self.lock:
            if term != self.term:
                self.term, self.given = term, 0
                print(f"{NODE} leads in term {term}", flush=True)
            self.leads_until = asked + LEASE_SECONDS


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    office: Office

    def do_GET(self) -> None:
        if self.path == "/role":
            self.answer(200, "leader" if self.office.leads() else "follower")
        else:
            self.answer(200, "ok")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        ticket = self.office.ticket()
        self.answer(200 if ticket else 421, ticket or "not the leader")

    def answer(self, status: int, said: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Requests are many and all alike: they are not logged."""


if __name__ == "__main__":
    Handler.office = Office()
    threading.Thread(target=Handler.office.campaign, daemon=True).start()
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
