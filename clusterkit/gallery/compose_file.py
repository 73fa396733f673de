"""L13. Reads a Compose file: plain values, each with its line, its variables both as written and replaced.

Not by the topology's own loader, which is stricter than Compose on purpose: here `<<` may be overridden, a variable
that is not set is empty, and `!reset` and `!override` are known. Source: the Compose Specification, its
chapters "Merge", "Fragments", "Extends" and "Interpolation".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from clusterkit.errors import UsageError
from clusterkit.model.interpolate import interpolate, parse_env
from clusterkit.model.load import MOST_NODES, read_text, scalar

_APPENDED = frozenset({"ports", "expose", "volumes", "env_file", "dns", "tmpfs", "secrets", "configs", "devices"})
"""Lists that `extends` makes longer; others are replaced."""


class Text(str):
    """A scalar's text with its variables replaced; `written` is how it stands in the file, `line` where."""

    __slots__ = ("line", "value", "written")
    written: str
    line: int
    value: Any
    """What it means: a number, true, None, or the text."""


def text(value: object) -> str:
    """A scalar's text; "" for what is none, or nothing."""
    return str(value) if isinstance(value, Text) and value.value is not None else ""


def items(value: object) -> list[Any]:
    """The Texts and Maps of a list; a scalar alone is a list of one, where Compose says so or a user meant it."""
    each = value if isinstance(value, list) else [value]
    return [item for item in each if isinstance(item, Map) or text(item)]


class Map(dict[str, Any]):
    """A mapping; `lines`: key -> the line of its key; `reset`: keys that are not to be taken from what it extends."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}
        self.reset: set[str] = set()


@dataclass
class ComposeFile:
    """A Compose file. `unset`: variables without a value or default -> the line of their first use."""

    name: str
    folder: Path
    top: Map
    variables: Mapping[str, str]
    unset: dict[str, int] = field(default_factory=dict)


def read_compose(file: Path, environ: Mapping[str, str]) -> ComposeFile:
    """Reads `file`, with the variables of `environ` and of a `.env` beside it.

    Raises: UsageError when it is no Compose file: not there, not YAML, no services; `extends` in a circle.
    """
    name = str(file)
    dotenv = file.parent / ".env"
    if not file.is_file():
        near = sorted(path.name for path in file.parent.glob("*compose*.y*ml"))
        mend = f"name one that exists: {', '.join(near)}" if near else "name a Compose file that exists"
        raise UsageError(f"{name}: there is no such file", mend=mend)
    variables = dict(environ)
    if dotenv.is_file():
        variables = {**parse_env(read_text(dotenv, str(dotenv)), str(dotenv), environ).values, **environ}
    try:
        node = yaml.compose(read_text(file, name), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{name}:{line}: this is not YAML: {error.problem}", mend="mend the Compose file") from error
    reader = _Reader(name, variables)
    top = reader.value(node) if node is not None else None
    found = ComposeFile(name, file.resolve().parent, top if isinstance(top, Map) else Map(), variables, reader.unset)
    if not isinstance(found.top.get("services"), Map) or not found.top["services"]:
        raise UsageError(f'{name} has no "services"', mend="name a Compose file (version 2, 3, or without a version)")
    return found


@dataclass
class _Reader:
    name: str
    variables: Mapping[str, str]
    unset: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def value(self, node: yaml.Node) -> Any:
        """Text, Map or list. Raises: UsageError for a file that grows without end."""
        self._count += 1
        line = node.start_mark.line + 1
        if self._count > MOST_NODES:
            raise UsageError(f"{self.name}:{line}: the file grows to more than {MOST_NODES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        found = Map()
        for key, child in self._items(node):
            if child.tag == "!reset":
                found.reset.add(str(key.value))
            elif key.value not in found:
                found[str(key.value)] = self.value(child)
                found.lines[str(key.value)] = key.start_mark.line + 1
        return found

    def _items(self, node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Keys of a mapping, then those that `<<` brings: whoever comes first counts."""
        merged: list[yaml.Node] = []
        for key, child in node.value:
            if key.value == "<<":
                merged += child.value if isinstance(child, yaml.SequenceNode) else [child]
            else:
                yield key, child
        for part in merged:
            self._count += 1
            if isinstance(part, yaml.MappingNode) and self._count <= MOST_NODES:
                yield from self._items(part)

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Text:
        replaced, _ = interpolate(node.value, self.variables)
        for name in self._unset_in(node.value):
            self.unset.setdefault(name, line)
        found = Text(replaced)
        found.written, found.line = node.value, line
        found.value = scalar(replaced) if node.style is None else replaced
        return found

    def _unset_in(self, written: str) -> Iterator[str]:
        _, troubles = interpolate(written, self.variables)
        for trouble in troubles:
            words = trouble.what.split()
            if words[0] == "variable":
                yield words[1]


def services(file: ComposeFile, notes: Any) -> dict[str, Map]:
    """name -> service, with what it extends merged in. `notes.add(line, what)` hears of what cannot be followed."""
    found: dict[str, Map] = {}
    all_services: Map = file.top["services"]
    for name, body in all_services.items():
        if isinstance(body, Map):
            found[name] = _extended(file, name, body, (name,), notes)
        else:
            notes.add(all_services.lines[name], f'service "{name}" is empty', name)
    return found


def _extended(file: ComposeFile, name: str, body: Map, seen: tuple[str, ...], notes: Any) -> Map:
    asked = body.get("extends")
    if asked is None:
        return body
    of = text(asked.get("service")) if isinstance(asked, Map) else text(asked)
    other = text(asked.get("file")) if isinstance(asked, Map) else ""
    line = body.lines["extends"]
    base = file.top["services"].get(of)
    if of in seen:
        raise UsageError(f'{file.name}:{line}: service "{name}" extends itself by way of "{of}"')
    if (other and (file.folder / other).resolve() != (file.folder / Path(file.name).name).resolve()) or not isinstance(
        base, Map
    ):
        where = f"{other}, another file" if other else "nowhere in this file"
        notes.add(line, f'extends "{of}", which is in {where}: what it brings is missing', name)
        return body
    return _merged(_extended(file, of, base, (*seen, of), notes), body)


def _merged(base: Map, over: Map) -> Map:
    """`over` laid over `base`: mappings key by key, some lists one after the other, anything else replaced."""
    made = Map()
    made.lines = {**base.lines, **over.lines}
    for key in dict.fromkeys((*(key for key in base if key not in over.reset), *over)):
        low, high = base.get(key), over.get(key)
        if key not in over:
            made[key] = low
        elif isinstance(low, Map) and isinstance(high, Map):
            made[key] = _merged(low, high)
        elif isinstance(low, list) and isinstance(high, list) and key in _APPENDED:
            made[key] = [*low, *high]
        elif key == "environment" and key in base:
            made[key] = _merged(as_map(low, made.lines[key]), as_map(high, made.lines[key]))
        else:
            made[key] = high
    made.pop("extends", None)
    return made


def as_map(value: object, line: int) -> Map:
    """A mapping, or a list of NAME=VALUE as one; NAME alone has the value None."""
    if isinstance(value, Map):
        return value
    made = Map()
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, Text):
            continue
        name, sign, rest = item.partition("=")
        part = Text(rest)
        part.written, part.line = item.written.partition("=")[2], item.line
        part.value = rest if sign else None
        made[name] = part
        made.lines[name] = item.line or line
    return made
