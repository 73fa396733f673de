"""L5. How clusterkit speaks to the agent: orders as lines of JSON, over any stream that reaches its socket."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from clusterkit.clock import Deadline
from clusterkit.errors import ClusterkitError, EnvironmentTrouble, UsageError

ANSWER_SECONDS = 60.0
LOOK_SECONDS = 1.0


class Stream(Protocol):
    """Two ways of lines, each with its newline."""

    def send(self, line: bytes) -> None: ...

    def receive(self) -> bytes:
        """The next line; b"" when the other side is gone."""
        ...

    def is_open(self) -> bool:
        """Whether the other side still runs. It is asked when an answer is late."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Order:
    """A fault to be made. `args` are JSON values that the agent's `kind` knows; `words` say it to a person.

    `engine`: healing needs the engine as well. `owner` is "" for faults that somebody asked for, "links" for lasting
    ones of the topology, which `heal` of everything leaves alone.
    """

    cluster: str
    fault: str
    kind: str
    words: str
    nodes: tuple[str, ...]
    args: Mapping[str, Any] = field(default_factory=dict)
    engine: bool = False
    owner: str = ""


@dataclass(frozen=True)
class Mark:
    """A fault in force, as the agent's ledger has it. `left_s`: seconds until it ends by itself, None for ever.

    `is_overdue`: its time is over, but healing it needs the engine: `clusterkit chaos heal`. `before`: what was there.
    `trouble`: what keeps the agent from keeping it in force. `made_in_s` is how long the agent worked on it, 0 in marks
    that were asked for later.
    """

    id: str
    cluster: str
    fault: str
    kind: str
    words: str
    nodes: tuple[str, ...]
    since_ns: int
    left_s: float | None
    args: Mapping[str, Any]
    before: Mapping[str, Any]
    owner: str = ""
    engine: bool = False
    is_overdue: bool = False
    trouble: str = ""
    made_in_s: float = 0.0


class Agent:
    """A conversation with the agent; may be used by many threads. Close it when done: faults stay.

    Where the agent died, the engine starts it again, and the conversation goes on with the next one: `connect` gives a
    new stream, and waits for it. Only an order to make a fault is never sent twice.
    """

    def __init__(self, connect: Callable[[], Stream]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._line = _Line(connect())

    def inject(self, order: Order, lease_s: float | None, *, pretend: bool = False) -> Mark:
        """Makes a fault that ends by itself after `lease_s` seconds (None: never).

        `pretend` gives a mark of a fault that was never made: what is measured by it is how things are without it.
        Raises: UsageError, EnvironmentTrouble.
        """
        entry = {
            "cluster": order.cluster,
            "fault": order.fault,
            "kind": order.kind,
            "words": order.words,
            "nodes": list(order.nodes),
            "args": dict(order.args),
            "engine": order.engine,
            "owner": order.owner,
        }
        return _mark(self._ask({"do": "inject", "entry": entry, "lease_s": lease_s, "pretend": pretend}))

    def renew(self, ids: Sequence[str], lease_s: float | None) -> tuple[str, ...]:
        """Puts the end of faults off (None: until somebody heals them); gives those still in force."""
        return tuple(self._ask({"do": "renew", "ids": list(ids), "lease_s": lease_s}))

    def heal(self, identity: str) -> bool:
        """Undoes one fault, whether or not it was undone before; False: the ledger did not know it."""
        return bool(self._ask({"do": "heal", "id": identity}))

    def marks(self, cluster: str = "") -> tuple[Mark, ...]:
        """What is in force, oldest first; of all clusters of the engine when none is named."""
        found = (_mark(one) for one in self._ask({"do": "marks", "cluster": cluster}))
        return tuple(sorted(found, key=lambda mark: mark.since_ns))

    def trials(self) -> Mapping[str, str]:
        """kind -> why this machine cannot do it; "" where it can."""
        return dict(self._ask({"do": "trials"}))

    def call(self, name: str, **args: Any) -> Any:
        """Asks for a measurement, or anything else of the agent's CALLS."""
        return self._ask({"do": "call", "name": name, "args": args})

    def close(self) -> None:
        self._line.close()

    def _ask(self, order: Mapping[str, Any]) -> Any:
        line = self._open_line()
        try:
            answer = line.ask(order)
        except AgentGone:
            if order["do"] == "inject":
                raise
            answer = self._open_line().ask(order)
        if "refused" in answer:
            raise UsageError(answer["refused"], mend=answer["mend"] or None)
        if "bug" in answer:
            raise ClusterkitError("the agent failed", evidence=answer["bug"].splitlines()[-8:])
        return answer["ok"]

    def _open_line(self) -> _Line:
        with self._lock:
            if not self._line.is_open:
                self._line.close()
                self._line = _Line(self._connect())
            return self._line


class AgentGone(EnvironmentTrouble):
    """The agent died while it was asked; what it was doing stands in its ledger."""

    def __init__(self) -> None:
        super().__init__("the agent is gone", mend="try again: the engine starts it anew, and its ledger is kept")


class _Line:
    """One stream, and who waits for which answer on it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._numbers = count(1)
        self._waiting: dict[int, Future[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        self.is_open = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises: AgentGone; EnvironmentTrouble when it does not answer in time."""
        answered: Future[Mapping[str, Any]] = Future()
        with self._lock:
            if not self.is_open:
                raise AgentGone
            number = next(self._numbers)
            self._waiting[number] = answered
            try:
                self._stream.send(json.dumps({"n": number, **order}).encode() + b"\n")
            except OSError as error:
                self.is_open = False
                raise AgentGone from error
        deadline = Deadline(ANSWER_SECONDS)
        while not deadline.is_over:
            try:
                return answered.result(LOOK_SECONDS)
            except TimeoutError:
                # An engine may keep the connection open to an agent that was killed: so it is asked now and then.
                if not self._stream.is_open():
                    self.is_open = False
                    raise AgentGone from None
        raise EnvironmentTrouble(f"the agent did not answer within {ANSWER_SECONDS:g} s")

    def close(self) -> None:
        self._stream.close()
        self._reader.join()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the stream was closed, here or there
            while line := self._stream.receive():
                answer = json.loads(line)
                with self._lock:
                    waiting = self._waiting.pop(answer["n"], None)
                if waiting is not None:
                    waiting.set_result(answer)
        with self._lock:
            self.is_open = False
            left, self._waiting = self._waiting, {}
        for waiting in left.values():
            waiting.set_exception(AgentGone())


def _mark(said: Mapping[str, Any]) -> Mark:
    known = {name: said[name] for name in Mark.__dataclass_fields__ if name in said}
    return Mark(**{**known, "nodes": tuple(said["nodes"])})
