"""L13. A Compose file -> a topology: services become components times three where that makes sense.

Known images become components of their kind. Whatever is not carried over is a Note with its line, and a comment at its
place in the topology. The text that is given is valid: a component that clusterkit would refuse is left out, with why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clusterkit.errors import Problem, TopologyError, UsageError
from clusterkit.gallery.compose_file import ComposeFile, Map, items, read_compose, services, text
from clusterkit.gallery.compose_hosts import Group, Hosts
from clusterkit.gallery.compose_service import Carrier, service_body
from clusterkit.gallery.compose_systems import system_body
from clusterkit.gallery.compose_words import command_words
from clusterkit.gallery.compose_write import Written, topology_text
from clusterkit.gallery.known_images import kind_of
from clusterkit.model.select import RESERVED

_LONGEST_NAME = 31


@dataclass(frozen=True)
class Note:
    """One thing that is not as it was; `lines` of the Compose file, one for each service that it is about."""

    file: str
    lines: tuple[int, ...]
    what: str

    def __str__(self) -> str:
        first, *others = self.lines
        also = f" (also at line {', '.join(map(str, others))})" if others else ""
        return f"{self.file}:{first}: {self.what}{also}"


@dataclass(frozen=True)
class Imported:
    """The topology's text, what was not carried over, and how it went, in a line."""

    text: str
    notes: tuple[Note, ...]
    summary: str


@dataclass
class _Notes:
    """Collects what is to be said; `service` "" is the whole file."""

    file: str
    said: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, line: int, what: str, service: str = "") -> None:
        if (line, what, service) not in self.said:
            self.said.append((line, what, service))

    def of(self, service: str) -> list[str]:
        return [f"{self.file}:{line}: {what}" for line, what, about in self.said if about == service]

    def all(self) -> tuple[Note, ...]:
        """What is the same of several services is said once."""
        lines: dict[str, list[int]] = {}
        for line, what, _ in sorted(self.said, key=lambda each: each[0]):
            lines.setdefault(what, []).append(line)
        return tuple(Note(self.file, tuple(dict.fromkeys(at)), what) for what, at in lines.items())


