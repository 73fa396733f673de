"""L13. A topology file -> a Topology that is whole and fits together, or all of its problems at once.

Every registry parses its own part; this package knows the keys of the top and those that all components share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clusterkit.check_topology.components import Found, Reading, as_mapping, read_component
from clusterkit.check_topology.findings import NAME_RULE, Findings
from clusterkit.check_topology.keys import COMMON, LOGGING, TOP
from clusterkit.check_topology.references import (
    check_dependencies,
    check_filled,
    check_fit,
    check_names,
    check_ports,
    check_templates,
)
from clusterkit.components.registry import Registry
from clusterkit.errors import TopologyError, UsageError
from clusterkit.model.files import DEFAULT_FILES, find_file
from clusterkit.model.load import Document, load
from clusterkit.model.select import RESERVED
from clusterkit.model.topology import DEFAULT_ZONES, Key, Logging, Raw, Topology
from clusterkit.model.words import did_you_mean, shown
from clusterkit.units import Size

if TYPE_CHECKING:
    from clusterkit.check_topology.chaos import Ground

__all__ = ["DEFAULT_FILES", "find_file", "read_scenario", "read_topology"]

LEAST_ARCHIVE = Size(2**20)
_LATER_PROVIDERS = ("vagrant", "ssh")


def read_topology(
    file: Path | None,
    *,
    folder: Path,
    environ: Mapping[str, str],
    registry: Registry | None = None,
    disks: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Topology, Registry]:
    """Finds, reads and checks a topology; gives it with the registry of its kinds, plugins among them.

    `folder` is where clusterkit was called: the default file is looked for there, and messages name files from there.
    `environ` gives the variables, over those of a `.env` beside the file. `registry`: kinds to begin with. `disks`:
    data lies on disks of their own (`data: loop`) where a component says nothing of it. `overrides`: component -> keys
    that count in place of the file's, given by hand.
    Raises: UsageError when there is no file, or several; TopologyError with all problems, in the order of the file.
    """
    path = find_file(file, folder)
    path = path if path.is_absolute() else folder / path
    name = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(file or path)
    return check(load(path, environ, name=name), path, registry, disks=disks, overrides=overrides)


def check(
    document: Document,
    path: Path,
    registry: Registry | None = None,
    *,
    disks: bool = False,
    overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Topology, Registry]:
    """What `read_topology` does once the file is read. Raises: TopologyError."""
    findings = Findings(document)
    top: Mapping[str, Any] = document.value
    folder = path.resolve().parent
    for word in top:
        if word not in TOP and not word.startswith("x-"):
            findings.unknown_key((word,), TOP, "the topology")
    registry = registry or Registry()
    plugins = _plugins(findings, top, registry, folder)
    name = _name(findings, top, folder)
    zones = _zones(findings, top)
    _check_provider(findings, top)
    reading = Reading(findings, registry, folder, zones, document.variables, disks)
    found = _components(reading, top, overrides)
    check_dependencies(findings, found)
    check_ports(findings, found)
    check_fit(findings, found)
    must_be_tried = check_templates(findings, found)
    logging = _logging(findings, top)
    scenarios, links = _chaos(findings, top, found, folder)
    if findings.problems:
        raise TopologyError(findings.sorted())
    topology = Topology(
        name=name,
        components={name: one.spec for name, one in found.items() if one.spec is not None},
        zones=zones,
        logging=logging,
        scenarios=scenarios,
        links=links,
        plugins=plugins,
        file=path,
        positions=findings.positions,
    )
    if must_be_tried:
        check_filled(findings, topology, registry)
        if findings.problems:
            raise TopologyError(findings.sorted())
    return topology, registry


def _chaos(
    findings: Findings, top: Mapping[str, Any], found: Mapping[str, Found], folder: Path
) -> tuple[Mapping[str, Any], tuple[Any, ...]]:
    """`chaos:` and `links:`, read only where every component could be: their words name components."""
    if (top.get("chaos") is None and top.get("links") is None) or findings.problems:
        return {}, ()
    from clusterkit.check_topology.chaos import Ground, read_chaos, read_links

    ground = Ground(
        {name: one.spec for name, one in found.items() if one.spec is not None},
        {name: one.component for name, one in found.items() if one.component is not None},
        folder,
    )
    scenarios = read_chaos(findings, top["chaos"], ground) if top.get("chaos") is not None else {}
    return scenarios, read_links(findings, top["links"], ground) if top.get("links") is not None else ()


def read_scenario(file: Path, topology: Topology, registry: Registry, environ: Mapping[str, str]) -> Any:
    """A scenario of a file of its own, checked against a topology: a chaos.scenario.Scenario, called as the file is.

    Raises: UsageError, TopologyError.
    """
    from clusterkit.check_topology.chaos import read_scenario as read

    findings = Findings(load(file, environ, name=str(file)))
    scenario = read(findings, (), file.stem, findings.value, _ground(topology, registry))
    if findings.problems:
        raise TopologyError(findings.sorted())
    return scenario


def read_scenarios(written: Mapping[str, Mapping[str, Any]], topology: Topology, registry: Registry) -> list[Any]:
    """Scenarios that were made, not read from a file: each with its body, as one writes it. Raises: TopologyError."""
    from clusterkit.check_topology.chaos import read_scenario as read

    findings = Findings(Document(topology.file.name, dict(written), {}))
    ground = _ground(topology, registry)
    found = [read(findings, (name,), name, body, ground) for name, body in written.items()]
    if findings.problems:
        raise TopologyError(findings.sorted())
    return found


def _ground(topology: Topology, registry: Registry) -> Ground:
    from clusterkit.check_topology.chaos import Ground

    kinds = {name: registry[spec.kind] for name, spec in topology.components.items()}
    return Ground(topology.components, kinds, topology.file.resolve().parent)


def _logging(findings: Findings, top: Mapping[str, Any]) -> Logging:
    if top.get("logging") is None:
        return Logging()
    key: Key = ("logging",)
    body = findings.mapping(key, top["logging"], "logging: {limit: 1GB}") or {}
    for word in body:
        if word not in LOGGING:
            findings.unknown_key((*key, word), LOGGING, "logging")
    limit = None
    if body.get("limit") is not None:
        place = (*key, "limit")
        limit = findings.quantity(place, body["limit"], Size.parse)
        if limit is not None and limit.bytes < LEAST_ARCHIVE.bytes:
            findings.wrong(place, body["limit"], f"be {LEAST_ARCHIVE} or more", "write limit: 1GB")
    return Logging(limit, Raw((*key, "ship"), body["ship"]) if body.get("ship") is not None else None)


def _plugins(findings: Findings, top: Mapping[str, Any], registry: Registry, folder: Path) -> tuple[str, ...]:
    """Adds each to the registry. A path is read from the topology's folder."""
    if top.get("plugins") is None:
        return ()
    plugins = findings.words(("plugins",), top["plugins"], "./kvstore.py") or []
    for key, plugin in plugins:
        try:
            registry.add(str(folder / plugin) if "/" in plugin or plugin.endswith(".py") else plugin)
        except UsageError as error:
            findings.add(key, error.what, error.mend or "mend the plugin")
    return tuple(plugin for _, plugin in plugins)


