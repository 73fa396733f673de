"""L13, pure. Host names in values of a Compose file -> those of the cluster; passwords -> the ones that it makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from clusterkit.gallery.compose_file import Map, as_map, items, text
from clusterkit.gallery.compose_words import command_words

_NAMES_A_HOST = re.compile(r"HOST|ADDR|SERVER|NODE|ENDPOINT|UR[IL]|PEER|BROKER|MASTER|UPSTREAM", re.IGNORECASE)
_NAMES_A_SECRET = re.compile(r"PASS|AUTH|SECRET", re.IGNORECASE)


@dataclass
class Group:
    """Services of the Compose file that become one component; `of`: their names, in order."""

    name: str
    kind: str
    of: list[str]


@dataclass(frozen=True)
class Hosts:
    """`names`: host name of Compose's network -> the cluster's. `secrets`: a password as written -> its component.
    `component_of`: service -> component.
    """

    names: Mapping[str, str]
    secrets: Mapping[str, str]
    component_of: Mapping[str, str]

    @classmethod
    def of(cls, groups: Sequence[Group], found: Mapping[str, Map]) -> Self:
        """A component's name is an alias of all of its nodes. Only cache-1 begins as the primary of a Redis."""
        names: dict[str, str] = {}
        secrets: dict[str, str] = {}
        for group in groups:
            for index, service in enumerate(group.of, 1):
                new = f"{group.name}-{index}" if len(group.of) > 1 or group.kind == "redis" else group.name
                for old in _names(service, found[service]):
                    if old != new:
                        names.setdefault(old, new)
                for form in password(found[service]) if group.kind == "redis" else ():
                    secrets.setdefault(form, group.name)
        return cls(names, secrets, {one: group.name for group in groups for one in group.of})

    def put_in(self, key: str, value: str) -> str:
        """The value of the variable `key` ("" for a word of a command) with names and passwords of the cluster."""
        for old, new in self.names.items():
            if value == old and _NAMES_A_HOST.search(key):
                return new
        for secret, component in self.secrets.items():
            filled = f'{{{{ components["{component}"].password }}}}'
            if value == secret and _NAMES_A_SECRET.search(key):
                return filled
            value = value.replace(f":{secret}@", f":{filled}@")
        if not self.names:
            return value
        old_names = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        host = rf"(?<![\w./-])({old_names})(?=:[\d$])|(?<=//)({old_names})(?=[:/?]|$)|(?<=@)({old_names})(?=[:/?]|$)"
        return re.sub(host, lambda match: self.names[match.group()], value)


def _names(service: str, body: Map) -> list[str]:
    """What other services may call it."""
    found = [service, text(body.get("container_name")), text(body.get("hostname"))]
    networks = body.get("networks")
    for network in networks.values() if isinstance(networks, Map) else ():
        found += [text(alias) for alias in items(network.get("aliases") if isinstance(network, Map) else None)]
    return [name for name in dict.fromkeys(found) if name]


def password(body: Map) -> tuple[str, ...]:
    """The password of a Redis in Compose, as its text stands in the file and as what it is; () for none."""
    given = command_words(body)
    candidates = [given[index + 1] for index, word in enumerate(given[:-1]) if word == "--requirepass"]
    environment = as_map(body.get("environment"), 1)
    candidates += [environment[key] for key in ("REDIS_PASSWORD", "REDIS_MASTER_PASSWORD") if key in environment]
    return tuple(
        dict.fromkeys(form for word in candidates[:1] for form in (getattr(word, "written", word), str(word)) if form)
    )
