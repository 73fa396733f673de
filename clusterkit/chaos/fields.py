"""L9, pure. The fields of a fault: how a text, as one writes it in YAML or on a command line, becomes their value.

Values that have a unit or a form of their own (Duration, Percent, Target, PortSpec, ...) are parsed by their own type.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from itertools import pairwise
from textwrap import dedent
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from clusterkit.chaos.base import Fault


@dataclass(frozen=True)
class FieldSpec:
    """One field. `type` is that of a single value; `is_many` takes several; `choices` are the words it may be.

    `default` stands where it `is_required` not.
    """

    name: str
    type: type
    is_many: bool
    is_required: bool
    choices: tuple[str, ...]
    default: Any

    @property
    def noun(self) -> str:
        """What a value is, for people: "target", "duration", "text"."""
        return _NOUNS.get(self.type, self.type.__name__.lower().removesuffix("spec"))

    def parse(self, given: Any) -> Any:
        """The value of the field. Raises: ValueError, whose text says the mend after a semicolon or an example."""
        if self.is_many:
            return tuple(self._one(each) for each in (given if isinstance(given, list | tuple) else [given]))
        return self._one(given)

    def _one(self, given: Any) -> Any:
        if self.choices:
            if given not in self.choices:
                raise ValueError(f'"{given}" is not known; write one of {", ".join(self.choices)}')
            return given
        parse = getattr(self.type, "parse", None)
        if parse is not None:
            return parse(given)
        return _PLAIN[self.type](given)


def fields_of(fault: type[Fault]) -> Mapping[str, FieldSpec]:
    """By name, in the order of the class."""
    hints = get_type_hints(fault)
    return {field.name: _spec(field, hints[field.name]) for field in dataclasses.fields(fault)}


def helps_of(fault: type[Fault]) -> Mapping[str, str]:
    """Field -> the text below it in the source."""
    texts: dict[str, str] = {}
    for owner in reversed(fault.__mro__):
        if not (isinstance(owner, type) and issubclass(owner, Fault)):
            continue
        body = cast(ast.ClassDef, ast.parse(dedent(inspect.getsource(owner))).body[0]).body
        for one, following in pairwise(body):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                texts[one.target.id] = inspect.cleandoc(str(following.value.value))
    return {name: text for name, text in texts.items() if name in fields_of(fault)}


def summary(fault: type[Fault]) -> str:
    """What it does, in a sentence."""
    return (inspect.getdoc(fault) or "").partition("\n")[0]


def typed(fault: Fault) -> str:
    """A fault as one types it after `clusterkit chaos`: 'isolate "leader of registry"'."""
    words = [fault.name, *(_quoted(getattr(fault, name)) for name in fault.arguments)]
    for name, spec in fields_of(type(fault)).items():
        value = getattr(fault, name)
        if name in fault.arguments or value == spec.default:
            continue
        option = f"--{name.replace('_', '-')}"
        if spec.type is bool:
            words.append(option)
        else:
            for one in value if spec.is_many else (value,):
                words += [option, _quoted(one)]
    return " ".join(words)


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def _spec(field: dataclasses.Field[Any], hint: Any) -> FieldSpec:
    if get_origin(hint) in (Union, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    is_many = get_origin(hint) is tuple
    if is_many:
        hint = get_args(hint)[0]
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    return FieldSpec(
        name=field.name,
        type=str if choices else hint,
        is_many=is_many,
        is_required=field.default is MISSING and field.default_factory is MISSING,
        choices=choices,
        default=None if field.default is MISSING else field.default,
    )


def _bool(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    raise ValueError(f'"{given}" is neither true nor false; write true')


def _int(given: Any) -> int:
    if isinstance(given, bool) or not re.fullmatch(r"\d+", str(given)):
        raise ValueError(f'"{given}" is not a whole number; write 3, say')
    return int(given)


def _float(given: Any) -> float:
    if isinstance(given, bool) or not re.fullmatch(r"\d+(\.\d+)?", str(given)):
        raise ValueError(f'"{given}" is not a number; write 0.5, say')
    return float(given)


def _str(given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float) or given == "":
        raise ValueError("it has to be text; write a word")
    return str(given)


_PLAIN: Mapping[type, Any] = {bool: _bool, int: _int, float: _float, str: _str}

_NOUNS: Mapping[type, str] = {bool: "flag", int: "number", float: "number", str: "text"}
