"""L1. A small reader of EDN, the notation of Jepsen's histories.

Keywords and symbols become text without the colon, vectors and lists become lists, maps dicts (keys made hashable),
sets frozensets; a tagged literal becomes what stands behind its tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from clusterkit.history.op import hashable

_TOKEN = re.compile(
    r"""[\s,]+ | ;[^\n]*
    | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<open>\#\{|[(\[{]) | (?P<close>[)\]}])
    | (?P<discard>\#_) | \#(?P<tag>[A-Za-z][^\s,()\[\]{}";]*)
    | \\(?P<character>newline|space|tab|return|formfeed|backspace|u[0-9a-fA-F]{4}|.)
    | :(?P<keyword>[^\s,()\[\]{}";]+)
    | (?P<number>[+-]?\d+(?:/\d+|(?:\.\d*)?(?:[eE][+-]?\d+)?)[NM]?)(?=[\s,()\[\]{}";]|$)
    | (?P<word>[^\s,()\[\]{}"';\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS: dict[str, Any] = {"nil": None, "true": True, "false": False}
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CHARACTERS = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r", "formfeed": "\f", "backspace": "\b"}


class EdnError(ValueError):
    """The text is not EDN. `line` counts from 1; `is_cut`: the text ends in the middle of a form."""

    def __init__(self, line: int, what: str, *, is_cut: bool = False) -> None:
        super().__init__(what)
        self.line = line
        self.is_cut = is_cut


def entries(text: str) -> Iterator[tuple[int, Any]]:
    """The forms at the top level, and the items of vectors and lists there, each with its line. Raises: EdnError."""
    reader = _Reader(text)
    closes: list[str] = []
    while True:
        kind, mark, begun = reader.next()
        if kind == "end" and not closes:
            return
        if kind == "discard":
            reader.value(*reader.next())
        elif kind == "open" and mark in "[(" and not closes:
            closes.append(_CLOSES[mark])
        elif kind == "close" and closes == [mark]:
            closes.clear()
        else:
            yield reader.line_of(begun), reader.value(kind, mark, begun)


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = (0, 1)

    def line_of(self, at: int) -> int:
        """Counts on from the last answer, so that a long text is walked once."""
        offset, line = self._counted if self._counted[0] <= at else (0, 1)
        line += self._text.count("\n", offset, at)
        self._counted = (at, line)
        return line

    def next(self) -> tuple[str, str, int]:
        text, size = self._text, len(self._text)
        while self._at < size:
            found = _TOKEN.match(text, self._at)
            if found is None:
                is_cut = text[self._at] == '"'  # a string that never closes
                raise EdnError(self.line_of(self._at), f"cannot read {text[self._at : self._at + 20]!r}", is_cut=is_cut)
            begun, self._at = self._at, found.end()
            if found.lastgroup is not None:
                return found.lastgroup, found.group(found.lastgroup), begun
        return "end", "", size

    def value(self, kind: str, token: str, begun: int) -> Any:
        if kind in _ATOMS:
            return _ATOMS[kind](token)
        if kind == "tag":
            return self.value(*self.next())
        if kind == "open":
            return self._collection(token, begun)
        if kind == "discard":
            self.value(*self.next())
            return self.value(*self.next())
        if kind == "end":
            raise EdnError(self.line_of(begun), "the text ends in the middle of a form", is_cut=True)
        raise EdnError(self.line_of(begun), f'"{token}" closes nothing')

    def _collection(self, opening: str, begun: int) -> Any:
        items: list[Any] = []
        while True:
            kind, token, at = self.next()
            if kind == "close":
                break
            if kind == "discard":
                self.value(*self.next())
            else:
                items.append(self.value(kind, token, at))
        if token != _CLOSES[opening]:
            raise EdnError(self.line_of(at), f'"{opening}" is closed by "{token}"')
        if opening == "{":
            if len(items) % 2:
                raise EdnError(self.line_of(begun), "a map has a key without a value")
            return {hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        return frozenset(map(hashable, items)) if opening == "#{" else items


def _string(text: str) -> str:
    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", _unescape, text[1:-1], flags=re.DOTALL)


def _character(text: str) -> str:
    return _CHARACTERS.get(text) or (chr(int(text[1:], 16)) if len(text) == 5 else text)


def _number(text: str) -> Any:
    text = text.rstrip("NM")
    if "/" in text:
        return float(Fraction(text))
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _unescape(found: re.Match[str]) -> str:
    escape = found.group(1)
    return chr(int(escape[1:], 16)) if len(escape) == 5 else _ESCAPES.get(escape, escape)


_ATOMS: dict[str, Callable[[str], Any]] = {
    "keyword": str,
    "number": _number,
    "word": lambda text: _WORDS.get(text, text),
    "string": _string,
    "character": _character,
}
