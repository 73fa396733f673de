"""L15. `clusterkit check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.cli.options import Quantity, format_option
from clusterkit.errors import EXIT_OK, EXIT_UNHEALTHY, EXIT_UNKNOWN, UsageError
from clusterkit.units import Duration

if TYPE_CHECKING:
    from clusterkit.checkers.base import Verdict
    from clusterkit.history.codec import Stored

_MODELS = ("register", "cas-register", "set", "queue", "counter", "bank", "kv")
_EXITS = {"valid": EXIT_OK, "invalid": EXIT_UNHEALTHY, "unknown": EXIT_UNKNOWN}


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(_MODELS), help="What the clients talked to; the folder of a run says it.")
@click.option("--initial", metavar="VALUE", help="Its value before the first call: JSON, or plain text.")
@click.option(
    "--claim",
    type=click.Choice(("linearizable", "durable")),
    default="linearizable",
    show_default=True,
    help="durable: only what was lost, doubled or invented counts, not order and freshness.",
)
@click.option("--time-limit", type=Quantity(Duration), default="60s", show_default=True, help="Then it is unknown.")
@format_option
def command(path: Path, model: str | None, initial: str | None, claim: str, time_limit: Duration, output: str) -> int:
    """Judge a stored history: did the system keep its promises?

    PATH is the folder of a run, or a history (our JSON lines, or Jepsen's EDN) with its --model. Prints the verdict,
    the smallest evidence, then the numbers. Exit code 0: valid, 1: invalid, 2: unknown.

    \b
    clusterkit check .clusterkit/shop/runs/latest
    clusterkit check history.edn --model cas-register --initial 0 --format json
    """
    if model is None:
        return _tell_verdict(*_of_run(path), output)
    from clusterkit.checkers.base import combine, judge
    from clusterkit.checkers.suite import calls_of, checkers_for
    from clusterkit.history.codec import read_history
    from clusterkit.history.op import PEEK

    checkers = checkers_for(
        model,
        _value(initial),
        claim="durable" if claim == "durable" else "linearizable",
        time_limit_s=time_limit.seconds,
    )
    stored = read_history(path, calls_of(model) | {PEEK})
    return _tell_verdict(stored, combine(model, [judge(checker, stored.history) for checker in checkers]), output)


def _of_run(path: Path) -> tuple[Stored, Verdict]:
    """A run's folder says itself what was tested, and what was expected. Raises: UsageError."""
    from clusterkit.checkers.base import Verdict
    from clusterkit.trial.again import judge_again

    if not path.is_dir():
        raise UsageError(
            f"{path} does not say what the clients talked to",
            mend=f"name the model: --model {'|'.join(_MODELS)}",
        )
    stored, judged = judge_again(path)
    return stored, Verdict("run", judged.validity, judged.text, judged.evidence, parts=judged.parts)


def _tell_verdict(stored: Stored, verdict: Verdict, output: str) -> int:
    if output == "json":
        click.echo(json.dumps(_as_data(stored, verdict), indent=2, default=str))
    else:
        _tell(stored, verdict)
    return _EXITS[verdict.validity.value]


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _as_data(stored: Stored, verdict: Verdict) -> dict[str, Any]:
    return {
        "path": str(stored.path),
        "format": stored.format,
        "cut": stored.cut,
        "ops": len(stored.history),
        **_one(verdict),
        "parts": [{"checker": part.checker, **_one(part), "numbers": dict(part.numbers)} for part in verdict.parts],
    }


def _one(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.validity.value,
        "text": verdict.text,
        "evidence": list(verdict.evidence),
        "indices": list(verdict.indices),
    }


def _tell(stored: Stored, verdict: Verdict) -> None:
    click.echo(f"{verdict.validity.value}: {verdict.text}")
    for line in verdict.evidence:
        click.echo(f"    {line}")
    if stored.cut:
        click.echo(stored.cut)
    for part in verdict.parts:
        numbers = ", ".join(f"{name} {value}" for name, value in part.numbers.items())
        click.echo(f"{part.checker}: {part.validity.value} ({numbers})")
