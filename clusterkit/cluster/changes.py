"""L9, pure. What differs between a cluster that is there and the one that is wanted, and what it takes to mend it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from clusterkit.node import State
from clusterkit.providers.base import ClusterRecord, NodeRecord, Rendered
from clusterkit.units import Size

Action = Literal["create", "join", "recreate", "restart", "change", "start", "unpause", "remove"]
"""join: create it, and tell those that run of it. recreate: remove the container, not its data, and make it anew.
restart: the same container with other files. change: while it runs."""

ROLLED: tuple[Action, ...] = ("recreate", "restart")
"""What is done to one node after another, each healthy before the next."""

_READABLE = ("image", "cpus", "zone", "user", "address", "host ports", "stop signal", "data")
_WHILE_IT_RUNS = ("cpus", "notes")
_MOST_REASONS = 3


@dataclass(frozen=True)
class Change:
    """What `up` does to one node, and why."""

    node: str
    action: Action
    why: str = ""


def differences(
    record: ClusterRecord | None,
    rendered: Mapping[str, Rendered],
    disks: Mapping[str, str] = MappingProxyType({}),
    joining: Collection[str] = (),
    *,
    orphans: bool = True,
) -> tuple[Change, ...]:
    """What has to happen to each node, in the order of the plan; nodes no topology asks for come last.

    `disks`: node -> the device that its data lies on. After the machine was started anew it may be another one.
    `joining`: nodes that come to a component whose others have run already.
    """
    found = {node.name: node for node in record.nodes} if record else {}
    changes: list[Change] = []
    for name, node in rendered.items():
        now = found.get(name)
        if now is None or now.state is State.CREATED:
            # An `up` that was killed may not have put the files in. It has never run, so there is nothing to lose.
            why = "it was half made" if now else f"{node.plan.component} grows" if name in joining else ""
            changes.append(Change(name, "join" if name in joining else "create", why))
            continue
        is_up = now.state in (State.RUNNING, State.PAUSED)
        action, why = effect(now.parts, node.parts)
        if action != "recreate" and record and name in disks and record.devices.get(name) != disks[name]:
            action, why = "recreate", "its disk is another device now"
        if action == "recreate":
            # What does not run is made anew at once: no other node waits for it to be replaced in its turn.
            changes.append(Change(name, "recreate" if is_up else "create", why))
        elif not is_up:
            changes.append(Change(name, "start", why_down(now) + (f"; {why}" if why else "")))
        elif action is not None:
            changes.append(Change(name, action, why))
        elif now.state is State.PAUSED:
            changes.append(Change(name, "unpause", "it was paused"))
    if orphans:
        components = {node.plan.component for node in rendered.values()}
        for name, node_there in found.items():
            if name not in rendered:
                shrinks = node_there.component in components
                why = f"{node_there.component} shrinks" if shrinks else "the topology no longer has it"
                changes.append(Change(name, "remove", why))
    return tuple(changes)


def effect(now: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[Action | None, str]:
    """What it takes to come from one set of parts to the other, and which of them differ; None where none does."""
    if now.get("of") != wanted.get("of"):
        return "recreate", "another version of clusterkit made it"
    differing = sorted(part for part in {*now, *wanted} if now.get(part) != wanted.get(part))
    if not differing:
        return None, ""
    told = [_told(part, now.get(part, ""), wanted.get(part, "")) for part in differing if part != "notes"]
    more = [f"and {len(told) - _MOST_REASONS} more"] if len(told) > _MOST_REASONS else []
    why = ", ".join([*told[:_MOST_REASONS], *more]) or "told to it as it runs"
    return max((_effect(part, now, wanted) for part in differing), key=("change", "restart", "recreate").index), why


def _effect(part: str, now: Mapping[str, str], wanted: Mapping[str, str]) -> Action:
    if part in _WHILE_IT_RUNS:
        return "change"
    if part == "memory":
        # The kernel ends at once what has more than a lower limit, and an engine takes none away.
        before, after = int(now.get(part, "0")), int(wanted.get(part, "0"))
        return "change" if 0 < before < after else "recreate"
    return "restart" if part.startswith("file ") and part in wanted else "recreate"


def _told(part: str, now: str, wanted: str) -> str:
    if part == "memory":
        now, wanted = (str(Size(int(value))) if value else "" for value in (now, wanted))
    elif part not in _READABLE:
        return part.removeprefix("file ")
    return f"{part} {now or 'none'} -> {wanted or 'none'}"


def why_down(node: NodeRecord) -> str:
    """What is known of a node that does not run."""
    return f"it had ended with code {node.exit_code}" if node.exit_code is not None else "it does not run"
