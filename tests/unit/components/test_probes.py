"""The programs of probes, run as they are run on a node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from clusterkit.components import probes
from clusterkit.components.base import Member


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204 if self.path == "/fine" else 500)
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def member() -> Iterator[Member]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Member("api-1", 1, "a", "127.0.0.1", {"http": server.server_port})
        server.shutdown()


@pytest.fixture
def nobody() -> Member:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Member("api-1", 1, "a", "127.0.0.1", {"http": free.getsockname()[1]})


def only(program: str, folder: Path) -> dict[str, str]:
    """An environment in which nothing but this program is found."""
    # The tests' own Python: what the PATH calls python3 may be a script that needs more than itself.
    found = sys.executable if program == "python3" else shutil.which(program)
    assert found, f"this machine has no {program}"
    (folder / program).symlink_to(Path(found).resolve())
    return {**os.environ, "PATH": str(folder), "http_proxy": "http://127.0.0.1:9"}


def ends(argv: tuple[str, ...], environment: dict[str, str]) -> int:
    return subprocess.run(["/bin/sh", *argv[1:]], env=environment, capture_output=True, check=False).returncode


def test_a_get_has_the_status(member: Member, nobody: Member, tmp_path: Path) -> None:
    environment = only("python3", tmp_path)
    assert ends(probes.http(member, "http", "/fine", 204), environment) == 0
    assert ends(probes.http(member, "http", "/other", 204), environment) != 0
    assert ends(probes.http(member, "http", "/other", 500), environment) == 0
    assert ends(probes.http(nobody, "http", "/fine", 204), environment) != 0


def test_a_port_accepts_a_connection(member: Member, nobody: Member, tmp_path: Path) -> None:
    environment = only("python3", tmp_path)
    assert ends(probes.tcp(member, "http"), environment) == 0
    assert ends(probes.tcp(nobody, "http"), environment) != 0


def test_nothing_to_look_with_is_a_failure(member: Member, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    assert ends(probes.http(member, "http", "/fine", 204), environment) != 0
    assert ends(probes.tcp(member, "http"), environment) != 0


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("curl", "case $* in *http_code*/fine) echo 204;; *) echo 500;; esac"),
        ("wget", "case $* in *fine) ;; *) exit 8;; esac"),
    ],
)
def test_without_python_others_are_asked(program: str, says: str, member: Member, tmp_path: Path) -> None:
    (tmp_path / program).write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / program).chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path)}
    assert ends(probes.http(member, "http", "/fine", 204), environment) == 0
    assert ends(probes.http(member, "http", "/other", 204), environment) != 0
