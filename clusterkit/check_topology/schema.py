"""L13. The JSON Schema (2020-12) of a topology: for completion and checks in editors, by yaml-language-server.

It says less than `read_topology` does (nothing of references, files and ports), and never refuses what that accepts:
where a number or a word of a set is wanted, text with a `${VARIABLE}` will do; where text is wanted, a number will do.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from clusterkit.chaos.base import Fault, Target
from clusterkit.chaos.fields import FieldSpec, fields_of, helps_of, summary
from clusterkit.chaos.registry import faults
from clusterkit.chaos.scenario import DEFAULT_TIME
from clusterkit.check_topology.chaos import LINK, SCENARIO, TIMES
from clusterkit.check_topology.components import MOST_REPLICAS
from clusterkit.check_topology.keys import COMMON, LOGGING, TOP
from clusterkit.check_topology.options import descriptions
from clusterkit.check_topology.promises import EXPECT, WORKLOAD
from clusterkit.components.registry import Registry
from clusterkit.model.topology import DEFAULT_DATA_SIZE
from clusterkit.units import Duration, Rate, Size
from clusterkit.workloads.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAME = {"type": "string", "pattern": "^([a-z][a-z0-9-]{0,30}|.*\\$\\{.*)$"}
_VARIABLE = {"$ref": "#/$defs/variable"}
_TEXT = {"type": ["string", "number", "boolean"]}
_WORDS = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_ENVIRONMENT = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        {"type": "array", "items": {"type": "string"}},
    ]
}
_MOUNT = {
    "type": "object",
    "required": ["source", "target"],
    "additionalProperties": False,
    "properties": {
        "source": {"type": "string", "description": "A folder or file of this machine."},
        "target": {"type": "string", "description": "Where it is seen inside the node."},
        "read_only": {"type": "boolean", "default": False, "description": "Keep the node from writing to it."},
    },
}


def json_schema(registry: Registry | None = None) -> dict[str, Any]:
    """The schema of the whole file, with the options of every kind that is known without reading the file."""
    registry = registry or Registry()
    kinds = registry.kinds
    definitions: dict[str, Any] = {
        "variable": {"type": "string", "pattern": "\\$", "description": "Text with a variable: ${NAME:-default}."}
    }
    for kind in kinds:
        definitions[f"kind.{kind}"] = _of_kind(registry, kind, definitions)
    definitions |= {f"fault.{name}": _fault(kind) for name, kind in faults().items()}
    definitions["scenario"] = _scenario(registry, definitions)
    definitions["component"] = {
        "type": ["object", "null"],
        "properties": {"kind": {"type": "string", "description": COMMON["kind"]}},
        "allOf": [_when_kind(kind) for kind in kinds],
    }
    components = {
        "type": "object",
        "minProperties": 1,
        "description": TOP["components"],
        "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,30}$"},
        "properties": {kind: _named_as(kind) for kind in kinds},
        "additionalProperties": {"$ref": "#/$defs/component"},
    }
    known_kinds = {"properties": {"kind": {"anyOf": [{"enum": list(kinds)}, _VARIABLE, {"type": "null"}]}}}
    named = {"properties": {"components": {"additionalProperties": {**known_kinds, "required": ["kind"]}}}}
    for kind in kinds:
        named["properties"]["components"].setdefault("properties", {})[kind] = known_kinds
    return {
        "$schema": DIALECT,
        "title": "clusterkit topology",
        "description": "Three of every component of a distributed system.",
        "type": "object",
        "required": ["components"],
        "properties": {
            "name": {**_NAME, "description": TOP["name"]},
            "zones": {"anyOf": [{"type": "array", "minItems": 1, "items": _NAME}, _NAME], "description": TOP["zones"]},
            "provider": {"anyOf": [{"const": "docker"}, _VARIABLE], "description": TOP["provider"]},
            "defaults": {
                "type": ["object", "null"],
                "properties": _common(),
                "additionalProperties": False,
                "description": TOP["defaults"],
            },
            "components": components,
            "logging": {
                "type": ["object", "null"],
                "properties": {
                    "limit": {"type": ["string", "null"], "examples": ["1GB"], "description": LOGGING["limit"]},
                    "ship": {"description": LOGGING["ship"]},
                },
                "additionalProperties": False,
                "description": TOP["logging"],
            },
            "chaos": {
                "type": ["object", "null"],
                "properties": {
                    "scenarios": {"type": "object", "additionalProperties": {"$ref": "#/$defs/scenario"}},
                },
                "additionalProperties": False,
                "description": TOP["chaos"],
            },
            "links": {"type": ["array", "null"], "items": _link(), "description": TOP["links"]},
            "plugins": {**_WORDS, "description": TOP["plugins"]},
        },
        "patternProperties": {"^x-": {"description": "Anything of yours: an anchor to merge from, say."}},
        "additionalProperties": False,
        "if": {"not": {"required": ["plugins"]}},
        "then": named,
        "$defs": definitions,
    }


def _workload(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    """What all workloads say, and what those on some kind of component say beside."""
    schemas: dict[str, dict[str, Any]] = {
        "kind": {"enum": list(KINDS)},
        "component": {"type": "string"},
        "clients": {"type": "integer", "minimum": 1},
        "rate": {"type": "string", "examples": [Rate.example]},
        "keys": {"type": "integer", "minimum": 1},
        "mix": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
        "timeout": {"type": "string", "examples": [Duration.example]},
        "pinned": {"anyOf": [{"type": "integer", "minimum": 0}, {"const": "all"}]},
    }
    own: dict[str, Any] = {}
    for kind in registry.kinds:
        given = registry[kind].workload.model_json_schema(
            ref_template=f"#/$defs/{kind}.{{model}}", schema_generator=_WithDescriptions
        )
        for name, definition in given.pop("$defs", {}).items():
            definitions[f"{kind}.{name}"] = _lenient(definition)
        own |= {
            word: {"anyOf": [_lenient(schema), {"type": "null"}], "description": schema.get("description", "")}
            for word, schema in given.get("properties", {}).items()
        }
    return {
        "type": "object",
        "required": ["kind"],
        "properties": {**own, **{word: _or_none(schema, WORKLOAD[word]) for word, schema in schemas.items()}},
        "additionalProperties": False,
    }


def _expect() -> dict[str, Any]:
    def limit(word: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": {word: schema}, "required": [word], "additionalProperties": False}

    schemas: dict[str, dict[str, Any]] = {
        "linearizable": {"type": "boolean"},
        "lost": {"enum": [0, "any"]},
        "converges": {"type": "boolean"},
        "unavailable": limit("at_most", {"type": "string", "examples": [Duration.example]}),
        "leader_changes": limit("at_least", {"type": "integer", "minimum": 1}),
    }
    return {
        "type": "object",
        "properties": {word: _or_none(schema, EXPECT[word]) for word, schema in schemas.items()},
        "additionalProperties": False,
    }


def _scenario(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    """A scenario with every fault and every field of it."""
    times: dict[str, Any] = {
        word: {"type": "string", "examples": ["8s"], "description": text} for word, text in TIMES.items()
    }
    times["seed"] = {**_TEXT, "description": TIMES["seed"]}
    times["times"] = {"anyOf": [{"type": "integer", "minimum": 1}, _VARIABLE], "description": TIMES["times"]}
    known = {name: {"$ref": f"#/$defs/fault.{name}"} for name in faults()}
    one = {"type": "object", "properties": known, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    mix = {"type": "array", "items": one, "minItems": 1, "description": "One of these, by chance, each time."}
    item = {"type": "object", "properties": {**times, **known, "mix": mix}, "additionalProperties": False}
    body: dict[str, dict[str, Any]] = {
        "workload": _workload(registry, definitions),
        "time": {"type": "string", "default": str(DEFAULT_TIME)},
        "faults": {"type": "array", "items": item},
        "expect": _expect(),
    }
    return {
        "type": "object",
        "required": ["faults"],
        "properties": {word: {**schema, "description": SCENARIO[word]} for word, schema in body.items()},
        "additionalProperties": False,
    }


def _fault(kind: type[Fault]) -> dict[str, Any]:
    helps = helps_of(kind)
    fields = {name: _field(spec) | {"description": helps.get(name, "")} for name, spec in fields_of(kind).items()}
    made: dict[str, Any] = {
        "type": ["object", "null"],
        "properties": fields,
        "required": [name for name, spec in fields_of(kind).items() if spec.is_required],
        "additionalProperties": False,
    }
    forms = [made]
    if kind.arguments:
        forms.append(_field(fields_of(kind)[kind.arguments[0]]))
    return {"anyOf": forms, "description": summary(kind)}


def _field(spec: FieldSpec) -> dict[str, Any]:
    """What the file may have there; text that has a form of its own (a duration, a target) is checked on reading."""
    one: dict[str, Any] = {"type": ["string", "number"]}
    if spec.choices:
        one = {"anyOf": [{"enum": list(spec.choices)}, _VARIABLE]}
    elif spec.type is bool:
        one = {"anyOf": [{"type": "boolean"}, _VARIABLE]}
    elif spec.type in (int, float):
        one = {"anyOf": [{"type": "number"}, _VARIABLE]}
    several = spec.is_many or spec.type is Target
    return {"anyOf": [one, {"type": "array", "items": one}]} if several else one


def _link() -> dict[str, Any]:
    side = _field(FieldSpec("side", Target, is_many=False, is_required=True, choices=(), default=None))
    text: dict[str, Any] = {"type": ["string", "number"]}
    between: dict[str, Any] = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    forms = {"between": between, "from": side, "to": side}
    properties = {word: {**forms.get(word, text), "description": help_text} for word, help_text in LINK.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


class _WithDescriptions(GenerateJsonSchema):
    """pydantic's schema, with the help of each field."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        for name, text in descriptions(schema["cls"]).items():
            made["properties"][name].setdefault("description", text)
        return made


