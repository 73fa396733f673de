"""L1, pure but for reading files. A YAML file -> plain values, each with its place, by rules that surprise nobody.

Scalars are those of YAML 1.2's core schema: only true and false are booleans; `on`, `no` and `off` are words; there are
no sexagesimal numbers, and a leading 0 makes no octal. Keys are always text. Every scalar keeps its text, so that
`3.10` can be given to whoever wants text. Variables are replaced after parsing, so that they cannot bring structure.
Problems are collected; only what leaves nothing to look at (a file that is not YAML) is raised at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml

from clusterkit.errors import Problem, TopologyError
from clusterkit.model.interpolate import interpolate, parse_env
from clusterkit.model.source import Where
from clusterkit.model.topology import Key

MOST_NODES = 10_000
"""Values and keys in a file after aliases are followed. Alias bombs end here."""

MOST_LEVELS = 100
_LEVELS_MEND = f"use at most {MOST_LEVELS} levels"

_PLAIN = "plain"
_STR, _INT, _FLOAT, _BOOL, _NULL, _MAP, _SEQ = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOATING = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 300
_FORBIDDEN: re.Pattern[str] = yaml.reader.Reader.NON_PRINTABLE
"""YAML's own; to compile it again would take milliseconds."""


_INDENTATION = "look at the indentation of this line and of those before it"
_WORDS_OF_THE_PARSER = {
    "found undefined alias": ("this alias has no anchor before it", 'write "&name" at the value it stands for'),
    "found duplicate anchor": ("this anchor is there twice", "give one of them another name"),
    "mapping values are not allowed": (
        'a ":" stands where no key can be',
        "look at the indentation, or put quotes around a value that holds a colon",
    ),
    "did not find expected key": ("a key was expected here", _INDENTATION),
    "did not find expected '-' indicator": ("a list item was expected here", _INDENTATION),
    "could not find expected ':'": ("a key without a colon", 'write "key: value"'),
    "found unexpected end of stream": ("the file ends inside a quoted text", "close the quotes"),
    "found unknown escape character": ("this escape is not known", r'in double quotes write "\\" for a backslash'),
    "did not find expected ',' or": (
        "a list or mapping in brackets goes on wrongly here",
        "separate values by commas and close the bracket",
    ),
    "did not find expected <document start>": ("the topology has ended before this line", _INDENTATION),
    "cannot start any token": ("a value cannot begin with this character", "put quotes around the value"),
}
"""What the parser says -> the same in our words, and the mend."""


