"""L13. Reads one component: the keys that every kind has, then the options of its own kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterkit.check_topology.findings import Findings
from clusterkit.check_topology.keys import COMMON
from clusterkit.components.base import Component
from clusterkit.components.registry import Registry
from clusterkit.errors import UsageError
from clusterkit.model.interpolate import parse_env
from clusterkit.model.load import read_text
from clusterkit.model.topology import (
    DEFAULT_DATA_SIZE,
    DEFAULT_REPLICAS,
    DEFAULT_TIMEOUT,
    ComponentSpec,
    Key,
    Mount,
)
from clusterkit.model.words import did_you_mean, listed, nearest, shown
from clusterkit.units import Duration, Size

MOST_REPLICAS = 99
LEAST_MEMORY = Size(6 * 2**20)
"""Source: Docker refuses less."""
LEAST_DATA = Size(16 * 2**20)
"""What a file system with its journal needs."""


@dataclass
class Reading:
    """What all components of a file share while they are read."""

    findings: Findings
    registry: Registry
    folder: Path
    zones: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False, default_factory=dict)
    disks: bool = False
    """Data lies on a disk of its own where a component does not say otherwise."""


@dataclass(frozen=True)
class Found:
    """A component as far as it could be read: `component` is None for an unknown kind, `spec` where options are wrong.

    `body` is what the user wrote, over the defaults.
    """

    name: str
    key: Key
    body: Mapping[str, Any]
    component: Component | None
    spec: ComponentSpec | None


def read_component(reading: Reading, name: str, body: Mapping[str, Any]) -> Found:
    """Reads `body`, the component's keys over the defaults."""
    findings, key = reading.findings, ("components", name)
    common = {word: body[word] for word in COMMON if body.get(word) is not None}
    component = _kind(reading, key, name, common)
    replicas = _replicas(findings, key, common, component)
    values: dict[str, Any] = {
        "replicas": replicas,
        "zones": _zones(reading, key, common),
        "image": findings.text((*key, "image"), common["image"], "redis:7") if "image" in common else None,
        "environment": _environment(reading, key, common),
        "mounts": _mounts(reading, key, common),
        "publish": _publish(findings, key, common, replicas),
        "depends_on": tuple(dict.fromkeys(word for _, word in depends_on(findings, key, common))),
        "cpus": _cpus(findings, key, common),
        "memory": _memory(findings, key, common),
        "timeout": _timeout(findings, key, common),
        "data": _data(findings, key, common, "loop" if reading.disks and component and component.data else "volume"),
        "data_size": _data_size(findings, key, common),
    }
    if component is None:
        return Found(name, key, body, None, None)
    from clusterkit.check_topology.options import read_options

    own = {word: value for word, value in body.items() if word not in COMMON}
    options = read_options(findings, component.options, key, own, reading.folder, COMMON)
    if options is None:
        return Found(name, key, body, component, None)
    implied = component.depends_on(options)
    values["depends_on"] = tuple(dict.fromkeys((*values["depends_on"], *implied)))
    return Found(name, key, body, component, ComponentSpec(name=name, kind=component.kind, options=options, **values))


def depends_on(findings: Findings, key: Key, common: Mapping[str, Any]) -> list[tuple[Key, str]]:
    """The components that the user named, each with its place."""
    if common.get("depends_on") is None:
        return []
    return findings.words((*key, "depends_on"), common["depends_on"], "registry") or []


