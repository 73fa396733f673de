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
    "etcdserver: permission denied",
    "etcdserver: request is too large",
    "etcdserver: not capable",
)
"""What etcd says when it did not propose the request: nobody will ever carry it out. Not among them: "request timed
out", "leader changed" and "server stopped", after which it may still be; "mvcc: database space exceeded", which the
write that fills the quota gets too, and that one is carried out (etcd issue 16659; apply.go, quotaApplierV3).
Source: etcd 3.4, etcdserver/errors.go, v3_server.go (processInternalRaftRequestOnce), api/v3rpc/interceptor.go."""

_OLDEST = {"sort_target": "CREATE", "sort_order": "ASCEND", "limit": 1}


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
        """Read, then written only where nobody wrote meanwhile; again where somebody did, while there is time."""
        if f == "read":
            found = self._client.read(key, is_linearizable=not self._serializable)
            return int(found or 0)
        deadline = Deadline(self._timeout)
        while True:
            now, revision = self._with_revision(key, deadline)
            if self._if_unchanged({key: revision}, [_put(key, str(int(now or 0) + value))], deadline):
                return None
            self._once_more(deadline)

    def _queue(self, f: str, key: str, value: Any) -> Any:
        """Each element is a key of its own; the one that was made first is the head."""
        if f == "enqueue":
            self._client.write(f"{key}/{value}", "")
            return None
        deadline = Deadline(self._timeout)
        while True:
            found = self._first_look({**_prefix(f"{key}/"), **_OLDEST}, deadline)
            if not found:
                return None
            name, revision = decoded(found[0]["key"]), str(found[0]["mod_revision"])
            if self._if_unchanged({name: revision}, [{"request_delete_range": _key(name)}], deadline):
                return int(name.rpartition("/")[2])
            self._once_more(deadline)

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
            has, of_source = self._with_revision(source, deadline)
            gets, of_target = self._with_revision(target, deadline)
            if int(has or 0) < value["amount"]:
                raise Unmet(f"account {value['from']} has {has}")
            moved = [
                _put(source, str(int(has or 0) - value["amount"])),
                _put(target, str(int(gets or 0) + value["amount"])),
            ]
            if self._if_unchanged({source: of_source, target: of_target}, moved, deadline):
                return None
            self._once_more(deadline)

    def _ids(self, _f: str, key: str, _value: Any) -> Any:
        """The revision of a write: etcd gives each to one transaction."""
        return int(self._client.call("/v3/kv/put", {**_key(key), "value": encoded("")})["header"]["revision"])

    # -- transactions ------------------------------------------------------------------------------------------------

    def _range(self, prefix: str, *, keys_only: bool = False) -> list[tuple[str, str]]:
        """Keys and values, as they come: a key that came twice would not be hidden."""
        asked = {**_prefix(prefix), "keys_only": keys_only, "serializable": self._serializable}
        found = self._client.call("/v3/kv/range", asked).get("kvs") or []
        return [(decoded(one["key"]), decoded(one.get("value", ""))) for one in found]

    def _first_look(self, asked: Mapping[str, Any], deadline: Deadline) -> list[Mapping[str, Any]]:
        """What is there before anything is written. Raises: NotSent, since nothing was."""
        try:
            return self._client.call("/v3/kv/range", asked, deadline).get("kvs") or []
        except (OSError, ClientError) as error:
            raise NotSent(f"it could not be read before it is written: {error}") from error

    def _with_revision(self, key: str, deadline: Deadline) -> tuple[str | None, str]:
        """A value, and the revision that it was written at ("0": there is none)."""
        found = self._first_look(_key(key), deadline)
        return (decoded(found[0].get("value", "")), str(found[0]["mod_revision"])) if found else (None, "0")

    def _if_unchanged(self, revisions: Mapping[str, str], then: list[dict[str, Any]], deadline: Deadline) -> bool:
        """Whether it was done. False is a clean no: it can be tried anew. After an error nobody knows: it cannot."""
        compare = [
            {**_key(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}
            for key, revision in revisions.items()
        ]
        said = self._client.call("/v3/kv/txn", {"compare": compare, "success": then}, deadline)
        return bool(said.get("succeeded", False))

    def _once_more(self, deadline: Deadline) -> None:
        """No new try is begun in the second half of the time: the last one is to end well. Raises: Refused."""
        if deadline.left < self._timeout / 2:
            raise Refused("others wrote first, each time")


def _key(key: str) -> dict[str, Any]:
    return {"key": encoded(key)}


def _put(key: str, value: str) -> dict[str, Any]:
    return {"request_put": {**_key(key), "value": encoded(value)}}


def _prefix(prefix: str) -> dict[str, Any]:
    """All keys that begin so: up to, and without, the prefix whose last letter is the next one."""
    return {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + chr(ord(prefix[-1]) + 1))}
