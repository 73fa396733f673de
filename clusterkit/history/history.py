"""L1. The append-only, totally ordered record of Ops; pairs invokes with completions, parts by key."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

from clusterkit.errors import UsageError
from clusterkit.history.op import NEMESIS, Op, OpType, hashable

OPEN = sys.maxsize
"""The end of an interval that nobody saw end: later than every index."""


class Call(NamedTuple):
    """An invoke with its completion. It took effect, if it did, at one moment between `start` and `end`.

    Times are indices of Ops, not ns: the order of the history is total, the clock's is not.
    """

    invoke: Op
    completion: Op | None

    @property
    def f(self) -> str:
        return self.invoke.f

    @property
    def key(self) -> Any:
        return self.invoke.key

    @property
    def argument(self) -> Any:
        return self.invoke.value

    @property
    def result(self) -> Any:
        """What it returned; None unless it is ok."""
        return self.completion.value if self.completion is not None and self.is_ok else None

    @property
    def start(self) -> int:
        return self.invoke.index

    @property
    def end(self) -> int:
        """OPEN where nobody knows whether and when it took effect."""
        completion = self.completion
        return OPEN if completion is None or completion.type is OpType.INFO else completion.index

    @property
    def outcome(self) -> OpType:
        return OpType.INFO if self.completion is None else self.completion.type

    @property
    def is_ok(self) -> bool:
        return self.completion is not None and self.completion.type is OpType.OK

    @property
    def is_open(self) -> bool:
        return self.end == OPEN

    @property
    def node(self) -> str:
        """Who was asked; a client that had to look for a node first knows it only when the call returns."""
        return self.invoke.node or (self.completion.node if self.completion is not None else "")

    @property
    def indices(self) -> tuple[int, ...]:
        """Of the Ops it is made of."""
        return (self.invoke.index,) if self.completion is None else (self.invoke.index, self.completion.index)

    def __str__(self) -> str:
        key = "" if self.key is None else f" key {self.key}"
        argument = "" if self.argument is None else f" {_short(self.argument)}"
        seen = self.outcome.value if self.outcome is not OpType.OK or not _tells(self) else f"ok {_short(self.result)}"
        error = f" ({self.completion.error})" if self.completion is not None and self.completion.error else ""
        node = f" on {self.node}" if self.node else ""
        last = self.completion or self.invoke
        times = f"{self.invoke.time_ns / 1e9:.3f}..{'' if self.is_open else f'{last.time_ns / 1e9:.3f}'} s"
        span = f"{self.start}..{'' if self.is_open else self.end}"
        return f"[{span}] process {self.invoke.process}{node}:{key} {self.f}{argument} -> {seen}{error}  ({times})"


def _tells(call: Call) -> bool:
    """Whether the result says more than the argument did. A read of nothing says something."""
    return call.argument is None or (call.result is not None and call.result != call.argument)


def _short(value: Any, width: int = 60) -> str:
    text = "nothing" if value is None else str(value)
    if len(text) <= width:
        return text
    size = f"{len(value)} elements" if isinstance(value, list) else f"{len(text)} characters"
    return f"{text[: width - 20]} ... ({size})"


class History(Sequence[Op]):
    """Ops in the order in which they were recorded. Not safe for threads: the codec's Recorder holds a lock."""

    def __init__(self, ops: Iterable[Op] = ()) -> None:
        self._ops: list[Op] = []
        self._open: dict[int, Op] = {}
        self._retired: dict[int, int] = {}
        for op in ops:
            self.append(op)

    def append(self, op: Op) -> None:
        """Raises: UsageError when the order, the pairing or the life of the process id is broken."""
        if op.index != len(self._ops):
            raise UsageError(
                f"the op has index {op.index}, but {len(self._ops)} was expected",
                mend="restore the lines that are missing or out of place",
            )
        process = op.process
        if isinstance(process, int):
            self._pair(op, process)
        elif op.type is not OpType.INFO:
            raise UsageError(
                f'"{process}" is no client, but its op has type {op.type.value}',
                mend="give clients numbers as process; write all else with type info",
            )
        self._ops.append(op)

    def _pair(self, op: Op, process: int) -> None:
        begun = self._open.get(process)
        if op.type is OpType.INVOKE:
            if process in self._retired:
                raise UsageError(
                    f"process {process} invokes {op.f}, but it retired with the info at index {self._retired[process]}",
                    mend="give the client a new process number after each info: its old call may still be under way",
                )
            if begun is not None:
                raise UsageError(
                    f"process {process} invokes {op.f}, but its {begun.f} at index {begun.index} has not completed",
                    mend="complete the first one; with info, and a new process number, if its outcome is unknown",
                )
            self._open[process] = op
            return
        if begun is None:
            raise UsageError(
                f"process {process} completes {op.f} with {op.type.value}, but has no call under way",
                mend="write the invoke before the call leaves",
            )
        if (op.f, op.key) != (begun.f, begun.key):
            raise UsageError(
                f"process {process} completes {op.f} of key {op.key}, but the call under way is {begun.f} of key "
                f"{begun.key} at index {begun.index}",
                mend="give the completion the f and the key of its invoke",
            )
        del self._open[process]
        if op.type is OpType.INFO:
            self._retired[process] = op.index

    @overload
    def __getitem__(self, at: int) -> Op: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Op]: ...
    def __getitem__(self, at: int | slice) -> Op | Sequence[Op]:
        return self._ops[at]

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)

    def calls(self, *fs: str) -> list[Call]:
        """Clients' calls in the order of their invokes, those of `fs` only where any are named."""
        invoke = OpType.INVOKE
        completions: dict[int, Op] = {}
        begun: dict[int | str, int] = {}
        invokes: list[Op] = []
        for op in self._ops:
            if op.type is invoke:
                if not fs or op.f in fs:
                    begun[op.process] = op.index
                    invokes.append(op)
            elif op.process in begun:
                completions[begun.pop(op.process)] = op
        complete = completions.get
        return [Call(op, complete(op.index)) for op in invokes]

    def facts(self, process: str = NEMESIS) -> list[Op]:
        """The entries of nemesis or observer."""
        return [op for op in self._ops if op.process == process]


def by_key(calls: Iterable[Call]) -> dict[Hashable, list[Call]]:
    """Key -> its calls, in order: each key is an object of its own (Herlihy & Wing 1990: linearizability is local)."""
    parts: dict[Hashable, list[Call]] = {}
    for call in calls:
        parts.setdefault(hashable(call.invoke.key), []).append(call)
    return parts
