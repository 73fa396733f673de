"""L14. The phases of a chaos test, one after another, each bounded; Ctrl-C leads to the end of it, not out of it."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from clusterkit import report
from clusterkit.chaos import nemesis
from clusterkit.chaos.base import Scene
from clusterkit.chaos.fields import typed
from clusterkit.chaos.nemesis import Happening
from clusterkit.chaos.scenario import Scenario
from clusterkit.chaos.schedule import Planned
from clusterkit.chaos.written import text as scenario_text
from clusterkit.checkers.base import Validity, Verdict
from clusterkit.client import ClientError
from clusterkit.clock import SYSTEM, Deadline
from clusterkit.cluster import Site, wait_healthy
from clusterkit.components.base import Never
from clusterkit.components.registry import Registry
from clusterkit.errors import ClusterkitError, NodeUnreachable, NotReady
from clusterkit.health import view
from clusterkit.history.codec import FILE_NAME, Recorder
from clusterkit.history.op import NEMESIS, OpType
from clusterkit.logs.kept import keep
from clusterkit.logs.query import Filter, Scope, read
from clusterkit.model.topology import Topology
from clusterkit.plan import Plan
from clusterkit.release import __version__
from clusterkit.trial.again import judge_logs
from clusterkit.trial.folder import FORMAT, copy_topology, new_folder, write_json
from clusterkit.trial.observe import Observer, with_needs
from clusterkit.workloads.base import Expect, Invocation, WorkloadSpec
from clusterkit.workloads.interpreter import Bench, Clients, Session, peek_everywhere, read_everything, with_timeout
from clusterkit.workloads.judge import TRIAL, Judged, judge_run
from clusterkit.workloads.kinds import KINDS

STEADY_S = 60.0
"""How long the cluster may take to be healthy and to answer, before the workload begins."""
RECOVER_S = 15.0
"""How long clients go on after the last fault was healed, while nothing is ok yet."""
HEALTHY_S = 60.0
"""How long the cluster may take to be healthy again after that."""
AGREE_S = 15.0
"""How long the nodes may take to agree after that."""
_AFTER_HEAL_S = 1.0
_TICK_S = 1.0
_LOOK_S = 0.1


@dataclass(frozen=True)
class Ground:
    """What is tested: a cluster that is up, and the means to look at it."""

    site: Site
    topology: Topology
    registry: Registry
    plan: Plan
    scene: Scene


@dataclass(frozen=True)
class Case:
    """What is done to it. `command` repeats it; `workload` and `expect` are those of the scenario, completed."""

    scenario: Scenario
    planned: Sequence[Planned]
    seed: int
    workload: WorkloadSpec
    expect: Expect
    command: str


@dataclass(frozen=True)
class Tick:
    """How it stands: calls since the last tick, by outcome; faults in force (words); component -> who leads."""

    phase: str
    elapsed_s: float
    time_s: float
    ok: int
    fail: int
    info: int
    faults: tuple[str, ...]
    leaders: Mapping[str, tuple[str, ...]]


class Screen(Protocol):
    """Who watches. Called from several threads."""

    def phase(self, name: str) -> None: ...

    def tell(self, seconds: float, what: str, text: str) -> None: ...

    def tick(self, tick: Tick) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a run came to, and where all else of it lies: many runs of one command must not fill the memory."""

    folder: Path
    validity: Validity


def run(ground: Ground, case: Case, stop: Event, screen: Screen) -> Outcome:
    """One run, from steady state to the report. Whatever happens after the workload began is judged and reported.

    Raises: ClusterkitError where the run could not begin.
    """
    return _Run(ground, case, stop, screen).go()


