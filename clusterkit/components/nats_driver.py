"""L3. NATS under a workload: every kind of object made of JetStream messages."""

from __future__ import annotations

import json
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.nats_client import (
    EACH,
    LATEST,
    NO_MESSAGES,
    ONCE,
    WRONG_SEQUENCE,
    ApiError,
    connect,
    copies,
    not_sent,
    subject,
    with_stream,
)
from clusterkit.components.versioned_driver import VersionedDriver

_STREAM = {"register": LATEST, "counter": LATEST, "bank": LATEST, "set": EACH, "ids": EACH, "queue": ONCE}
_CONSUMER_EXISTS = 10148
_ACK_WAIT_NS = 2_000_000_000
"""How long a consumer has to acknowledge a message, before another one gets it."""

_WINDOW = 500
"""Messages that are asked for at once."""


class NatsDriver(VersionedDriver):
    """One client of one server, which passes requests on to the stream's leader.

    A publish that got no answer may have been stored: nobody knows. One that nobody was there to take, or whose
    expected sequence was wrong, was not. Source: NATS' JetStream API, "no responders" and error 10071.
    """

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        super().__init__(purpose.kind, running.timeout)
        self._connection = connect(running, member)
        self._stream = _STREAM[purpose.kind]
        options = purpose.options
        self._is_local = purpose.is_local
        self._direct = purpose.is_local or (options is not None and options.reads == "direct")
        self._consumers: set[str] = set()
        try:
            with_stream(self._connection, self._stream, copies(running.group), self._deadline)
        except (OSError, ClientError):
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _set(self, f: str, key: str, value: Any) -> Any:
        """Each element is a subject of its own."""
        if f == "read":
            return self._local_elements(key) if self._is_local else self._elements(key)
        if f == "add":
            self._connection.publish(f"{subject(EACH, key)}.{value}", b"", deadline=self._deadline)
        else:
            self._connection.delete_last(EACH, f"{subject(EACH, key)}.{value}", self._deadline)
        return None

    def _queue(self, f: str, key: str, value: Any) -> Any:
        """A work queue: a message is given to one consumer, and to another when that one does not acknowledge it."""
        if f == "enqueue":
            self._connection.publish(subject(ONCE, key), str(value).encode(), deadline=self._deadline)
            return None
        name = self._consumer(key)
        content = json.dumps({"batch": 1, "no_wait": True}).encode()
        message = self._connection.request(f"$JS.API.CONSUMER.MSG.NEXT.{ONCE}.{name}", content, deadline=self._deadline)
        if message.status == NO_MESSAGES:
            return None
        if message.status:
            raise Refused(f"no message was given: status {message.status}")
        self._connection.request(message.reply, b"+ACK", deadline=self._deadline)
        return int(message.data)

    def _ids(self, _f: str, key: str, _value: Any) -> Any:
        """The sequence number of a message: a stream gives each to one."""
        return self._connection.publish(subject(EACH, key), b"", deadline=self._deadline)

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, key: str) -> Any:
        found = self._connection.last(LATEST, subject(LATEST, key), self._deadline, direct=self._direct)
        return json.loads(found[0]) if found else None

    def _elements(self, key: str) -> list[int]:
        """As the stream's leader counts its subjects: an element that was stored twice comes twice."""
        state = self._connection.api(
            f"STREAM.INFO.{EACH}", {"subjects_filter": f"{subject(EACH, key)}.*"}, self._deadline
        )["state"]
        prefix = len(subject(EACH, key)) + 1
        return [int(name[prefix:]) for name, count in (state.get("subjects") or {}).items() for _ in range(count)]

    def _local_elements(self, key: str) -> list[int]:
        """Message by message, from the copy of the server that we are connected to, if it has one."""
        state = self._connection.api(f"STREAM.INFO.{EACH}", deadline=self._deadline)["state"]
        prefix = f"{subject(EACH, key)}."
        numbers = range(int(state["first_seq"]), int(state["last_seq"]) + 1)
        found: list[int] = []
        for start in range(0, len(numbers), _WINDOW):
            window = numbers[start : start + _WINDOW]
            asked = [(f"$JS.API.DIRECT.GET.{EACH}", json.dumps({"seq": number}).encode()) for number in window]
            for answer in self._connection.requests(asked, deadline=self._deadline):
                if answer.status and answer.status != NO_MESSAGES:
                    raise ClientError(f"status {answer.status}")
                name = answer.headers.get("nats-subject", "")
                if name.startswith(prefix):
                    found.append(int(name[len(prefix) :]))
        return found

    # -- writing -----------------------------------------------------------------------------------------------------

    def _first_look(self, key: str) -> tuple[Any, int]:
        """What is there before anything is written. Raises: NotSent, since nothing was."""
        try:
            found = self._connection.last(LATEST, subject(LATEST, key), self._deadline)
        except (OSError, ClientError) as error:
            raise not_sent(error) from error
        return (json.loads(found[0]), found[1]) if found else (None, 0)

    def _write(self, key: str, value: Any) -> None:
        self._connection.publish(subject(LATEST, key), json.dumps(value).encode(), deadline=self._deadline)

    def _if_unchanged(self, key: str, version: int, value: Any) -> bool:
        """`version` is the number of the key's last message, 0 where there is none."""
        try:
            self._connection.publish(subject(LATEST, key), json.dumps(value).encode(), version, self._deadline)
        except ApiError as error:
            if error.number == WRONG_SEQUENCE:
                return False
            raise
        return True

    def _consumer(self, key: str) -> str:
        """The consumer that all clients of a queue share. Raises: NotSent where it cannot be made."""
        name = key.replace("/", "-")
        if name not in self._consumers:
            configuration = {
                "durable_name": name,
                "ack_policy": "explicit",
                "ack_wait": _ACK_WAIT_NS,
                "filter_subject": subject(ONCE, key),
                "max_ack_pending": -1,
            }
            content = {"stream_name": ONCE, "config": configuration}
            try:
                self._connection.api(f"CONSUMER.DURABLE.CREATE.{ONCE}.{name}", content, self._deadline)
            except ApiError as error:
                if error.number != _CONSUMER_EXISTS:
                    raise NotSent(f"no consumer: {error}") from error
            except (OSError, ClientError) as error:
                raise NotSent(f"no consumer: {error}") from error
            self._consumers.add(name)
        return name