def as_mapping(findings: Findings, key: Key, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with its `environment` as a mapping, so that it can be laid over the one of the defaults."""
    given = body.get("environment")
    if not isinstance(given, list):
        return dict(body)
    place = (*key, "environment")
    variables: dict[str, Any] = {}
    for index, item in enumerate(given):
        text = findings.text((*place, index), item, "NAME=VALUE")
        if text is None:
            continue
        name, sign, value = text.partition("=")
        if not name.strip():
            findings.wrong((*place, index), text, "be NAME=VALUE", "write a name before the =")
        elif name in variables:
            findings.add((*place, index), f'environment names "{name}" twice', "keep one of them")
        else:
            variables[name] = value if sign else None
            findings.positions[(*place, name)] = findings.where((*place, index))
    return {**body, "environment": variables}


def _kind(reading: Reading, key: Key, name: str, common: Mapping[str, Any]) -> Component | None:
    findings, kinds = reading.findings, reading.registry
    place = (*key, "kind")
    if "kind" not in common:
        if name not in kinds:
            near = nearest(name, kinds.kinds)
            mend = f"add kind: {near}" if near else f"add kind: {listed(kinds.kinds, 'or')}"
            findings.add(key, f'component "{name}" has no kind, and "{name}" is none itself', mend, at_key=True)
            return None
        kind: str | None = name
    else:
        kind = findings.text(place, common["kind"], "etcd")
    if kind is None:
        return None
    try:
        return kinds[kind]
    except KeyError:
        findings.add(place, f"unknown kind {shown(kind)}", did_you_mean(kind, kinds.kinds, "kinds"))
    except UsageError as error:
        findings.add(place, error.what, error.mend or "mend the plugin")
    return None


def _replicas(findings: Findings, key: Key, common: Mapping[str, Any], component: Component | None) -> int:
    place = (*key, "replicas")
    if "replicas" not in common:
        return DEFAULT_REPLICAS
    count = findings.whole(place, common["replicas"], 1, MOST_REPLICAS, DEFAULT_REPLICAS)
    if count is not None and count % 2 == 0 and component is not None and component.replicas == "odd":
        findings.add(
            place,
            f"{component.kind} wants an odd number of replicas, found {count}: "
            f"{count} survive the loss of no more nodes than {count - 1} do",
            f"set replicas to {count - 1} or {count + 1}",
        )
    return count or DEFAULT_REPLICAS


def _zones(reading: Reading, key: Key, common: Mapping[str, Any]) -> tuple[str, ...]:
    if "zones" not in common:
        return reading.zones
    place = (*key, "zones")
    words = reading.findings.words(place, common["zones"], "a") or []
    if common["zones"] == []:
        reading.findings.wrong(place, [], "name a zone", "name one, or take the key away")
    for where, zone in words:
        if zone not in reading.zones:
            near = nearest(zone, reading.zones)
            mend = (
                f'did you mean "{near}"?' if near else f"the zones are {listed(reading.zones)}; more: zones: at the top"
            )
            reading.findings.add(where, f"zones names {shown(zone)}, which is no zone of this topology", mend)
    return tuple(zone for _, zone in words) or reading.zones


def _environment(reading: Reading, key: Key, common: Mapping[str, Any]) -> Mapping[str, str]:
    """`environment` over what `env_file` says; a name without a value takes it from the variables of this process."""
    findings = reading.findings
    read = _env_files(reading, key, common)
    place = (*key, "environment")
    given = (
        findings.mapping(place, common["environment"], "environment: {NAME: value}") if "environment" in common else {}
    )
    for name, value in (given or {}).items():
        here = (*place, name)
        if isinstance(value, dict | list):
            findings.wrong(here, value, "be text", f"write {name}: value")
        elif value is None:
            if name in reading.variables:
                read[name] = reading.variables[name]
            else:
                findings.add(
                    here, f"variable {name} is not set, and has no value here", f"set it, or write {name}: value"
                )
        else:
            read[name] = findings.texts.get(here, str(value)) if not isinstance(value, str) else value
    return read


def _env_files(reading: Reading, key: Key, common: Mapping[str, Any]) -> dict[str, str]:
    if "env_file" not in common:
        return {}
    read: dict[str, str] = {}
    for place, text in reading.findings.words((*key, "env_file"), common["env_file"], "settings.env") or []:
        path = reading.folder / text
        if not path.is_file():
            lack = "is a folder" if path.is_dir() else "is not there"
            reading.findings.add(
                place, f"env_file {shown(text)} {lack}", f"make it, or take it away; looked for {path}"
            )
            continue
        env = parse_env(read_text(path, text), text, reading.variables)
        reading.findings.problems.extend(env.problems)
        read.update(env.values)
        for name, where in env.positions.items():
            reading.findings.positions[(*key, "environment", name)] = reading.findings.positions.get(
                (*key, "environment", name), where
            )
    return read


def _mounts(reading: Reading, key: Key, common: Mapping[str, Any]) -> tuple[Mount, ...]:
    findings = reading.findings
    place = (*key, "mounts")
    items = findings.sequence(place, common["mounts"], '["./app:/srv/app:ro"]') if "mounts" in common else None
    mounts: list[Mount] = []
    for index, item in enumerate(items or ()):
        here = (*place, index)
        mount = _long_mount(reading, here, item) if isinstance(item, dict) else _short_mount(reading, here, item)
        if mount is None:
            continue
        if mount.target in [other.target for other in mounts]:
            findings.add(here, f"two mounts have the target {shown(mount.target)}", "give one of them another target")
        mounts.append(mount)
    return tuple(mounts)


def _short_mount(reading: Reading, key: Key, item: Any) -> Mount | None:
    mend = 'write "./source:/target" or "./source:/target:ro"'
    if not isinstance(item, str):
        reading.findings.wrong(key, item, "be source:target", mend)
        return None
    source, _, rest = item.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or mode not in ("", "ro", "rw"):
        reading.findings.wrong(key, item, "be source:target, with :ro at the end to protect it", mend)
        return None
    return _mount(reading, key, key, source, target, read_only=mode == "ro")


def _long_mount(reading: Reading, key: Key, item: Mapping[str, Any]) -> Mount | None:
    findings, known = reading.findings, ("source", "target", "read_only")
    for word in item:
        if word not in known:
            findings.unknown_key((*key, word), known, "this mount")
    texts = {}
    for word, example in (("source", "./app"), ("target", "/srv/app")):
        if item.get(word) is None:
            findings.add(key, f"this mount has no {word}", f"add {word}: {example}")
        else:
            texts[word] = findings.text((*key, word), item[word], example)
    read_only = item.get("read_only", False)
    if not isinstance(read_only, bool):
        findings.wrong((*key, "read_only"), read_only, "be true or false", "write read_only: true")
    source, target = texts.get("source"), texts.get("target")
    if source is None or target is None:
        return None
    return _mount(reading, (*key, "source"), (*key, "target"), source, target, read_only=read_only is True)


def _mount(
    reading: Reading, source_key: Key, target_key: Key, source: str, target: str, *, read_only: bool
) -> Mount | None:
    """Relative sources begin at the topology's folder, "~" is the home of who runs clusterkit."""
    if not target.startswith("/") or target.rstrip("/") == "":
        reading.findings.add(
            target_key, f"a mount's target must be a path below /, found {shown(target)}", "write ./source:/target"
        )
        return None
    home = reading.variables.get("HOME", "~")
    path = Path(
        os.path.normpath(reading.folder / (home + source[1:] if source == "~" or source[:2] == "~/" else source))
    )
    if not path.exists():
        reading.findings.add(source_key, f"{shown(source)} is not there to be mounted", f"make it; looked for {path}")
        return None
    return Mount(path, target, read_only)


def _publish(findings: Findings, key: Key, common: Mapping[str, Any], replicas: int) -> Mapping[str, int]:
    place = (*key, "publish")
    given = findings.mapping(place, common["publish"], "publish: {client: 2379}") if "publish" in common else None
    published: dict[str, int] = {}
    for port, value in (given or {}).items():
        number = findings.whole((*place, port), value, 1, 65536 - replicas, 8080)
        if number is not None:
            published[port] = number
    return published


def _cpus(findings: Findings, key: Key, common: Mapping[str, Any]) -> float | None:
    if "cpus" not in common:
        return None
    value = common["cpus"]
    try:
        number = 0.0 if isinstance(value, bool | list | dict) else float(value)
    except ValueError:
        number = 0.0
    if 0.01 <= number <= 1024:  # Docker refuses less; no machine has more
        return number
    findings.wrong((*key, "cpus"), value, "be a number of processors, 0.01 or more", "write cpus: 0.5")
    return None


def _memory(findings: Findings, key: Key, common: Mapping[str, Any]) -> Size | None:
    if "memory" not in common:
        return None
    place = (*key, "memory")
    size = findings.quantity(place, common["memory"], Size.parse)
    if size is not None and size < LEAST_MEMORY:
        findings.wrong(place, common["memory"], f"be {LEAST_MEMORY} or more", "write memory: 128MB")
        return None
    return size


def _timeout(findings: Findings, key: Key, common: Mapping[str, Any]) -> Duration:
    if "timeout" not in common:
        return DEFAULT_TIMEOUT
    place = (*key, "timeout")
    timeout = findings.quantity(place, common["timeout"], Duration.parse)
    if timeout is not None and timeout.seconds <= 0:
        findings.wrong(place, common["timeout"], "be longer than nothing", "write timeout: 120s")
    return timeout or DEFAULT_TIMEOUT


def _data(findings: Findings, key: Key, common: Mapping[str, Any], default: str) -> str:
    place, value = (*key, "data"), common.get("data", default)
    if value in ("volume", "loop"):
        return str(value)
    findings.wrong(place, value, "be volume or loop", "write data: loop for a disk of its own, which faults can break")
    return "volume"


def _data_size(findings: Findings, key: Key, common: Mapping[str, Any]) -> Size:
    if "data_size" not in common:
        return DEFAULT_DATA_SIZE
    place = (*key, "data_size")
    if common.get("data", "volume") == "volume":
        findings.add(place, "data_size is for disks of data: loop only", "write data: loop, or take data_size away")
    size = findings.quantity(place, common["data_size"], Size.parse)
    if size is not None and size < LEAST_DATA:
        findings.wrong(place, common["data_size"], f"be {LEAST_DATA} or more", "write data_size: 256MB")
    return size or DEFAULT_DATA_SIZE
