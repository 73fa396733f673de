"""The three files that are made of a run's folder: what they say, and that nothing in a log line breaks them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest

from clusterkit import report
from clusterkit.errors import UsageError
from clusterkit.history.codec import read_history
from tests.unit.report.stored_runs import NASTY, cut_run, invalid_run, valid_run


@pytest.fixture(scope="module")
def invalid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten thousand calls that lost three elements, and its report."""
    folder = invalid_run(tmp_path_factory.mktemp("runs") / "invalid")
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed, and its report."""
    folder = cut_run(tmp_path_factory.mktemp("runs") / "cut")
    report.write(folder)
    return folder


class _Elements(HTMLParser):
    """Counts the elements of a page, and keeps the text of its scripts by their id."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.links += [value for key in ("src", "href") if (value := named.get(key))]
        if tag == "script":
            self._script = named.get("id") or "program"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def page_of(folder: Path) -> _Elements:
    return _Elements((folder / "report.html").read_text(encoding="utf-8"))


def suite_of(folder: Path) -> Tree.Element:
    """The one suite of junit.xml, which any parser of XML reads."""
    suite = Tree.parse(folder / "junit.xml").getroot().find("testsuite")  # noqa: S314  we wrote it
    assert suite is not None
    return suite


def figure_of(folder: Path) -> Any:
    return json.loads(page_of(folder).scripts["figure"])


# -- the summary -------------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first_then_the_evidence_then_the_faults(invalid: Path) -> None:
    lines = report.summary(invalid).splitlines()
    assert lines[0].startswith("INVALID: 3 lost: ")
    evidence = next(at for at, line in enumerate(lines) if line.strip().startswith("lost "))
    faults = next(at for at, line in enumerate(lines) if 'kill "leader of cache"' in line)
    assert 0 < evidence < faults < len(lines)
    assert any("known weakness of cache" in line for line in lines)
    assert lines[-2].endswith("clusterkit chaos-test primary-loss --seed 7 --time 60s")


def test_a_summary_fits_a_screen(invalid: Path) -> None:
    lines = report.summary(invalid).splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 160 for line in lines if str(invalid) not in line)


def test_the_faults_say_whether_they_bit_and_what_they_cost(invalid: Path) -> None:
    rows = {line.split("  ")[1]: line for line in report.summary(invalid).splitlines() if " s  " in line}
    told = "\n".join(rows.values())
    kill, _, clock = (re.sub(r" s\b", "", line).split()[-5:] for line in told.splitlines())
    assert kill[0] == "yes"
    assert float(kill[2]) == pytest.approx(2.9)
    assert float(kill[3]) > 2.9
    assert clock[:3] == ["no", "-", "-"]
    assert clock[-1] == "-", "service was never gone, so it did not come back"


def test_a_terminal_is_told_nothing_that_it_obeys(tmp_path: Path) -> None:
    folder = valid_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result["verdict"] = result["verdicts"][0]["verdict"] = "invalid"
    result["verdicts"][0]["evidence"] = list(NASTY)
    (folder / "result.json").write_text(json.dumps(result))
    report.write(folder)
    said = (folder / "summary.txt").read_text(encoding="utf-8")
    assert "\\x1b[31mred" in said
    assert "\\ud83d" in said
    assert all(line.isprintable() for line in said.split("\n"))


def test_a_leader_after_a_later_fault_is_that_one_s(tmp_path: Path) -> None:
    """The partition brings a new leader at 29.5 s; the clock's fault at 40 s none."""
    folder = valid_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result["verdicts"][1]["numbers"]["faults"]["kill-1"]["new leader"] = 19.5
    (folder / "result.json").write_text(json.dumps(result))
    kill, partition, _ = (line for line in report.summary(folder).splitlines() if re.match(r" +\d+\.0 s  ", line))
    assert kill.split("  yes ")[1].split()[2] == "-"
    assert "5.50 s" in partition


def test_what_a_checker_adds_below_its_first_line_is_evidence(tmp_path: Path) -> None:
    folder = valid_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    said = "cache is not healthy\ncache-2: it had ended with code 1"
    result |= {"verdict": "invalid", "text": said}
    evidence = [f"line {number}" for number in range(30)]
    for one in result["verdicts"]:
        one |= {"verdict": "invalid", "text": said, "evidence": evidence}
    (folder / "result.json").write_text(json.dumps(result))
    lines = report.summary(folder).splitlines()
    assert lines[0] == "INVALID: cache is not healthy"
    assert not any("ended with code 1" in line for line in lines)
    assert sum(line.startswith("    line ") for line in lines) == 14 + 4
    assert "    and 26 more lines in the report" in lines


# -- JUnit XML ---------------------------------------------------------------------------------------------------------


def test_a_refuted_promise_is_a_failure_with_its_evidence(invalid: Path) -> None:
    suite = suite_of(invalid)
    cases = {str(case.get("name")): case for case in suite.iter("testcase")}
    name = "cache set set under kill, partition, clock (seed 7)"
    failure = cases[name].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "lost " in failure.text
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (str(len(cases)), "1", "0")
    assert len(cases) == 3
    assert (suite.findtext("system-out") or "").startswith("INVALID: ")


def test_unknown_is_an_error(cut: Path) -> None:
    suite = suite_of(cut)
    assert suite.get("errors") == "1"
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "the run did not come to its end"


@pytest.mark.parametrize("text", NASTY)
def test_xml_holds_any_evidence(tmp_path: Path, text: str) -> None:
    folder = valid_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result["verdicts"][0] |= {
        "verdict": "invalid",
        "text": text,
        "evidence": [text, "\x00\x0b\ufffe"],
        "component": text,
    }
    (folder / "result.json").write_text(json.dumps(result))
    report.write(folder)
    failure = suite_of(folder).find(".//failure")
    assert failure is not None
    assert (failure.text or "").endswith("\n\ufffd\ufffd\ufffd")


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_asks_no_network(invalid: Path) -> None:
    page = page_of(invalid)
    assert page.links == []
    assert {"link", "img", "iframe"}.isdisjoint(page.tags)


