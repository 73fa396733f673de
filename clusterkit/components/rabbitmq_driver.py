"""L3. RabbitMQ under a workload: a queue of each of its kinds."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from typing import Any

from clusterkit.client import ClientError, NotSent
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.rabbitmq_client import PREFIX, QUORUM, connect, manage

_EXPIRES_MS = 3_600_000
"""A queue of a workload that nobody has used for so long is gone."""

_ARGUMENTS: Mapping[str, Mapping[str, str | int]] = {"quorum": QUORUM, "mirrored": {}, "classic": {}}
_POLICY = "clusterkit-mirrored"


class RabbitmqDriver:
    """One client of one server, for queues.

    A publish that was returned (mandatory: no queue took it) was not stored. One that got no confirm, or a nack, may
    have been: nobody knows. A message that was given to us and not acknowledged goes back to its queue when the
    connection ends, so that a dequeue that fails before its acknowledgement took nothing; after it, nobody knows.
    Source: RabbitMQ, "Consumer Acknowledgements and Publisher Confirms".
    """

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        self._kind = purpose.options.queues if purpose.options is not None else "quorum"
        self._known: set[str] = set()
        if self._kind == "mirrored":
            mirror(running, member)
        self._connection = connect(running, member)

    def call(self, f: str, key: str, value: Any) -> Any:
        queue = self._queue(key)
        if f == "enqueue":
            self._connection.publish(queue, str(value).encode())
            return None
        try:
            message = self._connection.get(queue)
        except (OSError, ClientError) as error:
            raise NotSent(f"no message was taken: {error}") from error
        if message is None:
            return None
        self._connection.acknowledge(message)
        # An acknowledgement has no answer; this call, on the same channel, has one after it.
        self._connection.declare(queue, {}, is_known=True)
        return int(message.body)

    def close(self) -> None:
        self._connection.close()

    def _queue(self, key: str) -> str:
        """The queue of a key. Raises: NotSent where it cannot be made, or cannot be reached."""
        name = f"{prefix(self._kind)}{key}"
        if name not in self._known:
            try:
                self._connection.declare(name, {**_ARGUMENTS[self._kind], "x-expires": _EXPIRES_MS})
            except (OSError, ClientError) as error:
                raise NotSent(f"no queue: {error}") from error
            self._known.add(name)
        return name


def prefix(kind: str) -> str:
    """What the names of a workload's queues begin with: a policy knows queues by their names."""
    return f"{PREFIX}{kind}."


def mirror(running: Running, member: Member) -> None:
    """The policy under which every server has a copy of the mirrored queues. Raises: OSError, ClientError."""
    policy = {
        "pattern": f"^{prefix('mirrored')}".replace(".", "[.]"),
        "definition": {"ha-mode": "all", "ha-sync-mode": "automatic"},
        "apply-to": "queues",
    }
    manage(running, member, "PUT", f"/api/policies/{urllib.parse.quote('/', safe='')}/{_POLICY}", policy)
