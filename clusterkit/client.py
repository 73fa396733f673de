"""L2. How clients of components look to the rest: the smallest thing a health probe or a workload needs."""

from __future__ import annotations

from typing import Protocol


class Client(Protocol):
    """One connection to one node. Every call is bounded by the timeout it was made with.

    Raises: OSError (refused, reset, timed out) or ClientError (the system answered with an error).
    """

    def write(self, key: str, value: str) -> None:
        """Returns only after the system acknowledged the write."""
        ...

    def read(self, key: str) -> str | None:
        """What this node serves for the key, None where it has nothing."""
        ...

    def delete(self, key: str) -> None: ...

    def close(self) -> None: ...


class ClientError(Exception):
    """The system answered, and the answer was an error: its own words."""
