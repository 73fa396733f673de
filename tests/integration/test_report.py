"""The report in a browser: on a desktop and on a phone, in dark and in light, all is drawn and nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterkit import report
from tests.integration.browser import Page, browser
from tests.unit.report.stored_runs import cut_run, invalid_run, valid_run

KINDS = {"invalid": invalid_run, "valid": valid_run, "cut": cut_run}
SCREENS = [(1280, 900), (390, 844)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each kind of run, each with its report."""
    base = tmp_path_factory.mktemp("runs")
    for name, make in KINDS.items():
        report.write(make(base / name))
    return base


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SCREENS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_whole_on_every_screen(
    runs: Path, page: Page, tmp_path: Path, kind: str, width: int, height: int, dark: bool
) -> None:
    page.open(runs / kind / "report.html", width=width, height=height, dark=dark)
    assert page.value("document.body.dataset.drawn") == "yes"
    assert page.value("document.title") == f"{'unknown' if kind == 'cut' else kind}: primary-loss"
    assert page.value("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    outside = (
        "[...document.querySelectorAll('h1, h2, p, pre, dd, summary, .plot')]"
        ".filter(one => one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert page.value(outside) == 0
    paper = page.value("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, paper.strip("rgb()").split(","))) < 100 if dark else paper == "rgb(255, 255, 255)"
    page.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert page.complaints == []


def test_every_call_is_drawn(runs: Path, page: Page) -> None:
    page.open(runs / "invalid" / "report.html", width=1280, height=900, dark=False)
    counts = page.value(
        "Object.fromEntries(document.getElementById('latency').data.map((trace, at) =>"
        " [trace.name, [trace.x.length,"
        "  document.querySelectorAll('#latency .scatterlayer .trace')[at].querySelectorAll('path.point').length]]))"
    )
    assert set(counts) == {"add ok", "read ok", "add failed", "read failed", "add unknown", "evidence"}
    assert all(points == drawn for points, drawn in counts.values())
    assert sum(points for points, _ in counts.values()) > 8_000
    assert page.value("document.querySelectorAll('#strips .bars path').length") > 10
    assert page.value("document.querySelectorAll('#rate .scatterlayer .trace').length") == 3
    shaded = "document.querySelectorAll('#latency .shapelayer path').length"
    assert page.value(shaded) == 5, "three faults, two outages"


def test_outcomes_differ_by_symbol_and_by_colour(runs: Path, page: Page) -> None:
    for dark in (False, True):
        page.open(runs / "invalid" / "report.html", width=1280, height=900, dark=dark)
        looks = page.value(
            "document.getElementById('latency').data"
            ".map(trace => [trace.name.split(' ').pop(), trace.marker.symbol, trace.marker.color])"
        )
        by_outcome = {
            outcome: {(symbol, colour) for name, symbol, colour in looks if name == outcome} for outcome, _, _ in looks
        }
        assert by_outcome.keys() == {"ok", "failed", "unknown", "evidence"}
        symbols = [next(iter(found))[0] for found in by_outcome.values()]
        assert len(set(symbols)) == len(symbols)
        colours = [{colour for _, colour in found} for found in by_outcome.values()]
        assert sum(map(len, colours)) == len(set().union(*colours))


def test_who_looks_closer_in_one_picture_does_so_in_all(runs: Path, page: Page) -> None:
    page.open(runs / "valid" / "report.html", width=1280, height=900, dark=False)
    page.value("Plotly.relayout('latency', {'xaxis.range': [20, 30]}).then(() => true)")
    ranges = page.value("['strips', 'latency', 'rate'].map(name => document.getElementById(name).layout.xaxis.range)")
    assert ranges == [[20, 30]] * 3


def test_the_keyboard_opens_the_log_lines_of_an_evidence(runs: Path, page: Page) -> None:
    page.open(runs / "invalid" / "report.html", width=390, height=844, dark=False)
    hidden = "[...document.querySelectorAll('details')].filter(one => !one.open).length"
    before = page.value(hidden)
    assert before > 0
    page.value("document.querySelector('details:not([open]) summary').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert page.value(hidden) == before - 1


def test_paper_is_light_and_shows_all_log_lines(runs: Path, page: Page) -> None:
    page.open(runs / "invalid" / "report.html", width=1280, height=900, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.value("dispatchEvent(new Event('beforeprint')), true")
    assert page.value("document.getElementById('rate').layout.font.color") == "#1b1f24"
    lowest = (
        "Math.min(...[...document.querySelectorAll('.log .line')].map(line => line.getBoundingClientRect().height))"
    )
    assert page.value(lowest) > 0
    page.call("Emulation.setEmulatedMedia", media="")