@dataclass(frozen=True)
class Document:
    """A file as read.

    `value` holds dicts with text keys, lists, text, numbers, booleans and None. `positions`: of a scalar its own place,
    of a mapping or list that of its key; () is the top. `keys`: the places of keys. `texts`: every scalar as written
    (after its variables were replaced). `variables`: those of the process over those of `.env`; `used`: those of them
    that stand in the file.
    """

    file: str
    value: Any
    positions: Mapping[Key, Where]
    keys: Mapping[Key, Where] = field(default_factory=dict)
    texts: Mapping[Key, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()
    used: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(file: Path, environ: Mapping[str, str], *, name: str | None = None) -> Document:
    """Reads `file`, with the variables of `environ` and of a `.env` beside it; `name` is how messages call it.

    Raises: TopologyError where there is nothing to look at: no such file, not text, not YAML, no mapping.
    """
    name = name or str(file)
    text = read_text(file, name)
    dotenv = file.parent / ".env"
    if not dotenv.is_file():
        return parse(text, name, environ)
    dotenv_name = str(Path(name).parent / ".env")
    env = parse_env(read_text(dotenv, dotenv_name), dotenv_name, environ)
    return parse(text, name, {**env.values, **environ}, env.problems)


def read_text(file: Path, name: str) -> str:
    """The text of a UTF-8 file. Raises: TopologyError."""
    top = Where(name, 1, 1)
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        _fail(top, "there is no such file", "name one that exists with -f")
    except IsADirectoryError:
        _fail(top, "this is a folder, not a file", f"name the file in it: {name.rstrip('/')}/clusterkit.yml")
    except (OSError, ValueError) as error:
        _fail(top, f"the file cannot be read: {getattr(error, 'strerror', None) or error}", "make it readable")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", errors="replace")
        _fail(_end_of(before, name), f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8")


def parse(text: str, file: str, variables: Mapping[str, str], problems: tuple[Problem, ...] = ()) -> Document:
    """Reads YAML text; `problems` were found before. Raises: TopologyError where there is nothing to look at."""
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        where = _end_of(text[: forbidden.start()], file)
        _fail(where, f"character U+{ord(forbidden.group()):04X} may not stand in YAML", "delete it")
    node = _composed(text, file)
    if node is None:
        _fail(Where(file, 1, 1), "the file is empty", "describe at least one component, e.g. components: {etcd: {}}")
    if not isinstance(node, yaml.MappingNode):
        _fail(_where(file, node), "the top of the file must be a mapping", "begin with components:")
    noted = _Noted(variables)
    reader = _Reader(file, noted, list(problems))
    value = reader.value(node, (), _where(file, node))
    return Document(
        file,
        value,
        reader.positions,
        reader.keys,
        reader.texts,
        dict(variables),
        tuple(reader.problems),
        noted.used,
    )


def scalar(text: str) -> Any:
    """What a plain scalar means in YAML 1.2's core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) > _LONGEST_NUMBER:  # no setting is such a number, and Python refuses to convert very long ones
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0 if text.startswith(("0o", "0x")) else 10)
    if _FLOATING.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _SPECIAL.fullmatch(text) else text


class _TooDeep(yaml.MarkedYAMLError):
    """More levels than anybody writes. The C parser would follow them until its stack is full, and crash."""


class _Marks:
    """Takes the parser's guesses away: plain scalars stay plain, to be resolved here. Counts levels."""

    _levels = 0

    def resolve(self, kind: type[yaml.Node], _value: object, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _STR
        return _MAP if kind is yaml.MappingNode else _SEQ

    def descend_resolver(self, parent: yaml.Node | None, _index: object) -> None:
        self._levels += 1
        if self._levels > MOST_LEVELS and parent is not None:
            raise _TooDeep(problem_mark=parent.start_mark)

    def ascend_resolver(self) -> None:
        self._levels -= 1


class _PythonLoader(_Marks, yaml.SafeLoader):
    pass


_Loader: type[Any] = _PythonLoader
if yaml.__with_libyaml__:

    class _CLoader(_Marks, yaml.CSafeLoader):
        pass

    _Loader = _CLoader


def _composed(text: str, file: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except _TooDeep as error:
        mark = cast(yaml.Mark, error.problem_mark)
        _fail(Where(file, mark.line + 1, mark.column + 1), "values are nested too deep", _LEVELS_MEND)
    except yaml.MarkedYAMLError as error:
        _fail_marked(error, text, file)
    except yaml.YAMLError as error:
        _fail(Where(file, 1, 1), f"this is not YAML: {error}", "look for odd characters")
    return node


def _fail_marked(error: yaml.MarkedYAMLError, text: str, file: str) -> NoReturn:
    said = error.problem or error.context or "not valid YAML"
    mark = error.problem_mark or error.context_mark
    where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
    if "another document" in said:
        _fail(where, "a second document begins here", "keep one document in the file; take the --- away")
    lines = text.split("\n")
    line = lines[where.line - 1] if where.line <= len(lines) else ""
    if "\t" in line[: where.column] and not line[: where.column].strip():
        _fail(where, "a tab stands in the indentation", "indent with spaces")
    what, mend = next(
        (ours for words, ours in _WORDS_OF_THE_PARSER.items() if words in f"{error.context} {said}"),
        (f"this is not YAML: {said}", "look at the indentation, the quotes and the brackets"),
    )
    start = error.context_mark
    if start is not None and mark is not None and start.line != mark.line:
        what += f" (inside what begins at line {start.line + 1})"
    _fail(where, what, mend)


class _Noted(Mapping[str, str]):
    """Variables that note which of them were asked for and are there."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.used: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        self.used[name] = self._variables[name]
        return self.used[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


@dataclass
class _Reader:
    """Turns composed nodes into plain values, and remembers where each was."""

    file: str
    variables: Mapping[str, str]
    problems: list[Problem]
    positions: dict[Key, Where] = field(default_factory=dict)
    keys: dict[Key, Where] = field(default_factory=dict)
    texts: dict[Key, str] = field(default_factory=dict)
    _count: int = 0
    _open: list[yaml.Node] = field(default_factory=list)

    def value(self, node: yaml.Node, key: Key, at: Where) -> Any:
        """`at` is the place to remember for a container: that of its key."""
        self._enter(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key, at)
        if node.tag not in (_MAP, _SEQ) or (node.tag == _MAP) != isinstance(node, yaml.MappingNode):
            self._problem(node, f'the tag "{node.tag}" is not known here', "take the tag away")
        self.positions[key] = at
        self._open.append(node)
        if isinstance(node, yaml.MappingNode):
            value: Any = {
                name: self.value(child, (*key, name), self.keys[(*key, name)]) for name, child in self._items(node, key)
            }
        else:
            value = [self.value(item, (*key, index), self._where(item)) for index, item in enumerate(node.value)]
        self._open.pop()
        return value

    def _enter(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > MOST_NODES:
            _fail(self._where(node), f"the file grows to more than {MOST_NODES} values", "use fewer aliases")
        if any(node is outer for outer in self._open):
            _fail(self._where(node), "an alias stands inside its own anchor", "break the circle")
        if len(self._open) >= MOST_LEVELS:
            _fail(self._where(node), "values are nested too deep", _LEVELS_MEND)

    def _items(self, node: yaml.MappingNode, key: Key) -> Iterator[tuple[str, yaml.Node]]:
        """Each key once, those of merged mappings last; remembers the places of keys."""
        seen: dict[str, Where] = {}
        merges: list[tuple[Where, yaml.Node]] = []
        for name, where, child in self._pairs(node, merges):
            if name in seen:
                self._at(where, f'key "{name}" is there twice, first at {seen[name]}', "keep one of them")
                continue
            seen[name] = self.keys[(*key, name)] = where
            yield name, child
        for merge_at, merged in self._merged(merges):
            inner: list[tuple[Where, yaml.Node]] = []
            for name, where, child in self._pairs(merged, inner):
                if name in seen:
                    self._at(
                        merge_at,
                        f'"<<" brings key "{name}" again, which is at {seen[name]} already',
                        'take it out of the merged mapping, or write the values out; "<<" may add keys only',
                    )
                    continue
                seen[name] = self.keys[(*key, name)] = where
                yield name, child
            if inner:
                self._at(inner[0][0], '"<<" inside a merged mapping is not followed', "merge each mapping by itself")

    def _pairs(
        self, node: yaml.MappingNode, merges: list[tuple[Where, yaml.Node]]
    ) -> Iterator[tuple[str, Where, yaml.Node]]:
        """Key, its place and value; the values of `<<` go to `merges`."""
        for key_node, child in node.value:
            self._enter(key_node)
            where = self._where(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._at(where, "a key must be a word", "write a word, or put quotes around the key")
            elif key_node.tag == _PLAIN and key_node.value == "<<":
                merges.append((where, child))
            elif not key_node.value:
                self._at(where, "a key is empty", 'write a word before the ":"')
            else:
                yield key_node.value, where, child

    def _merged(self, merges: list[tuple[Where, yaml.Node]]) -> Iterator[tuple[Where, yaml.MappingNode]]:
        """The mappings that `<<` names, each with the place of its `<<`."""
        if len(merges) > 1:
            self._at(merges[1][0], '"<<" is there twice', "merge several mappings by one list: <<: [*a, *b]")
        for where, node in merges[:1]:
            for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
                self._enter(part)
                if isinstance(part, yaml.MappingNode):
                    yield where, part
                else:
                    self._at(where, '"<<" can merge mappings only', "give it an alias of a mapping")

    def _scalar(self, node: yaml.ScalarNode, key: Key, at: Where) -> Any:
        place = self._where(node) if node.value or node.style else at
        self.positions[key] = place
        text, troubles = interpolate(node.value, self.variables)
        self.texts[key] = text
        for trouble in troubles:
            self._at(place, trouble.what, trouble.mend)
        if node.tag == _STR:
            return text
        value = scalar(text)
        wanted: dict[str, tuple[type, ...]] = {
            _PLAIN: (object,), _INT: (int,), _FLOAT: (float, int), _BOOL: (bool,), _NULL: (type(None),),
        }  # fmt: skip
        if node.tag not in wanted:
            self._at(place, f'the tag "{node.tag}" is not known here', "take the tag away")
        elif not isinstance(value, wanted[node.tag]):
            self._at(place, f'"{text}" does not fit its tag', "take the tag away")
        return value

    def _where(self, node: yaml.Node) -> Where:
        return _where(self.file, node)

    def _problem(self, node: yaml.Node, what: str, mend: str) -> None:
        self._at(self._where(node), what, mend)

    def _at(self, where: Where, what: str, mend: str) -> None:
        self.problems.append(Problem(where, what, mend))


def _where(file: str, node: yaml.Node) -> Where:
    return Where(file, node.start_mark.line + 1, node.start_mark.column + 1)


def _end_of(text: str, file: str) -> Where:
    return Where(file, text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


def _fail(where: Where, what: str, mend: str) -> NoReturn:
    raise TopologyError([Problem(where, what, mend)])
