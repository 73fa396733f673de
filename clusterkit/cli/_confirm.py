"""L15. Asks before something is removed."""

from __future__ import annotations

import sys

import click

from clusterkit.errors import UsageError


def confirm(question: str, *, is_answered: bool) -> bool:
    """Whether to go on. Raises: UsageError where nobody can answer. `is_answered`: --yes was given."""
    if is_answered:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is here to be asked", mend="say it beforehand: --yes")
    return click.confirm(question)