def test_no_log_line_becomes_a_part_of_the_page(invalid: Path) -> None:
    page = page_of(invalid)
    assert page.tags.count("script") == 3, "figure, plotly, and the program that draws"
    assert "<script>document.title='broken'</script>" in page.text
    assert "<img src=x onerror=" in page.text


def test_the_page_begins_with_verdict_and_evidence(invalid: Path) -> None:
    text = page_of(invalid).text
    places = [text.index(word) for word in ("INVALID", "Evidence: set", "What happened", "Latency of every call",
              "Log lines around the evidence", "Verdicts", "This run")]  # fmt: skip
    assert places == sorted(places)
    assert "clusterkit chaos-test primary-loss --seed 7 --time 60s" in text
    assert "did not bite" in text
    assert "sha256:5555" in text


def test_the_evidence_stands_among_the_log_lines_of_its_time(invalid: Path) -> None:
    text = page_of(invalid).text
    asked = text.index("a client asks: add ")
    assert "served 239 requests" in text[:asked]
    assert "served 241 requests" in text[asked:]
    assert text.count("a client asks: ") == 4, "three adds, and the read that misses them"


def test_the_pictures_have_every_call(invalid: Path) -> None:
    figure = figure_of(invalid)
    calls = read_history(invalid).history.calls()
    assert sum(len(trace["x"]) for trace in figure["latency"]) == len(calls) > 8_000
    assert {trace["name"] for trace in figure["latency"]} == {
        "add ok", "read ok", "add failed", "read failed", "add unknown",
    }  # fmt: skip
    assert {trace["outcome"]: trace["symbol"] for trace in figure["latency"]} == {
        "ok": "circle", "failed": "x", "unknown": "triangle-up",
    }  # fmt: skip
    assert min(value for trace in figure["latency"] for value in trace["y"]) > 0, "the axis is logarithmic"
    assert sum(sum(trace["y"]) for trace in figure["rate"]) == len(calls)
    assert len(figure["marked"]["x"]) == 4


def test_the_pictures_say_what_happened_when(invalid: Path) -> None:
    figure = figure_of(invalid)
    assert figure["bands"] == [{"from": 10, "to": 16}, {"from": 24, "to": 32}, {"from": 40, "to": 46}]
    assert [round(gap["from"]) for gap in figure["gone"]] == [10, 24]
    leaders = [strip for strip in figure["strips"] if strip["row"] == "cache led by"]
    assert [(strip["inside"], strip["from"]) for strip in leaders] == [
        ("cache-1", 0.1),
        ("cache-2", 12.9),
        ("cache-3", 29.5),
    ]
    assert leaders[0]["length"] == pytest.approx(10.3), "nobody leads from the moment it is told"
    assert figure["rows"][0] == "phase"


# -- runs that are half there ------------------------------------------------------------------------------------------


def test_a_killed_run_is_unknown_and_says_what_is_missing(cut: Path) -> None:
    said = report.summary(cut)
    assert said.startswith("UNKNOWN: the run did not come to its end\n")
    assert "result.json is missing" in said
    assert "history.jsonl:" in said
    assert "the last line is cut off" in said
    assert "2.9" in next(line for line in said.splitlines() if "kill " in line), (
        "the times are counted from the history"
    )
    assert "result.json is missing" in page_of(cut).text
    assert figure_of(cut)["bands"][0] == {"from": 10, "to": 16}


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def replace(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (remove("history.jsonl"), "history.jsonl cannot be read: there is no history"),
        (replace("history.jsonl", b""), "history.jsonl cannot be read: the history is empty"),
        (replace("history.jsonl", b'{"index":0,"proc'), "history.jsonl cannot be read: the history is empty"),
        (replace("history.jsonl", b'{"a":1}\n{"b'), 'history.jsonl cannot be read: unknown key "a"'),
        (replace("history.jsonl", b"\xff\xfe"), "history.jsonl cannot be read: it is not UTF-8 text"),
        (remove("run.json"), "run.json is missing"),
        (replace("run.json", b'{"format": 1, "clus'), "run.json cannot be read"),
        (replace("result.json", b"\xff"), "result.json cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, break_it: Callable[[Path], object], told: str) -> None:
    folder = valid_run(tmp_path / "run")
    break_it(folder)
    report.write(folder)
    assert told in (folder / "summary.txt").read_text(encoding="utf-8")
    assert told in page_of(folder).text
    assert suite_of(folder).get("tests") is not None


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]\n", b'{"time_ns": "soon"}\n', b"\xff\n"])
def test_logs_may_be_missing_or_cut(tmp_path: Path, content: bytes | None) -> None:
    folder = invalid_run(tmp_path / "run", calls=500)
    if content is None:
        (folder / "logs.jsonl").unlink()
    else:
        (folder / "logs.jsonl").write_bytes(content)
    report.write(folder)
    text = page_of(folder).text
    assert "served" not in text
    assert "No node wrote anything within 2 s of it." in text


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        report.write(tmp_path)
    with pytest.raises(UsageError, match="there is no run"):
        report.summary(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_made_again(tmp_path: Path) -> None:
    folder = valid_run(tmp_path / "run")
    names = ("summary.txt", "junit.xml", "report.html")
    report.write(folder)
    first = [(folder / name).read_bytes() for name in names]
    report.write(folder)
    assert [(folder / name).read_bytes() for name in names] == first
