"""L11. What a checker is, what a verdict is, and how several verdicts become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from clusterkit.history.history import Call, History


class Validity(StrEnum):
    """UNKNOWN is an honest answer: the time was over, or the history holds nothing to judge."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


_RANK = {Validity.VALID: 0, Validity.UNKNOWN: 1, Validity.INVALID: 2}


@dataclass(frozen=True)
class Verdict:
    """What a checker found.

    `text`: one sentence. `evidence`: lines that show it, the smallest that were found. `indices`: of the Ops that show
    it, ascending. `numbers`: counts and seconds by name. `parts`: the verdicts that this one was made from.
    """

    checker: str
    validity: Validity
    text: str
    evidence: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Verdict, ...] = ()


class Checker(Protocol):
    """Judges a history. Its docstring says what anomaly it can and cannot see."""

    @property
    def name(self) -> str: ...

    def check(self, history: History) -> Verdict: ...


def judge(checker: Checker, history: History) -> Verdict:
    """The checker's verdict; UNKNOWN where it breaks: a checker's bug must never look like a sound system."""
    try:
        return checker.check(history)
    except Exception as error:  # noqa: BLE001  whatever breaks, the other checkers still speak
        return Verdict(checker.name, Validity.UNKNOWN, f"the checker broke: {type(error).__name__}: {error}")


def combine(name: str, verdicts: Iterable[Verdict]) -> Verdict:
    """Invalid outranks unknown, unknown outranks valid; the evidence is that of the worst. No verdict: unknown."""
    parts = tuple(verdicts)
    if not parts:
        return Verdict(name, Validity.UNKNOWN, "nothing was checked")
    worst = max((part.validity for part in parts), key=_RANK.__getitem__)
    said = [part for part in parts if part.validity is worst]
    return Verdict(
        name,
        worst,
        "; ".join(part.text for part in said),
        tuple(line for part in said for line in part.evidence),
        tuple(sorted({index for part in said for index in part.indices})),
        parts=parts,
    )


def indices_of(calls: Iterable[Call]) -> tuple[int, ...]:
    """Of all Ops of the calls, ascending."""
    return tuple(sorted({index for call in calls for index in call.indices}))


def lines_of(calls: Iterable[Call]) -> tuple[str, ...]:
    """One line for each call, in the order of their invokes."""
    by_place = {call.start: call for call in calls}
    return tuple(str(by_place[start]) for start in sorted(by_place))


def some(values: Iterable[Any], most: int = 5) -> str:
    """The first few, and how many more: "3, 5, 9 and 12 more"."""
    listed = list(values)
    shown = ", ".join(str(value) for value in listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"
