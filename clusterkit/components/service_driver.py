"""L3. The user's own service under a workload: by HTTP as described, by a Python file, or by a program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.http_client import Answer, HttpConnection

if TYPE_CHECKING:
    from clusterkit.components.service import HttpCall

_STDERR_BYTES = 2000
_PART_BYTES = 65536


def driver(running: Running, member: Member, purpose: Purpose) -> Driver:
    """The one of the three that the workload asks for."""
    options = purpose.options
    if options.http is not None:
        return HttpDriver(running, member, purpose)
    if options.python is not None:
        return PythonDriver(running, member, purpose)
    return ProgramDriver(running, member, purpose)


def shaped(kind: str, f: str, said: Any) -> Any:
    """What a service said, as the kind of workload needs it; None for calls that give nothing.

    A page of HTML, or a wrong place for the value, must not be taken for a set that has lost everything.
    Raises: ClientError where it is nothing of the kind.
    """
    if f not in _RESULTS.get(kind, ()):
        return None
    if kind == "set":
        said = [] if said is None else list(said) if isinstance(said, list | tuple | set | frozenset) else said
        is_right = isinstance(said, list) and all(map(_is_word, said))
    elif kind == "counter":
        said = 0 if said is None else said
        is_right = _is_whole(said)
    elif kind == "bank":
        is_right = isinstance(said, dict) and all(map(_is_whole, said.values()))
    else:
        is_right = _is_word(said) or (said is None and kind != "ids")
    if not is_right:
        raise ClientError(f"{f} of a {kind} gives {_RESULTS[kind][f]}, and this gave {said!r:.100}")
    return said


_RESULTS: Mapping[str, Mapping[str, str]] = {
    "register": {"read": "a number or nothing"},
    "set": {"read": "a list of numbers"},
    "counter": {"read": "a number"},
    "queue": {"dequeue": "a number or nothing"},
    "bank": {"read": "the balance of each account"},
    "ids": {"generate": "a number or text"},
}
"""Kind of workload -> call -> what it gives. All other calls give nothing."""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) or _is_whole(value)


class HttpDriver:
    """Requests as the topology describes them, over one kept connection."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        http = purpose.options.http
        self._calls: Mapping[str, HttpCall] = http.calls
        self._kind, self._is_local = purpose.kind, purpose.is_local
        self._connection = HttpConnection(*running.dial(member, _port(member, http.port)), running.timeout)

    def call(self, f: str, key: str, value: Any) -> Any:
        described = self._calls["peek" if self._is_local and f == "read" and "peek" in self._calls else f]
        words = _words(key, value)
        body = _filled(described.body, words)
        answer = self._connection.request(
            described.method,
            _text(described.path, {name: quote(_plain(word), safe="") for name, word in words.items()}),
            str(body).encode() if isinstance(body, str | int) else body,
            {name: _text(header, words) for name, header in described.headers.items()},
        )
        return shaped(self._kind, f, _result(described, f, answer))

    def close(self) -> None:
        self._connection.close()


def _words(key: str, value: Any) -> dict[str, Any]:
    """What stands for the braces: those of a transfer or an account by their own names."""
    words: dict[str, Any] = {"key": key, "value": value}
    if isinstance(value, Mapping):
        words |= value
    elif isinstance(value, list):
        words |= {"old": value[0], "new": value[1]}
    return words


def _text(template: str, words: Mapping[str, Any]) -> str:
    for name, word in words.items():
        template = template.replace(f"{{{name}}}", _plain(word))
    return template


def _plain(word: Any) -> str:
    return "" if word is None else str(word)


def _filled(body: Any, words: Mapping[str, Any]) -> Any:
    """In JSON, a text that is nothing but a name in braces becomes the value itself: a number stays one."""
    if isinstance(body, Mapping):
        return {_text(name, words): _inside(inner, words) for name, inner in body.items()}
    if isinstance(body, list):
        return [_inside(inner, words) for inner in body]
    return _text(body, words) if isinstance(body, str) else body


def _inside(inner: Any, words: Mapping[str, Any]) -> Any:
    if isinstance(inner, str) and inner[:1] == "{" and inner[1:-1] in words:
        return words[inner[1:-1]]
    return _filled(inner, words)


def _result(described: HttpCall, f: str, answer: Answer) -> Any:
    """Raises: Unmet, Refused, ClientError by the status."""
    said = f"status {answer.status}: {answer.text[:100]}"
    if answer.status in described.missing and f in ("read", "dequeue"):
        return None
    if answer.status in described.unmet:
        raise Unmet(said)
    if answer.status in described.refused:
        raise Refused(said)
    if not 200 <= answer.status < 300:
        raise ClientError(said)
    return _number(_picked(answer.text, described.value)) if f in ("read", "dequeue", "generate") else None


