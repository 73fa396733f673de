"""Answers with a greeting and the name of the node. SIGHUP: reads the greeting again."""

from __future__ import annotations

import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILE = Path(__file__).with_name("greeting.txt")


class Hello(BaseHTTPRequestHandler):
    greeting = ""

    def do_GET(self) -> None:
        text = "ok" if self.path == "/healthz" else f"{self.greeting} from {os.environ['NODE']}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())


def read_again(*_: object) -> None:
    Hello.greeting = FILE.read_text().strip()
    print(f"the greeting is: {Hello.greeting}")


read_again()
signal.signal(signal.SIGHUP, read_again)
ThreadingHTTPServer(("", 8080), Hello).serve_forever()
