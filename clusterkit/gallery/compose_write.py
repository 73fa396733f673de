"""L13, pure. A topology as YAML text, with comments at the places that they are about."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterkit.model.load import scalar

_WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")


@dataclass
class Written:
    """One component: its keys in order, and what is to be said above them. `left_out`: why it is a comment only."""

    name: str
    body: dict[str, Any] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    left_out: str = ""


def topology_text(name: str | None, comments: Sequence[str], components: Sequence[Written]) -> str:
    """The whole file; components that are left out stand there as comments."""
    lines = ["# yaml-language-server: $schema=clusterkit.schema.json", "#"]
    lines += [line for comment in comments for line in _comment(comment, "")]
    lines += [f"name: {name}"] if name else []
    lines += ["", "components:"]
    for one in components:
        lines += [line for comment in one.comments for line in _comment(comment, "  ")]
        if one.left_out:
            lines += [*_comment(f"{one.name} is left out: {one.left_out}", "  "), ""]
        else:
            lines += [f"  {one.name}:", *_mapping(one.body, "    "), ""]
    return "\n".join(lines).rstrip() + "\n"


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   ") or [
        f"{indent}#"
    ]


def _mapping(body: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in body.items():
        if isinstance(value, Mapping) and value and len(flow(value)) > 60:
            yield f"{indent}{_scalar(key)}:"
            yield from _mapping(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {flow(value)}"


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return _scalar(str(value))


def _scalar(text: str) -> str:
    """Plain where that reads as the same text; else in double quotes, whose escapes are those of JSON."""
    is_plain = _PLAIN.fullmatch(text) and isinstance(scalar(text), str)
    return text if is_plain else json.dumps(text, ensure_ascii=False)
