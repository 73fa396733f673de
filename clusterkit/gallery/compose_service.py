"""L13. A service of a Compose file -> the body of a component of kind service."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clusterkit.gallery.compose_file import ComposeFile, Map, Text, as_map, items, text
from clusterkit.gallery.compose_hosts import Hosts
from clusterkit.gallery.compose_words import ports, size, words
from clusterkit.gallery.known_images import is_store

_PORT_NAMES = {80: "http", 443: "https", 3000: "http", 5000: "http", 8000: "http", 8080: "http", 50051: "grpc"}

_CARRIED = frozenset({
    "image", "build", "command", "entrypoint", "environment", "env_file", "ports", "expose", "volumes",
    "healthcheck", "depends_on", "links", "working_dir", "user", "cpus", "mem_limit", "deploy", "scale",
    "profiles", "extends", "secrets", "configs",
})  # fmt: skip
_LEFT = {
    "restart": "clusterkit starts no node again by itself; chaos decides who lives",
    "container_name": "nodes are called after their component",
    "hostname": "a node's host name is its own name",
    "networks": "all nodes are in one network",
    "network_mode": "each node has an address of its own in the cluster's network",
    "privileged": "nodes have no privileges",
    "cap_add": "nodes have no further capabilities",
    "logging": "the engine keeps every line, and `clusterkit logs` shows it",
    "init": "every node has an init",
    "stop_grace_period": "`clusterkit stop --grace` says how long",
    "mem_reservation": "only limits are carried over",
}
"""Key -> why it is not carried over. Of others it is only said that they are not."""


class Notes(Protocol):
    """Who hears of what is not carried over."""

    def add(self, line: int, what: str, service: str = "") -> None: ...


@dataclass(frozen=True)
class Carrier:
    """What reading one service needs: the file, the folder of the topology, who hears notes, and the hosts' names."""

    compose: ComposeFile
    folder: Path
    notes: Notes
    service: str
    hosts: Hosts

    def say(self, line: int, what: str) -> None:
        self.notes.add(line, what, self.service)

    def keep(self, value: Text, *, key: str | None = None) -> str:
        """Text for the topology: variables stay where it has the same `.env`; `key` where {{ }} is filled in."""
        written = value.written
        if self.compose.folder != self.folder.resolve():
            written = str(value).replace("$", "$$")
        for name in self.compose.unset:
            asked = rf"(?<!\$)\$(?:{name}(?!\w)|\{{{name}(?::?\?[^}}]*)?\}})"
            written = re.sub(asked, f"${{{name}:-}}", written)
        if key is None:
            return written
        escaped = re.sub(r"\{[{%#]", lambda match: f"{{{{ '{match.group()}' }}}}", written)
        return self.hosts.put_in(key, escaped)

    def path(self, given: str) -> str:
        """A path of the Compose file as one from the topology's folder."""
        if given.startswith("~"):
            return given
        relative = os.path.relpath(self.compose.folder / given, self.folder)
        path = str(given) if os.path.isabs(given) else relative
        return path if path.startswith(("/", ".")) else f"./{path}"

    def exists(self, given: str) -> bool:
        return (self.compose.folder / Path(given).expanduser()).exists()


def service_body(carrier: Carrier, body: Map) -> dict[str, Any]:
    """The component's keys, in the order in which one writes them. `depends_on` is not among them."""
    made: dict[str, Any] = {"kind": "service", **replicas(carrier, body)}
    made |= _program(carrier, body)
    made |= _ports(carrier, body)
    made |= _health(carrier, body)
    made |= _environment(carrier, body)
    made |= _mounts(carrier, body)
    made |= limits(carrier, body)
    for key in ("working_dir", "user"):
        if text(body.get(key)):
            made[key] = carrier.keep(body[key])
    say_left(carrier, body, _CARRIED)
    return made


def say_left(carrier: Carrier, body: Map, carried: frozenset[str]) -> None:
    """Keys that are not carried over, each with why."""
    for key in body:
        if key not in carried and not key.startswith("x-"):
            carrier.say(body.lines[key], f"{key}: {_LEFT.get(key, 'is not carried over')}")


