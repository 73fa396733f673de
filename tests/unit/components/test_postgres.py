"""PostgreSQL as seen through Patroni's REST API and a fake session: roles, what is ready, what errors mean."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from clusterkit.client import ClientError, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components import postgres
from clusterkit.components.base import Purpose, Running
from clusterkit.components.postgres import PostgresOptions
from clusterkit.components.postgres_client import PostgresConnection, SqlError, check_warnings
from clusterkit.components.postgres_driver import PostgresDriver
from clusterkit.model.topology import ComponentSpec
from tests.unit.components.node_servers import group, running, serving

NAMES = ("db-1", "db-2", "db-3")


def said(role: str, *copies: str, **more: Any) -> dict[str, Any]:
    """What GET /patroni gives."""
    replication = [{"application_name": name, "state": "streaming", "sync_state": "async"} for name in copies]
    xlog = {"location": 100} if role == "master" else {"replayed_location": 90}
    return {"state": "running", "role": role, "timeline": 3, "xlog": xlog, "replication": replication, **more}


def patroni(answer: Mapping[str, Any], asked: list[tuple[str, Any]]) -> contextlib.AbstractContextManager[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_leader = answer.get("role") == "master"
            self._answer(200 if self.path != "/primary" or is_leader else 503, answer)

        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self._answer(200, {})

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing into the tests' output."""

    return serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler))


@contextlib.contextmanager
def cluster(
    *answers: Mapping[str, Any], asked: list[tuple[str, Any]] | None = None, **options: Any
) -> Iterator[Running]:
    of = group(postgres.COMPONENT, {"votes": "votes", **options}, name="db")
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(patroni(one, [] if asked is None else asked))
            for name, one in zip(NAMES, answers, strict=False)
        }
        yield running(postgres.COMPONENT, of, ports)


def test_ready_is_what_the_primary_says_of_its_replicas() -> None:
    with cluster(said("replica"), said("master", "db-1", "db-3"), said("replica")) as seen:
        assert postgres.has_one_primary(seen) == {}
        assert all(finding.is_ok for finding in postgres.examine(seen))
        roles = {name: str(role[0].name) for name, role in postgres.read_roles(seen).items()}
        details = postgres.read_roles(seen)["db-1"][0].detail
    assert roles == {"db-1": "replica", "db-2": "primary", "db-3": "replica"}
    assert details == "timeline 3, asynchronous, 10 bytes behind"


def test_a_replica_that_says_it_runs_but_does_not_stream_is_not_ready() -> None:
    with cluster(said("replica"), said("master", "db-1"), said("replica")) as seen:
        assert postgres.has_one_primary(seen) == {"db-3": "it does not stream from db-2"}
        wrong = [finding for finding in postgres.examine(seen) if not finding.is_ok]
    assert [(finding.node, finding.what) for finding in wrong] == [("db-3", "replication: timeline 3, does not stream")]


def test_no_primary_and_two_are_both_wrong() -> None:
    with cluster(*[said("replica")] * 3) as seen:
        assert set(postgres.has_one_primary(seen).values()) == {"no node is the primary"}
        with pytest.raises(ClientError, match="no node says it is the primary"):
            postgres.find_primary(seen, 0)
    with cluster(said("master"), said("master"), said("replica")) as seen:
        assert postgres.has_one_primary(seen)["db-1"] == "there are 2 primaries: db-1 and db-2"


def test_clients_find_the_primary_wherever_they_begin() -> None:
    with cluster(said("replica"), said("master"), said("replica")) as seen:
        assert [postgres.find_primary(seen, turn)[1].name for turn in range(4)] == ["db-2"] * 4


def test_a_primary_hands_over_before_it_goes_and_a_replica_need_not() -> None:
    asked: list[tuple[str, Any]] = []
    with cluster(said("replica"), said("master", "db-1", "db-3"), said("replica"), asked=asked) as seen:
        postgres.step_down(seen, seen.members[0])
        assert asked == []
        with pytest.raises(ClientError, match="db-2 hands over"):
            postgres.step_down(seen, seen.members[1])
    assert asked == [("/switchover", {"leader": "db-2"})]


