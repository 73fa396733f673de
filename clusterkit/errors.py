"""L0. Every error a user can meet: what happened, where, and how to mend it.

ClusterkitError                    exit 70: a bug, unless a subclass says otherwise
├── UsageError                     exit 64: what was asked for makes no sense
│   ├── TopologyError              all problems of a topology at once
│   └── NameTaken                  the cluster's name belongs to another source file
├── EnvironmentTrouble             exit 69: the machine lacks something
│   ├── EngineUnreachable          no container engine answers
│   ├── InstallFailed              a role or an image build failed
│   └── NodeUnreachable            a node could not be reached (its command never ran)
├── Locked                         exit 75: another clusterkit works on this cluster
├── NotReady                       exit 1: nodes were not healthy before the deadline
└── CommandFailed                  exit 1: a command on a node ended with a nonzero status
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EXIT_OK = 0
EXIT_UNHEALTHY = 1
EXIT_UNKNOWN = 2
EXIT_USAGE = 64
EXIT_ENVIRONMENT = 69
EXIT_BUG = 70
EXIT_LOCKED = 75
EXIT_INTERRUPTED = 130


class ClusterkitError(Exception):
    """Something a user has to know: `what` happened, `where` it was found, how to `mend` it.

    `evidence` are lines to show as they are, indented: the end of a log, a command's output.
    """

    exit_code = EXIT_BUG

    def __init__(
        self, what: str, *, where: object = None, mend: str | None = None, evidence: Iterable[str] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend
        self.evidence = tuple(evidence)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where is not None else self.what]
        lines += [f"    {line}" for line in self.evidence]
        if self.mend:
            lines.append(f"  mend: {self.mend}")
        return "\n".join(lines)


class UsageError(ClusterkitError):
    """What was asked for makes no sense."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a topology; `where` prints as file:line:column."""

    where: object
    what: str
    mend: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n  mend: {self.mend}" if self.mend else "")


class TopologyError(UsageError):
    """All problems of a topology, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NameTaken(UsageError):
    """The cluster's name belongs to another source file."""


class EnvironmentTrouble(ClusterkitError):
    """The machine lacks something."""

    exit_code = EXIT_ENVIRONMENT


class EngineUnreachable(EnvironmentTrouble):
    """No container engine answers."""


class InstallFailed(EnvironmentTrouble):
    """A role or an image build failed."""


class NodeUnreachable(EnvironmentTrouble):
    """A node could not be reached: the command never ran, or its outcome is unknown."""


class Locked(ClusterkitError):
    """Another clusterkit works on this cluster."""

    exit_code = EXIT_LOCKED


class NotReady(ClusterkitError):
    """Nodes were not healthy before the deadline. `unready`: node name -> what was last seen of it."""

    exit_code = EXIT_UNHEALTHY

    def __init__(
        self,
        what: str,
        *,
        unready: Mapping[str, str],
        mend: str | None = None,
        evidence: Iterable[str] = (),
    ) -> None:
        super().__init__(what, mend=mend, evidence=evidence)
        self.unready = dict(unready)


class CommandFailed(ClusterkitError):
    """A command on a node ended with a nonzero status."""

    exit_code = EXIT_UNHEALTHY
