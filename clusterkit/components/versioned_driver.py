"""L3. Drivers of systems that have values with versions, and write one only where nobody wrote meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from clusterkit.client import Refused, Unmet
from clusterkit.clock import Deadline


class VersionedDriver(ABC):
    """Registers, counters and banks (all accounts of one are one value), made of what a system says below.

    Other kinds are methods of the subclass, called as their kind with a line before: (f, key, value) -> result.
    """

    def __init__(self, kind: str, timeout: float) -> None:
        self._kind, self._timeout = kind, timeout
        self._deadline = Deadline(timeout)

    @abstractmethod
    def _read(self, key: str) -> Any:
        """The value as this client is to read it, None where there is none."""

    @abstractmethod
    def _first_look(self, key: str) -> tuple[Any, Any]:
        """The value and its version before anything is written. Raises: NotSent, since nothing was."""

    @abstractmethod
    def _write(self, key: str, value: Any) -> None:
        """Whatever is there."""

    @abstractmethod
    def _if_unchanged(self, key: str, version: Any, value: Any) -> bool:
        """Whether it was written: only where the value still has this version."""

    def call(self, f: str, key: str, value: Any) -> Any:
        self._deadline = Deadline(self._timeout)
        do: Callable[[str, str, Any], Any] = getattr(self, f"_{self._kind}")
        return do(f, key, value)

    def _register(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return self._read(key)
        if f == "write":
            self._write(key, value)
            return None
        now, version = self._first_look(key)
        if now != value[0]:
            raise Unmet(f"the value is {now}, not {value[0]}")
        if not self._if_unchanged(key, version, value[1]):
            raise Unmet("another value was written meanwhile")
        return None

    def _counter(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return self._read(key) or 0
        self._change(key, lambda now: (now or 0) + value)
        return None

    def _bank(self, f: str, key: str, value: Any) -> Any:
        """All accounts are one value: there is no transaction over several, or no snapshot of them."""
        if f == "read":
            return self._read(key) or {}
        if f == "open":
            self._write(key, value)
        else:
            self._change(key, lambda now: _moved(now or {}, value))
        return None

    def _change(self, key: str, change: Callable[[Any], Any]) -> None:
        """Read, then written only where nobody wrote meanwhile; again where somebody did, while there is time."""
        while True:
            now, version = self._first_look(key)
            if self._if_unchanged(key, version, change(now)):
                return
            self._once_more()

    def _once_more(self) -> None:
        """No new try is begun in the second half of the time: the last one is to end well. Raises: Refused."""
        if self._deadline.left < self._timeout / 2:
            raise Refused("others were first, each time")


def _moved(balances: dict[str, int], transfer: dict[str, Any]) -> dict[str, int]:
    """Raises: Unmet where it has not that much."""
    source, target, amount = transfer["from"], transfer["to"], transfer["amount"]
    if balances.get(source, 0) < amount:
        raise Unmet(f"account {source} has not {amount}")
    made = {**balances, source: balances[source] - amount}
    return {**made, target: made[target] + amount}
