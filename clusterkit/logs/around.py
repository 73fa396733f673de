"""L8, pure. When a fault was made and healed, out of clusterkit's own steps: the seconds around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clusterkit.errors import UsageError
from clusterkit.logs.own import OwnStep

_MOST_NAMED = 5
_MARK = re.compile(r"^[a-z-]+-\d+(: | (?=healed: ))")
"""What a fault is called while it is in force, before what is said of it."""
_MEASURED = "asked "


@dataclass(frozen=True)
class Moments:
    """From the first step of one fault to its last; `text`: the words of the first. Times in ns since 1970."""

    text: str
    begin_ns: int
    end_ns: int


def around(steps: Sequence[OwnStep], words: str) -> Moments:
    """The last fault, or other step, in whose text `words` are found, in whatever case.

    Raises: UsageError where there is none; it names the last faults.
    """
    sought = words.casefold()
    faults = _faults(steps)
    for moments in reversed(faults):
        if sought in moments.text.casefold():
            return moments
    known = list(dict.fromkeys(moments.text for moments in reversed(faults)))[:_MOST_NAMED]
    raise UsageError(
        f'nothing that clusterkit did says "{words}"',
        mend="what it did last: " + "; ".join(known) if known else "see what it did: clusterkit logs clusterkit",
    )


def _faults(steps: Sequence[OwnStep]) -> list[Moments]:
    """Verbs, steps and faults by when they began, each with its end or its healing, whichever process wrote that."""
    found: list[Moments] = []
    last: dict[str, int] = {}
    for step in steps:
        text = _MARK.sub("", step.entry.text, count=1)
        words = _words(text)
        if text.startswith(_MEASURED):
            continue
        if text in (words, f"{words} ..."):
            last[words] = len(found)
            found.append(Moments(words, step.entry.time_ns, step.entry.time_ns))
        elif words in last:
            found[last[words]] = replace(found[last[words]], end_ns=step.entry.time_ns)
    return found


def _words(text: str) -> str:
    """`kill cache-1` of "kill cache-1 ...", "kill cache-1: done in 0.1 s", "healed: kill cache-1" and so on."""
    text = text.removeprefix("healed: ").removesuffix(" ...")
    for mark in (", healed: ", ": asked ", ": done in "):
        text = text.partition(mark)[0]
    return text