def replicas(carrier: Carrier, body: Map) -> dict[str, int]:
    """As the file says; one for a store, that would be three stores otherwise; else the usual three."""
    deploy = body.get("deploy")
    asked = text(body.get("scale")) or (text(deploy.get("replicas")) if isinstance(deploy, Map) else "")
    if asked.isdecimal():
        return {"replicas": int(asked)}
    image = text(body.get("image"))
    named = [item for item in items(body.get("volumes")) if _volume(item)]
    if image and is_store(image):
        carrier.say(body["image"].line, f"{image} keeps data and clusterkit has no kind for it: one node, not three")
        return {"replicas": 1}
    if named and "build" not in body:
        carrier.say(body.lines["volumes"], "it keeps data on a volume of its own: one node; set replicas for more")
        return {"replicas": 1}
    return {}


def _volume(item: object) -> str:
    """The name of a named volume; "" for others."""
    if isinstance(item, Map):
        return text(item.get("source")) if text(item.get("type")) == "volume" else ""
    source, sign, _ = text(item).partition(":")
    return source if sign and not source.startswith((".", "/", "~")) else ""


def limits(carrier: Carrier, body: Map) -> dict[str, Any]:
    """cpus and memory, of either place."""
    deploy = body.get("deploy")
    deploy = deploy if isinstance(deploy, Map) else Map()
    for key in deploy:
        if key not in ("resources", "replicas"):
            carrier.say(deploy.lines[key], f"deploy.{key}: is not carried over")
    resources = deploy.get("resources")
    found = resources.get("limits") if isinstance(resources, Map) else None
    asked = found if isinstance(found, Map) else Map()
    made: dict[str, Any] = {}
    cpus = text(asked.get("cpus")) or text(body.get("cpus"))
    if cpus:
        made["cpus"] = float(cpus) if re.fullmatch(r"\d*\.?\d+", cpus) else cpus
    memory = text(asked.get("memory")) or text(body.get("mem_limit"))
    if memory:
        made["memory"] = size(memory) or memory
    return made


def _program(carrier: Carrier, body: Map) -> dict[str, Any]:
    made = _build(carrier, body)
    if not made and text(body.get("image")):
        made["image"] = carrier.keep(body["image"])
    command = [carrier.keep(word, key="") for key in ("entrypoint", "command") for word in words(body.get(key))]
    if command:
        made["command"] = command
        if "entrypoint" not in body and _may_have_an_entrypoint(carrier, made):
            carrier.say(
                body.lines["command"],
                "command: it is the whole program here; if the image has an ENTRYPOINT, write that before it",
            )
    return made


def _may_have_an_entrypoint(carrier: Carrier, made: dict[str, Any]) -> bool:
    build = made.get("build")
    if build is None:
        return True
    dockerfile = carrier.folder / build["context"] / build.get("dockerfile", "Dockerfile")
    return (
        re.search(r"^\s*ENTRYPOINT", dockerfile.read_text(errors="replace"), re.MULTILINE | re.IGNORECASE) is not None
    )


def _build(carrier: Carrier, body: Map) -> dict[str, Any]:
    given = body.get("build")
    if given is None:
        return {}
    context = text(given.get("context")) or "." if isinstance(given, Map) else text(given)
    dockerfile = text(given.get("dockerfile")) if isinstance(given, Map) else ""
    if not carrier.exists(f"{context}/{dockerfile or 'Dockerfile'}"):
        carrier.say(body.lines["build"], f"build: there is no {context}/{dockerfile or 'Dockerfile'}")
        return {}
    made: dict[str, Any] = {"context": carrier.path(context)}
    if dockerfile:
        made["dockerfile"] = dockerfile
    if isinstance(given, Map):
        args = as_map(given.get("args"), body.lines["build"])
        filled = {name: carrier.keep(value) for name, value in args.items() if isinstance(value, Text)}
        made |= {"args": filled} if filled else {}
        for key in given:
            if key not in ("context", "dockerfile", "args"):
                carrier.say(given.lines[key], f"build.{key}: is not carried over")
    return {"build": made}


def _ports(carrier: Carrier, body: Map) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    publish: dict[str, int] = {}
    taken: dict[int, str] = {}
    for port in ports(body):
        if isinstance(port, Text):
            carrier.say(port.line, f'port "{port}" is not carried over: it cannot be read')
        elif port.protocol != "tcp":
            carrier.say(port.line, f"port {port.target}/{port.protocol} is not published: only TCP is")
        elif port.target in taken:
            carrier.say(port.line, f"port {port.target} is published once, not twice")
        else:
            name = _PORT_NAMES.get(port.target, f"p{port.target}")
            name = f"p{port.target}" if name in numbers else name
            taken[port.target] = name
            numbers[name] = port.target
            if port.host is not None:
                publish[name] = port.host
    for item in items(body.get("expose")):
        number = text(item).partition("/")[0]
        if number.isdecimal() and int(number) not in taken:
            taken[int(number)] = f"p{number}"
            numbers[f"p{number}"] = {"port": int(number), "publish": False}
    return {key: value for key, value in (("ports", numbers), ("publish", publish)) if value}