def _name(findings: Findings, top: Mapping[str, Any], folder: Path) -> str:
    if top.get("name") is not None:
        return findings.name(("name",), top["name"], "shop") or ""
    name = re.sub(r"[^a-z0-9-]+", "-", folder.name.lower()).strip("-").lstrip("0123456789-")[:31].rstrip("-")
    if not name:
        findings.add((), f"the folder's name, {shown(folder.name)}, cannot be the cluster's name", "add name: shop")
    return name


def _zones(findings: Findings, top: Mapping[str, Any]) -> tuple[str, ...]:
    if top.get("zones") is None:
        return DEFAULT_ZONES
    words = findings.words(("zones",), top["zones"], "a")
    if words is not None and not words and not top["zones"]:
        findings.wrong(("zones",), top["zones"], "name a zone", "name one, or take the key away: a, b and c")
    zones: list[str] = []
    for key, word in words or []:
        if findings.name(key, word, "a") is None:
            continue
        if word in zones:
            findings.add(key, f"zone {shown(word)} is there twice", "keep one of them")
        zones.append(word)
    return tuple(zones) or DEFAULT_ZONES


def _check_provider(findings: Findings, top: Mapping[str, Any]) -> None:
    provider = top.get("provider", "docker")
    if provider in _LATER_PROVIDERS:
        findings.add(("provider",), f"provider {shown(provider)} is not there yet", "write provider: docker")
    elif provider not in ("docker", None):
        known = ("docker", *_LATER_PROVIDERS)
        findings.add(
            ("provider",), f"unknown provider {shown(provider)}", did_you_mean(str(provider), known, "providers")
        )


