"""The doctor's own logic; what the probes do to a real engine is tried in tests/integration."""

from __future__ import annotations

import pytest

from clusterkit.doctor import PROBES, Answer, Machine, Probe, examine, try_container, try_engine
from clusterkit.errors import EngineUnreachable, EnvironmentTrouble


def fails_with(error: Exception) -> Probe:
    def run(_machine: Machine) -> Answer:
        raise error

    return Probe("it", run)


def test_answers_come_in_the_order_of_the_probes() -> None:
    probes = tuple(Probe(name, lambda _machine: Answer("ok", "")) for name in ("c", "a", "b"))
    assert [found.name for found in examine(Machine(None), probes)] == ["c", "a", "b"]


def test_an_error_of_ours_keeps_its_mend() -> None:
    probe = fails_with(EnvironmentTrouble("no subnet is free", mend="docker network prune"))
    (found,) = examine(Machine(None), (probe,))
    assert found.answer == Answer("missing", "no subnet is free", "docker network prune")


def test_an_error_of_the_machine_is_something_missing() -> None:
    (found,) = examine(Machine(None), (fails_with(FileNotFoundError(2, "No such file", "docker")),))
    assert found.answer.status == "missing"
    assert "No such file" in found.answer.text


def test_a_bug_is_not_taken_for_a_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        list(examine(Machine(None), (fails_with(ZeroDivisionError()),)))


@pytest.mark.parametrize(("is_needed", "is_fatal"), [(True, True), (False, False)])
def test_only_what_is_needed_is_fatal(is_needed: bool, is_fatal: bool) -> None:
    probe = Probe("it", lambda _machine: Answer("missing", "gone"), is_needed=is_needed)
    (found,) = examine(Machine(None), (probe,))
    assert found.is_fatal is is_fatal


def test_a_refused_socket_is_mended_by_the_group() -> None:
    trouble = EngineUnreachable("no container engine answers at unix:///run/docker.sock: permission denied")
    assert "usermod -aG docker" in try_engine(Machine(None, trouble)).mend


def test_what_needs_an_engine_is_not_tried_without_one() -> None:
    assert try_container(Machine(None)) == Answer("not tried", "no engine answers")


def test_probes_have_names_of_their_own() -> None:
    names = [probe.name for probe in PROBES]
    assert len(set(names)) == len(names)
