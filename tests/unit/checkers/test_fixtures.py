"""Each stored history comes out as its folder says. `FILE.about.json` names model, source and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clusterkit.checkers.base import combine, judge
from clusterkit.checkers.suite import calls_of, checkers_for
from clusterkit.history.codec import read_history

FOLDER = Path(__file__).parents[2] / "fixtures" / "histories"
FILES = sorted(path for path in FOLDER.glob("*/*") if path.suffix in (".jsonl", ".edn"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_comes_out_as_its_folder_says(path: Path) -> None:
    about = json.loads(path.with_name(f"{path.name}.about.json").read_text())
    assert about["source"]
    stored = read_history(path, calls_of(about["model"]))
    assert bool(stored.cut) == about.get("cut", False)
    checkers = checkers_for(about["model"], about.get("initial"), claim=about.get("claim", "linearizable"))
    verdict = combine("all", [judge(checker, stored.history) for checker in checkers])
    assert verdict.validity.value == path.parent.name, verdict
    assert about.get("says", "") in verdict.text
    if path.parent.name == "invalid":
        assert verdict.evidence
        assert verdict.indices
        assert max(verdict.indices) < len(stored.history)
    if "indices" in about:
        assert list(verdict.indices) == about["indices"]


def test_every_fixture_has_its_source() -> None:
    assert len(FILES) >= 20
    described = {path.name.removesuffix(".about.json") for path in FOLDER.glob("*/*.about.json")}
    assert described == {path.name for path in FILES}
