"""L6. Reads a container's log from the engine: every line with the time it was written, to the nanosecond.

The engine sends messages: a time, a space, and text that ends in a newline where the line was complete. A line longer
than 16 KiB comes as several messages with one time; only its last has the newline. The end of output without a newline
has none either, so parts are joined by their time, never because a newline is missing: otherwise the last words of a
killed process would be glued to the first line of the next.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Literal, NoReturn, Self

import requests.exceptions
import urllib3.exceptions

from clusterkit.errors import EngineUnreachable, EnvironmentTrouble, NodeUnreachable
from clusterkit.providers.base import LogLine

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

_HEADER = 8
"""Bytes before each message: stream, three zeros, size. Source: Docker Engine API, ContainerAttach, "Stream format"."""
_SYSTEM_ERROR = 3
_STREAMS: dict[int, Literal["stdout", "stderr"]] = {0: "stdout", 1: "stdout", 2: "stderr"}
_CONNECT_SECONDS = 60
_CHUNK_BYTES = 64 * 1024
_ZONED = re.compile(rb"(?P<seconds>[^.Z+]{19})(?:\.(?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")


def read(client: APIClient, container_id: str, since_ns: int = 0, follow: bool = False) -> LogReader:
    """The lines of one container, see `providers.base.Provider.logs`. The caller closes it, or reads to the end.

    Raises: NodeUnreachable when the container is gone, EnvironmentTrouble when the engine cannot read its log.
    """
    return LogReader(_ask(client, container_id, since_ns, follow), container_id, since_ns)


class LogReader(Iterator[LogLine]):
    """Lines as they come. `close` may be called from any thread: one that waits for a line sees the end."""

    def __init__(self, response: Response, container_id: str, since_ns: int) -> None:
        self._response = response
        self._container = container_id[:12]
        self._is_closed = False
        self._lines = parse(response.raw.stream(_CHUNK_BYTES, decode_content=False), since_ns)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LogLine:
        if self._is_closed:
            raise StopIteration
        try:
            return next(self._lines)
        except StopIteration:
            self.close()
            raise
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            if self._is_closed:  # what a reader meets when another thread closed the connection under it
                raise StopIteration from None
            self.close()
            if isinstance(error, ValueError | AttributeError):
                raise
            raise EngineUnreachable(f"the engine ended the log of {self._container} in its middle: {error}") from error

    def close(self) -> None:
        """Ends the connection; the second time does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        # Over ssh a connection has no shutdown; one that has ended needs none.
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.raw.shutdown()
        self._response.close()


def parse(chunks: Iterable[bytes], since_ns: int = 0) -> Iterator[LogLine]:
    """Bytes of the engine, cut anywhere -> lines. What another stream wrote between two parts stays where it was."""
    source = (chunk for chunk in chunks if chunk)
    first = next(source, b"")
    if not first:
        return
    # A terminal's stream has no headers. With times on, it starts with a digit, and a header never does.
    is_multiplexed = first[0] <= _SYSTEM_ERROR
    messages = _messages(chain((first,), source)) if is_multiplexed else _terminal(chain((first,), source))
    parts: dict[int, tuple[int, list[bytes]]] = {}
    for stream, message in messages:
        space = message.find(b" ")
        time_ns = _time_ns(message[:space])
        body = message[space + 1 :]
        begun = parts.pop(stream, None)
        if begun is not None and begun[0] != time_ns:
            if begun[0] >= since_ns:
                yield _line(begun[0], stream, b"".join(begun[1]))
            begun = None
        if body.endswith(b"\n"):
            if time_ns >= since_ns:
                yield _line(time_ns, stream, b"".join((*begun[1], body)) if begun else body)
        elif begun:
            begun[1].append(body)
            parts[stream] = begun
        else:
            parts[stream] = (time_ns, [body])
    for stream, (time_ns, bodies) in sorted(parts.items(), key=lambda item: item[1][0]):
        if time_ns >= since_ns:
            yield _line(time_ns, stream, b"".join(bodies))


def _line(time_ns: int, stream: int, body: bytes) -> LogLine:
    return LogLine(time_ns, _STREAMS[stream], body.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace"))


def _messages(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Stream number and message, from the multiplexed form."""
    held = b""
    for chunk in chunks:
        held = held + chunk if held else chunk
        at = 0
        while len(held) - at >= _HEADER:
            end = at + _HEADER + int.from_bytes(held[at + 4 : at + _HEADER], "big")
            if end > len(held):
                break
            if held[at] == _SYSTEM_ERROR:
                text = held[at + _HEADER : end].decode(errors="replace").strip()
                raise EnvironmentTrouble(f"the engine could not go on reading a log: {text}")
            yield held[at], held[at + _HEADER : end]
            at = end
        held = held[at:]


def _terminal(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The same from a container with a terminal: everything is stdout, lines end in newlines.

    The parts of a long line follow each other within it, each with the time of the first before it.
    """
    held = b""
    for chunk in chunks:
        *whole, held = (held + chunk).split(b"\n")
        for line in whole:
            yield 1, _without_repeats(line) + b"\n"
    if held:
        yield 1, _without_repeats(held)


def _without_repeats(line: bytes) -> bytes:
    stamp, space, body = line.partition(b" ")
    return stamp + space + body.replace(stamp + space, b"")


def _time_ns(stamp: bytes) -> int:
    """RFC 3339 with up to nine digits of a second -> ns since 1970, without going through a float."""
    if len(stamp) == 30 and stamp.endswith(b"Z"):
        return _seconds(stamp[:19], "+00:00") * 1_000_000_000 + int(stamp[20:29])
    found = _ZONED.fullmatch(stamp)
    if found is None:
        _refuse(stamp)
    zone = found["zone"].decode().replace("Z", "+00:00")
    return _seconds(found["seconds"], zone) * 1_000_000_000 + int((found["fraction"] or b"0").ljust(9, b"0"))


def _refuse(stamp: bytes) -> NoReturn:
    raise EnvironmentTrouble(f"the engine sent a log line without a time: {stamp[:40]!r}")


@lru_cache(maxsize=512)
def _seconds(text: bytes, zone: str) -> int:
    return int(datetime.fromisoformat(text.decode() + zone).timestamp())


def _ask(client: APIClient, container_id: str, since_ns: int, follow: bool) -> Response:
    """One request by hand: the SDK's `logs` passes `since` as a float, which cannot hold nanoseconds."""
    seconds, nanoseconds = divmod(since_ns, 1_000_000_000)
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow))}
    if since_ns:
        wanted["since"] = f"{seconds}.{nanoseconds:09d}"
    try:
        response = client.get(
            f"{client.base_url}/v{client.api_version}/containers/{container_id}/logs",
            params=wanted,
            stream=True,
            timeout=(_CONNECT_SECONDS, None),
        )
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise EngineUnreachable(f"the engine does not answer; could not read the log of {container_id[:12]}") from error
    if response.ok:
        return response
    with response:
        reason = response.text.strip()
    if response.status_code in (404, 409):
        raise NodeUnreachable(f"the container {container_id[:12]} is gone: {reason}")
    raise EnvironmentTrouble(
        f"the engine cannot read the log of {container_id[:12]}: {reason}",
        mend="set the engine's log driver to json-file, local or journald",
    )