def _health(carrier: Carrier, body: Map) -> dict[str, Any]:
    given = body.get("healthcheck")
    if not isinstance(given, Map) or text(given.get("disable")) == "true" or "test" not in given:
        return {}
    test = given["test"]
    for key in sorted({"interval", "timeout", "retries", "start_period", "start_interval"} & set(given))[:1]:
        carrier.say(given.lines[key], "healthcheck: how often is not carried over; `timeout: 120s` is how long in all")
    if isinstance(test, Text):
        return {"health": {"command": ["sh", "-c", carrier.keep(test)]}}
    how, *rest = [word for word in test if isinstance(word, Text)] or [Text("NONE")]
    if how == "NONE" or not rest:
        return {}
    argv = [carrier.keep(word) for word in rest]
    return {"health": {"command": ["sh", "-c", " ".join(argv)] if how == "CMD-SHELL" else argv}}


def _environment(carrier: Carrier, body: Map) -> dict[str, Any]:
    made: dict[str, Any] = {}
    files = []
    given = body.get("env_file")
    for item in items(given):
        file = text(item.get("path")) if isinstance(item, Map) else text(item)
        if carrier.exists(file):
            files.append(carrier.path(file))
        else:
            carrier.say(body.lines["env_file"], f"env_file: there is no {file}")
    if files:
        made["env_file"] = files
    variables: dict[str, str] = {}
    for name, value in as_map(body.get("environment"), body.lines.get("environment", 1)).items():
        if isinstance(value, Text) and (value.value is not None or value.written):
            variables[name] = carrier.keep(value, key=name)
        elif name in carrier.compose.variables:
            variables[name] = f"${{{name}}}"
        else:
            carrier.say(body.lines["environment"], f"environment: {name} has no value and is not set: it is left out")
    if variables:
        made["environment"] = variables
    return made


def _mounts(carrier: Carrier, body: Map) -> dict[str, Any]:
    made = [*_binds(carrier, body), *_files(carrier, body, "secrets"), *_files(carrier, body, "configs")]
    return {"mounts": made} if made else {}


def _binds(carrier: Carrier, body: Map) -> Iterator[str]:
    line = body.lines.get("volumes", 1)
    for item in items(body.get("volumes")):
        if isinstance(item, Map):
            kind, source, target = (text(item.get(key)) for key in ("type", "source", "target"))
            is_read_only = text(item.get("read_only")) == "true"
            line = min(item.lines.values(), default=line)
        else:
            source, _, rest = text(item).partition(":")
            target, _, mode = rest.partition(":")
            is_read_only = "ro" in mode.split(",")
            kind = "bind" if target and source.startswith((".", "/", "~")) else "volume"
            line = item.line
        if kind != "bind":
            what = f"volume {source} is not made" if source and target else f"{kind} {source or target} is not made"
            carrier.say(line, f"{what}: what a node writes stays with it until it is made anew or taken down")
        elif not carrier.exists(source):
            carrier.say(line, f"mount {source} is left out: it is not there")
        else:
            yield f"{carrier.path(source)}:{target}" + (":ro" if is_read_only else "")


def _files(carrier: Carrier, body: Map, which: str) -> Iterator[str]:
    """Secrets and configs that are files become mounts, where Compose puts them."""
    defined = carrier.compose.top.get(which)
    for item in items(body.get(which)):
        name = text(item.get("source")) if isinstance(item, Map) else text(item)
        given = text(item.get("target")) if isinstance(item, Map) else ""
        place = "/run/secrets/" if which == "secrets" else "/"
        target = given if given.startswith("/") else f"{place}{given or name}"
        one = defined.get(name) if isinstance(defined, Map) else None
        file = text(one.get("file")) if isinstance(one, Map) else ""
        if file and carrier.exists(file):
            yield f"{carrier.path(file)}:{target}:ro"
        else:
            why = f"there is no {file}" if file else "it is no file"
            carrier.say(body.lines[which], f'{which}: "{name}" is left out: {why}')
