"""L9. Makes the faults of a schedule, each at its time, measures them, renews their leases, and heals them.

One loop keeps the time; what may take long (to make, measure or heal a fault) is done beside it. Whatever happens,
all that was made is healed at the end; where even that is impossible the leases run out within seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from random import Random
from threading import Event, Lock
from typing import Literal

from clusterkit.agent.client import Mark
from clusterkit.chaos.aim import aim, targets
from clusterkit.chaos.base import Effect, Fault, Scene, Target
from clusterkit.chaos.schedule import Planned
from clusterkit.chaos.strike import Struck, strike
from clusterkit.clock import SYSTEM, Clock
from clusterkit.errors import ClusterkitError, UsageError

LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
"""How long a fault that is declined (no leader just now) is tried again."""

_PAUSE = 0.02
_TRY_AGAIN = 0.2
_WORKERS = 16

What = Literal["inject", "effect", "heal", "healed", "declined", "trouble"]


@dataclass(frozen=True)
class Happening:
    """`time_ns` since the start of the run. `text` says it to a person; `effect` where something was measured.

    inject: made. effect: what it does. heal: undone. healed: what is felt after that. declined: it could not be made on
    what the cluster was at that moment. trouble: something else went wrong.
    """

    time_ns: int
    what: What
    fault: str
    id: str
    text: str
    nodes: tuple[str, ...] = ()
    effect: Effect | None = None


@dataclass
class Summary:
    """Faults that were made; the ids of those that did not bite, touched others, or were still felt when healed;
    how many were declined; and what could not be healed (words).
    """

    made: int = 0
    not_biting: list[str] = field(default_factory=list)
    affecting_others: list[str] = field(default_factory=list)
    still_felt: list[str] = field(default_factory=list)
    declined: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not (self.not_biting or self.affecting_others or self.still_felt or self.declined or self.troubles)


@dataclass
class _Live:
    """A fault in force, and when it ends."""

    struck: Struck
    end_s: float
    work: Future[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self.work is None or self.work.done()


def run(
    scene: Scene,
    planned: Sequence[Planned],
    time_s: float,
    tell: Callable[[Happening], None],
    stop: Event | None = None,
    *,
    clock: Clock = SYSTEM,
    pool: Executor | None = None,
) -> Summary:
    """Lasts `time_s` seconds, or until `stop` is set, and until all is healed. `tell` is called from several threads,
    once at a time.
    """
    if pool is not None:
        return _Run(scene, planned, time_s, tell, stop or Event(), clock, pool).go()
    with ThreadPoolExecutor(_WORKERS) as own:
        return _Run(scene, planned, time_s, tell, stop or Event(), clock, own).go()


class _Run:
    def __init__(
        self,
        scene: Scene,
        planned: Sequence[Planned],
        time_s: float,
        tell: Callable[[Happening], None],
        stop: Event,
        clock: Clock,
        pool: Executor,
    ) -> None:
        self._scene, self._tell, self._stop, self._clock, self._pool = scene, tell, stop, clock, pool
        self._time_s = time_s
        self._waiting = sorted(planned, key=lambda one: one.start_s)
        self._live: dict[str, _Live] = {}
        self._work: list[Future[None]] = []
        self._summary = Summary()
        self._lock = Lock()
        self._telling = Lock()
        self._begun_ns = clock.monotonic_ns()

    def go(self) -> Summary:
        renewed = kept = 0.0
        renewing: Future[None] | None = None
        try:
            while self._now < self._time_s and not self._stop.is_set():
                now = self._now
                while self._waiting and self._waiting[0].start_s <= now:
                    self._begin(self._make, self._waiting.pop(0))
                for live in self._idle(now):
                    live.work = self._begin(self._end, live)
                if now - renewed >= RENEW_SECONDS and (renewing is None or renewing.done()):
                    renewed, renewing = now, self._begin(self._renew)
                if now - kept >= RENEW_SECONDS:
                    kept = now
                    self._keep_all()
                self._clock.sleep(_PAUSE)
        finally:
            self._finish()
        return self._summary

    @property
    def _now(self) -> float:
        return (self._clock.monotonic_ns() - self._begun_ns) / 1e9

    def _begin(self, do: Callable[..., None], *args: object) -> Future[None]:
        """Beside the loop. Whatever goes wrong there is told, and does not end the run."""

        def work() -> None:
            try:
                do(*args)
            except Exception as error:  # noqa: BLE001 - a bug in one fault must not keep the others from being healed
                self._trouble("", f"clusterkit has a bug: {type(error).__name__}: {error}")

        self._work = [one for one in self._work if not one.done()]
        self._work.append(self._pool.submit(work))
        return self._work[-1]

    def _idle(self, now: float) -> list[_Live]:
        """Those whose time is over, and with whom nobody is busy."""
        with self._lock:
            return [live for live in self._live.values() if live.end_s <= now and live.is_idle]

    # -- beside the loop ---------------------------------------------------------------------------------------------

    def _make(self, planned: Planned) -> None:
        """All nodes at once; or one after another, each with the chance of its own."""
        chance = Random(planned.seed)
        lasts = None if planned.end_s is None else planned.end_s - planned.start_s
        if not planned.stagger_s:
            self._make_one(planned.fault, chance, lasts)
            return
        try:
            each = self._single(planned.fault, replace(self._scene.look(), random=chance))
        except ClusterkitError as error:
            self._decline(planned.fault, error)
            return
        start = self._now
        for number, fault in enumerate(each):
            while self._now < start + number * planned.stagger_s:
                if self._stop.is_set() or self._now >= self._time_s:
                    return
                self._clock.sleep(_PAUSE)
            self._make_one(fault, chance, lasts)

    def _single(self, fault: Fault, scene: Scene) -> list[Fault]:
        """The same fault for each node that its first target means now."""
        name, _ = next(targets(fault))
        return [replace(fault, **{name: Target((node.name,))}) for node in aim(fault, scene)[name]]

    def _make_one(self, fault: Fault, chance: Random, lasts: float | None) -> None:
        struck = self._struck(fault, chance)
        if struck is None:
            return
        mark, effect = struck.mark, struck.effect
        with self._lock:
            self._summary.made += 1
            if not effect.bites:
                self._summary.not_biting.append(mark.id)
            if not effect.beside_is_well:
                self._summary.affecting_others.append(mark.id)
        self._say("effect", mark, f"{mark.words}: {effect}", effect)
        with self._lock:
            if lasts is None:
                self._live.pop(mark.id, None)
            elif mark.id in self._live:
                live = self._live[mark.id]
                self._live[mark.id] = _Live(struck, live.end_s + lasts)

    def _struck(self, fault: Fault, chance: Random) -> Struck | None:
        """None, and told, where it could not be made, or not be measured (it is healed then)."""
        patience = self._now + PATIENCE_SECONDS
        marks: list[Mark] = []

        def made(fault: Fault, mark: Mark) -> None:
            marks.append(mark)
            self._made(fault, mark)

        while True:
            try:
                return strike(fault, replace(self._scene.look(), random=chance), LEASE_SECONDS, made=made)
            except ClusterkitError as error:
                with self._lock:
                    for mark in marks:
                        self._live.pop(mark.id, None)
                if not isinstance(error, UsageError) or marks:
                    self._trouble(fault.name, f"{fault.name} failed: {error.what}")
                    return None
                if self._now >= patience or self._stop.is_set():
                    self._decline(fault, error)
                    return None
            self._clock.sleep(_TRY_AGAIN)

    def _made(self, fault: Fault, mark: Mark) -> None:
        """Its lease is renewed from here on, while it is still measured; its end is counted from here, too."""
        with self._lock:
            nothing = Effect(asked="", seen="", bites=False)
            busy: Future[None] = Future()  # never done: nobody ends it before it was measured
            self._live[mark.id] = _Live(Struck(fault, mark, nothing), self._now, busy)
        self._say("inject", mark, mark.words)

    def _end(self, live: _Live) -> None:
        mark, fault = live.struck.mark, live.struck.fault
        try:
            fault.heal(self._scene.look(), mark)
        except ClusterkitError as error:
            self._trouble(mark.fault, f"{mark.words} could not be healed: {error.what}", mark)
            return
        finally:
            with self._lock:
                self._live.pop(mark.id, None)
        self._say("heal", mark, f"healed: {mark.words}")
        try:
            after = fault.measure(self._scene.look(), mark)
        except ClusterkitError as error:
            self._trouble(mark.fault, f"{mark.words} could not be measured after it was healed: {error.what}", mark)
            return
        if after.bites:
            with self._lock:
                self._summary.still_felt.append(mark.id)
        self._say("healed", mark, f"{mark.words}, healed: seen {after.seen}", after)

    def _renew(self) -> None:
        with self._lock:
            ids = list(self._live)
        if not ids:
            return
        try:
            self._scene.agent.renew(ids, LEASE_SECONDS)
        except ClusterkitError as error:
            self._trouble("", f"leases could not be renewed: {error.what}")

    def _keep_all(self) -> None:
        with self._lock:
            kept = [live for live in self._live.values() if live.struck.fault.keeps and live.is_idle]
        for live in kept:
            live.work = self._begin(self._keep, live)

    def _keep(self, live: _Live) -> None:
        try:
            live.struck.fault.keep(self._scene.look(), live.struck.mark)
        except ClusterkitError as error:
            self._trouble(live.struck.mark.fault, error.what, live.struck.mark)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Waits for what is under way, then heals all that is in force, side by side."""
        self._waiting = []
        self._stop.set()
        self._wait_for_work()
        with self._lock:
            left = list(self._live.values())
        for live in left:
            self._begin(self._end, live)
        self._wait_for_work()

    def _wait_for_work(self) -> None:
        work, self._work = self._work, []
        for one in work:
            while not one.done():
                self._renew()
                wait([one], timeout=RENEW_SECONDS)

    # -- words -------------------------------------------------------------------------------------------------------

    def _decline(self, fault: Fault, error: ClusterkitError) -> None:
        with self._lock:
            self._summary.declined += 1
        self._tell_it(Happening(self._ns, "declined", fault.name, "", f"{fault.name} was declined: {error.what}"))

    def _trouble(self, fault: str, text: str, mark: Mark | None = None) -> None:
        with self._lock:
            self._summary.troubles.append(text)
        self._tell_it(Happening(self._ns, "trouble", fault, mark.id if mark else "", text))

    def _say(self, what: What, mark: Mark, text: str, effect: Effect | None = None) -> None:
        self._tell_it(Happening(self._ns, what, mark.fault, mark.id, text, mark.nodes, effect))

    def _tell_it(self, happening: Happening) -> None:
        with self._telling:
            self._tell(happening)

    @property
    def _ns(self) -> int:
        return self._clock.monotonic_ns() - self._begun_ns