class _Run:
    def __init__(self, ground: Ground, case: Case, stop: Event, screen: Screen) -> None:
        self._ground, self._case, self._stop, self._screen = ground, case, stop, screen
        self._begun_ns, self._started_ns = SYSTEM.monotonic_ns(), SYSTEM.wall_ns()
        self._folder = new_folder(ground.site.state, case.scenario.name, self._started_ns)
        self._recorder = Recorder(self._folder / FILE_NAME)
        self._seconds: dict[str, float] = {}
        self._phase = ""
        self._in_force: dict[str, str] = {}
        workload = KINDS[case.workload.kind](case.workload)
        running = with_timeout(
            view.running(ground.plan, ground.site.provider, self._record, case.workload.component),
            case.workload.timeout.seconds,
        )
        prefix = f"t{self._started_ns // 1_000_000:x}"
        folder = str(ground.topology.file.resolve().parent)
        self._bench = Bench(workload, running, self._recorder, self._now_ns, prefix, folder)
        self._observer = Observer(with_needs(running), self._recorder, self._now_ns)

    def go(self) -> Outcome:
        with self._recorder:
            self._describe()
            with self._in_phase("steady"):
                self._prove_steady()
            self._observer.look()
            self._observer.start()
            try:
                self._work()
            finally:
                self._observer.end()
            with self._in_phase("settle"):
                self._settle()
            with self._in_phase("final reads"):
                read_everything(self._bench)
            with self._in_phase("check"):
                validity = self._judge().validity
        self._report()
        return Outcome(self._folder, validity)

    # -- the phases --------------------------------------------------------------------------------------------------

    def _prove_steady(self) -> None:
        """All that the workload stands on is healthy, and a client of its own is answered. Raises: NotReady."""
        for running in with_needs(self._bench.running):
            wait_healthy(self._ground.site, self._ground.plan, running.group.name, STEADY_S)
        deadline = Deadline(STEADY_S)
        session = Session(self._bench, 0)
        try:
            for call in (*self._bench.workload.opening(), *self._bench.workload.last_reads()[:1]):
                self._ask(session, call, deadline)
        finally:
            session.close()

    def _ask(self, session: Session, call: Invocation, deadline: Deadline) -> None:
        while True:
            try:
                session.ask(call)
            except (OSError, ClientError, NodeUnreachable) as error:
                if deadline.is_over or self._stop.is_set():
                    raise NotReady(
                        f"a client of {self._case.workload.component} gets no answer to {call.f}: {error}",
                        unready={},
                        mend="see `clusterkit health`; and whether the workload says how to talk to it",
                    ) from error
                SYSTEM.sleep(0.2)
            else:
                return

    def _work(self) -> None:
        """The clients call while faults come and go, and on until the system has answered again."""
        over = Event()
        clients = Clients(self._bench, self._case.seed, over)
        time_s = self._case.scenario.time.seconds
        with self._in_phase("faults"), self._ticking(time_s):
            clients.start()
            try:
                self._break(time_s)
                if self._stop.is_set():
                    self._fact("interrupted", f"interrupted after {self._now_ns() / 1e9:.0f} s")
                with self._in_phase("heal"):
                    self._go_on()
            finally:
                over.set()
                clients.join(timeout=10 * self._case.workload.timeout.seconds + 10)
                if clients.is_alive():
                    self._bench.tally.bug("a client did not come back from its call")

    def _break(self, time_s: float) -> None:
        """Faults come and go. If even that cannot go on, what was seen until then is judged all the same."""
        try:
            nemesis.run(self._ground.scene, self._case.planned, time_s, self._happened, self._stopped())
        except ClusterkitError as error:
            self._recorder.record(
                NEMESIS, OpType.INFO, "trouble", value=f"faults came to an end: {error.what}", time_ns=self._now_ns()
            )

    def _stopped(self) -> Event:
        """An Event of the nemesis' own, set by Ctrl-C: it sets it itself at its end, and ours means Ctrl-C alone."""
        own, asked = Event(), self._stop

        def pass_on() -> None:
            while not own.wait(_LOOK_S):
                if asked.is_set():
                    own.set()

        threading.Thread(target=pass_on, daemon=True).start()
        return own

    def _go_on(self) -> None:
        """Until a call that begins now is ok, or RECOVER_S have passed."""
        healed_ns = self._now_ns()
        deadline = Deadline(RECOVER_S)
        SYSTEM.sleep(_AFTER_HEAL_S)
        while not deadline.is_over and self._bench.tally.last_ok_ns <= healed_ns:
            SYSTEM.sleep(0.1)

    def _settle(self) -> None:
        """Healthy again, then in agreement. What is missing is written down: checkers judge it."""
        try:
            for running in with_needs(self._bench.running):
                wait_healthy(self._ground.site, self._ground.plan, running.group.name, HEALTHY_S)
        except ClusterkitError as error:
            evidence = [*getattr(error, "evidence", ())]
            self._fact("recovery", "\n".join([error.what, *evidence]))
        else:
            self._fact("recovery", "")
        deadline = Deadline(AGREE_S)
        while self._case.expect.converges and not peek_everywhere(self._bench).is_agreed and not deadline.is_over:
            SYSTEM.sleep(0.5)

    def _judge(self) -> Judged:
        for bug in self._bench.tally.bugs:
            self._fact("bug", bug)
        judged = judge_run(self._recorder.history, self._bench.workload, self._case.expect, (self._logs(),))
        write_json(self._folder / "result.json", self._result(judged))
        return judged

    def _logs(self) -> Verdict:
        """Collects every node's lines of this run, and judges them; unknown where they cannot be read."""
        try:
            return self._judged_logs()
        except ClusterkitError as error:
            return Verdict("logs", Validity.UNKNOWN, f"the logs could not be read: {error.what}")

    def _judged_logs(self) -> Verdict:
        ground = self._ground
        scope = Scope(ground.topology.name, self._record, (ground.site.state,), lambda kind: ground.registry[kind].log)
        wanted = Filter(since_ns=self._started_ns)
        patterns = {name: self._never(name) for name in ground.plan.components}
        entries = keep(self._folder, read(ground.site.provider, scope, wanted))
        return judge_logs(entries, patterns, self._recorder.history)

    def _report(self) -> None:
        """A page that cannot be made takes nothing from the verdict, which is written down already."""
        try:
            report.write(self._folder)
        except Exception as error:  # noqa: BLE001 - whatever it is: the run is judged, and the page can be made again
            text = f"the report could not be made: {type(error).__name__}: {error}; try `clusterkit report`"
            self._ground.site.journal.say(text, level="warning")

    # -- what is written down ----------------------------------------------------------------------------------------

    def _describe(self) -> None:
        case, ground = self._case, self._ground
        copy_topology(self._folder, ground.topology.file)
        scenario = scenario_text(
            case.scenario.name, case.planned, case.scenario.time, case.workload.written(), case.expect.written()
        )
        (self._folder / "scenario.yml").write_text(scenario, encoding="utf-8")
        record = self._record
        write_json(
            self._folder / "run.json",
            {
                "format": FORMAT,
                "clusterkit": __version__,
                "cluster": ground.topology.name,
                "scenario": case.scenario.name,
                "seed": case.seed,
                "started": datetime.fromtimestamp(self._started_ns / 1e9, UTC).isoformat(),
                "started_ns": self._started_ns,
                "time_s": case.scenario.time.seconds,
                "source": ground.topology.file.name,
                "workloads": [case.workload.written()],
                "expect": case.expect.written(),
                "components": {name: self._component(name) for name in ground.plan.components},
                "nodes": [
                    {"name": node.name, "component": node.component, "zone": node.zone, "address": node.address}
                    for node in record.nodes
                ],
                "schedule": [
                    {"start_s": one.start_s, "end_s": one.end_s, "fault": typed(one.fault)} for one in case.planned
                ],
                "command": case.command,
            },
        )

    def _never(self, component: str) -> tuple[Never, ...]:
        options = self._ground.topology.components[component].options
        return self._ground.plan.components[component].never_for(options)

    def _component(self, name: str) -> dict[str, Any]:
        described = self._ground.plan.components[name]
        image = self._ground.site.provider.image_of(next(n for n in self._record.nodes if n.component == name))
        claims = asdict(described.claims)
        return {
            "kind": described.kind,
            "version": described.version,
            "image": image.name,
            "digest": image.digest,
            "weaknesses": list(claims.pop("weaknesses")),
            "claims": claims,
            "never": [{**asdict(one), "unless": sorted(one.unless)} for one in self._never(name)],
        }

    def _result(self, judged: Judged) -> dict[str, Any]:
        case, tally = self._case, self._bench.tally
        concerned = [running.group.name for running in with_needs(self._bench.running)]
        return {
            "format": FORMAT,
            "verdict": judged.validity.value,
            "text": judged.text,
            "cluster": self._ground.topology.name,
            "scenario": case.scenario.name,
            "seed": case.seed,
            "seconds": {**self._seconds, self._phase: self._since_phase()},
            "counts": {
                "calls": tally.ok + tally.fail + tally.info,
                "ok": tally.ok,
                "fail": tally.fail,
                "info": tally.info,
            },
            "verdicts": [
                {
                    "checker": part.checker,
                    "component": case.workload.component,
                    "workload": case.workload.kind,
                    "verdict": part.validity.value,
                    "text": part.text,
                    "evidence": list(part.evidence),
                    "indices": list(part.indices),
                    "numbers": dict(part.numbers),
                }
                for part in judged.parts
            ],
            "weaknesses": [
                {"component": name, "text": text}
                for text, name in {
                    text: name for name in concerned for text in self._ground.plan.components[name].claims.weaknesses
                }.items()
            ],
            "reasons": list(judged.reasons),
            "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }

    def _happened(self, one: Happening) -> None:
        """Of the nemesis: into the history, onto the screen, into the timeline."""
        value: Any = one.text
        f: str = one.what
        if one.what == "inject":
            self._in_force[one.id] = one.text
            value = {"fault": one.fault, "words": one.text, "nodes": list(one.nodes)}
        elif one.what in ("effect", "healed") and one.effect is not None:
            f = "measure"
            value = {**asdict(one.effect), "numbers": dict(one.effect.numbers), "healed": one.what == "healed"}
        elif one.what == "heal":
            self._in_force.pop(one.id, None)
            value = {"fault": one.fault, "words": one.text, "nodes": list(one.nodes)}
        now_ns = self._now_ns()
        self._recorder.record(NEMESIS, OpType.INFO, f, key=one.id or None, value=value, time_ns=now_ns)
        self._screen.tell(now_ns / 1e9, one.what, f"{one.id}: {one.text}" if one.id else one.text)
        self._ground.site.journal.say(one.text, level="debug", nodes=list(one.nodes))

    def _fact(self, f: str, value: Any) -> None:
        self._recorder.record(TRIAL, OpType.INFO, f, value=value, time_ns=self._now_ns())

    # -- time --------------------------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return SYSTEM.monotonic_ns() - self._begun_ns

    def _since_phase(self) -> float:
        return round(self._now_ns() / 1e9 - self._phase_began, 3)

    @contextmanager
    def _in_phase(self, name: str) -> Iterator[None]:
        outer, self._phase = self._phase, name
        began = self._phase_began = self._now_ns() / 1e9
        self._fact("phase", name)
        self._screen.phase(name)
        try:
            yield
        finally:
            self._seconds[name] = round(self._now_ns() / 1e9 - began, 3)
            self._phase = outer

    @contextmanager
    def _ticking(self, time_s: float) -> Iterator[None]:
        """Tells the screen each second how it stands."""
        over = Event()
        began = self._now_ns()
        tally = self._bench.tally

        def tick() -> None:
            last = (0, 0, 0)
            while not over.wait(_TICK_S):
                now = (tally.ok, tally.fail, tally.info)
                ok, fail, info = (one - before for one, before in zip(now, last, strict=True))
                elapsed = (self._now_ns() - began) / 1e9
                faults = tuple(self._in_force.values())
                self._screen.tick(Tick(self._phase, elapsed, time_s, ok, fail, info, faults, self._observer.now))
                last = now

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @property
    def _record(self) -> Any:
        found = self._ground.site.provider.find(self._ground.topology.name)
        assert found is not None  # it was up when the run began, and whoever takes it down meanwhile ends the run
        return found
