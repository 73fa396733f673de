"""L1, pure. Where in a user's file a value stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Where:
    """A place in a file; line and column count from 1. Prints as editors and terminals like to open it."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
