"""etcd as seen through its JSON gateway: roles, readiness, the password, and the file that it is started with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from clusterkit.client import ClientError
from clusterkit.components import etcd
from clusterkit.components.base import Choice, Fallen, Running
from clusterkit.components.etcd_client import EtcdClient
from clusterkit.components.registry import Registry
from clusterkit.model.topology import ComponentSpec, Topology
from clusterkit.plan import Allocation, plan
from clusterkit.render import tree
from tests.unit.components.node_servers import SECRET, FakeEtcd, group, running

BOOTSTRAP = etcd.COMPONENT.bootstrap
assert BOOTSTRAP is not None


@contextlib.contextmanager
def serving(*servers: FakeEtcd, **options: Any) -> Iterator[Running]:
    """registry-1 and so on, one for each server."""
    of = group(etcd.COMPONENT, options, name="registry", replicas=3)
    with contextlib.ExitStack() as stack:
        ports = {f"registry-{i}": stack.enter_context(server.serve()) for i, server in enumerate(servers, start=1)}
        yield running(etcd.COMPONENT, of, ports)


def three(values: dict[str, str] | None = None) -> list[FakeEtcd]:
    shared = {} if values is None else values
    return [FakeEtcd(member_id=str(i), leader="2", values=shared) for i in (1, 2, 3)]


def test_roles_are_read_live() -> None:
    servers = three()
    servers[2].leader = ""
    with serving(*servers) as seen:
        roles = {name: [(role.name, role.detail) for role in held] for name, held in etcd.read_roles(seen).items()}
    assert roles == {
        "registry-1": [("follower", "term 4, index 120")],
        "registry-2": [("leader", "term 4, index 120")],
        "registry-3": [("candidate", "term 4, index 120")],
    }


def test_ready_when_all_agree_and_serve() -> None:
    values = {"mine": "kept"}
    with serving(*three(values)) as seen:
        assert [condition(seen) for condition in etcd.COMPONENT.ready] == [{}, {}, {}]
        assert all(finding.is_ok for finding in etcd.examine(seen))
    assert values == {"mine": "kept"}


def test_what_keeps_it_from_ready() -> None:
    servers = three()
    servers[0].health = '{"health":"false","reason":"NO LEADER"}'
    servers[1].leader = ""
    servers[2].values = {}
    with serving(*servers) as seen:
        assert etcd.is_healthy(seen) == {"registry-1": 'GET /health: {"health":"false","reason":"NO LEADER"}'}
        assert etcd.has_one_leader(seen) == {"registry-2": "it knows no leader"}
        last = etcd.COMPONENT.ready[2](seen)
        assert set(last) == {"registry-2", "registry-3"}


def test_leaders_that_differ() -> None:
    servers = three()
    servers[0].leader = "1"
    with serving(*servers) as seen:
        assert set(etcd.has_one_leader(seen)) == {"registry-1", "registry-2", "registry-3"}
        wrong = [finding.what for finding in etcd.examine(seen) if not finding.is_ok]
    assert wrong == ["leader: the nodes disagree; by its own word: registry-1 and registry-2"]


def test_without_a_quorum_the_findings_say_so() -> None:
    with serving(FakeEtcd(leader="")) as seen:
        wrong = [finding.what for finding in etcd.examine(seen) if not finding.is_ok]
    assert wrong == [
        "quorum: 0 of 3 members take part, 2 are needed",
        "leader: none among the nodes that answer",
    ]


def test_client_logs_in_again_after_a_restart_of_the_server() -> None:
    server = FakeEtcd()
    with serving(server) as seen:
        client = EtcdClient(seen, seen.members[0])
        try:
            client.write("k", "välue")
            server.token = "token.2"
            assert client.read("k") == "välue"
            assert client.read("k", is_linearizable=False) == "välue"
            client.delete("k")
            assert client.read("k") is None
        finally:
            client.close()
    assert server.asked.count("/v3/auth/authenticate") == 2


def test_compare_and_set() -> None:
    with serving(FakeEtcd()) as seen:
        client = EtcdClient(seen, seen.members[0])
        try:
            assert client.compare_and_set("k", None, "1")
            assert not client.compare_and_set("k", None, "2")
            assert client.compare_and_set("k", "1", "3")
            assert not client.compare_and_set("k", "1", "4")
            assert client.read("k") == "3"
        finally:
            client.close()


def test_a_wrong_password_is_the_servers_word() -> None:
    with serving(FakeEtcd(users={"root": "another"})) as seen:
        client = EtcdClient(seen, seen.members[0])
        try:
            with pytest.raises(ClientError, match="invalid user ID or password"):
                client.read("k")
        finally:
            client.close()


@pytest.mark.parametrize("users", [{}, {"root": "left by an up that was killed"}])
def test_bootstrap_turns_the_password_on_once(users: dict[str, str]) -> None:
    assert BOOTSTRAP is not None
    server = FakeEtcd(is_auth_on=False, users=users)
    with serving(server) as seen:
        assert BOOTSTRAP.is_needed(seen)
        BOOTSTRAP.run(seen)
        assert server.is_auth_on
        assert server.users == {"root": SECRET}
        assert not BOOTSTRAP.is_needed(seen)


def test_bootstrap_turns_it_off_again() -> None:
    assert BOOTSTRAP is not None
    server = FakeEtcd()
    with serving(server, password=False) as seen:
        assert BOOTSTRAP.is_needed(seen)
        BOOTSTRAP.run(seen)
        assert not BOOTSTRAP.is_needed(seen)
    assert not server.is_auth_on


def test_bootstrap_waits_for_a_leader() -> None:
    assert BOOTSTRAP is not None
    with serving(FakeEtcd(leader="")) as seen, pytest.raises(ClientError, match="it knows no leader"):
        BOOTSTRAP.is_needed(seen)


def test_configuration() -> None:
    made = yaml.safe_load(_rendered({"quota": "64MB", "snapshot_count": 500, "settings": {"log-level": "debug"}}))
    assert made["initial-cluster"] == ",".join(f"registry-{i}=http://10.0.0.1{i}:2380" for i in (1, 2, 3))
    assert made["advertise-client-urls"] == "http://10.0.0.12:2379"
    assert (made["heartbeat-interval"], made["election-timeout"]) == (100, 1000)
    assert (made["quota-backend-bytes"], made["snapshot-count"]) == (64 * 2**20, 500)
    assert made["enable-grpc-gateway"] is True
    assert (made["logger"], made["log-level"]) == ("zap", "debug")


def _rendered(options: dict[str, Any]) -> str:
    spec = ComponentSpec("registry", "etcd", etcd.EtcdOptions.model_validate(options))
    addresses = {name: f"10.0.0.{11 + i}" for i, name in enumerate(spec.node_names)}
    allocation = Allocation("10.0.0.0/24", addresses, secrets={"registry": {"password": SECRET}})
    made = plan(Topology("shop", {"registry": spec}), Registry(), allocation)
    node = made.node("registry-2")
    assert node.environment["ETCDCTL_USER"] == f"root:{SECRET}"
    return next(file.content.decode() for file in tree.files(made, node) if file.path == etcd.CONFIG)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heartbeat_interval": "300ms"}, "less than 5 heartbeats of 300ms.*set it to 1.5s or more"),
        ({"election_timeout": "1m"}, "etcd's limit, 50s"),
        ({"heartbeat_interval": "1us"}, "less than 1ms"),
        ({"snapshot_count": 0}, "1 or more"),
        ({"settings": {"quota-backend-bytes": 1}}, "an option of its own, quota"),
        ({"settings": {"initial-cluster": "x"}}, "set by clusterkit"),
        ({"election_timeout": 1000}, "needs a unit"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        etcd.EtcdOptions.model_validate(options)


def test_exports() -> None:
    of = group(etcd.COMPONENT, name="registry", replicas=1)
    assert {key: give(of) for key, give in etcd.COMPONENT.exports.items()} == {
        "urls": "http://192.0.2.11:2379",
        "user": "root",
        "password": SECRET,
    }


def test_a_gateway_that_is_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEtcd, "answer", lambda *_: (404, "404 page not found"))
    with serving(FakeEtcd()) as seen:
        _, troubles = etcd.statuses(seen)
    assert troubles["registry-1"] == "the JSON gateway is off: /v3 is not found (enable-grpc-gateway)"


def _sees(monkeypatch: pytest.MonkeyPatch, **indices: int) -> Fallen:
    """Members that run and know no leader, by name (_ for -), with their raft index."""
    found = {name.replace("_", "-"): {"header": {"member_id": "1"}, "raftIndex": n} for name, n in indices.items()}
    monkeypatch.setattr(etcd, "statuses", lambda _running: (found, {}))
    return Fallen(running(etcd.COMPONENT, group(etcd.COMPONENT), {}), {})


def test_the_last_one_left_may_begin_anew_and_it_is_said_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    found = etcd.choose(_sees(monkeypatch, etcd_3=33), "")
    assert found == Choice("etcd-3", "it has entry 33, and knows no leader", "what only etcd-1 and etcd-2 had")
    with pytest.raises(ClientError, match="etcd-1 does not answer; etcd-3 does"):
        etcd.choose(_sees(monkeypatch, etcd_3=33), "etcd-1")


def test_a_majority_needs_no_help_and_none_at_all_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert etcd.choose(_sees(monkeypatch, etcd_1=30, etcd_3=33), "") is None
    assert etcd.choose(_sees(monkeypatch), "") is None
