"""L9, pure. The fewest faults that still break a system.

Source: Zeller & Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002: ddmin. A system
is not deterministic, so a schedule counts as harmless only after several tries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")


def shrink(
    whole: Sequence[T], breaks: Callable[[Sequence[T]], bool], *, tries: int, stop: Callable[[], bool] = lambda: False
) -> tuple[T, ...]:
    """A part of `whole`, in its order, that breaks, and of which nothing can be left out as far as `tries` show.

    `breaks` tries a part once. `whole` is known to break, and not tried. `stop` ends it early: then it is the smallest
    one known so far.
    """
    known: dict[tuple[int, ...], bool] = {}

    def is_breaking(places: tuple[int, ...]) -> bool:
        if places not in known:
            known[places] = any(not stop() and breaks([whole[place] for place in places]) for _ in range(tries))
        return known[places]

    smallest, parts = tuple(range(len(whole))), 2
    if smallest and is_breaking(()):
        return ()
    while len(smallest) > 1 and not stop():
        pieces = _cut(smallest, parts)
        rests = [tuple(place for place in smallest if place not in piece) for piece in pieces]
        piece = next((piece for piece in pieces if is_breaking(piece)), None)
        is_halved = parts == 2  # each of two pieces is the other's rest
        rest = None if piece is not None or is_halved else next((one for one in rests if is_breaking(one)), None)
        if piece is not None:
            smallest, parts = piece, 2
        elif rest is not None:
            smallest, parts = rest, max(parts - 1, 2)
        elif parts < len(smallest):
            parts = min(len(smallest), 2 * parts)
        else:
            break
    return tuple(whole[place] for place in smallest)


def _cut(places: tuple[int, ...], parts: int) -> list[tuple[int, ...]]:
    """Into so many pieces of about one length."""
    edges = [len(places) * part // parts for part in range(parts + 1)]
    return [places[begin:end] for begin, end in pairwise(edges) if begin < end]
