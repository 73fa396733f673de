"""L13. What components say of each other: `depends_on`, `{{ components.x.y }}`, cycles, ports and names that clash."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from clusterkit.check_topology.components import Found, depends_on
from clusterkit.check_topology.findings import Findings
from clusterkit.check_topology.keys import COMMON
from clusterkit.components.base import Component, Group, Member
from clusterkit.components.registry import Registry
from clusterkit.errors import Problem, UsageError
from clusterkit.model.topology import ComponentSpec, Key, Topology
from clusterkit.model.words import did_you_mean, listed, nearest, shown

MOST_NODES = 240
"""A cluster's network is a /24, with the first addresses kept for the gateway and for helpers."""

_NAMES = ("components", "node", "component", "cluster")
"""What a template may name."""

_MARKS = ("{{", "{%", "{#")
_PLAIN_REFERENCE = re.compile(r"\{\{\s*(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*\}\}")
_TRIAL_SUBNET = "10.64.0.0/24"
_NODE_LIKE = re.compile(r"(?P<component>.+)-[0-9]+")


def check_names(findings: Findings, names: Mapping[str, Key]) -> None:
    """A component called like a node of another (`cache-1` beside `cache`) would make targets ambiguous."""
    for name, key in names.items():
        like = _NODE_LIKE.fullmatch(name)
        if like and like["component"] in names:
            other = like["component"]
            findings.add(
                key, f'component "{name}" is called like a node of "{other}"', "choose another name", at_key=True
            )


def check_dependencies(findings: Findings, found: Mapping[str, Found]) -> None:
    """Names that are no component, and circles."""
    needs: dict[str, list[str]] = {name: [] for name in found}
    for name, one in found.items():
        written = depends_on(findings, one.key, one.body)
        named = {word for _, word in written}
        implied = () if one.spec is None else tuple(word for word in one.spec.depends_on if word not in named)
        for place, other in (*written, *((_place_of(one, word), word) for word in implied)):
            if other in found:
                needs[name].append(other)
                continue
            word = place[len(one.key)] if len(place) > len(one.key) else "depends_on"
            near = nearest(other, found)
            findings.add(
                place,
                f"{word} names {shown(other)}, which is no component",
                f'did you mean "{near}"?' if near else f"the components are {listed(found)}",
            )
    for circle in _circles(needs):
        first = found[circle[0]]
        findings.add(
            (*first.key, "depends_on") if first.body.get("depends_on") else _place_of(first, circle[1]),
            f"components wait for each other: {' -> '.join(circle)}",
            "take one of these dependencies away",
        )


def check_ports(findings: Findings, found: Mapping[str, Found]) -> None:
    """`publish` names ports that are there, and no port of this machine twice (replicas take the next ones)."""
    taken: dict[int, tuple[str, str]] = {}
    for name, one in found.items():
        if one.spec is None or one.component is None:
            continue
        ports = one.component.ports_for(one.spec.options)
        for port, first in one.spec.publish.items():
            key = (*one.key, "publish", port)
            if port not in ports:
                findings.add(
                    key,
                    f'publish names port "{port}", which {name} does not have',
                    did_you_mean(port, ports, "ports"),
                    at_key=True,
                )
                continue
            numbers = range(first, first + one.spec.replicas)
            clash = next((number for number in numbers if number in taken), None)
            if clash is not None:
                other, other_port = taken[clash]
                place = findings.where(("components", other, "publish", other_port))
                findings.add(
                    key,
                    f"publish.{port} takes {_range(numbers)} of this machine, and {other_port} of {other} "
                    f"at {place} has {clash} already",
                    f"begin at {max(number for number in taken) + 1} or later",
                )
            taken.update({number: (name, port) for number in numbers if number not in taken})


