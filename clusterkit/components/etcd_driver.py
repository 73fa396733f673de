"""L3. etcd under a workload: every kind of object, made of keys, by single transactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused, Unmet
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.etcd_client import EtcdClient, decoded, encoded

_REFUSED = (
    "etcdserver: no leader",
    "etcdserver: too many requests",
    "etcdserver: mvcc: database space exceeded",
    "etcdserver: permission denied",
    "etcdserver: request is too large",
    "etcdserver: not capable",
)
"""What etcd says when it did not propose the request: nobody will ever carry it out. Not among them: "request timed
out", "leader changed" and "server stopped", after which it may still be. Source: etcd 3.4, server/etcdserver/errors.go,
v3_server.go (processInternalRaftRequestOnce), api/v3rpc/interceptor.go."""


class EtcdDriver:
    """One client of one member. A refusal is told from an unknown outcome by etcd's own words."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        self._client = EtcdClient(running, member)
        self._timeout = running.timeout
        options = purpose.options
        self._serializable = purpose.is_local or (options is not None and options.reads == "serializable")
        self._do = getattr(self, f"_{purpose.kind}")

    def call(self, f: str, key: str, value: Any) -> Any:
        try:
            return self._do(f, key, value)
        except Refused:
            raise
        except ClientError as error:
            if str(error).startswith(_REFUSED):
                raise Refused(str(error)) from error
            raise

    def close(self) -> None:
        self._client.close()

    # -- kinds -------------------------------------------------------------------------------------------------------

    def _register(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            found = self._client.read(key, is_linearizable=not self._serializable)
            return None if found is None else int(found)
        if f == "write":
            self._client.write(key, str(value))
        elif not self._client.compare_and_set(key, None if value[0] is None else str(value[0]), str(value[1])):
            raise Unmet(f"the value is not {value[0]}")
        return None

    def _set(self, f: str, key: str, value: Any) -> Any:
        """Each element is a key of its own, below that of the set."""
        if f == "read":
            return [int(name.rpartition("/")[2]) for name, _ in self._range(f"{key}/", keys_only=True)]
        if f == "add":
            self._client.write(f"{key}/{value}", "")
        else:
            self._client.delete(f"{key}/{value}")
        return None

    def _counter(self, f: str, key: str, value: Any) -> Any:
        """Read, then written only where nobody wrote meanwhile; again where somebody did."""
        if f == "read":
            found = self._client.read(key, is_linearizable=not self._serializable)
            return int(found or 0)
        deadline = Deadline(self._timeout)
        while True:
            now, revision = self._with_revision(key)
            if self._if_unchanged({key: revision}, [_put(key, str(int(now or 0) + value))]):
                return None
            if deadline.is_over:
                raise Refused("others wrote each time")

    def _queue(self, f: str, key: str, value: Any) -> Any:
        """Each element is a key of its own; the one that was made first is the head."""
        if f == "enqueue":
            self._client.write(f"{key}/{value}", "")
            return None
        deadline = Deadline(self._timeout)
        while True:
            found = self._client.call(
                "/v3/kv/range", {**_prefix(f"{key}/"), "sort_target": "CREATE", "sort_order": "ASCEND", "limit": 1}
            ).get("kvs")
            if not found:
                return None
            name = decoded(found[0]["key"])
            if self._if_unchanged({name: str(found[0]["mod_revision"])}, [{"request_delete_range": _key(name)}]):
                return int(name.rpartition("/")[2])
            if deadline.is_over:
                raise Refused("others were quicker each time")

    def _bank(self, f: str, key: str, value: Any) -> Any:
        """Each account is a key of its own; a transfer writes two of them at once."""
        if f == "read":
            return {name.rpartition("/")[2]: int(balance) for name, balance in self._range(f"{key}/")}
        if f == "open":
            puts = [_put(f"{key}/{name}", str(balance)) for name, balance in value.items()]
            self._client.call("/v3/kv/txn", {"success": puts})
            return None
        source, target = f"{key}/{value['from']}", f"{key}/{value['to']}"
        deadline = Deadline(self._timeout)
        while True:
            (has, of_source), (gets, of_target) = self._with_revision(source), self._with_revision(target)
            if int(has or 0) < value["amount"]:
                raise Unmet(f"account {value['from']} has {has}")
            moved = [
                _put(source, str(int(has or 0) - value["amount"])),
                _put(target, str(int(gets or 0) + value["amount"])),
            ]
            if self._if_unchanged({source: of_source, target: of_target}, moved):
                return None
            if deadline.is_over:
                raise Refused("others wrote each time")

    def _ids(self, _f: str, key: str, _value: Any) -> Any:
        """The revision of a write: etcd gives each to one transaction."""
        return int(self._client.call("/v3/kv/put", {**_key(key), "value": encoded("")})["header"]["revision"])

    # -- transactions ------------------------------------------------------------------------------------------------

    def _range(self, prefix: str, *, keys_only: bool = False) -> list[tuple[str, str]]:
        """Keys and values, as they come: a key that came twice would not be hidden."""
        asked = {**_prefix(prefix), "keys_only": keys_only, "serializable": self._serializable}
        found = self._client.call("/v3/kv/range", asked).get("kvs") or []
        return [(decoded(one["key"]), decoded(one.get("value", ""))) for one in found]

    def _with_revision(self, key: str) -> tuple[str | None, str]:
        """A value, and the revision that it was written at ("0": there is none)."""
        try:
            found = self._client.call("/v3/kv/range", _key(key)).get("kvs")
        except (OSError, ClientError) as error:
            raise NotSent(f"it could not be read before it is written: {error}") from error
        return (decoded(found[0].get("value", "")), str(found[0]["mod_revision"])) if found else (None, "0")

    def _if_unchanged(self, revisions: Mapping[str, str], then: list[dict[str, Any]]) -> bool:
        compare = [
            {**_key(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
            for key, revision in revisions.items()
        ]
        return bool(self._client.call("/v3/kv/txn", {"compare": compare, "success": then}).get("succeeded", False))


def _key(key: str) -> dict[str, Any]:
    return {"key": encoded(key)}


def _put(key: str, value: str) -> dict[str, Any]:
    return {"request_put": {**_key(key), "value": encoded(value)}}


def _prefix(prefix: str) -> dict[str, Any]:
    """All keys that begin so: up to, and without, the prefix whose last letter is the next one."""
    return {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1))}
