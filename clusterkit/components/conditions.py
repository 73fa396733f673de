"""L3. Ready conditions that components share, and how a component's nodes are asked: all at once, each bounded.

A condition looks once. What cannot be reached is a word in its answer, never an exception; a killed or paused node
takes no longer than `Running.timeout`.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from clusterkit.client import Client, ClientError
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.components.base import Condition, Member, Running, Unready
from clusterkit.components.http_client import Answer, get
from clusterkit.errors import NodeUnreachable

T = TypeVar("T")

UNREACHABLE = (OSError, ClientError, NodeUnreachable)
"""What asking a node may raise when the node, and not clusterkit, is in trouble."""

PROBE_PREFIX = "clusterkit/health/"
"""Keys that a readiness probe writes and deletes again."""

_WORKERS = 16
_LOOK_SECONDS = 0.02


def ask_each(members: Sequence[Member], ask: Callable[[Member], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Asks all members side by side: member name -> answer, and member name -> why there is none."""
    from concurrent.futures import ThreadPoolExecutor

    if not members:
        return {}, {}
    answers: dict[str, T] = {}
    troubles: dict[str, str] = {}
    with ThreadPoolExecutor(min(_WORKERS, len(members))) as pool:
        asked = {member.name: pool.submit(ask, member) for member in members}
    for name, future in asked.items():
        try:
            answers[name] = future.result()
        except UNREACHABLE as error:
            troubles[name] = words(error)
    return answers, troubles


def words(error: BaseException) -> str:
    """An error as one short line."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def listening(port: str) -> Condition:
    """A TCP connection to the port is accepted on every node."""

    def look(running: Running) -> Unready:
        def connect(member: Member) -> None:
            socket.create_connection(running.dial(member, port), timeout=running.timeout).close()

        _, troubles = ask_each(running.up, connect)
        return {name: f"port {port}: {trouble}" for name, trouble in troubles.items()}

    return look


def answers(port: str, path: str, status: int = 200) -> Condition:
    """A GET of the path has the status on every node."""

    def look(running: Running) -> Unready:
        found, troubles = get_each(running, port, path)
        unready = {name: f"GET {path}: {trouble}" for name, trouble in troubles.items()}
        return unready | {
            name: f"GET {path}: status {answer.status}, not {status}"
            for name, answer in found.items()
            if answer.status != status
        }

    return look


def get_each(running: Running, port: str, path: str) -> tuple[dict[str, Answer], dict[str, str]]:
    """GETs a path of every node that runs: member name -> answer, and member name -> why there is none."""
    return ask_each(running.up, lambda member: get(*running.dial(member, port), path, running.timeout))


def written_and_read(running: Running) -> Unready:
    """Every node serves, to a client, what another client just wrote through another node.

    For systems whose every node takes writes. The nodes that run stand in a ring, each reads what was written through
    the one after it (a single node reads its own). One key for each writer and look, below `clusterkit/health/`; it is
    deleted afterwards.
    """
    up = running.up
    writers = {reader.name: up[(place + 1) % len(up)] for place, reader in enumerate(up)}
    token = secrets.token_hex(8)

    def key(writer: Member) -> str:
        return f"{PROBE_PREFIX}{running.group.name}/{writer.name}/{token}"

    _, troubles = ask_each(up, lambda writer: _with_client(running, writer, lambda c: c.write(key(writer), token)))
    if troubles:
        return {name: f"a write through it failed: {trouble}" for name, trouble in troubles.items()}
    found, troubles = ask_each(
        up, lambda reader: _with_client(running, reader, lambda c: c.read(key(writers[reader.name])))
    )
    ask_each(up, lambda writer: _with_client(running, writer, lambda c: c.delete(key(writer))))
    unready = {name: f"a read through it failed: {trouble}" for name, trouble in troubles.items()}
    return unready | {
        reader: f"it does not serve what was written through {writers[reader].name}"
        for reader, value in found.items()
        if value != token
    }


def replicated(running: Running) -> Unready:
    """What is written through each node is there on the next one within half of the time that a call may take.

    For systems whose nodes tell each other after a write was acknowledged. One key for each writer, below
    `clusterkit/health/`, written anew at each look.
    """
    up, token = running.up, secrets.token_hex(8)
    keys = {member.name: f"{PROBE_PREFIX}{running.group.name}/{member.name}" for member in up}

    def arrives(reader: Member) -> bool:
        key = keys[up[(up.index(reader) + 1) % len(up)].name]
        deadline = Deadline(running.timeout / 2)

        def look(client: Client) -> bool:
            while client.read(key) != token:
                if deadline.is_over:
                    return False
                SYSTEM.sleep(_LOOK_SECONDS)
            return True

        return _with_client(running, reader, look)

    _, troubles = ask_each(
        up, lambda writer: _with_client(running, writer, lambda client: client.write(keys[writer.name], token))
    )
    if troubles:
        return {name: f"a write through it failed: {trouble}" for name, trouble in troubles.items()}
    found, troubles = ask_each(up, arrives)
    unready = {name: f"a read through it failed: {trouble}" for name, trouble in troubles.items()}
    return unready | {name: "it does not get what others write" for name, is_there in found.items() if not is_there}


def _with_client(running: Running, member: Member, do: Callable[[Client], T]) -> T:
    client = running.client(member)
    try:
        return do(client)
    finally:
        client.close()


def all_of(names: Iterable[str]) -> str:
    """Words for a sentence, sorted: "a, b and c"."""
    listed = sorted(names)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