def _common() -> dict[str, Any]:
    """The keys that every component has. null is as if not given."""
    schemas: dict[str, Any] = {
        "kind": {"type": "string"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": MOST_REPLICAS, "default": 3},
        "zones": _WORDS,
        "image": {"type": "string"},
        "environment": _ENVIRONMENT,
        "env_file": _WORDS,
        "mounts": {"type": "array", "items": {"anyOf": [{"type": "string", "pattern": ":"}, _MOUNT]}},
        "publish": {
            "type": "object",
            "additionalProperties": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, _VARIABLE]},
        },
        "depends_on": _WORDS,
        "cpus": {"type": "number", "minimum": 0.01},
        "memory": {"type": "string", "examples": [Size.example]},
        "data": {"enum": ["volume", "loop"], "default": "volume"},
        "data_size": {"type": "string", "examples": [Size.example], "default": str(DEFAULT_DATA_SIZE)},
        "timeout": {"type": "string", "examples": [Duration.example], "default": "120s"},
    }
    return {word: _or_none(schema, COMMON[word]) for word, schema in schemas.items()}


def _or_none(schema: dict[str, Any], description: str) -> dict[str, Any]:
    outside: dict[str, Any] = {word: schema[word] for word in ("default", "examples") if word in schema}
    inside = {word: value for word, value in schema.items() if word not in outside}
    return {"anyOf": [inside, _VARIABLE, {"type": "null"}], "description": description, **outside}


