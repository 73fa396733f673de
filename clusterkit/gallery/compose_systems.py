"""L13. Services of a Compose file whose image is a system that clusterkit knows -> the body of one component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterkit.gallery.compose_file import Map, Text, as_map, text
from clusterkit.gallery.compose_hosts import Group, password
from clusterkit.gallery.compose_service import Carrier, limits, say_left
from clusterkit.gallery.compose_words import command_words, ports, size
from clusterkit.gallery.known_images import VOTES

_CLIENT_PORT = {
    "etcd": 2379,
    "nats": 4222,
    "redis": 6379,
    "redis-cluster": 6379,
    "redis-sentinel": 26379,
    "zookeeper": 2181,
}
_LEAST = {"redis-cluster": 6}
_CARRIED = frozenset({
    "image", "deploy", "scale", "cpus", "mem_limit", "ports", "expose", "depends_on", "links", "profiles",
    "extends",
})  # fmt: skip
_ITS_OWN = frozenset({
    "build", "command", "entrypoint", "environment", "env_file", "volumes", "healthcheck", "working_dir",
    "user",
})  # fmt: skip
_DEFAULT_REPLICAS = 3


def system_body(carrier: Carrier, group: Group, found: Mapping[str, Map]) -> dict[str, Any]:
    """What the kind's own options can say is carried over; the rest the kind does by itself."""
    body = found[group.of[0]]
    made: dict[str, Any] = {"kind": group.kind}
    count = _count(carrier, group, body)
    if count != _DEFAULT_REPLICAS:
        made["replicas"] = count
    image = body["image"]
    carrier.say(
        image.line,
        f"the file asks for {image}; clusterkit installs its own {group.kind} (write image: {image} to run that one)",
    )
    if group.kind == "redis":
        carrier.say(
            image.line,
            f"of the nodes of {group.name} only the primary takes writes, {group.name}-1 at first: a program that has "
            f'the host name "{group.of[0]}" in its own code must be given that one',
        )
    made |= _options(group.kind, body)
    if group.kind == "redis-sentinel":
        made |= _watched(carrier, body, found)
    made |= _publish(carrier, group, found)
    made |= limits(carrier, body)
    for service in group.of:
        own = sorted(_ITS_OWN & set(found[service]))
        if own:
            what = f"{group.kind} has its own {', '.join(own)}: of these, only options that it knows are carried over"
            carrier.notes.add(found[service].lines[own[0]], what, service)
        one = Carrier(carrier.compose, carrier.folder, carrier.notes, service, carrier.hosts)
        say_left(one, found[service], _CARRIED | _ITS_OWN)
    return made


def _count(carrier: Carrier, group: Group, body: Map) -> int:
    deploy = body.get("deploy")
    asked = text(body.get("scale")) or (text(deploy.get("replicas")) if isinstance(deploy, Map) else "")
    count = int(asked) if asked.isdecimal() else len(group.of) if len(group.of) > 1 else _DEFAULT_REPLICAS
    if group.kind in VOTES and count % 2 == 0:
        carrier.say(body["image"].line, f"{group.kind} wants an odd number of nodes: {count + 1}, not {count}")
        return count + 1
    return max(count, _LEAST.get(group.kind, _DEFAULT_REPLICAS))


def _options(kind: str, body: Map) -> dict[str, Any]:
    """Options that the command line or the image's variables give, in the kind's own words."""
    given = _arguments(command_words(body))
    environment = {key: text(value) for key, value in as_map(body.get("environment"), 1).items()}
    if kind == "etcd":
        return {"password": False, **_etcd_options(given, environment)}
    if kind in ("redis-sentinel", "nats"):
        return {"password": False}
    if kind == "zookeeper":
        return {}
    made: dict[str, Any] = {"password": bool(password(body))}
    if size(given.get("maxmemory", "")):
        made["maxmemory"] = size(given["maxmemory"])
    if given.get("appendfsync") in ("always", "everysec", "no"):
        made["appendfsync"] = given["appendfsync"]
    if given.get("maxmemory-policy"):
        made["settings"] = {"maxmemory-policy": given["maxmemory-policy"]}
    return made


def _etcd_options(given: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, option in (("heartbeat-interval", "heartbeat_interval"), ("election-timeout", "election_timeout")):
        value = given.get(key) or environment.get(f"ETCD_{key.upper().replace('-', '_')}", "")
        if value.isdecimal():
            made[option] = f"{value}ms"
    settings = {}
    for key in ("auto-compaction-mode", "auto-compaction-retention"):
        value = given.get(key) or environment.get(f"ETCD_{key.upper().replace('-', '_')}", "")
        if value:
            settings[key] = value
    return made | ({"settings": settings} if settings else {})


def _arguments(given: tuple[str, ...]) -> dict[str, str]:
    """--name value and --name=value."""
    made = {}
    for index, word in enumerate(given):
        name, sign, value = word.partition("=")
        if word.startswith("--"):
            following = given[index + 1] if index + 1 < len(given) else ""
            made[name.lstrip("-")] = value if sign else "" if following.startswith("--") else str(following)
    return made


def _watched(carrier: Carrier, body: Map, found: Mapping[str, Map]) -> dict[str, str]:
    """The Redis that a sentinel watches: the one that its variables name, else the first one."""
    from clusterkit.gallery.known_images import kind_of

    environment = as_map(body.get("environment"), 1)
    redis = [name for name, one in found.items() if kind_of(text(one.get("image")), command_words(one)) == "redis"]
    named = text(environment.get("REDIS_MASTER_HOST"))
    watched = named if named in redis else redis[0] if redis else ""
    if not watched:
        line = body["image"].line if isinstance(body["image"], Text) else 1
        carrier.say(line, "this sentinel watches no Redis of this file")
    return {"watches": carrier.hosts.component_of.get(watched, watched)}


def _publish(carrier: Carrier, group: Group, found: Mapping[str, Map]) -> dict[str, Any]:
    """The clients' port of the first member; the next ones follow it."""
    published: list[int] = []
    for service in group.of:
        for port in ports(found[service]):
            if isinstance(port, Text):
                continue
            if port.target == _CLIENT_PORT[group.kind] and port.host is not None:
                published.append(port.host)
            elif port.target != _CLIENT_PORT[group.kind]:
                carrier.notes.add(port.line, f"port {port.target} of {group.kind} is not published", service)
    if not published:
        return {}
    if published != list(range(published[0], published[0] + len(published))):
        carrier.say(
            found[group.of[0]].lines["ports"], f"ports of this machine follow each other, from {published[0]} on"
        )
    return {"publish": {"client": published[0]}}
