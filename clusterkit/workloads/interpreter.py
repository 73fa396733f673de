"""L12. Clients at work: each call is written down before it leaves, and again when it has come back.

The rules of docs/history-format.md are kept here, and nowhere else: what is `ok`, what surely was not done (`fail`),
and what nobody knows (`info`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, NamedTuple

from clusterkit.client import ClientError, Driver, NotSent, Refused, Unmet
from clusterkit.clock import SYSTEM, Clock
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.errors import NodeUnreachable
from clusterkit.history.codec import Recorder
from clusterkit.history.op import PEEK, OpType
from clusterkit.workloads.base import Invocation, Workload, WorkloadSpec

_TROUBLE = (OSError, ClientError, NodeUnreachable)
_BETWEEN_TRIES_S = 0.25


@dataclass
class Tally:
    """What came of the calls so far. `bugs`: what a driver raised that no driver may."""

    ok: int = 0
    fail: int = 0
    info: int = 0
    bugs: list[str] = field(default_factory=list)
    last_ok_ns: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, outcome: OpType, time_ns: int) -> None:
        with self._lock:
            if outcome is OpType.OK:
                self.ok += 1
                self.last_ok_ns = time_ns
            elif outcome is OpType.FAIL:
                self.fail += 1
            else:
                self.info += 1

    def bug(self, text: str) -> None:
        with self._lock:
            if text not in self.bugs:
                self.bugs.append(text)


class Processes:
    """Process numbers, each given once."""

    def __init__(self) -> None:
        self._numbers = count()
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            return next(self._numbers)


@dataclass(frozen=True)
class Bench:
    """What all clients of a run share.

    `running`: the component, with all its members, whether they run now or not. `prefix` stands before every key, so
    that each run finds nothing from the one before; keys are letters, digits and "-". `now_ns`: since the start
    of the run.
    """

    workload: Workload
    running: Running
    recorder: Recorder
    now_ns: Callable[[], int]
    prefix: str
    folder: str = ""
    tally: Tally = field(default_factory=Tally)
    processes: Processes = field(default_factory=Processes)

    @property
    def spec(self) -> WorkloadSpec:
        return self.workload.spec

    def holder(self) -> Running:
        """The component whose members have the data: of a sentinel, the redis that it watches.

        Raises: OSError, ClientError, NodeUnreachable where nobody leads there.
        """
        return self.running.component.discover(self.running, 0)[0]


class Session:
    """One client: a connection that is made when it is needed, and the process number that it writes under.

    `pinned`: it stays with the member that it found first. `found`: it is given one, and never looks.
    """

    def __init__(
        self,
        bench: Bench,
        number: int,
        *,
        pinned: bool = False,
        found: tuple[Running, Member] | None = None,
        is_local: bool = False,
    ) -> None:
        self._bench, self._number, self._pinned, self._is_local = bench, number, pinned, is_local
        self._found = found
        self._keeps = pinned or found is not None
        self._turn = number
        self._driver: Driver | None = None
        self._process = bench.processes.next()

    def call(self, call: Invocation) -> tuple[OpType, Any]:
        """Makes one call and writes both ends of it down. Never raises for what a system may do."""
        bench = self._bench
        bench.recorder.record(
            self._process,
            OpType.INVOKE,
            call.f,
            time_ns=bench.now_ns(),
            key=call.key,
            value=call.value,
            node=self._node,
        )
        outcome, result, error = self._outcome(call)
        ended_ns = bench.now_ns()
        value = result if outcome is OpType.OK else call.value
        bench.recorder.record(
            self._process, outcome, call.f, time_ns=ended_ns, key=call.key, value=value, node=self._node, error=error
        )
        if call.f != PEEK:
            bench.tally.count(outcome, ended_ns)
        if error:
            self._hang_up()
        if outcome is OpType.INFO:
            self._process = bench.processes.next()
        return outcome, result

    def ask(self, call: Invocation) -> Any:
        """Makes a call that is no part of the history. Raises: OSError, ClientError, NodeUnreachable."""
        try:
            return self._driver_now().call(call.f, self._key(call), call.value)
        except BaseException:
            self._hang_up()
            raise

    def close(self) -> None:
        if self._driver is not None:
            with suppress(*_TROUBLE):
                self._driver.close()
            self._driver = None

    def _outcome(self, call: Invocation) -> tuple[OpType, Any, str]:
        """What became of it, what it gave, and why it did not (empty where it did, or where a condition did not hold).

        When in doubt it is INFO: a wrong ok or fail makes a sound system look broken, or hides a broken one.
        """
        try:
            driver = self._driver_now()
        except _TROUBLE as error:
            return OpType.FAIL, None, _words(error)
        f = "read" if call.f == PEEK else call.f
        try:
            result = driver.call(f, self._key(call), call.value)
        except Unmet:
            return OpType.FAIL, None, ""
        except (NotSent, Refused, ConnectionRefusedError) as error:
            return OpType.FAIL, None, _words(error)
        except _TROUBLE as error:
            is_harmless = f in self._bench.workload.reads
            return OpType.FAIL if is_harmless else OpType.INFO, None, _words(error)
        except Exception as error:  # noqa: BLE001 - a driver's bug ends no run; it is told, and nothing is concluded
            self._bench.tally.bug(f"the driver of {self._bench.spec.component} broke: {_words(error)}")
            return OpType.INFO, None, _words(error)
        return OpType.OK, self._bench.workload.seen(call._replace(f=f), result), ""

    def _driver_now(self) -> Driver:
        """The connection there is, or a new one to whom the system names."""
        if self._driver is None:
            if self._found is None:
                self._turn += 1
                self._found = self._bench.running.component.discover(self._bench.running, self._turn - 1)
            running, member = self._found
            spec = self._bench.spec
            purpose = Purpose(spec.kind, spec.options, self._number, self._bench.folder, self._is_local)
            self._driver = running.driver(member, purpose)
        return self._driver

    def _hang_up(self) -> None:
        self.close()
        if not self._keeps:
            self._found = None

    @property
    def _node(self) -> str:
        return self._found[1].name if self._found is not None else ""

    def _key(self, call: Invocation) -> str:
        return f"{self._bench.prefix}-{'all' if call.key is None else call.key}"


class Clients(threading.Thread):
    """All clients of a workload, each in a thread of its own, until `stop` is set; then `join` it.

    Each client has a fixed beat, so that all together make `rate` calls per second; one that is held up does not make
    up for it in a burst.
    """

    def __init__(self, bench: Bench, seed: int, stop: threading.Event, clock: Clock = SYSTEM) -> None:
        super().__init__(name="clients", daemon=True)
        self._bench, self._seed, self._stop_asked, self._clock = bench, seed, stop, clock

    def run(self) -> None:
        spec = self._bench.spec
        threads = [
            threading.Thread(target=self._work, args=(number,), name=f"client {number}", daemon=True)
            for number in range(spec.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, number: int) -> None:
        spec = self._bench.spec
        session = Session(self._bench, number, pinned=number < spec.pinned)
        random = Random(f"{self._seed}/client/{number}")
        beat_s = spec.clients / spec.rate.per_second
        due = self._clock.monotonic() + beat_s * number / spec.clients
        try:
            for turn in count():
                if self._stop_asked.wait(max(0.0, due - self._clock.monotonic())):
                    return
                due = max(due + beat_s, self._clock.monotonic())
                session.call(self._bench.workload.next(random, turn * spec.clients + number + 1))
        finally:
            session.close()


class Peeked(NamedTuple):
    """What each member has of each object: object -> member -> result. Of `members` there are so many."""

    members: int
    answers: dict[str | None, dict[str, Any]]

    @property
    def is_agreed(self) -> bool:
        """Whether all members answered, and alike."""
        return all(
            len(its) == self.members and len({_comparable(one) for one in its.values()}) == 1
            for its in self.answers.values()
        )


def peek_everywhere(bench: Bench) -> Peeked:
    """Asks every member by itself; those that do not answer are left out."""
    found: dict[str | None, dict[str, Any]] = {key: {} for key in bench.workload.peeks()}
    try:
        holder = bench.holder()
    except _TROUBLE:
        return Peeked(len(bench.running.members), found)
    lock = threading.Lock()

    def ask(member: Member) -> None:
        session = Session(bench, 0, found=(holder, member), is_local=True)
        try:
            for key, answers in found.items():
                outcome, result = session.call(Invocation(PEEK, key))
                if outcome is OpType.OK:
                    with lock:
                        answers[member.name] = result
        finally:
            session.close()

    _side_by_side(holder.members if found else (), ask)
    return Peeked(len(holder.members), found)


def _comparable(answer: Any) -> str:
    return repr(sorted(answer, key=repr) if isinstance(answer, list) else answer)


def read_everything(bench: Bench, tries: int = 20) -> None:
    """The last reads, by the system's strongest means; a queue is emptied. One that gets no answer is made again."""
    session = Session(bench, 0)
    try:
        for call in bench.workload.last_reads():
            failed = 0
            while failed < tries:
                outcome, result = session.call(call)
                if outcome is not OpType.OK:
                    failed += 1
                    SYSTEM.sleep(_BETWEEN_TRIES_S)
                elif call.f != "dequeue" or result is None:
                    break
    finally:
        session.close()


def _side_by_side(members: Sequence[Member], do: Callable[[Member], None]) -> None:
    threads = [threading.Thread(target=do, args=(member,), daemon=True) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def with_timeout(running: Running, seconds: float) -> Running:
    """The same component, and those it needs, with another bound for each call."""
    needs = {name: with_timeout(need, seconds) for name, need in running.needs.items()}
    return replace(running, timeout=seconds, needs=needs)


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
