"""The lines of a run are kept, and read back."""

from __future__ import annotations

import json
from pathlib import Path

from clusterkit.logs.entry import LogEntry
from clusterkit.logs.kept import NAME, keep, read_kept

STARTED_NS = 1_795_445_662_000_000_000


def entry(text: str, seq: int) -> LogEntry:
    return LogEntry(STARTED_NS + seq, "kv-1", "kv", "a", "stderr", "info", text, "", seq)


def test_what_is_kept_is_handed_on_and_read_back(tmp_path: Path) -> None:
    entries = [entry("one", 0), entry("two\nlines", 1)]
    assert list(keep(tmp_path, entries)) == entries
    assert list(read_kept(tmp_path)) == entries


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    assert len(list(keep(tmp_path, [entry("two\nlines \ud800", 0)]))) == 1
    (line,) = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["text"].startswith("two\nlines ")


def test_what_a_killed_run_left_half_written_is_passed_by(tmp_path: Path) -> None:
    list(keep(tmp_path, [entry("one", 0)]))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"time_ns": 1, "node": "kv-1"}\n{"time_ns": 1795')
    assert [one.text for one in read_kept(tmp_path)] == ["one"]
    assert list(read_kept(tmp_path / "none")) == []
