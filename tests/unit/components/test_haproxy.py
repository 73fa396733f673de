"""HAProxy as seen through its statistics: whom it sends clients to, and what fits before what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clusterkit.client import ClientError
from clusterkit.components import haproxy, postgres
from clusterkit.components.base import Running
from clusterkit.components.haproxy import HaproxyOptions
from clusterkit.model.topology import ComponentSpec
from tests.unit.components.node_servers import group, running, serving

UP = {"db-1": "UP", "db-2": "DOWN", "db-3": "DOWN"}


def stats(client: dict[str, str], replicas: dict[str, str] | None = None) -> str:
    rows = ["# pxname,svname,qcur,status", "client,FRONTEND,,OPEN"]
    rows += [f"client,{name},0,{status}" for name, status in client.items()]
    rows += [f"replicas,{name},0,{status}" for name, status in (replicas or {}).items()]
    return "\n".join([*rows, "client,BACKEND,0,UP", "stats,FRONTEND,,OPEN"]) + "\n"


def proxy(text: str) -> contextlib.AbstractContextManager[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing into the tests' output."""

    return serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler))


@contextlib.contextmanager
def seen_by(text: str, **options: Any) -> Iterator[Running]:
    db = group(postgres.COMPONENT, {"votes": "votes"}, name="db")
    of = group(haproxy.COMPONENT, {"backend": "db", **options}, replicas=1, name="proxy", needs={"db": db})
    with proxy(text) as port:
        behind = running(postgres.COMPONENT, db, {})
        yield running(haproxy.COMPONENT, of, {"proxy-1": port}, {"db": behind})


def test_a_proxy_with_one_primary_is_ready_and_says_whom_it_serves() -> None:
    with seen_by(stats(UP, {"db-1": "DOWN", "db-2": "UP", "db-3": "UP"})) as seen:
        assert haproxy.sends_on(seen) == {}
        assert haproxy.read_roles(seen)["proxy-1"][0].detail == "to db-1, reads to db-2 and db-3"


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ({**UP, "db-2": "UP 1/2"}, "not made up its mind about db-2"),
        ({**UP, "db-1": "DOWN"}, "no node to send clients to"),
        ({**UP, "db-2": "UP"}, "takes db-1 and db-2 for the primary"),
    ],
)
def test_a_proxy_that_could_write_to_a_replica_is_not_ready(servers: dict[str, str], words: str) -> None:
    with seen_by(stats(servers)) as seen:
        assert words in haproxy.sends_on(seen)["proxy-1"]


def test_before_another_component_any_node_will_do() -> None:
    with seen_by(stats({**UP, "db-2": "UP"}), port=2379) as seen:
        assert haproxy.sends_on(seen) == {}
        assert haproxy.writes_arrive(seen) == {}
        with pytest.raises(ClientError, match="only to a postgres"):
            haproxy.next_proxy(seen, 0)


def test_what_is_not_a_list_of_servers_is_told() -> None:
    with seen_by("nothing") as seen:
        assert "no list of servers" in haproxy.sends_on(seen)["proxy-1"]
        assert [finding.is_ok for finding in haproxy.examine(seen)] == [False]


def test_clients_dial_the_proxy_and_final_reads_the_nodes_themselves() -> None:
    with seen_by(stats(UP)) as seen:
        through, member = haproxy.next_proxy(seen, 5)
        assert member.name == "proxy-1"
        assert through.dial(member, "client") == seen.dial(member, "client")
        assert [one.name for one in through.members] == ["db-1", "db-2", "db-3"]
        assert through.component is postgres.COMPONENT
        with pytest.raises(KeyError):
            through.dial(through.members[0], "client")


def test_the_port_is_for_what_has_no_roles() -> None:
    def misfits(kind: str, **options: Any) -> list[str]:
        spec = ComponentSpec(name="proxy", kind="haproxy", options=HaproxyOptions(backend="db", **options))
        db = ComponentSpec(name="db", kind=kind, options=None)
        return [misfit.option for misfit in haproxy.COMPONENT.check(spec, {"proxy": spec, "db": db})]

    assert misfits("postgres") == misfits("etcd", port=2379) == []
    assert misfits("postgres", port=5432) == ["port"]
    assert misfits("etcd") == ["backend"]


def test_replicas_have_a_port_only_where_there_are_roles() -> None:
    assert list(haproxy.ports(HaproxyOptions(backend="db"))) == ["client", "replicas", "stats"]
    assert list(haproxy.ports(HaproxyOptions(backend="db", port=80))) == ["client", "stats"]
    assert HaproxyOptions(backend="db").most_clients == 500
    assert HaproxyOptions(backend="db", production=True).most_clients == 20000
