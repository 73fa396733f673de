"""`clusterkit check`: verdict, evidence, numbers, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterkit.checkers.suite import CLAIMS, MODELS
from clusterkit.cli import main
from clusterkit.cli.check import command

FOLDER = Path(__file__).parents[2] / "fixtures" / "histories"


def _check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["check", *words])
    said = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.out, said.err


@pytest.mark.parametrize(
    ("path", "model", "code"),
    [("valid/unanswered-write.jsonl", "register", 0), ("invalid/stale-read.jsonl", "register", 1),
     ("unknown/all-failed.jsonl", "register", 2)],
)  # fmt: skip
def test_the_exit_code_is_the_verdict(capsys: pytest.CaptureFixture[str], path: str, model: str, code: int) -> None:
    ended, out, _ = _check(capsys, str(FOLDER / path), "--model", model)
    assert ended == code
    assert out.startswith(path.split("/", maxsplit=1)[0])


def test_the_evidence_comes_before_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _check(capsys, str(FOLDER / "invalid/stale-read.jsonl"), "--model", "register")
    lines = out.splitlines()
    assert lines[0].startswith("invalid: stale read")
    assert lines[1].strip().startswith("[0..1] process 0 on store-1: write 1")
    assert lines[-1].startswith("linearizable: invalid (model register")


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(FOLDER / "invalid/lost-write.jsonl")
    code, out, _ = _check(capsys, path, "--model", "set", "--claim", "durable", "--format", "json")
    said = json.loads(out)
    assert (code, said["verdict"], said["path"], said["format"]) == (1, "invalid", path, "jsonl")
    assert said["parts"][0]["numbers"]["lost"] == 2


@pytest.mark.parametrize(("initial", "code"), [("0", 1), ("1", 0), ("one", 1)])
def test_the_initial_value_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path, initial: str, code: int) -> None:
    (tmp_path / "history.jsonl").write_text(
        '{"index":0,"process":0,"type":"invoke","f":"read","time_ns":0}\n'
        '{"index":1,"process":0,"type":"ok","f":"read","value":1,"time_ns":1}\n'
    )
    assert _check(capsys, str(tmp_path), "--model", "register", "--initial", initial)[0] == code


def test_a_cut_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _check(capsys, str(FOLDER / "valid/cut-off.jsonl"), "--model", "register")
    assert code == 0
    assert "cut-off.jsonl:6: the last line is cut off" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("valid/bank.jsonl", "--model", "set"), 'bank.jsonl:1: the model knows no "transfer"'),
        (("valid/none.jsonl", "--model", "set"), "there is no history"),
        (("valid/bank.jsonl", "--model", "bank", "--initial", "[1]"), "a bank cannot begin as [1]"),
    ],
)
def test_what_makes_no_sense_ends_with_64(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    code, out, err = _check(capsys, str(FOLDER / words[0]), *words[1:])
    assert (code, out) == (64, "")
    assert says in err
    assert "mend:" in err


def test_the_options_are_those_of_the_suite() -> None:
    choices = {option.name: getattr(option.type, "choices", ()) for option in command.params}
    assert tuple(choices["model"]) == MODELS
    assert tuple(choices["claim"]) == CLAIMS
