"""L3. The user's own service under a workload: by HTTP as described, by a Python file, or by a program."""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.http_client import Answer, HttpConnection

if TYPE_CHECKING:
    from clusterkit.components.service import HttpCall

_STDERR_BYTES = 2000


def driver(running: Running, member: Member, purpose: Purpose) -> Driver:
    """The one of the three that the workload asks for."""
    options = purpose.options
    if options.http is not None:
        return HttpDriver(running, member, purpose)
    if options.python is not None:
        return PythonDriver(running, member, purpose)
    return ProgramDriver(running, member, purpose)


class HttpDriver:
    """Requests as the topology describes them, over one kept connection."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        http = purpose.options.http
        self._calls: Mapping[str, HttpCall] = http.calls
        self._is_local = purpose.is_local
        self._connection = HttpConnection(*running.dial(member, http.port or _first_port(member)), running.timeout)

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
        return _result(described, f, answer)

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
    if f not in ("read", "dequeue", "generate"):
        return None
    return _number(_picked(answer.text, described.value))


def _picked(text: str, path: str) -> Any:
    """The part of a JSON answer, or the whole of it; text that is no JSON stays text. Raises: ClientError."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    for step in path.split(".") if path else ():
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ClientError(f'there is no "{path}" in the answer {text[:100]}') from None
    return value


def _number(value: Any) -> Any:
    """Numbers that were kept as text are numbers again."""
    if isinstance(value, list):
        return [_number(each) for each in value]
    if isinstance(value, dict):
        return {name: _number(each) for name, each in value.items()}
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    return None if value == "" else value


class PythonDriver:
    """A class of the user's: `Client(host, port, timeout_s)`, with `call(f, key, value)`, and `close()` if it likes."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        module = _module(Path(purpose.folder, purpose.options.python))
        host, port = running.dial(member, _first_port(member))
        self._client = module.Client(host, port, running.timeout)

    def call(self, f: str, key: str, value: Any) -> Any:
        try:
            return self._client.call(f, key, value)
        except (OSError, ClientError):
            raise
        except Exception as error:
            raise ClientError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        close = getattr(self._client, "close", None)
        if close is not None:
            close()


@cache
def _module(path: Path) -> ModuleType:
    """Raises: NotSent where there is no such file, or it has no Client."""
    spec = importlib.util.spec_from_file_location(f"clusterkit_user_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise NotSent(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "Client"):
        raise NotSent(f"{path.name} has no class Client")
    return module


class ProgramDriver:
    """A process of the user's for each client: a line of JSON in, a line of JSON out.

    In: {"f", "key", "value"}. Out: {"type": "ok" | "fail" | "info", "value", "error"}. HOST, PORT, PORT_<NAME> and
    TIMEOUT_S are in its environment. One that does not answer in time is ended.
    """

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        argv = list(purpose.options.program)
        if "/" in argv[0]:
            argv[0] = str(Path(purpose.folder, argv[0]))
        ports = {name: running.dial(member, name) for name in member.ports}
        host, port = ports[_first_port(member)]
        own = {f"PORT_{name.upper().replace('-', '_')}": str(number) for name, (_, number) in ports.items()}
        self._timeout = running.timeout
        self._received = b""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=purpose.folder or None,
                env={**os.environ, "HOST": host, "PORT": str(port), "TIMEOUT_S": f"{running.timeout:g}", **own},
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
            return said.get("value")
        if kind == "fail":
            raise (Refused if error_text else Unmet)(error_text)
        raise ClientError(error_text or f"the program answered {said!r:.100}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _answer(self) -> Mapping[str, Any]:
        """The next line. Raises: TimeoutError, ClientError."""
        stdout = self._process.stdout
        assert stdout is not None
        deadline = Deadline(self._timeout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(deadline.left):
                    raise TimeoutError("timed out")
                part = os.read(stdout.fileno(), 65536)
                if not part:
                    raise ClientError(f"the program ended{self._last_words()}")
                self._received += part
        line, _, self._received = self._received.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise ClientError(f"the program answered no JSON object: {line[:100]!r}")
        return said

    def _last_words(self) -> str:
        """What it said before it ended. Only asked once it has: its pipe is closed then, and reading ends."""
        stderr = self._process.stderr
        try:
            self._process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return ""
        text = stderr.read(_STDERR_BYTES).decode(errors="replace").strip() if stderr is not None else ""
        return f" with code {self._process.returncode}" + (f": {text.splitlines()[-1]}" if text else "")


def _first_port(member: Member) -> str:
    return next(iter(member.ports))
