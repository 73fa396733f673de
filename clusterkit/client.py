"""L2. How clients of components look to the rest: the smallest thing a health probe or a workload needs."""

from __future__ import annotations

from typing import Any, Protocol


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


class NotSent(ConnectionError):
    """The request never left, so that nobody can have carried it out: no connection, or no log-in."""


class Refused(ClientError):
    """The system answered that it did not do what was asked, and surely never will: its own words."""


class Unmet(Refused):
    """A condition of the call did not hold: another value than expected, no cover. The system is well."""


class Driver(Protocol):
    """The calls of one kind of workload, on one system, for one client of it; for one thread at a time.

    Made with (Running, Member, Purpose); its class is named in Component.drivers. `call` gives the result of the call,
    in the form that docs/history-format.md has for the kind. A call ends within the Running's `timeout`.
    Raises: NotSent, Refused, Unmet (it surely did not happen); any other OSError or ClientError (nobody knows).
    """

    def call(self, f: str, key: str, value: Any) -> Any: ...

    def close(self) -> None: ...
