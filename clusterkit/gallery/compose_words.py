"""L13, pure. Values of a Compose file in their short and long forms."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from clusterkit.gallery.compose_file import Map, Text, items, text

_PORT = re.compile(
    r"(?:(?:\[[^]]*\]|\d+\.\d+\.\d+\.\d+):)?(?:(?P<host>\d+(?:-\d+)?)?:)?(?P<target>\d+(?:-\d+)?)(?:/(?P<protocol>\w+))?"
)
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[bkmg]?)b?", re.IGNORECASE)


@dataclass(frozen=True)
class PortWord:
    """A port inside, and the one of the host, if it is fixed."""

    target: int
    host: int | None
    protocol: str
    line: int


def ports(body: Map) -> Iterator[PortWord | Text]:
    """The `ports` of a service, ranges port by port; the Text of those that cannot be read."""
    for item in items(body.get("ports")):
        if isinstance(item, Map):
            given = {key: text(value) for key, value in item.items()}
            word = f"{given.get('published', '')}:{given.get('target', '')}/{given.get('protocol', 'tcp')}".lstrip(":")
            line = min(item.lines.values(), default=1)
        else:
            word, line = text(item), item.line
        match = _PORT.fullmatch(word)
        if match is None:
            unread = Text(word)
            unread.written, unread.line, unread.value = word, line, word
            yield unread
            continue
        targets, hosts = _range(match["target"]), _range(match["host"] or "")
        for index, target in enumerate(targets):
            host = hosts[index] if len(hosts) == len(targets) else None
            yield PortWord(target, host, match["protocol"] or "tcp", line)


def _range(word: str) -> list[int]:
    if not word:
        return []
    first, _, last = word.partition("-")
    return list(range(int(first), int(last or first) + 1))


def command_words(body: Map) -> tuple[str, ...]:
    """Entrypoint and command, word by word."""
    return (*words(body.get("entrypoint")), *words(body.get("command")))


def words(value: object) -> tuple[Text, ...]:
    """A list as it is; text split as a shell does (as it stands, where its quotes do not fit)."""
    if isinstance(value, list):
        return tuple(each for each in value if isinstance(each, Text))
    if not isinstance(value, Text) or not text(value):
        return ()
    try:
        pieces, written = shlex.split(value), shlex.split(value.written)
    except ValueError:
        return (value,)
    made = []
    for index, piece in enumerate(pieces):
        word = Text(piece)
        word.written = written[index] if len(written) == len(pieces) else piece.replace("$", "$$")
        word.line, word.value = value.line, piece
        made.append(word)
    return tuple(made)


def size(value: str) -> str | None:
    """512m or 1073741824 as 512MB or 1073741824B."""
    match = _SIZE.fullmatch(value)
    if match is None:
        return None
    unit = match["unit"].upper()
    return f"{match['number']}{unit if unit == 'B' or not unit else f'{unit}B'}" + ("" if unit else "B")
