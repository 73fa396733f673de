"""L5. What a kind of fault is to the agent: how it is made, kept in force, and undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .entry import Entry


class Refused(Exception):
    """What was asked cannot be done here: `what`, and how to `mend` it."""

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend


class Box(Protocol):
    """What the agent gives to its kinds."""

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        """Those in force, the one being made among them and the one being undone not; oldest first."""
        ...


class Kind:
    """One kind of fault; there is one object of it as long as the agent runs, and one call at a time.

    No call may block: a node's disk may be frozen, its processes may be gone. A node that does not run any more has
    nothing left to undo, but for what is kept outside of it.
    """

    name = ""

    def __init__(self, box: Box) -> None:
        self.box = box

    def trial(self) -> str:
        """Tries it in small: "" where this machine can do it, else why not. Called once."""
        return ""

    def look(self, _entry: Entry) -> dict[str, Any]:
        """What `undo` will need (limits as they are now, bytes to be overwritten): kept as `entry.before`.

        Raises: Refused, when it cannot be made on these nodes. Nothing has been touched yet.
        """
        return {}

    def make(self, _entry: Entry) -> None:
        """Makes it. Whatever it raises, `undo` is called."""
        raise NotImplementedError

    def keep(self, _entry: Entry) -> None:
        """Called four times a second while it is in force: renews what expires, makes it again after a restart."""

    def undo(self, _entry: Entry) -> None:
        """Puts back what was before; may be called for what was never made, half made, or undone already."""
        raise NotImplementedError

    def sweep(self) -> None:
        """Called when the agent starts, after what is over was undone: removes what no entry in force accounts for."""


Call = Callable[[Mapping[str, Any]], Any]
"""A question or an order that leaves no fault: a measurement, say. JSON values in and out; may take seconds."""
