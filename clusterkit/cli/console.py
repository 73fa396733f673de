"""L15. Tells the steps on stderr: a moving line on a terminal, plain timed lines elsewhere. Data never goes there."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import IO

from clusterkit.journal import Entry, Listener

_DIM, _RED, _YELLOW, _RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def is_terminal(stream: IO[str]) -> bool:
    """CI counts as none, whatever the stream says: nobody watches a line move there."""
    return stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"


def listener(*, is_verbose: bool = False, is_quiet: bool = False) -> Listener:
    """What hears a Journal and tells a person."""
    if is_quiet:
        return lambda _entry: None
    return _Moving(is_verbose) if is_terminal(sys.stderr) else _Plain(is_verbose)


class _Plain:
    """One line when a step has ended: seconds since the start of the program, what, how long."""

    def __init__(self, is_verbose: bool) -> None:
        self._begun = time.monotonic()
        self._is_verbose = is_verbose

    def __call__(self, entry: Entry) -> None:
        if entry.phase == "start" or (entry.level == "debug" and not self._is_verbose):
            return
        print(f"{time.monotonic() - self._begun:7.2f}s  {_text(entry)}", file=sys.stderr, flush=True)


class _Moving:
    """Ended steps stay as lines; what is under way stands below them with its seconds, and moves."""

    def __init__(self, is_verbose: bool) -> None:
        self._is_verbose = is_verbose
        self._has_colour = not os.environ.get("NO_COLOR")
        self._under_way: dict[str, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, entry: Entry) -> None:
        if entry.level == "debug" and not self._is_verbose:
            return
        with self._lock:
            if entry.phase == "start":
                self._under_way[entry.text] = time.monotonic()
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._move, daemon=True)
                    self._thread.start()
                return
            self._under_way.pop(entry.text, None)
            sys.stderr.write(f"\r\x1b[2K{self._mark(entry)} {_text(entry)}\n")
            sys.stderr.flush()

    def _mark(self, entry: Entry) -> str:
        mark, colour = {"failed": ("✗", _RED), "end": ("✓", _DIM)}.get(entry.phase, ("·", _DIM))
        if entry.level in ("warning", "error"):
            mark, colour = ("!", _YELLOW) if entry.level == "warning" else ("✗", _RED)
        return f"{colour}{mark}{_RESET}" if self._has_colour else mark

    def _move(self) -> None:
        turn = 0
        while True:
            with self._lock:
                if not self._under_way:
                    sys.stderr.write("\r\x1b[2K")
                    sys.stderr.flush()
                    return
                now = time.monotonic()
                text = ", ".join(f"{name} {now - begun:.0f}s" for name, begun in self._under_way.items())
                width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns) - 3
                sys.stderr.write(f"\r\x1b[2K{_FRAMES[turn % len(_FRAMES)]} {text[:width]}")
                sys.stderr.flush()
            turn += 1
            time.sleep(0.1)


def _text(entry: Entry) -> str:
    if entry.phase == "failed":
        return f"failed: {entry.text}"
    if entry.seconds is None:
        return entry.text if entry.level in ("info", "debug") else f"{entry.level}: {entry.text}"
    return f"{entry.text} ({entry.seconds:.2f} s)"