def import_compose(file: Path, folder: Path, environ: Mapping[str, str], profiles: tuple[str, ...] = ()) -> Imported:
    """`folder` is where the topology will lie; `profiles`: those whose services are taken, too, "*" for all.

    Raises: UsageError when it is no Compose file, or nothing of it can be a component.
    """
    compose = read_compose(file, environ)
    notes = _Notes(str(file))
    found = services(compose, notes)
    left_out = _left_out(compose, found, profiles, notes)
    _say_top(compose, notes)
    groups = _groups(
        {name: body for name, body in found.items() if name not in left_out}, compose.top["services"].lines, notes
    )
    made = [_component(group, compose, folder, found, groups, notes) for group in groups]
    _depend(made, groups, found)
    variables = f"variables of {file} count as in Compose"
    comments = [
        f"Made from {file} by `clusterkit init --from`; {variables}. Ports are published on loopback only, and each "
        "component becomes as many nodes as `replicas` says, 3 if not given.",
        *notes.of(""),
        *(f"{name} is left out: {why}" for name, why in left_out.items()),
    ]
    name = _name(text(compose.top.get("name"))) if text(compose.top.get("name")) else None
    lines = {group.name: compose.top["services"].lines[group.of[0]] for group in groups}
    written = _valid(name, comments, made, folder, environ, notes, lines)
    there = [one for one in made if not one.left_out]
    nodes = sum(int(one.body.get("replicas", 3)) for one in there)
    gone = len(left_out) + len(made) - len(there)
    counts = [(len(found), "service"), (len(there), "component"), (nodes, "node")]
    of, to, on = (f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
    summary = f"{of} became {to} with {on}"
    return Imported(written, notes.all(), summary + (f"; {gone} left out" if gone else ""))


def _left_out(
    compose: ComposeFile, found: Mapping[str, Map], profiles: tuple[str, ...], notes: _Notes
) -> dict[str, str]:
    """Services that are started only when asked for, and those that run once and end -> why."""
    lines = compose.top["services"].lines
    out: dict[str, str] = {}
    for name, body in found.items():
        asked = [text(each) for each in items(body.get("profiles"))]
        if asked and "*" not in profiles and not set(asked) & set(profiles):
            out[name] = f"it is of the profile {asked[0]}; take it with --profile {asked[0]}"
        for other, how in _dependencies(body):
            if how == "service_completed_successfully" and other in found:
                out[other] = "it runs once and ends, and a node is a program that stays: run it by `clusterkit exec`"
        if _is_zero(body):
            out[name] = "the file asks for none of it (replicas: 0)"
    for name, why in out.items():
        notes.add(lines[name], f'service "{name}" is left out: {why}', name)
    return out


def _is_zero(body: Map) -> bool:
    deploy = body.get("deploy")
    return "0" in (text(body.get("scale")), text(deploy.get("replicas")) if isinstance(deploy, Map) else "")


def _say_top(compose: ComposeFile, notes: _Notes) -> None:
    lines = compose.top.lines
    known = {"name", "version", "services", "volumes", "networks", "secrets", "configs"}
    for key in compose.top:
        if key not in known and not key.startswith("x-"):
            what = "what it brings is missing" if key == "include" else "is not carried over"
            notes.add(lines[key], f"{key}: {what}")
    networks = compose.top.get("networks")
    if isinstance(networks, Map) and len(networks) > 1:
        notes.add(lines["networks"], "networks: all nodes are in one network; part them by chaos, not by the file")
    for name, line in compose.unset.items():
        notes.add(line, f"variable {name} is not set, and is empty here, as in Compose")


def _dependencies(body: Map) -> Iterator[tuple[str, str]]:
    """Service -> the condition; `links` name services, too."""
    asked = body.get("depends_on")
    if isinstance(asked, Map):
        for name, how in asked.items():
            yield name, text(how.get("condition")) if isinstance(how, Map) else ""
    for name in items(asked):
        if not isinstance(name, Map):
            yield text(name), ""
    for link in items(body.get("links")):
        yield text(link).partition(":")[0], ""


def _groups(found: Mapping[str, Map], lines: Mapping[str, int], notes: _Notes) -> list[Group]:
    """Members of one system that were written out as services of their own become one component."""
    kinds = {name: kind_of(text(body.get("image")), command_words(body)) or "service" for name, body in found.items()}
    groups: list[Group] = []
    stems: dict[tuple[str, str], Group] = {}
    for name, body in found.items():
        kind = kinds[name]
        stem = (kind, _stem(kind, name, body))
        if kind != "service" and stem in stems:
            stems[stem].of.append(name)
            continue
        group = Group(name, kind, [name])
        stems[stem] = group
        groups.append(group)
    taken: set[str] = set()
    for group in groups:
        wished = _stem(group.kind, group.name, found[group.of[0]]) if len(group.of) > 1 else group.name
        group.name = _free(_name(wished), taken)
        taken.add(group.name)
        for one in group.of:
            if one != group.name:
                members = f"; {len(group.of)} services are its members" if len(group.of) > 1 else ""
                notes.add(lines[one], f'service "{one}" is called "{group.name}" here{members}', one)
    return groups


def _stem(kind: str, name: str, body: Map) -> str:
    """etcd1 and etcd-2 are members of etcd, so with every system; a replica of Redis is one of its primary."""
    stem = re.sub(r"[-_.]?\d+$", "", name) or name
    if kind == "redis":
        stem = re.sub(r"[-_](master|primary|slave|replica|secondary)$", "", stem)
        return stem if stem != name or _follows(body) else name
    return name if kind == "service" else stem


def _follows(body: Map) -> bool:
    words = command_words(body)
    return "--replicaof" in words or "--slaveof" in words


def _name(name: str) -> str:
    """A component's name out of any: a-z, 0-9 and -, a letter first, at most 31."""
    made = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    made = made if made[:1].isalpha() else f"s-{made}"
    made = made[:_LONGEST_NAME].rstrip("-")
    return f"{made[: _LONGEST_NAME - 8]}-service" if made in RESERVED else made


def _free(name: str, taken: set[str]) -> str:
    """Components of two names must not be made one, nor be called as another's node is."""
    base, number = name, 1
    while name in taken or re.sub(r"-\d+$", "", name) in taken - {name}:
        number += 1
        name = f"{base[: _LONGEST_NAME - 3].rstrip('-0123456789')}-{chr(96 + number)}"
    return name


def _component(
    group: Group,
    compose: ComposeFile,
    folder: Path,
    found: Mapping[str, Map],
    groups: list[Group],
    notes: _Notes,
) -> Written:
    name = group.of[0]
    carrier = Carrier(compose, folder, notes, name, Hosts.of(groups, found))
    body = service_body(carrier, found[name]) if group.kind == "service" else system_body(carrier, group, found)
    return Written(group.name, body, [comment for one in group.of for comment in notes.of(one)])


def _depend(made: list[Written], groups: list[Group], found: Mapping[str, Map]) -> None:
    """What a component waits for, by the components' names; and the ports of this machine, each once."""
    component_of = {one: group.name for group in groups for one in group.of}
    for written, group in zip(made, groups, strict=True):
        asked = [component_of.get(other) for one in group.of for other, _ in _dependencies(found[one])]
        needed = [name for name in dict.fromkeys(asked) if name and name != group.name]
        if needed and group.kind == "service":
            written.body["depends_on"] = needed


def _valid(
    name: str | None,
    comments: list[str],
    made: list[Written],
    folder: Path,
    environ: Mapping[str, str],
    notes: _Notes,
    lines: Mapping[str, int],
) -> str:
    """The text; components that clusterkit refuses are left out, one after another, until the rest is valid."""
    _publish_once(made, notes, lines)
    while True:
        written = topology_text(name, comments, made)
        problems = _problems(written, folder, environ)
        if not problems:
            break
        blamed = _blamed(written, problems, [one for one in made if not one.left_out])
        if blamed is None:
            raise UsageError(
                f"{notes.file}: nothing of it can be a component\n" + "\n".join(map(str, problems)),
                mend="mend what is said, or begin with clusterkit init --list",
            )
        one, problem = blamed
        one.left_out = f"{problem.what} ({problem.mend})" if problem.mend else problem.what
        notes.add(lines[one.name], f'component "{one.name}" is left out: {problem.what}', one.name)
        for other in made:
            rest = [needed for needed in other.body.get("depends_on", ()) if needed != one.name]
            other.body = {k: v for k, v in {**other.body, "depends_on": rest}.items() if k != "depends_on" or v}
    return written


def _publish_once(made: list[Written], notes: _Notes, lines: Mapping[str, int]) -> None:
    """Three nodes take three ports that follow each other; where these are another's, free ones are chosen at `up`."""
    taken: set[int] = set()
    for one in made:
        kept = {}
        for port, number in one.body.get("publish", {}).items():
            wanted = set(range(number, number + int(one.body.get("replicas", 3))))
            if wanted & taken or max(wanted) > 65535:
                what = f"{one.name}: another component has of the ports {number} to {max(wanted)}: free ones are chosen"
                notes.add(lines[one.name], what, one.name)
                one.comments.append(what)
            else:
                kept[port] = number
                taken |= wanted
        if "publish" in one.body:
            one.body["publish"] = kept
            if not kept:
                del one.body["publish"]


def _problems(written: str, folder: Path, environ: Mapping[str, str]) -> list[Problem]:
    """What `clusterkit validate` would say of the text, were it in the folder."""
    from clusterkit.check_topology import check
    from clusterkit.model.files import DEFAULT_FILES
    from clusterkit.model.interpolate import parse_env
    from clusterkit.model.load import parse, read_text

    dotenv = folder / ".env"
    variables = dict(environ)
    if dotenv.is_file():
        variables = {**parse_env(read_text(dotenv, ".env"), ".env", environ).values, **environ}
    try:
        check(parse(written, DEFAULT_FILES[0], variables), folder / DEFAULT_FILES[0])
    except TopologyError as error:
        return list(error.problems)
    return []


def _blamed(written: str, problems: list[Problem], there: list[Written]) -> tuple[Written, Problem] | None:
    """The component in which the first problem stands."""
    starts = {one.name: written.split("\n").index(f"  {one.name}:") + 1 for one in there}
    for problem in problems:
        line = getattr(problem.where, "line", 0)
        before = [one for one in there if starts[one.name] <= line]
        if before and len(there) > 1:
            return max(before, key=lambda one: starts[one.name]), problem
    return None