def check_fit(findings: Findings, found: Mapping[str, Found]) -> None:
    """What components say of themselves against the whole, and how many nodes there are."""
    specs = {name: one.spec for name, one in found.items() if one.spec is not None}
    nodes = sum(spec.replicas for spec in specs.values())
    if nodes > MOST_NODES:
        findings.add(
            ("components",),
            f"these are {nodes} nodes, and a cluster has at most {MOST_NODES}",
            "lower replicas",
            at_key=True,
        )
    for name, one in found.items():
        if one.spec is None or one.component is None or any(need not in specs for need in one.spec.depends_on):
            continue
        for misfit in one.component.check(one.spec, specs):
            key = (*one.key, misfit.option) if misfit.option else one.key
            value = one.body.get(misfit.option)
            text = misfit.what
            if misfit.option and value is not None and not isinstance(value, dict | list) and str(value) not in text:
                text += f", found {shown(value)}"
            findings.add(key, text if misfit.option else f"{name}: {text}", misfit.mend)


def check_templates(findings: Findings, found: Mapping[str, Found]) -> bool:
    """Names in `{{ }}` that are not there; gives whether any template does more than name something.

    Jinja2 is imported only then.
    """
    is_plain = True
    for one in found.values():
        env = one.spec.environment if one.spec is not None else {}
        own = {word: value for word, value in one.body.items() if word != "environment"}
        for key, text in (*_texts((*one.key, "environment"), dict(env)), *_texts(one.key, own)):
            if any(mark in text for mark in _MARKS):
                is_plain &= _check_template(findings, key, text, found)
    return not is_plain


def check_filled(findings: Findings, topology: Topology, registry: Registry) -> None:
    """Fills every template in, with made-up addresses: only so is seen that `-"text"` cannot be computed."""
    from clusterkit.plan import Allocation, allocate, plan

    nothing = Allocation(_TRIAL_SUBNET)
    trial = allocate(topology, registry, _TRIAL_SUBNET, nothing, iter(range(20000, 60000)), lambda: "secret")
    try:
        plan(topology, registry, trial)
    except UsageError as error:
        findings.problems.append(Problem(error.where, error.what, error.mend))


def _check_template(findings: Findings, key: Key, text: str, found: Mapping[str, Found]) -> bool:
    """Whether the template only names something."""
    dashed = [name for name in found if "-" in name and f"components.{name}" in text]
    if dashed:
        mend = f'a name with "-" is written in brackets: components["{dashed[0]}"]'
        findings.add(key, f'{shown(text)} takes "{dashed[0]}" for a subtraction', mend)
        return False
    plain = _plain_paths(text)
    for path in _parsed_paths(findings, key, text) if plain is None else plain:
        _check_path(findings, key, text, path, found)
    return plain is not None


def _plain_paths(text: str) -> list[tuple[str, ...]] | None:
    """The names of a template that holds nothing but `{{ a.b.c }}`; None where Jinja2 has to read it.

    Most templates are so, and Jinja2 takes longer to import than all else here takes to run.
    """
    rest = _PLAIN_REFERENCE.sub("", text)
    paths = [tuple(match["path"].split(".")) for match in _PLAIN_REFERENCE.finditer(text)]
    is_plain = not any(mark in rest for mark in _MARKS) and all(path[0] in _NAMES for path in paths)
    return paths if is_plain else None


