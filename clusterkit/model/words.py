"""L1, pure. Words for messages: the nearest known word, a list in prose, a value as a reader would recognise it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LONGEST_SHOWN = 60


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, or None where none is near."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def listed(words: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    *first, end = list(words) or ["nothing"]
    return f"{', '.join(first)} {last} {end}" if first else end


def did_you_mean(word: str, known: Iterable[str], noun: str) -> str:
    """The mend for an unknown word: the nearest known one, else all of them."""
    known = sorted(known)
    near = nearest(word, known)
    if near is not None:
        return f'did you mean "{near}"?'
    return f"known {noun}: {', '.join(known)}" if known else f"there are no {noun} here"


def shown(value: Any) -> str:
    """A value of the file on one line: text in quotes and cut when long, containers by their name."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        line = value.replace("\n", "\\n")
        return f'"{line}"' if len(line) <= _LONGEST_SHOWN else f'"{line[: _LONGEST_SHOWN - 3]}..."'
    return str(value)