def _of_kind(registry: Registry, kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A component of this kind: common keys and its own. The types of its options go to `definitions`."""
    component = registry[kind]
    given = component.options.model_json_schema(
        ref_template=f"#/$defs/{kind}.{{model}}", schema_generator=_WithDescriptions
    )
    for name, definition in given.pop("$defs", {}).items():
        definitions[f"{kind}.{name}"] = _lenient(definition)
    own = {}
    for word, schema in given.get("properties", {}).items():
        description = schema.get("description", "")
        lenient = _lenient(schema)
        is_needed = word in given.get("required", ())
        own[word] = lenient if is_needed else {"anyOf": [lenient, {"type": "null"}], "description": description}
        if "default" in lenient and not is_needed:
            own[word]["default"] = lenient["default"]
    return {
        "type": ["object", "null"] if not given.get("required") else "object",
        "description": f"{component.kind}: {component.summary}",
        "properties": {**own, **_common()},
        "required": list(given.get("required", ())),
        "additionalProperties": False,
    }


def _when_kind(kind: str) -> dict[str, Any]:
    return {
        "if": {"type": "object", "required": ["kind"], "properties": {"kind": {"const": kind}}},
        "then": {"$ref": f"#/$defs/kind.{kind}"},
    }


def _named_as(kind: str) -> dict[str, Any]:
    """A component with the name of a kind is of that kind, unless it says another."""
    return {
        "if": {"type": "object", "required": ["kind"]},
        "then": {"$ref": "#/$defs/component"},
        "else": {"$ref": f"#/$defs/kind.{kind}"},
    }


def _lenient(schema: Any) -> Any:
    """pydantic's schema, as the file may be written: variables in numbers, numbers in text; titles are left out."""
    if isinstance(schema, list):
        return [_lenient(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        word: {name: _lenient(inner) for name, inner in value.items()}
        if word in ("properties", "$defs") and isinstance(value, dict)
        else copy.deepcopy(value)
        if word in ("default", "examples", "const", "enum")
        else _lenient(value)
        for word, value in schema.items()
        if not (word == "title" and isinstance(value, str))
    }
    if made.get("type") == "string" and "enum" not in made and "const" not in made and "examples" not in made:
        return {**made, "type": ["string", "number", "boolean"]}
    if made.get("type") in ("integer", "number", "boolean") or "enum" in made or "const" in made:
        outside = {word: made.pop(word) for word in ("description", "default") if word in made}
        return {"anyOf": [made, _VARIABLE], **outside}
    return made