def _picked(text: str, path: str) -> Any:
    """The part of a JSON answer, or the whole of it; text that is no JSON stays text. Raises: ClientError.

    So does what looks like a number with a fraction: 12e4567 is an id, and no number that is too large.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, float):
        value = text
    for step in path.split(".") if path else ():
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ClientError(f'there is no "{path}" in the answer {text[:100]}') from None
    return value


def _number(value: Any) -> Any:
    """Numbers that were kept as text are numbers again; 007 is a name, another than 7."""
    if isinstance(value, list):
        return [_number(each) for each in value]
    if isinstance(value, dict):
        return {name: _number(each) for name, each in value.items()}
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return None if value == "" else value


_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")


class PythonDriver:
    """A class of the user's: `Client(host, port, timeout_s)`, with `call(f, key, value)`, and `close()` if it likes."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        """Raises: OSError; NotSent also for whatever else the file or its class raises: nothing was sent then."""
        self._kind = purpose.kind
        host, port = running.dial(member, _port(member))
        with _one_at_a_time:
            module = _module(Path(purpose.folder, purpose.options.python))
        try:
            self._client = module.Client(host, port, running.timeout)
        except (OSError, ClientError):
            raise
        except Exception as error:
            raise NotSent(f"Client cannot be made: {type(error).__name__}: {error}") from error

    def call(self, f: str, key: str, value: Any) -> Any:
        try:
            said = self._client.call(f, key, value)
        except (OSError, ClientError):
            raise
        except Exception as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error
        return shaped(self._kind, f, said)

    def close(self) -> None:
        """Raises: OSError, ClientError."""
        close = getattr(self._client, "close", None)
        if close is None:
            return
        try:
            close()
        except (OSError, ClientError):
            raise
        except Exception as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error


_one_at_a_time = threading.Lock()
"""Clients are made in many threads; the file runs once, and what it keeps, all of them share."""


@cache
def _module(path: Path) -> ModuleType:
    """The file as a module; it may import what lies beside it. Raises: NotSent where it cannot, or has no Client."""
    spec = importlib.util.spec_from_file_location(f"clusterkit_user_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise NotSent(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it there
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # at the end: no file of the user's stands before one of Python's
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise NotSent(f"{path.name} cannot be run: {type(error).__name__}: {error}") from error
    if not hasattr(module, "Client"):
        raise NotSent(f"{path.name} has no class Client")
    return module


class ProgramDriver:
    """A process of the user's for each client: a line of JSON in, a line of JSON out.

    In: {"f", "key", "value"}. Out: {"type": "ok" | "fail" | "info", "value", "error"}. HOST, PORT, PORT_<NAME> and
    TIMEOUT_S are in its environment. One that does not answer in time is ended, with all that it started.
    """

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        argv = list(purpose.options.program)
        if "/" in argv[0]:
            argv[0] = str(Path(purpose.folder, argv[0]))
        ports = {name: running.dial(member, name) for name in member.ports}
        host, port = ports[_port(member)]
        own = {f"PORT_{name.upper().replace('-', '_')}": str(number) for name, (_, number) in ports.items()}
        self._kind, self._timeout = purpose.kind, running.timeout
        self._stdout, self._stderr = b"", b""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=purpose.folder or None,
                env={**os.environ, "HOST": host, "PORT": str(port), "TIMEOUT_S": f"{running.timeout:g}", **own},
                process_group=0,  # Ctrl-C is for us: clients are needed for the last reads
            )
        except OSError as error:
            raise NotSent(f"{argv[0]} cannot be run: {error.strerror}") from error

    def call(self, f: str, key: str, value: Any) -> Any:
        assert self._process.stdin is not None
        line = json.dumps({"f": f, "key": key, "value": value}).encode() + b"\n"
        try:
            self._process.stdin.write(line)
        except OSError as error:
            raise NotSent(f"the program has ended{self._last_words()}") from error
        said = self._answer()
        kind, error_text = said.get("type"), str(said.get("error", ""))
        if kind == "ok":
            return shaped(self._kind, f, said.get("value"))
        if kind == "fail":
            raise (Refused if error_text else Unmet)(error_text)
        raise ClientError(error_text or f"the program answered {said!r:.100}")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _answer(self) -> Mapping[str, Any]:
        """The next line. What it says on stderr is read too, since a full pipe would stop it.

        Raises: TimeoutError, ClientError.
        """
        deadline = Deadline(self._timeout)
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe("stdout"), selectors.EVENT_READ, "stdout")
            selector.register(self._pipe("stderr"), selectors.EVENT_READ, "stderr")
            while b"\n" not in self._stdout:
                ready = selector.select(deadline.left)
                if not ready or deadline.is_over:
                    raise TimeoutError("timed out" + self._last_line(": "))
                for key, _ in ready:
                    part = os.read(key.fd, _PART_BYTES)
                    if key.data == "stderr":
                        self._stderr = (self._stderr + part)[-_STDERR_BYTES:]
                        if not part:
                            selector.unregister(key.fileobj)
                    elif part:
                        self._stdout += part
                    else:
                        raise ClientError(f"the program ended{self._last_words()}")
        line, _, self._stdout = self._stdout.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ClientError(f"the program answered no JSON object: {line[:100]!r}")
        return said

    def _last_words(self) -> str:
        """How it ended, and the last line of what it said. Empty where it has only closed a pipe."""
        try:
            self._process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return ""
        pipe = self._pipe("stderr")
        os.set_blocking(pipe.fileno(), False)  # what it started may still hold the pipe
        self._stderr += pipe.read(_PART_BYTES) or b""
        return f" with code {self._process.returncode}" + self._last_line(": ")

    def _last_line(self, before: str) -> str:
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return f"{before}{lines[-1]}" if lines else ""

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] | None = getattr(self._process, name)
        assert pipe is not None
        return pipe


def _port(member: Member, name: str = "") -> str:
    """The port of this name; the first one where none is named. Raises: NotSent where there is none."""
    if not member.ports or (name and name not in member.ports):
        wanted = f'the port "{name}"' if name else "a port"
        raise NotSent(f"{member.name} has not {wanted} to talk to; its ports are: {', '.join(member.ports) or 'none'}")
    return name or next(iter(member.ports))
