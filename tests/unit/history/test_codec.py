"""Histories on disk: what is written is read again, what is broken is told with its line."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.errors import UsageError
from clusterkit.history.codec import FILE_NAME, SCHEMA, Recorder, read_history, to_line
from clusterkit.history.op import NEMESIS, Op, OpType

FIXTURES = Path(__file__).parents[2] / "fixtures" / "histories"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(key=VALUES, value=VALUES, error=st.text(), node=st.text())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, key: Any, value: Any, error: str, node: str
) -> None:
    path = tmp_path_factory.mktemp("run") / FILE_NAME
    with Recorder(path) as recorder:
        recorder.record(0, OpType.INVOKE, "write", time_ns=1, key=key, value=value, node=node)
        recorder.record(0, OpType.INFO, "write", time_ns=2, key=key, value=value, node=node, error=error)
    assert list(read_history(path).history) == list(recorder.history)


def test_a_line_is_there_as_soon_as_it_is_made(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / FILE_NAME)
    recorder.record(NEMESIS, OpType.INFO, "inject", time_ns=5, key="kill-1")
    assert len(read_history(tmp_path).history) == 1
    recorder.close()


def test_a_wrong_op_is_not_written(tmp_path: Path) -> None:
    with Recorder(tmp_path / FILE_NAME) as recorder:
        with pytest.raises(UsageError, match="no call under way"):
            recorder.record(0, OpType.OK, "read", time_ns=0)
        with pytest.raises(TypeError, match="bytes"):
            recorder.record(0, OpType.INVOKE, "read", time_ns=0, value=b"")
    assert (tmp_path / FILE_NAME).read_text() == ""
    assert len(recorder.history) == 0


def test_empty_fields_are_left_out() -> None:
    line = to_line(Op(0, 0, OpType.OK, "read", value=frozenset({2, 1}), time_ns=7))
    assert line == '{"index":0,"process":0,"type":"ok","f":"read","time_ns":7,"value":[1,2]}'


def test_a_cut_last_line_is_told_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    whole = to_line(Op(0, 0, OpType.INVOKE, "read"))
    path.write_text(whole + '\n{"index":1,"pro')
    stored = read_history(tmp_path)
    assert len(stored.history) == 1
    assert f"{path}:2" in stored.cut


GOOD = '{"index":0,"process":0,"type":"invoke","f":"read","time_ns":0}\n'


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD + '{"index":1,\n' + GOOD, 2, "not JSON"),
        (GOOD + "7\n", 2, "one JSON object"),
        (GOOD + GOOD, 2, "index 0, but 1 was expected"),
        (GOOD.replace('"f"', '"g"'), 1, 'unknown key "g"'),
        (GOOD.replace(',"time_ns":0', ""), 1, '"time_ns" is missing'),
        (GOOD.replace('"time_ns":0', '"time_ns":1.5'), 1, "not a whole number"),
        (GOOD.replace("invoke", "begin"), 1, "type is 'begin'"),
        (GOOD.replace('"process":0', '"process":-1'), 1, "process is -1"),
        (GOOD.replace('"read"', "7"), 1, "f is 7, not text"),
        ("{:process 0\n :type :ok}", 1, "no :f"),
        ("{:process 0, :type :ok, :f :read}", 1, "no call under way"),
        ("[{:process 0, :type :invoke, :f :read}\n{:process 0, :type :when, :f :read}]", 2, "type is 'when'"),
        ("{:process 0, :type :invoke, :f :read}\n{:process ]", 2, "neither JSON lines nor EDN"),
        ("hello\n", 1, "an op is a map"),
    ],
)
def test_what_is_broken_is_told_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "history"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as raised:
        read_history(path)
    assert raised.value.where == f"{path}:{line}"


def test_no_history_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no history"):
        read_history(tmp_path)
    (tmp_path / FILE_NAME).write_text("")
    with pytest.raises(UsageError, match="is empty"):
        read_history(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_history(tmp_path)


def test_a_call_that_the_model_does_not_know_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(GOOD)
    with pytest.raises(UsageError, match='knows no "read"') as raised:
        read_history(path, frozenset({"add"}))
    assert raised.value.where == f"{path}:1"


def test_jepsen_pairs_of_key_and_value_become_keys() -> None:
    history = read_history(FIXTURES / "invalid" / "independent-keys.edn").history
    assert [(call.key, call.result) for call in history.calls("read")] == [(1, 10), (2, None)]
    assert [op.f for op in history.facts()] == ["start-partition"]


def test_jepsen_pairs_of_cas_stay_values() -> None:
    history = read_history(FIXTURES / "valid" / "cas-register.edn").history
    assert [(call.key, call.argument) for call in history.calls("cas")] == [(None, [0, 1]), (None, [0, 2])]
    assert "timed out" in history[6].error


def test_a_cut_edn_is_told(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text('{:process 0, :type :invoke, :f :read}\n{:process 1, :error "half')
    stored = read_history(path)
    assert len(stored.history) == 1
    assert f"{path}:2" in stored.cut


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/*.jsonl")), ids=lambda path: path.stem)
def test_stored_lines_fit_the_schema(path: Path) -> None:
    validator = importlib.import_module("jsonschema").Draft202012Validator(json.loads(SCHEMA.read_text()))
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert lines
    assert not [error for line in lines for error in validator.iter_errors(json.loads(line))]


@pytest.mark.parametrize(
    "line",
    [GOOD.replace("invoke", "begin"), GOOD.replace('"process":0', '"process":"nemesis"'), GOOD.replace('"f"', '"g"')],
)
def test_the_schema_refuses_what_the_codec_refuses(line: str, tmp_path: Path) -> None:
    validator = importlib.import_module("jsonschema").Draft202012Validator(json.loads(SCHEMA.read_text()))
    assert list(validator.iter_errors(json.loads(line)))
    (tmp_path / FILE_NAME).write_text(line)
    with pytest.raises(UsageError):
        read_history(tmp_path)
