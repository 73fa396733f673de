"""L1, pure. `${VARIABLES}` in scalars and the format of `.env` files, both as Compose reads them.

One difference: a variable that is not set and has no default is an error in a topology (Compose warns and goes on with
nothing). In `.env` files it is nothing, as there, because such files are shared with other tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from clusterkit.errors import Problem
from clusterkit.model.source import Where
from clusterkit.model.words import nearest

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:?[-?+])(?P<word>.*))?", re.DOTALL)
_ENV_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?P<sign>=|$)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


@dataclass(frozen=True)
class Trouble:
    """Why a `$` could not be replaced, and the mend."""

    what: str
    mend: str


@dataclass
class _Replacer:
    """Replaces the `$` of one text; `strict` decides whether trouble is kept or passed over."""

    variables: Mapping[str, str]
    strict: bool
    troubles: list[Trouble] = field(default_factory=list)

    def replace(self, text: str) -> str:
        out: list[str] = []
        done = 0
        while (at := text.find("$", done)) >= 0:
            out.append(text[done:at])
            piece, done = self._at(text, at)
            out.append(piece)
        return "".join(out) + text[done:]

    def _at(self, text: str, at: int) -> tuple[str, int]:
        """What stands for the `$` at `at`, and where to go on."""
        following = text[at + 1 : at + 2]
        if following == "$":
            return "$", at + 2
        if following == "{":
            end = _closing_brace(text, at + 2)
            if end < 0:
                self._trouble('"${" has no closing "}"', 'close it, or write "$$" for a dollar sign')
                return text[at:], len(text)
            return self._braced(text[at + 2 : end]), end + 1
        name = _NAME.match(text, at + 1)
        if name is None:
            self._trouble('a lone "$" names no variable', 'write "$$" for a dollar sign')
            return "$", at + 1
        return self._plain(name.group()), name.end()

    def _braced(self, inside: str) -> str:
        match = _BRACED.fullmatch(inside)
        if match is None:
            self._trouble(
                f'"${{{inside}}}" is no variable', 'write "${NAME}" or "${NAME:-default}"; "$$" for a dollar sign'
            )
            return f"${{{inside}}}"
        name, operator, word = match["name"], match["operator"] or "", match["word"] or ""
        value = self.variables.get(name)
        is_there = bool(value) if operator.startswith(":") else value is not None
        kind = operator[-1:]
        if kind == "+":
            return self.replace(word) if is_there else ""
        if is_there or not kind:
            return self._plain(name)
        if kind == "-":
            return self.replace(word)
        lack = "is empty" if value is not None else "is not set"
        self._trouble(
            f"variable {name} {lack}" + (f": {word}" if word else ""),
            f"set {name} in the environment, or in .env beside the file",
        )
        return ""

    def _plain(self, name: str) -> str:
        value = self.variables.get(name)
        if value is None:
            near = nearest(name, self.variables) if self.strict else None
            self._trouble(
                f"variable {name} is not set",
                (f"did you mean {near}? Else set" if near else "set")
                + f' it in the environment or in .env beside the file, or give a default: "${{{name}:-...}}"',
            )
        return value or ""

    def _trouble(self, what: str, mend: str) -> None:
        if self.strict:
            self.troubles.append(Trouble(what, mend))


def interpolate(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[Trouble, ...]]:
    """`text` with its variables replaced, and what could not be."""
    if "$" not in text:
        return text, ()
    replacer = _Replacer(variables, strict=True)
    return replacer.replace(text), tuple(replacer.troubles)


@dataclass(frozen=True)
class EnvFile:
    """A `.env` file as read: name -> value, name -> place of its line, and lines that say nothing."""

    values: Mapping[str, str]
    positions: Mapping[str, Where]
    problems: tuple[Problem, ...]


def parse_env(text: str, file: str, outer: Mapping[str, str]) -> EnvFile:
    """Reads `NAME=VALUE` lines. `outer` are variables from elsewhere: they win where a value names another variable.

    A name alone takes its value from `outer`. Single quotes keep everything; double quotes know escapes and variables;
    a value without quotes ends at " #".
    """
    values: dict[str, str] = {}
    positions: dict[str, Where] = {}
    problems: list[Problem] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line, where = lines[number], Where(file, number + 1, 1)
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        head = _ENV_NAME.match(line)
        if head is None:
            problems.append(Problem(where, "this line is not NAME=VALUE", "write NAME=VALUE, or begin it with #"))
            continue
        name = head["name"]
        known = {**values, **outer}
        positions[name] = where
        if not head["sign"]:
            if name in known:
                values[name] = known[name]
            continue
        rest = line[head.end() :].strip()
        if rest[:1] in ("'", '"') and rest[:1]:
            while _closing_quote(rest) < 0 and number < len(lines):
                rest += "\n" + lines[number]
                number += 1
            end = _closing_quote(rest)
            if end < 0:
                problems.append(Problem(where, f"the value of {name} has no closing quote", f"end it with {rest[0]}"))
                break
            body = rest[1:end]
            values[name] = body if rest[0] == "'" else _Replacer(known, strict=False).replace(_unescaped(body))
        else:
            bare = re.split(r"(?:^|[ \t]+)#", rest, maxsplit=1)[0].rstrip()
            values[name] = _Replacer(known, strict=False).replace(bare)
    return EnvFile(values, positions, tuple(problems))


def _closing_brace(text: str, start: int) -> int:
    """The index of the "}" that ends the `${` before `start`; nested ones are passed over. -1: there is none."""
    depth = 1
    for index in range(start, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1


def _closing_quote(text: str) -> int:
    """The index of the quote that ends the one at 0, or -1."""
    index = 1
    while index < len(text):
        if text[0] == '"' and text[index] == "\\":
            index += 1
        elif text[index] == text[0]:
            return index
        index += 1
    return -1


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), text, flags=re.DOTALL)
