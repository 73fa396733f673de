"""L13. Collects the problems of a topology; reads single values of it and says what is wrong with them.

A reader gives the value, or None once it has added a problem. A value of null counts as not given; callers ask first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from clusterkit.check_topology.keys import SYNONYMS
from clusterkit.errors import Problem
from clusterkit.model.load import Document
from clusterkit.model.source import Where
from clusterkit.model.topology import Key
from clusterkit.model.words import did_you_mean, shown

T = TypeVar("T")

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
NAME_RULE = "begin with a letter; use only a-z, 0-9 and -, at most 31 of them"


class Findings:
    """What was found wrong so far, and where everything stands (`positions` and `texts` grow by defaults)."""

    def __init__(self, document: Document) -> None:
        self.file = document.file
        self.value = document.value
        self.problems: list[Problem] = list(document.problems)
        self.positions: dict[Key, Where] = dict(document.positions)
        self.keys: dict[Key, Where] = dict(document.keys)
        self.texts: dict[Key, str] = dict(document.texts)
        self.used = document.used

    def add(self, key: Key, what: str, mend: str, *, at_key: bool = False) -> None:
        """A problem with the value at `key`, or with the key itself. The same one is said once."""
        where = self.keys.get(key) if at_key else None
        problem = Problem(where or self.where(key), what, mend)
        if problem not in self.problems:
            self.problems.append(problem)

    def where(self, key: Key) -> Where:
        """The place of a value, or of the nearest one around it."""
        while key and key not in self.positions:
            key = key[:-1]
        return self.positions.get(key, Where(self.file, 1, 1))

    def sorted(self) -> list[Problem]:
        """In the order of the file."""
        return sorted(self.problems, key=lambda problem: cast(Where, problem.where))

    def unknown_key(self, key: Key, known: Iterable[str], of: str) -> None:
        """`of`: what has the key, "the topology" or 'component "cache"'."""
        known = tuple(known)
        word = str(key[-1])
        meant = SYNONYMS.get(word.lower())
        mend = f'did you mean "{meant}"?' if meant in known else did_you_mean(word, known, "keys")
        self.add(key, f'unknown key "{word}" in {of}', mend, at_key=True)

    def wrong(self, key: Key, value: Any, must: str, mend: str) -> None:
        """`must`: "be a whole number"."""
        self.add(key, f"{label(key)} must {must}, found {shown(value)}", mend)

    def text(self, key: Key, value: Any, example: str) -> str | None:
        """Text; a number or a boolean gives its own text, as it was written."""
        if isinstance(value, str) and value:
            return value
        if isinstance(value, bool | int | float) and key in self.texts:
            return self.texts[key]
        self.wrong(key, value, "be text", f"write {key[-1]}: {example}" if isinstance(key[-1], str) else example)
        return None

    def name(self, key: Key, value: Any, example: str) -> str | None:
        """A name as components, clusters and zones have them."""
        text = self.text(key, value, example)
        if text is not None and not NAME.fullmatch(text):
            self.add(key, f"{label(key)}: {shown(text)} is not a name", NAME_RULE)
            return None
        return text

    def whole(self, key: Key, value: Any, least: int, most: int, example: int) -> int | None:
        """A whole number; text that is one will do."""
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(key, value, f"be a whole number from {least} to {most}", f"write {key[-1]}: {example}")
        return None

    def mapping(self, key: Key, value: Any, example: str) -> Mapping[str, Any] | None:
        if isinstance(value, dict):
            return value
        self.wrong(key, value, "be a mapping", f"write {example}")
        return None

    def sequence(self, key: Key, value: Any, example: str) -> Sequence[Any] | None:
        """A list; a single word counts as a list of one (its key then has no index)."""
        if isinstance(value, list):
            return value
        self.wrong(key, value, "be a list", f"write {key[-1]}: {example}")
        return None

    def words(self, key: Key, value: Any, example: str) -> list[tuple[Key, str]] | None:
        """A list of text, or one text: each with its key."""
        if not isinstance(value, list | dict):
            text = self.text(key, value, example)
            return None if text is None else [(key, text)]
        items = self.sequence(key, value, f"[{example}]")
        if items is None:
            return None
        read = [((*key, index), self.text((*key, index), item, example)) for index, item in enumerate(items)]
        return [(place, text) for place, text in read if text is not None]

    def quantity(self, key: Key, value: Any, parse: Callable[[Any], T]) -> T | None:
        """A number with its unit."""
        try:
            return parse(value)
        except ValueError as error:
            self.complaint(key, value, str(error))
            return None

    def complaint(self, key: Key, value: Any, said: str) -> None:
        """What a check of a value or of options says: "what\\nmend: ...", "what; what to do", or one sentence."""
        what, separator, mend = said.partition("\nmend: ")
        if not separator:
            what, separator, mend = said.partition("; ")
        if not separator:
            what, separator, example = said.partition(", for example ")
            mend = f"write {label(key)}: {_examples(example.strip(chr(34)))}" if separator else ""
        name = label(key)
        if not what.startswith(name):
            what = f"{name}: {what}"
        if not isinstance(value, dict) and '"' not in what.removeprefix(name) and shown(value) not in what:
            what += f", found {shown(value)}"
        self.add(key, what, mend or "see docs/topology.md")


def _examples(example: str) -> str:
    """A bare number of time may have been meant in milliseconds as well."""
    return f"{example} or {example[:-1]}ms" if re.fullmatch(r"[0-9]+s", example) else example


_ABOVE = {("components",): 2, ("defaults",): 1, ("chaos", "scenarios"): 5, ("faults",): 2, ("links",): 2}
"""Where a value is named from: what begins so is called by the parts after these."""


def label(key: Key) -> str:
    """How a value is called in a message: its path below the component, fault, workload, link, defaults or top."""
    if len(key) == 2 and key[0] == "components":
        return f'component "{key[1]}"'
    if key[:2] == ("chaos", "scenarios") and key[3:4] in (("workload",), ("expect",)):
        key = key[min(4, len(key) - 1) :]
    start = next((deep for above, deep in _ABOVE.items() if key[: len(above)] == above and len(key) > deep), 0)
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key[start:]).lstrip(".")
