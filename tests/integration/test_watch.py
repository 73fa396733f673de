"""The dev loop on real nodes: an edit reaches them one after another, and two of three answer all the while."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clusterkit.errors import EXIT_INTERRUPTED, EXIT_USAGE
from clusterkit.provision.recipe import base_tag
from tests.integration.conftest import Folder

PROGRAM = """
import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("%s " + TEXT).encode())

    def log_message(self, *_): pass

def read(*_):
    global TEXT
    TEXT = Path("/srv/app/text").read_text().strip()

read()
signal.signal(signal.SIGHUP, read)
HTTPServer(("", 8080), Handler).serve_forever()
"""
SERVICE = """
components:
  api:
    kind: service
    ports: {http: 8080}
    health: {http: {port: http}}
"""
MOUNTED = """
    command: [python3, -u, /srv/app/app.py]
    mounts: ["./app:/srv/app:ro"]
    watch:
      - {path: ./app, ignore: [text]}
      - {path: ./app/text, action: signal}
"""
BUILT = """
    build: ./app
    watch:
      - {path: ./app, target: /srv/app, action: sync+restart, ignore: [Dockerfile]}
      - {path: ./app/Dockerfile, action: rebuild}
"""
DOCKERFILE = f"""
FROM {base_tag()}
COPY . /srv/app
ENV COLOUR=%s
CMD ["python3", "-u", "/srv/app/app.py"]
"""
SECONDS = 60.0


def _app(folder: Folder, greeting: str, name: str = "app.py") -> None:
    """Written as editors do: whole, then in its place."""
    path = folder.path / "app" / name
    path.parent.mkdir(exist_ok=True)
    new = path.with_name("new~")
    new.write_text(PROGRAM % greeting if name == "app.py" else greeting)
    new.replace(path)


class Answers:
    """Asks all three nodes again and again; keeps the fewest that answered in one round, and what they said last."""

    def __init__(self, folder: Folder) -> None:
        self.fewest = 3
        self.last: list[str] = []
        self._ports = [node["ports"]["http"] for node in folder.nodes().values()]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Answers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            said = [text for port in self._ports if (text := self._one(port))]
            self.last, self.fewest = said, min(self.fewest, len(said))

    @staticmethod
    def _one(port: int) -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            return str(answer.read().decode())
        return ""


@contextlib.contextmanager
def watching(folder: Folder, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`clusterkit watch` as it runs, and where what it says is written."""
    said = folder.path / "said"
    with (
        said.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "clusterkit", "watch", *words],
            cwd=folder.path,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        ) as program,
    ):
        try:
            _wait("it watches", lambda: "watching for api" in said.read_text() or program.poll() is not None, said)
            yield program, said
        finally:
            program.kill()


def _wait(what: str, is_so: Callable[[], bool], said: Path) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"not within {SECONDS:g} s: {what}\n{said.read_text()}")
        time.sleep(0.1)


def test_an_edit_of_what_is_mounted_reaches_all_and_a_broken_one_breaks_one(folder: Folder) -> None:
    _app(folder, "red")
    _app(folder, "one", "text")
    folder.write(SERVICE + MOUNTED)
    with watching(folder, "--up", "--logs") as (program, said), Answers(folder) as answers:
        _app(folder, "green")
        _wait("all are green", lambda: answers.last == ["green one"] * 3, said)
        _wait("it is told", lambda: "app/app.py: restarted on api-1, api-2, api-3" in said.read_text(), said)
        _app(folder, "two", "text")
        _wait("all read two", lambda: answers.last == ["green two"] * 3, said)
        _wait("it is told", lambda: "app/text: signalled on api-1, api-2, api-3" in said.read_text(), said)
        (folder.path / "app" / "app.py").write_text("oh no(")
        _wait("the break is told", lambda: "as before: api-2, api-3" in said.read_text(), said)
        assert "the main process of api-1 ended" in said.read_text()
        assert "SyntaxError" in said.read_text()
        assert "0 of 3 nodes healthy with it" in said.read_text()
        _wait("two serve", lambda: answers.last == ["green two"] * 2, said)
        _app(folder, "blue")
        _wait("all are blue", lambda: answers.last == ["blue two"] * 3, said)
        assert answers.fewest == 2
        program.send_signal(signal.SIGINT)
        assert program.wait(SECONDS) == EXIT_INTERRUPTED
        assert answers.last == ["blue two"] * 3
    assert folder.run("up").stdout.strip().endswith("nothing to do, 3 nodes healthy")


def test_an_edit_of_what_is_built_is_copied_in_and_the_next_up_keeps_it(folder: Folder) -> None:
    _app(folder, "red")
    _app(folder, "one", "text")
    (folder.path / "app" / "Dockerfile").write_text(DOCKERFILE % "red")
    folder.write(SERVICE + BUILT)
    folder.run("up")
    with watching(folder) as (_, said), Answers(folder) as answers:
        (folder.path / "app" / "left").write_text("a file that comes and goes")
        _app(folder, "green")
        _wait("all are green", lambda: answers.last == ["green one"] * 3, said)
        _wait("it is told", lambda: "synced and restarted on api-1, api-2, api-3" in said.read_text(), said)
        assert folder.run("exec", "api-3", "ls", "/srv/app/left").stdout == "/srv/app/left\n"
        (folder.path / "app" / "left").unlink()
        _wait("it is gone", lambda: folder.run("exec", "api-3", "ls", "/srv/app/left", code=None).returncode == 2, said)
        (folder.path / "app" / "Dockerfile").write_text("FROM nothing-of-the-sort:1\n")
        _wait("the failed build is told", lambda: "could not be built" in said.read_text(), said)
        (folder.path / "app" / "Dockerfile").write_text(DOCKERFILE % "blue")
        _wait("it is made anew", lambda: "rebuilt on api-1, api-2, api-3" in said.read_text(), said)
        assert folder.run("exec", "api-2", "printenv", "COLOUR").stdout == "blue\n"
        _wait("all are green again", lambda: answers.last == ["green one"] * 3, said)
        assert answers.fewest == 2
    assert folder.run("up").stdout.strip().endswith("nothing to do, 3 nodes healthy")


def test_what_cannot_be_watched_is_said(folder: Folder) -> None:
    _app(folder, "red")
    folder.write(SERVICE + MOUNTED.replace("      - {path: ./app/text, action: signal}\n", ""))
    assert "no cluster" in folder.run("watch", code=EXIT_USAGE).stderr
    assert 'did you mean "api"?' in folder.run("watch", "apo", code=EXIT_USAGE).stderr
    folder.write(SERVICE + "    command: [sleep, inf]\n")
    assert 'component "api" has no watch:' in folder.run("watch", "api", code=EXIT_USAGE).stderr
    assert "says what to watch" in folder.run("watch", code=EXIT_USAGE).stderr
