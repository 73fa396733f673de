"""L8, pure. Stack traces stay whole: lines that continue the one before them become one entry with it.

Per node and stream, and bounded: a line more than a second after the last begins anew, and so does one behind many
thousand. While a trace of one stream is open, lines of the other wait behind it, so that entries stay in the order of
their first lines.
"""

from __future__ import annotations

import re
import string
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from clusterkit.logs.entry import LogEntry
from clusterkit.logs.parse import is_at_least

MAX_LINES = 5000
"""A Go program that dies with some hundred goroutines stays whole."""
MAX_GAP_NS = 1_000_000_000
_SAME_BREATH_NS = 20_000_000
"""A log record and the trace that belongs to it are written by one call."""

_TRACEBACK = "Traceback (most recent call last):"
_PYTHON_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_CAUSE = re.compile(r"Caused by: |Suppressed: |\.\.\. \d+ (?:more|common frames omitted)")
_EXCEPTION = re.compile(r"(?:[a-z_][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable)\b")
_GO_START = re.compile(r"panic: |fatal error: |goroutine \d+ \[|SIG[A-Z]+: |runtime: ")
_GO_REST = re.compile(
    r"goroutine \d+ \[|created by |\[signal |\[recovered\]|exit status \d|panic: |PC=|SIG[A-Z]+: |r\w{1,5} +0x|"
    r"runtime[ .:]|[^\s()]+\(.*\)$|.* exp\. date$|\.\.\.additional frames elided"
)
_RUST_START = re.compile(r"thread '.*' (?:\(\d+\) )?panicked at ")
_RUST_REST = re.compile(r"note: (?:run with|Some details)|stack backtrace:")


_TRACE_STARTS = frozenset("TpfgSrt")
_MORE_STARTS = frozenset(" \tCS.T_" + string.ascii_lowercase)
"""First characters of lines that may begin a trace, or go on with a plain line: most lines are told by these alone."""


class _Open:
    """An entry that may go on. `kind` is the sort of trace it became, "" while it is a plain line."""

    __slots__ = ("first", "has_exception", "is_closed", "kind", "last_ns", "texts")

    def __init__(self, first: LogEntry) -> None:
        self.begin(first)

    def begin(self, first: LogEntry) -> None:
        self.first = first
        self.texts = [first.text]
        self.last_ns = first.time_ns
        self.is_closed = False
        self.kind = ""
        self.has_exception = False
        self.look(first.text)

    def look(self, text: str) -> None:
        """Notices the first line of a trace."""
        if text[:1] not in _TRACE_STARTS:
            return
        if text.rstrip() == _TRACEBACK:
            self.kind, self.has_exception = "python", False
        elif not self.kind and _GO_START.match(text):
            self.kind = "go"
        elif _RUST_START.match(text):
            self.kind, self.has_exception = "rust", False

    def add(self, entry: LogEntry) -> None:
        self.texts.append(entry.text)
        self.last_ns = entry.time_ns
        self.look(entry.text)

    def entry(self) -> LogEntry:
        return self.first if len(self.texts) == 1 else self.first._replace(text="\n".join(self.texts))


class Joiner:
    """Takes the lines of one node one by one and gives back entries, in the order of their first lines.

    `level` reads the level of a text (parse.LevelReader).
    """

    def __init__(
        self, level: Callable[[str], str], *, max_lines: int = MAX_LINES, max_gap_ns: int = MAX_GAP_NS
    ) -> None:
        self._level = level
        self._max_lines = max_lines
        self._max_gap_ns = max_gap_ns
        self._open: dict[str, _Open] = {}
        self._queue: deque[_Open] = deque()

    @property
    def is_empty(self) -> bool:
        return not self._queue

    def feed(self, entry: LogEntry) -> Sequence[LogEntry]:
        """The next line; gives back what is complete now."""
        now = self._open.get(entry.stream)
        queue = self._queue
        if now is not None and not now.is_closed:
            if self._continues(now, entry):
                now.add(entry)
                return self._overdue(entry)
            if len(queue) == 1:
                done = now.entry()
                now.begin(entry)
                return (done,)
            now.is_closed = True
        self._open[entry.stream] = begun = _Open(entry)
        queue.append(begun)
        return self._overdue(entry)

    def _overdue(self, entry: LogEntry) -> Sequence[LogEntry]:
        """Those before `entry` that are complete, or have waited too long."""
        queue = self._queue
        done: list[LogEntry] = []
        while len(queue) > 1 and (
            queue[0].is_closed or entry.time_ns - queue[0].last_ns > self._max_gap_ns or len(queue) > self._max_lines
        ):
            queue[0].is_closed = True
            done.append(queue.popleft().entry())
        return done

    def flush(self) -> Iterator[LogEntry]:
        """All that is open: nothing more came for a while, or at all."""
        while self._queue:
            self._queue[0].is_closed = True
            yield self._queue.popleft().entry()

    def _continues(self, now: _Open, entry: LogEntry) -> bool:
        gap = entry.time_ns - now.last_ns
        if gap > self._max_gap_ns or len(now.texts) >= self._max_lines:
            return False
        text = entry.text
        start = text[:1]
        if not now.kind and start not in _MORE_STARTS:
            return False
        if not start or text.isspace():
            return now.kind == "go" or (now.kind == "python" and now.has_exception)
        if start in " \t" or _CAUSE.match(text):
            return True
        if now.kind:
            return _goes_on(now, text)
        begins = _EXCEPTION.match(text) or text.rstrip() == _TRACEBACK
        return bool(begins) and gap <= _SAME_BREATH_NS and len(now.texts) == 1 and self._is_trouble(now)

    def _is_trouble(self, now: _Open) -> bool:
        return is_at_least(self._level(now.texts[0]), "warning")


def _goes_on(now: _Open, text: str) -> bool:
    """Whether a line that is not indented belongs to the trace that is open."""
    if now.kind == "go":
        return _GO_REST.match(text) is not None
    if not now.has_exception:  # the line that names the exception stands behind the frames, in Rust the message does
        now.has_exception = True
        return True
    if now.kind == "python":
        return text.startswith(_PYTHON_LINKS) or text.rstrip() == _TRACEBACK
    return _RUST_REST.match(text) is not None


def join(lines: Iterable[LogEntry], level: Callable[[str], str]) -> Iterator[LogEntry]:
    """All lines of one node -> its entries."""
    joiner = Joiner(level)
    for line in lines:
        yield from joiner.feed(line)
    yield from joiner.flush()
