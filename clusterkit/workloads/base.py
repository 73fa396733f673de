"""L12. What a workload is: the calls that clients make, the reads that end a run, the checkers that may judge it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from clusterkit.units import Duration, Rate

if TYPE_CHECKING:
    from clusterkit.checkers.base import Checker

DEFAULT_RATE = Rate(100)
DEFAULT_TIMEOUT = Duration(1)


class Invocation(NamedTuple):
    """A call that a client is to make. `key` is the object's name in the history; None where there is only one."""

    f: str
    key: str | None
    value: Any = None


@dataclass(frozen=True)
class WorkloadSpec:
    """A workload as asked for.

    clients   how many, each with one call under way at a time
    rate      calls per second of all clients together
    keys      how many objects of the kind there are (of a bank: accounts)
    mix       call -> its share
    timeout   of each call
    pinned    how many clients keep to the node that they found first, as one does that has an address written down; the
              others ask the system anew after trouble
    options   what the component's own kind of workload says beside
    variables those of the topology: name -> value. They may be secrets, and are written down by their names
    """

    kind: str
    component: str
    keys: int
    mix: Mapping[str, int]
    clients: int = 5
    rate: Rate = DEFAULT_RATE
    timeout: Duration = DEFAULT_TIMEOUT
    pinned: int = 2
    options: Any = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def written(self) -> dict[str, Any]:
        """As it stands in YAML, with nothing left out; a variable by its name, any other $ as $$."""
        own = {} if self.options is None else self.options.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        own = by_name(own, {value: name for name, value in self.variables.items() if len(value) >= _LEAST_SECRET})
        return {
            "kind": self.kind,
            "component": self.component,
            "clients": self.clients,
            "rate": str(self.rate),
            "keys": self.keys,
            "mix": dict(self.mix),
            "timeout": str(self.timeout),
            "pinned": self.pinned,
            **own,
        }


_LEAST_SECRET = 4
"""Characters. What is shorter is no secret, and stands in many a word by chance."""


def by_name(value: Any, names: Mapping[str, str]) -> Any:
    """A value as it stands in YAML. `names`: value of a variable -> its name."""
    if isinstance(value, dict):
        return {key: by_name(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [by_name(one, names) for one in value]
    if not isinstance(value, str):
        return value
    words = [r"\$", *(re.escape(one) for one in sorted(names, key=len, reverse=True))]
    return re.sub("|".join(words), lambda at: f"${{{names[at[0]]}}}" if at[0] in names else "$$", value)


@dataclass(frozen=True)
class Expect:
    """What the verdict asks for.

    linearizable       order and freshness are judged, beside what was lost
    lost               whether acknowledged writes may be lost
    converges          all nodes have to agree after the end
    unavailable_s      the longest time without an ok, None: any
    leader_changes     at least so many
    """

    linearizable: bool = False
    may_lose: bool = False
    converges: bool = False
    unavailable_s: float | None = None
    leader_changes: int = 0

    def written(self) -> dict[str, Any]:
        """As it stands in YAML."""
        found: dict[str, Any] = {"linearizable": self.linearizable, "converges": self.converges}
        if self.may_lose:
            found["lost"] = "any"
        if self.unavailable_s is not None:
            found["unavailable"] = {"at_most": str(Duration(self.unavailable_s))}
        if self.leader_changes:
            found["leader_changes"] = {"at_least": self.leader_changes}
        return found


class Workload(ABC):
    """One run of one kind of workload; for several threads. All chance comes from the Random that is handed in.

    kind        the word in YAML
    summary     what it does, in a sentence
    model       the model that judges its history, "" for none
    mix         the calls that clients make, with their shares where the user names none
    needed      calls that the end of a run cannot do without
    calls       what a mix may name, where that is more
    keys        how many objects there are where the user does not say
    reads       calls that change nothing: one that gets no answer surely did nothing
    needs_order whether only linearizability can be judged
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    model: ClassVar[str] = ""
    mix: ClassVar[Mapping[str, int]]
    needed: ClassVar[frozenset[str]] = frozenset({"read"})
    calls: ClassVar[frozenset[str]] = frozenset()
    keys: ClassVar[int] = 1
    reads: ClassVar[frozenset[str]] = frozenset({"read"})
    needs_order: ClassVar[bool] = False

    def __init__(self, spec: WorkloadSpec) -> None:
        self.spec = spec
        self._names = tuple(spec.mix)
        self._shares = tuple(spec.mix.values())

    def opening(self) -> Sequence[Invocation]:
        """Calls that have to be ok before all others; they are not part of the history."""
        return ()

    def next(self, random: Random, unique: int) -> Invocation:
        """The next call of a client. `unique`: a number that no other call of the run is given, from 1."""
        return self.invocation(random.choices(self._names, self._shares)[0], random, unique)

    @abstractmethod
    def invocation(self, f: str, random: Random, unique: int) -> Invocation:
        """A call of this name."""

    def seen(self, call: Invocation, result: Any) -> Any:  # noqa: ARG002 - most workloads learn nothing from it
        """Told of every ok; gives the result as it is to stand in the history."""
        return result

    def last_reads(self) -> Sequence[Invocation]:
        """What is read when all is healed, by the system's strongest means."""
        return [Invocation("read", key) for key in self.objects()]

    def peeks(self) -> Sequence[str | None]:
        """The objects that each node is asked for by itself, to see whether all agree."""
        return self.objects()

    def objects(self) -> Sequence[str | None]:
        return [None] if self.spec.keys == 1 else [str(number) for number in range(self.spec.keys)]

    def any_object(self, random: Random) -> str | None:
        return None if self.spec.keys == 1 else str(random.randrange(self.spec.keys))

    @abstractmethod
    def checkers(self, expect: Expect) -> tuple[Checker, ...]:
        """Those that judge the answers; convergence and availability are judged beside, in every kind."""
