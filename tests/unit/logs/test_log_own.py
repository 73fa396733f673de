"""clusterkit's own steps: written as they happen, by several processes, bounded, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread

import pytest

from clusterkit.clock import Clock
from clusterkit.journal import Entry, Journal
from clusterkit.logs.own import NAME, OwnTail, file_listener, of_life, read_own


def _clock() -> Clock:
    ticks = iter(range(1000, 10_000))
    return Clock(monotonic=lambda: 5.0, wall_ns=lambda: next(ticks))


def test_steps_and_facts_are_read_back(tmp_path: Path) -> None:
    journal = Journal(file_listener(tmp_path / "new"), clock=_clock())
    with journal.step("start cache", component="cache"):
        journal.say("cache-1 is the primary", node="cache-1", term=4, path=tmp_path)
    with pytest.raises(KeyError), journal.step("break"):
        raise KeyError
    steps = read_own(tmp_path / "new")
    assert [(step.entry.time_ns, step.entry.level, step.entry.text) for step in steps] == [
        (1000, "info", "start cache ..."),
        (1001, "info", "cache-1 is the primary"),
        (1002, "info", "start cache: done in 0.00 s"),
        (1003, "info", "break ..."),
        (1004, "error", "failed after 0.00 s: break"),
    ]
    assert [step.about_component for step in steps][:2] == ["cache", ""]
    assert steps[1].about_nodes == ("cache-1",)
    assert {(step.entry.node, step.entry.stream) for step in steps} == {("clusterkit", "own")}
    assert [step.entry.seq for step in steps] == [0, 1, 2, 3, 4]
    raw = json.loads((tmp_path / "new" / NAME).read_text().splitlines()[1])
    assert raw["fields"] == {"term": 4, "path": str(tmp_path)}


def test_nothing_is_made_before_there_is_something_to_say(tmp_path: Path) -> None:
    file_listener(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert read_own(tmp_path / "new") == ()


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    listen = file_listener(tmp_path / "file")
    for time_ns in (1, 2):
        listen(Entry(time_ns, "x"))
    assert capsys.readouterr().err.count("are not kept in") == 1


def test_writers_side_by_side_lose_nothing_while_the_file_turns_over(tmp_path: Path) -> None:
    """The bound holds about two thirds of what is written, so that it turns over once."""
    written = 4 * 200
    size = len('{"t": 100, "run": "12345-12345678", "level": "info", "phase": "fact", "text": "w1 199"}\n')

    def write(name: str) -> None:
        listen = file_listener(tmp_path, max_bytes=written * size * 2 // 3)
        for number in range(200):
            listen(Entry(number, f"{name} {number}"))

    threads = [Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / f"{NAME}.1").exists()
    texts = [step.entry.text for step in read_own(tmp_path)]
    assert sorted(texts) == sorted(f"w{name} {number}" for name in range(4) for number in range(200))
    for name in range(4):
        mine = [text for text in texts if text.startswith(f"w{name}")]
        assert mine == [f"w{name} {number}" for number in range(200)]


def test_the_files_stay_bounded(tmp_path: Path) -> None:
    listen = file_listener(tmp_path, max_bytes=2000)
    for number in range(500):
        listen(Entry(number, f"step {number}"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4500
    assert read_own(tmp_path)[-1].entry.text == "step 499"


def test_a_tail_gives_what_there_is_then_what_comes_across_turnovers(tmp_path: Path) -> None:
    listen = file_listener(tmp_path, max_bytes=700)
    tail = OwnTail(tmp_path)
    assert list(tail.read()) == []
    seen: list[str] = []
    for number in range(60):
        listen(Entry(number, f"step {number}"))
        if number % 4 == 0:
            seen += [step.entry.text for step in tail.read()]
    seen += [step.entry.text for step in tail.read()]
    tail.close()
    assert seen == [f"step {number}" for number in range(60)]


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    listen = file_listener(tmp_path)
    listen(Entry(1, "one"))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"t": 2, "tex\n')
    listen(Entry(3, "three"))
    assert [step.entry.text for step in read_own(tmp_path)] == ["one", "three"]


def test_a_fault_is_about_several_nodes(tmp_path: Path) -> None:
    Journal(file_listener(tmp_path)).say("cut-1: cut a-1 from b-1", nodes=["a-1", "b-1"])
    assert [step.about_nodes for step in read_own(tmp_path)] == [("a-1", "b-1")]


def test_a_life_begins_with_the_process_that_gave_birth(tmp_path: Path) -> None:
    def run(*times: int) -> None:
        listen = file_listener(tmp_path)
        for time_ns in times:
            listen(Entry(time_ns, str(time_ns)))

    run(100, 110, 120)  # the first life, born at 105
    run(200)  # a down
    run(300, 310, 320)  # the second, born at 315
    run(400)
    steps = read_own(tmp_path)
    assert [step.entry.text for step in of_life(steps, "315")] == ["300", "310", "320", "400"]
    assert [step.entry.text for step in of_life(steps, "105", "315")] == ["100", "110", "120", "200"]
    assert of_life(steps, "") == steps
    assert of_life(steps, "999") == ()
