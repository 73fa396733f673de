"""chaos-test: what is refused before anything is touched, and what a scenario's time becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusterkit.chaos.scenario import Scenario
from clusterkit.checkers.base import Validity
from clusterkit.cli import main
from clusterkit.cli.chaos_test import _fitted, _Test, _Wish
from clusterkit.errors import NotReady, UsageError
from clusterkit.trial.run import Outcome
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


def test_a_system_that_a_run_left_dead_ends_the_others_and_not_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = _Test(_Wish((), None, None, 1, 3, False, None, False, False), is_quiet=False)
    monkeypatch.setattr("clusterkit.cli.chaos_test._case", lambda *_: None)

    def one(*_: object) -> Outcome:
        if test.outcomes:
            raise NotReady("cache is not healthy", unready={"cache-1": "it ended"})
        test.outcomes.append(Outcome(Path("run"), Validity.VALID))
        return test.outcomes[-1]

    monkeypatch.setattr(test, "_one", one)
    interrupted = test._runs(None, None, [_scenario("a", 60)], 1)  # type: ignore[arg-type]  # nobody looks at them
    assert not interrupted
    assert test._is_cut
    assert len(test.outcomes) == 1
    assert "no further run" in capsys.readouterr().out
    test.outcomes.clear()
    monkeypatch.setattr(test, "_one", lambda *_: (_ for _ in ()).throw(NotReady("never was", unready={})))
    with pytest.raises(NotReady):
        test._runs(None, None, [_scenario("a", 60)], 1)  # type: ignore[arg-type]
