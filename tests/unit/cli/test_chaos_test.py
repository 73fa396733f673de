"""chaos-test: what is refused before anything is touched, and what a scenario's time becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.chaos.scenario import Scenario
from clusterkit.cli import main
from clusterkit.cli.chaos_test import _fitted
from clusterkit.errors import UsageError
from clusterkit.units import Duration


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["chaos-test", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--replay", "x", "--seed", "1"), "--replay takes scenario and seed from the run"),
        (("--replay", "x", "storm"), "--replay takes scenario and seed from the run"),
        (("--repeat", "0"), "0 is not in the range"),
        (("--time", "60"), "is not a duration"),
        (("-f", "gone.yml"), "gone.yml:1:1: there is no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, err = _run(capsys, *words)
    assert code == 64
    assert said in err


def _scenario(name: str, seconds: float) -> Scenario:
    return Scenario(name, (), Duration(seconds))


def test_time_is_for_all_scenarios_together() -> None:
    both = [_scenario("a", 60), _scenario("b", 30)]
    assert [one.time.seconds for one in _fitted(both, Duration(45))] == [30, 15]
    assert _fitted(both, None) == both
    assert _fitted([_scenario("a", 60)], Duration(300))[0].time == Duration(300)


def test_a_time_in_which_nothing_can_be_proved_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves b 4s: nothing would be proved"):
        _fitted([_scenario("a", 60), _scenario("b", 20)], Duration(16))