def _components(
    reading: Reading, top: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]
) -> dict[str, Found]:
    findings = reading.findings
    example = "components: {registry: {kind: etcd}}"
    if top.get("components") is None:
        findings.add(("components",), "the topology has no components", f"add {example}", at_key=True)
        return {}
    given = findings.mapping(("components",), top["components"], example)
    if given is not None and not given:
        findings.add(("components",), "components is empty", f"write {example}", at_key=True)
    if given is None:
        return {}
    names = {name: ("components", name) for name in given}
    for name, key in names.items():
        _check_component_name(findings, name, key)
    check_names(findings, names)
    defaults = _defaults(findings, top)
    found = {}
    for name, body in given.items():
        key = ("components", name)
        kind = body if isinstance(body, str) and body in reading.registry else "etcd"
        written = {} if body is None else findings.mapping(key, body, f"{name}: {{kind: {kind}}}")
        if written is None:
            continue
        own = {**as_mapping(findings, key, written), **overrides.get(name, {})}
        found[name] = read_component(reading, name, _laid_over(findings, ("defaults",), defaults, key, own))
    return found


def _check_component_name(findings: Findings, name: str, key: Key) -> None:
    text = findings.keys.get(key)
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        findings.add(key, f"{shown(name)} is not a name for a component", NAME_RULE, at_key=text is not None)
    elif name in RESERVED:
        findings.add(key, f'no component can be called "{name}": it is a word for targets', "rename it", at_key=True)


def _defaults(findings: Findings, top: Mapping[str, Any]) -> Mapping[str, Any]:
    if top.get("defaults") is None:
        return {}
    given = findings.mapping(("defaults",), top["defaults"], "defaults: {memory: 256MB}")
    for word in given or {}:
        if word not in COMMON:
            findings.unknown_key(("defaults", word), COMMON, "defaults")
    known = {word: value for word, value in (given or {}).items() if word in COMMON}
    return as_mapping(findings, ("defaults",), known)


def _laid_over(
    findings: Findings, below_key: Key, below: Mapping[str, Any], key: Key, above: Mapping[str, Any]
) -> dict[str, Any]:
    """`above` over `below`: mappings key by key, all else replaced. What comes from below keeps its place there."""
    merged = dict(above)
    for word, value in below.items():
        if isinstance(value, dict) and isinstance(above.get(word), dict):
            merged[word] = _laid_over(findings, (*below_key, word), value, (*key, word), above[word])
        elif above.get(word) is None:
            merged[word] = value
            _copy_places(findings, (*below_key, word), (*key, word))
    return merged


def _copy_places(findings: Findings, source: Key, target: Key) -> None:
    for places in (findings.positions, findings.keys, findings.texts):
        copied = {
            (*target, *key[len(source) :]): place for key, place in places.items() if key[: len(source)] == source
        }
        places.update(copied)  # type: ignore[arg-type]  # each of the three has one type of value
