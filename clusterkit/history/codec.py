"""L1. Histories on disk: our JSON lines (docs/history-format.md, history.schema.json), and Jepsen's EDN."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from clusterkit.errors import UsageError
from clusterkit.history.edn import EdnError, entries
from clusterkit.history.history import History
from clusterkit.history.op import Op, OpType, hashable

FILE_NAME = "history.jsonl"
"""The history in a run's folder."""

SCHEMA = Path(__file__).with_name("history.schema.json")
"""The JSON Schema of one line."""

_DEFAULTS: dict[str, Any] = {"key": None, "value": None, "node": "", "error": ""}
_REQUIRED = ("index", "process", "type", "f", "time_ns")
_KNOWN = frozenset((*_REQUIRED, *_DEFAULTS))
_TYPES = {each.value: each for each in OpType}


def to_line(op: Op) -> str:
    """One line of JSON without its end; what is empty is left out."""
    line: dict[str, Any] = {name: getattr(op, name) for name in _REQUIRED}
    line.update({name: value for name, empty in _DEFAULTS.items() if (value := getattr(op, name)) != empty})
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    raise TypeError(f"a value of a history cannot be a {type(value).__name__}")


class Recorder:
    """Appends to a history and to its file at once, each line flushed as it is made; safe for threads.

    A flushed line is in the kernel's hands: it outlives a SIGKILL of ours, not a power failure.
    """

    def __init__(self, path: Path, history: History | None = None) -> None:
        self.history = history if history is not None else History()
        self._file = path.open("a", encoding="utf-8", errors="replace")
        self._lock = threading.Lock()

    def record(
        self,
        process: int | str,
        type: OpType,  # noqa: A002  the word of the format
        f: str,
        *,
        time_ns: int,
        key: Any = None,
        value: Any = None,
        node: str = "",
        error: str = "",
    ) -> Op:
        """Gives the Op with its index. Raises: UsageError as History.append does; nothing is written then."""
        with self._lock:
            op = Op(len(self.history), process, type, f, key, value, time_ns, node, error)
            line = to_line(op)
            self.history.append(op)
            self._file.write(line + "\n")
            self._file.flush()
        return op

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class Stored:
    """A history that was read. `cut`: what is said of a last line that a killed run left half written, else empty."""

    path: Path
    history: History
    format: Literal["jsonl", "edn"]
    cut: str = ""


