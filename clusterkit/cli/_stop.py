"""L15. Ctrl-C ends what runs in good order, and a second one at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event


@contextmanager
def asked_to_stop() -> Iterator[tuple[Event, list[int]]]:
    """Ctrl-C ends the run in good order; a second one does not wait for that. Gives the signals that came, too."""
    stop = Event()
    signals: list[int] = []

    def ask(number: int, _frame: object) -> None:
        signals.append(number)
        if len(signals) > 1:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
