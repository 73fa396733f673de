"""A service that answers, and asks another one first if it is told whom: `python3 steps.py [HOST:PORT,HOST:PORT,...]`.

Each request has a trace id: the caller's, out of the header `traceparent` (W3C Trace Context), or else one made here.
Every line about the request carries it, and every call that the request causes hands it on.
"""

import http.client
import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ASK_SECONDS = 1.0
OTHERS: list[str] = []


def log(level: str, message: str, **fields: object) -> None:
    """One JSON object on one line; a single write, so that lines of several threads never mix."""
    sys.stdout.write(json.dumps({"level": level, "message": message, **fields}) + "\n")
    sys.stdout.flush()


def trace_of(header: str | None) -> str:
    """The second part of version-trace-span-flags; a new one where the header says none."""
    parts = (header or "").split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else secrets.token_hex(16)


def ask_others(path: str, trace: str) -> bool:
    """The first that answers will do."""
    for other in OTHERS:
        connection = http.client.HTTPConnection(other, timeout=ASK_SECONDS)
        try:
            connection.request("GET", path, headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            log("warning", "no answer", other=other, error=type(error).__name__, trace_id=trace)
        else:
            log("info", "asked", other=other, status=status, trace_id=trace)
            return status == 200
        finally:
            connection.close()
    return False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, "")
            return
        trace = trace_of(self.headers["traceparent"])
        log("info", "request", path=self.path, trace_id=trace)
        status = 200 if not OTHERS or ask_others(self.path, trace) else 503
        log("info" if status == 200 else "error", "answer", status=status, trace_id=trace)
        self.answer(status, trace)

    def answer(self, status: int, trace: str) -> None:
        self.send_response(status)
        self.send_header("Trace-Id", trace)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """What matters is logged above."""


if __name__ == "__main__":
    OTHERS += [other for other in "".join(sys.argv[1:]).split(",") if other]
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