def _parsed_paths(findings: Findings, key: Key, text: str) -> list[tuple[str, ...]]:
    """The names in a template, after adding what is wrong with it otherwise."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    from clusterkit.plan import expressions

    environment = expressions()
    try:
        tree = environment.parse(text)
        is_known = True
        for used, there, noun in (
            (nodes.Filter, environment.filters, "filter"),
            (nodes.Test, environment.tests, "test"),
        ):
            for node in tree.find_all(used):
                if node.name not in there:
                    is_known = False
                    near = nearest(node.name, there)
                    mend = f'did you mean "{near}"?' if near else f"see the {noun}s of Jinja2"
                    findings.add(key, f'unknown {noun} "{node.name}" in {shown(text)}', mend)
        unknown = meta.find_undeclared_variables(tree) - {*_NAMES, *environment.globals} if is_known else ()
    except TemplateSyntaxError as error:
        said = (error.message or "a syntax error").rstrip(".")
        findings.add(key, f"{shown(text)} is not a Jinja2 template: {said}", "write {{ components.NAME.KEY }}")
        return []
    except RecursionError:
        findings.add(key, f"{shown(text)} is nested too deep", "write {{ components.NAME.KEY }}")
        return []
    for name in sorted(unknown):
        findings.add(key, f'unknown name "{name}" in {shown(text)}', did_you_mean(name, _NAMES, "names"))
    return list(_paths(tree))


def _check_path(findings: Findings, key: Key, text: str, path: tuple[str, ...], found: Mapping[str, Found]) -> None:
    """`path`: ("components", "cache", "endpoints"), as far as it is written out."""
    if path[0] in ("node", "component") and len(path) > 1:
        of = Member if path[0] == "node" else Group
        known = {*of.__dataclass_fields__, *(name for name in vars(of) if not name.startswith("_"))}
        if path[1] not in known:
            findings.add(
                key,
                f'{path[0]} has no "{path[1]}" in {shown(text)}',
                did_you_mean(path[1], known, f"keys of {path[0]}"),
            )
    if path[0] != "components" or len(path) < 2:
        return
    name = path[1]
    if name not in found:
        near = nearest(name, found)
        mend = f'did you mean "{near}"?' if near else f"the components are {listed(found)}"
        findings.add(key, f'"{name}" in {shown(text)} is no component', mend)
    elif len(path) > 2 and found[name].component is not None:
        exports = _exports(found[name].component, found[name].spec)
        if path[2] not in exports:
            findings.add(
                key,
                f'{name} does not give "{path[2]}" in {shown(text)}',
                did_you_mean(path[2], exports, f"keys of {name}"),
            )


def _exports(component: Component | None, spec: ComponentSpec | None) -> tuple[str, ...]:
    """What others may use; a component without ports gives neither port nor endpoints."""
    if component is None:
        return ()
    names = component.export_names
    if spec is not None and not component.ports_for(spec.options):
        names = tuple(name for name in names if name not in ("port", "endpoints"))
    return names


def _paths(tree: Any) -> Iterator[tuple[str, ...]]:
    """Every chain of attributes that begins with a name: `a.b["c"].d` -> ("a", "b", "c", "d"), the longest only."""
    from jinja2 import nodes

    inner = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path: list[str] = []
        at: Any = node
        while isinstance(at, nodes.Getattr | nodes.Getitem):
            if at is not node:
                inner.add(id(at))
            if isinstance(at, nodes.Getattr):
                path.insert(0, at.attr)
            elif isinstance(at.arg, nodes.Const) and isinstance(at.arg.value, str):
                path.insert(0, at.arg.value)
            else:
                path.clear()  # what lies behind a computed key is not known
            at = at.node
        if isinstance(at, nodes.Name) and id(node) not in inner:
            yield (at.name, *path)


def _texts(key: Key, value: Any) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts((*key, name), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts((*key, index), inner)


def _place_of(one: Found, word: str) -> Key:
    """The option that names another component."""
    own = {name: value for name, value in one.body.items() if name not in COMMON}
    return next((key for key, text in _texts(one.key, own) if text == word), one.key)


def _circles(needs: Mapping[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Each circle once, from its first component in the file back to it."""
    said: set[frozenset[str]] = set()
    for start in needs:
        way = _way_back(needs, start)
        if way and frozenset(way) not in said:
            said.add(frozenset(way))
            yield way


def _way_back(needs: Mapping[str, list[str]], start: str) -> tuple[str, ...]:
    """The shortest way from a component to itself, () where there is none."""
    ways: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for other in needs[way[-1]]:
            if other == start:
                return (*way, start)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()


def _range(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