def read_history(path: Path, calls: frozenset[str] | None = None) -> Stored:
    """Reads a file, or a run's folder that has a history.jsonl; finds out by itself which notation it is.

    `calls`: what clients may call; None: anything. Raises: UsageError with file:line.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        mend = f"name a history, or a run's folder with {FILE_NAME} in it"
        raise UsageError(f"there is no history {file}", mend=mend) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 text: {error.reason}", where=file) from None
    is_json = text.lstrip()[:1] == "{" and text.lstrip()[1:].lstrip()[:1] == '"'
    stored = _read_lines(file, text, calls) if is_json else _read_edn(file, text, calls)
    if not stored.history:
        raise UsageError("the history is empty", where=file, mend="judge a run that has begun")
    return stored


def _read_lines(file: Path, text: str, calls: frozenset[str] | None) -> Stored:
    history, cut = History(), ""
    lines = text.split("\n")  # not splitlines: a text in JSON may hold other separators as they are
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                cut = f"{where}: the last line is cut off and was left out; the run was killed while it was written"
                break
            raise UsageError(f"not JSON: {error.msg} at column {error.colno}", where=where) from None
        _append(history, _from_json(entry, where), where, calls)
    return Stored(file, history, "jsonl", cut)


def _from_json(entry: Any, where: str) -> Op:
    if not isinstance(entry, dict):
        raise UsageError(f"a line holds one JSON object, found {entry!r:.60}", where=where)
    if unknown := entry.keys() - _KNOWN:
        raise UsageError(
            f'unknown key "{min(unknown)}"', where=where, mend=f"the keys are {', '.join((*_REQUIRED, *_DEFAULTS))}"
        )
    for name in _REQUIRED:
        if name not in entry:
            raise UsageError(f'the key "{name}" is missing', where=where, mend="see docs/history-format.md")
    for name in ("index", "time_ns"):
        if type(entry[name]) is not int:
            raise UsageError(f"{name} is {entry[name]!r:.60}, not a whole number", where=where)
    for name in ("f", "node", "error"):
        if not isinstance(entry.get(name, ""), str):
            raise UsageError(f"{name} is {entry[name]!r:.60}, not text", where=where)
    return Op(
        entry["index"],
        _process(entry["process"], where),
        _type(entry["type"], where),
        entry["f"],
        entry.get("key"),
        entry.get("value"),
        entry["time_ns"],
        entry.get("node", ""),
        entry.get("error", ""),
    )


def _process(process: Any, where: str) -> int | str:
    if isinstance(process, str) or (type(process) is int and process >= 0):
        return process
    raise UsageError(f"process is {process!r:.60}, neither a number from 0 nor a word", where=where)


def _type(name: Any, where: str) -> OpType:
    if isinstance(name, str) and name in _TYPES:
        return _TYPES[name]
    raise UsageError(f"type is {name!r:.60}", where=where, mend=f"write one of {', '.join(_TYPES)}")


def _append(history: History, op: Op, where: str, calls: frozenset[str] | None) -> None:
    if calls is not None and op.is_client and op.f not in calls:
        raise UsageError(
            f'the model knows no "{op.f}"',
            where=where,
            mend=f"its calls are {', '.join(sorted(calls))}; name the model that fits with --model",
        )
    try:
        history.append(op)
    except UsageError as error:
        raise UsageError(error.what, where=where, mend=error.mend) from None


def _read_edn(file: Path, text: str, calls: frozenset[str] | None) -> Stored:
    found: list[tuple[int, Any]] = []
    cut = ""
    try:
        for line_and_entry in entries(text):
            found.append(line_and_entry)
    except EdnError as error:
        is_last = not text.endswith("\n") and text.count("\n") + 1 == error.line
        if not (error.is_cut and is_last and found):
            mend = "judge JSON lines (docs/history-format.md), or Jepsen's history.edn"
            raise UsageError(f"neither JSON lines nor EDN: {error}", where=f"{file}:{error.line}", mend=mend) from None
        cut = f"{file}:{error.line}: the last op is cut off and was left out; the run was killed while it was written"
    has_keys = _is_independent([entry for _, entry in found])
    history = History()
    for line, entry in found:
        where = f"{file}:{line}"
        _append(history, _from_jepsen(entry, len(history), has_keys, where), where, calls)
    return Stored(file, history, "edn", cut)


def _from_jepsen(entry: Any, index: int, has_keys: bool, where: str) -> Op:
    """Jepsen's own index is not asked for: histories are often cut into pieces before they are stored."""
    if not isinstance(entry, dict):
        raise UsageError(f"an op is a map, found {entry!r:.60}", where=where)
    for name in ("process", "type", "f"):
        if name not in entry:
            raise UsageError(f"an op has no :{name}", where=where, mend="each op has :process, :type and :f")
    process = "nemesis" if entry["process"] == -1 else _process(entry["process"], where)
    kind = _type(entry["type"], where) if isinstance(process, int) else OpType.INFO
    key: Any = entry.get("key")
    value: Any = entry.get("value")
    if has_keys and isinstance(process, int):
        key, value = value
    error = entry.get("error")
    return Op(
        index,
        process,
        kind,
        str(entry["f"]),
        hashable(key),
        value,
        int(entry.get("time") or 0),
        "",
        "" if error is None else str(error),
    )


def _is_independent(found: list[Any]) -> bool:
    """Whether values are Jepsen's pairs of key and value: every client's value is a pair, also that of a read's invoke.

    A history of nothing but cas looks the same with and without keys; it is taken as one register.
    """
    return any(entry.get("f") == "read" for entry in _clients(found)) and all(
        isinstance(entry.get("value"), list) and len(entry["value"]) == 2 for entry in _clients(found)
    )


def _clients(found: list[Any]) -> Iterator[dict[str, Any]]:
    for entry in found:
        if isinstance(entry, dict) and isinstance(entry.get("process"), int) and entry["process"] >= 0:
            yield entry
