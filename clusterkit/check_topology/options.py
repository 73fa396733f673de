"""L13. Reads the options of one kind with its pydantic model, and turns what pydantic says into our words."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from clusterkit.check_topology.findings import Findings, label
from clusterkit.components.base import Options
from clusterkit.model.topology import Key
from clusterkit.model.words import did_you_mean, listed, shown

_MUST = {
    "string_type": "text", "int_type": "a whole number", "int_parsing": "a whole number",
    "int_from_float": "a whole number", "int_parsing_size": "a smaller number", "float_type": "a number",
    "float_parsing": "a number", "bool_type": "true or false", "bool_parsing": "true or false", "list_type": "a list",
    "tuple_type": "a list", "set_type": "a list", "frozen_set_type": "a list", "dict_type": "a mapping",
    "mapping_type": "a mapping", "model_type": "a mapping", "model_attributes_type": "a mapping",
    "path_type": "a path", "finite_number": "a finite number", "none_required": "nothing",
}  # fmt: skip
"""pydantic's type of error -> what the value must be."""


def read_options(
    findings: Findings, model: type[Options], key: Key, body: Mapping[str, Any], folder: Path, common: Collection[str]
) -> Options | None:
    """The options in `body` (a component's keys that are not `common`), or None after adding its problems.

    A number where text is wanted gives the text as it was written.
    """
    given: dict[str, Any] = copy.deepcopy({name: value for name, value in body.items() if value is not None})
    while True:
        try:
            return model.model_validate(given, context={"folder": folder})
        except ValidationError as error:
            errors = [_Said(each, given) for each in error.errors(include_url=False)]
        texts = {said.path for said in errors if said.type == "string_type" and said.is_scalar} - {()}
        texts = {path for path in texts if (*key, *path) in findings.texts}
        if not texts:
            break
        for path in texts:
            _replace(given, path, findings.texts[(*key, *path)])
    for said in _without_echoes(errors):
        _report(findings, model, key, said, common)
    return None


class _Said:
    """One error of pydantic. `path` is the way to the value in the file: without the tags that pydantic adds to it."""

    def __init__(self, error: Any, body: Mapping[str, Any]) -> None:
        self.type: str = error["type"]
        self.message: str = error["msg"]
        self.context: Mapping[str, Any] = error.get("ctx") or {}
        self.input: Any = error["input"]
        way: list[str | int] = []
        self.has_tags = False
        value: Any = body
        for part in error["loc"]:
            is_here = (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            )
            if is_here:
                way.append(part)
                value = value[part]
            else:
                self.has_tags = True
        self.path: Key = tuple(way)
        self.missing = str(error["loc"][-1]) if self.type == "missing" and error["loc"] else ""

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.input, bool | int | float)


def _without_echoes(errors: list[_Said]) -> Iterator[_Said]:
    """One error for each value: where a value may be of several types, each type complains.

    The complaint that went deepest into the value knows most. At the same depth their words are joined.
    """
    for said in errors:
        is_shallow = any(
            other.path[: len(said.path)] == said.path and len(other.path) > len(said.path) for other in errors
        )
        if said.has_tags and not said.missing and is_shallow:
            continue
        same = [other for other in errors if other.path == said.path and other.missing == said.missing]
        if same[0] is not said:
            continue
        kinds = list(dict.fromkeys(_MUST[other.type] for other in same if other.type in _MUST))
        if len(same) > 1 and kinds:
            said.type, said.message = "several", f"must be {listed(kinds, 'or')}"
        yield said


def _report(findings: Findings, model: type[Options], key: Key, said: _Said, common: Collection[str]) -> None:
    place = (*key, *said.path)
    within = _model_at(model, said.path[:-1] if said.type == "extra_forbidden" else said.path)
    fields = () if within is None else tuple(within.model_fields)
    owner = label(key) if len(said.path) <= 1 else label(place[:-1])
    if said.type == "extra_forbidden":
        findings.unknown_key(place, (*fields, *common) if len(said.path) == 1 else fields, owner)
    elif said.missing:
        what = label(key) if not said.path else label(place)
        help_text = descriptions(within).get(said.missing) if within is not None else None
        about = f" ({help_text.rstrip('.')})" if help_text else ""
        findings.add(place, f"{what} needs {said.missing}", f"add {said.missing}: ...{about}")
    elif said.type in ("value_error", "assertion_error"):
        text = str(said.context.get("error") or said.message)
        meant = text.partition(" ")[0].rstrip(":")
        is_option = not said.path and isinstance(said.input, dict) and meant in said.input
        findings.complaint((*key, meant) if is_option else place, said.input, text)
    elif said.type in ("literal_error", "enum"):
        known = _choices(str(said.context.get("expected", "")))
        findings.wrong(
            place,
            said.input,
            f"be one of {listed(known, 'or')}",
            did_you_mean(shown(said.input).strip('"'), known, "values"),
        )
    else:
        must = f"be {_MUST[said.type]}" if said.type in _MUST else _lowered(said.message)
        about = _description(model, said.path)
        findings.wrong(
            place, said.input, must.removeprefix("must "), about or f"see {label(place)} in docs/topology.md"
        )


def _lowered(message: str) -> str:
    for start in ("Input should be ", "Input should have ", "String should have ", "Value should have "):
        if message.startswith(start):
            return f"{'be' if ' be ' in start else 'have'} {message.removeprefix(start)}"
    return message if message.startswith("must ") else f"be right: {message[:1].lower()}{message[1:]}"


def _choices(expected: str) -> list[str]:
    """The words of "'always', 'everysec' or 'no'"."""
    return [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ") if word.strip("' ")]


def _description(model: type[BaseModel], path: Key) -> str:
    """What the nearest field on the path is for."""
    names = [part for part in path if isinstance(part, str)]
    for end in range(len(names), 0, -1):
        within = _model_at(model, tuple(names[: end - 1]))
        help_text = descriptions(within).get(names[end - 1]) if within is not None else None
        if help_text:
            return f"{names[end - 1]}: {help_text}"
    return ""


def descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Field -> its help: `Field(description=...)`, else the text below it in the source."""
    import ast
    import inspect
    from textwrap import dedent

    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        body = cast(ast.ClassDef, ast.parse(dedent(inspect.getsource(owner))).body[0]).body
        for one, following in pairwise(body):
            if not (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                texts[one.target.id] = inspect.cleandoc(str(following.value.value))
    return texts | {name: field.description for name, field in model.model_fields.items() if field.description}


def _model_at(model: type[BaseModel], path: Key) -> type[BaseModel] | None:
    """The model that a mapping at the path is read by, None where it is no model (a free mapping)."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for annotation in annotations for inner in _below(annotation, part)]
    return next((one for annotation in annotations for one in _alternatives(annotation) if _is_model(one)), None)


def _below(annotation: Any, part: str | int) -> Iterator[Any]:
    """The types that a value under this key or index may have."""
    for one in _alternatives(annotation):
        if _is_model(one):
            if part in one.model_fields:
                yield one.model_fields[part].annotation
        elif get_origin(one) in (list, tuple, Sequence) and isinstance(part, int):
            yield from get_args(one)
        elif get_origin(one) in (dict, Mapping):
            yield get_args(one)[1]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, and what Annotated is about; else the type itself."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _alternatives(inner)
    elif origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)


def _replace(body: Any, path: Key, value: str) -> None:
    for part in path[:-1]:
        body = body[part]
    body[path[-1]] = value