def test_without_a_synchronous_replica_health_says_so() -> None:
    with cluster(said("replica"), said("master", "db-1", "db-3"), said("replica"), synchronous="strict") as seen:
        wrong = [finding.what for finding in postgres.examine(seen) if not finding.is_ok]
    assert wrong == ["synchronous: no replica"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttl": "20s", "loop_wait": "10s", "retry_timeout": "10s"}, "set it to 30s or more"),
        ({"ttl": "5s"}, "20s or more"),
        ({"loop_wait": "1500ms"}, "whole seconds"),
        ({"parameters": {"max_connections": 10}}, "has an option of its own"),
        ({"parameters": {"Port": 10}}, "is set by clusterkit"),
        ({"synchronous": "stric"}, "'off', 'on' or 'strict'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PostgresOptions.model_validate({"votes": "votes", **options})


def test_synchronous_modes_are_patronis() -> None:
    modes = {
        word: PostgresOptions.model_validate({"votes": "v", "synchronous": word}).dynamic
        for word in ("off", "on", "strict")
    }
    assert [(one["synchronous_mode"], one["synchronous_mode_strict"]) for one in modes.values()] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_votes_are_in_an_etcd() -> None:
    spec = ComponentSpec(name="db", kind="postgres", options=PostgresOptions(votes="cache"), replicas=1)
    cache = ComponentSpec(name="cache", kind="redis", options=None)
    (misfit,) = postgres.COMPONENT.check(spec, {"db": spec, "cache": cache})
    assert (misfit.option, misfit.mend) == ("votes", "add a component of kind etcd")


# -- the driver --------------------------------------------------------------------------------------------------------


class FakeSession(PostgresConnection):
    """Answers statements by their first words; an exception is raised.

    `ran`: the first words of what was asked; `values`: what came with the last statement.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers, self.ran = answers, list[str]()

    def has_tables(self) -> bool:
        return True

    def run(self, sql: str, deadline: Deadline | None = None, **values: Any) -> list[list[Any]]:
        assert deadline is not None, "a statement of a driver shares the deadline of its call"
        self.ran.append(" ".join(sql.split()[:2]))
        self.values = values
        none: Any = []
        answer = next((found for words, found in self.answers.items() if sql.strip().startswith(words)), none)
        if isinstance(answer, Exception):
            raise answer
        rows: list[list[Any]] = answer
        return rows

    def close(self) -> None:
        """Nothing is open."""


def driving(kind: str, answers: Mapping[str, Any]) -> tuple[PostgresDriver, FakeSession]:
    session = FakeSession(answers)
    driver = PostgresDriver.__new__(PostgresDriver)
    driver._start(session, 0.5, Purpose(kind))
    return driver, session


TRANSFER = {"from": "a", "to": "b", "amount": 5}


@pytest.mark.parametrize("state", ["25006", "40001", "40P01", "57P03", "53300", "23505", "42P01"])
def test_what_the_server_rolled_back_is_refused(state: str) -> None:
    driver, _ = driving("set", {"INSERT": SqlError(state, "no")})
    with pytest.raises(Refused, match=state):
        driver.call("add", "k", 1)


@pytest.mark.parametrize(
    "error", [SqlError("57P01", "shut down"), SqlError("08006", "lost"), TimeoutError("timed out")]
)
def test_of_what_broke_on_the_way_nobody_knows(error: Exception) -> None:
    driver, _ = driving("set", {"INSERT": error})
    with pytest.raises((OSError, ClientError)) as caught:
        driver.call("add", "k", 1)
    assert not isinstance(caught.value, (Refused, NotSent))


def test_a_commit_that_no_replica_has_is_no_success() -> None:
    check_warnings([{b"S": b"NOTICE", b"M": b"relation exists, skipping"}])
    with pytest.raises(ConnectionError, match="canceling wait for synchronous replication"):
        check_warnings([{b"S": b"WARNING", b"M": b"canceling wait for synchronous replication due to user request"}])


def test_a_transfer_that_broke_before_its_commit_never_happened() -> None:
    driver, session = driving("bank", {"SELECT": [[10]], "UPDATE": ConnectionError("reset")})
    with pytest.raises(NotSent, match="before the commit"):
        driver.call("transfer", "k", TRANSFER)
    assert "COMMIT" not in session.ran


def test_of_a_transfer_that_broke_in_its_commit_nobody_knows() -> None:
    driver, _ = driving("bank", {"SELECT": [[10]], "COMMIT": ConnectionError("reset")})
    with pytest.raises(ConnectionError) as caught:
        driver.call("transfer", "k", TRANSFER)
    assert not isinstance(caught.value, NotSent)


def test_a_transfer_that_failed_to_serialize_is_rolled_back() -> None:
    driver, session = driving("bank", {"SELECT": [[10]], "UPDATE": SqlError("40001", "could not serialize")})
    with pytest.raises(Refused, match="40001"):
        driver.call("transfer", "k", TRANSFER)
    assert session.ran[-1] == "ROLLBACK"


@pytest.mark.parametrize("rows", [[[3]], []])
def test_an_account_without_cover_or_that_was_lost_moves_nothing(rows: list[list[int]]) -> None:
    driver, session = driving("bank", {"SELECT": rows})
    with pytest.raises(Unmet):
        driver.call("transfer", "k", TRANSFER)
    assert session.ran[-1] == "ROLLBACK"


def test_values_come_back_as_they_went() -> None:
    driver, session = driving("register", {"SELECT": [["7"]], "UPDATE": [], "INSERT": []})
    assert driver.call("read", "k", None) == 7
    driver.call("write", "k", 8)
    assert session.values == {"key": "k", "value": "8"}
    with pytest.raises(Unmet):
        driver.call("cas", "k", [1, 2])
    with pytest.raises(Unmet):
        driver.call("cas", "k", [None, 2])
    driver, _ = driving("queue", {"DELETE": []})
    assert driver.call("dequeue", "k", None) is None
    driver, _ = driving("counter", {"SELECT": []})
    assert driver.call("read", "k", None) == 0
