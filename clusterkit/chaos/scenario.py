"""L9, pure. A scenario as the user wrote it: which faults, when, for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clusterkit.chaos.base import Fault
from clusterkit.model.topology import Key
from clusterkit.units import Duration

DEFAULT_TIME = Duration(60)


@dataclass(frozen=True)
class Step:
    """One item of `faults`. `choices`: the fault, or those of `mix`, of which chance takes one each time.

    `at`: once, from the start of the scenario; `every`: again and again, from start to start, first after that long;
    neither: at once. `lasts`: how long one is in force, None until the scenario ends. `times`: at most so often.
    `stagger`: each of the target's nodes is hit that much after the one before. `jitter`: each start is put off by up
    to that, by chance. `seed`: whose chance it has; else one made from the scenario's seed.
    """

    choices: tuple[Fault, ...]
    at: Duration | None = None
    every: Duration | None = None
    lasts: Duration | None = None
    times: int | None = None
    stagger: Duration | None = None
    jitter: Duration | None = None
    seed: str = ""
    key: Key = ()


@dataclass(frozen=True)
class Scenario:
    """`workload` (workloads.base.WorkloadSpec) and `expect` (Expect) are chaos-test's; None where none is written."""

    name: str
    steps: tuple[Step, ...]
    time: Duration = DEFAULT_TIME
    workload: Any = None
    expect: Any = None
