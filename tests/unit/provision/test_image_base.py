"""A pull that fails or stalls is given up with the engine's words; the built tree is asked for rightly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from docker import APIClient
from docker.errors import APIError

from clusterkit.errors import InstallFailed
from clusterkit.journal import Entry, Journal
from clusterkit.provision import base
from clusterkit.provision.base import bootstrap_command, make_base, pull_refused
from clusterkit.provision.sources import Machine


class Engine:
    """An engine that answers a pull with what it is given."""

    base_url = "http+docker://fake"

    def __init__(self, *lines: dict[str, str], trouble: Exception | None = None, stalls: bool = False) -> None:
        self.lines, self.trouble, self.pulls = lines, trouble, 0
        self.go_on = threading.Event()
        if not stalls:
            self.go_on.set()

    def pull(self, _reference: str, *, stream: bool, decode: bool) -> Iterator[dict[str, str]]:
        assert stream
        assert decode
        self.pulls += 1
        if self.trouble is not None:
            raise self.trouble
        self.go_on.wait()
        yield from self.lines

    @property
    def client(self) -> APIClient:
        return cast(APIClient, cast(Any, self))


def test_a_pull_that_works() -> None:
    assert pull_refused(Engine({"status": "Pulling from debian"}, {"status": "Pull complete"}).client, "debian") is None


@pytest.mark.parametrize(
    "words",
    ["no such host", "connection refused", "denied: requested access to the resource is denied", "manifest unknown"],
)
def test_the_engine_refuses(words: str) -> None:
    assert words in str(pull_refused(Engine(trouble=APIError("500", explanation=words)).client, "debian"))


def test_a_pull_that_breaks_off_is_refused_with_its_login_masked() -> None:
    engine = Engine({"status": "Pulling"}, {"error": "Get https://me:hunter22@registry.example: timeout"})
    assert pull_refused(engine.client, "debian") == "Get https://***@registry.example: timeout"


def test_a_registry_that_never_answers_is_given_up() -> None:
    engine = Engine(stalls=True)
    assert pull_refused(engine.client, "debian", first=0.0) == "no answer within 0 s"
    engine.go_on.set()


def test_without_registry_and_sources_the_error_says_both_and_the_pull_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_failed_pulls", {})
    engine, entries = Engine(trouble=APIError("500", explanation="no such host")), list[Entry]()
    for _ in range(2):
        with pytest.raises(InstallFailed, match=r"neither pulled \(no such host\) nor built") as caught:
            make_base(
                engine.client,
                Journal(entries.append),
                Machine(tmp_path, {}),
                "clusterkit/base:1",
                tmp_path,
                threading.Event(),
            )
        assert "docker pull" in str(caught.value.mend)
    assert engine.pulls == 1
    assert any("cannot be pulled (no such host)" in entry.text for entry in entries)


def test_the_tree_is_built_from_the_sources_given() -> None:
    command = bootstrap_command("bookworm", Path("/w"), is_root=False)
    assert command[0] == "mmdebstrap"
    assert command[-3:] == ["bookworm", "-", "/w/apt/sources.list.d/clusterkit-build.sources"]
    assert "--include=usr-is-merged,ca-certificates,python3,python3-apt,tini,tzdata" in command


def test_root_works_on_a_disk_that_dies_with_the_build() -> None:
    command = bootstrap_command("bookworm", Path("/w"), is_root=True)
    assert command[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert "mount -t tmpfs" in command[6]
    assert command[8:] == bootstrap_command("bookworm", Path("/w"), is_root=False)
