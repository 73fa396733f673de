"""L3. A client of one etcd server: its JSON gateway over the standard library.

Every write is acknowledged by a majority. Reads are linearizable unless asked otherwise, so they prove more than what
the node itself has stored: that it knows the leader, and that a majority agrees.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from clusterkit.client import ClientError, NotSent, Refused
from clusterkit.clock import Deadline
from clusterkit.components.base import Member, Running
from clusterkit.components.http_client import HttpConnection

USER = "root"
_NOT_FOUND = 404
_OK = 200


class EtcdClient:
    """Pinned to one member; logs in by itself where the cluster has a password. For one thread at a time."""

    def __init__(self, running: Running, member: Member, password: str | None = None) -> None:
        """`password`: "" does not log in; None takes what the topology asks for."""
        host, port = running.dial(member, "client")
        self._connection = HttpConnection(host, port, running.timeout)
        self._timeout = running.timeout
        if password is None:
            password = running.group.secrets["password"] if running.group.options.password else ""
        self._password = password
        self._token = ""

    def write(self, key: str, value: str) -> None:
        self.call("/v3/kv/put", {"key": encoded(key), "value": encoded(value)})

    def read(self, key: str, *, is_linearizable: bool = True) -> str | None:
        """Not linearizable: what this node has stored now, which may be old."""
        found = self.call("/v3/kv/range", {"key": encoded(key), "serializable": not is_linearizable})
        return _value(found)

    def delete(self, key: str) -> None:
        self.call("/v3/kv/deleterange", {"key": encoded(key)})

    def compare_and_set(self, key: str, expected: str | None, value: str) -> bool:
        """Writes only where the key has the expected value (None: is absent); one transaction. True: written."""
        compare: dict[str, Any] = {"key": encoded(key), "result": "EQUAL"}
        if expected is None:
            compare |= {"target": "CREATE", "create_revision": "0"}
        else:
            compare |= {"target": "VALUE", "value": encoded(expected)}
        put = {"request_put": {"key": encoded(key), "value": encoded(value)}}
        return bool(self.call("/v3/kv/txn", {"compare": [compare], "success": [put]}).get("succeeded", False))

    def status(self) -> Mapping[str, Any]:
        """The server's own view: `leader`, `raftTerm`, `raftIndex`, `header.member_id`. Answers without a quorum."""
        return self._post("/v3/maintenance/status", {})

    def log_in(self, password: str, deadline: Deadline | None = None) -> None:
        """Raises: ClientError, "authentication is not enabled" where it is not."""
        self._token = ""
        answer = self._post("/v3/auth/authenticate", {"name": USER, "password": password}, deadline)
        self._token = str(answer["token"])

    def call(self, path: str, content: Mapping[str, Any], deadline: Deadline | None = None) -> Mapping[str, Any]:
        """A request as the root user. A server that was restarted has forgotten our token: then we log in anew.

        Trying again is safe: a request that is refused for its token was not carried out. All of it together ends by
        the deadline, or within the timeout. Raises: NotSent, Refused where it could not log in.
        """
        deadline = deadline or Deadline(self._timeout)
        if self._password and not self._token:
            self._log_in_first(deadline)
        try:
            return self._post(path, content, deadline)
        except ClientError as error:
            if not self._password or not _is_about_token(str(error)):
                raise
        self._log_in_first(deadline)
        return self._post(path, content, deadline)

    def _log_in_first(self, deadline: Deadline) -> None:
        """Raises: NotSent, Refused: what is to be asked after it was not asked."""
        try:
            self.log_in(self._password, deadline)
        except ClientError as error:
            raise Refused(f"no log-in: {error}") from error
        except OSError as error:
            raise NotSent(f"no log-in: {error}") from error

    def close(self) -> None:
        self._connection.close()

    def _post(self, path: str, content: Mapping[str, Any], deadline: Deadline | None = None) -> Mapping[str, Any]:
        headers = {"Authorization": self._token} if self._token else {}
        answer = self._connection.request("POST", path, dict(content), headers, deadline)
        try:
            said = answer.json()
        except ValueError:
            said = None
        if answer.status == _NOT_FOUND and not isinstance(said, dict):
            raise ClientError("the JSON gateway is off: /v3 is not found (enable-grpc-gateway)")
        if not isinstance(said, dict):
            raise ClientError(f"status {answer.status}, and not JSON: {answer.text[:80]}")
        if answer.status != _OK:
            raise ClientError(str(said.get("message") or said.get("error") or answer.text))
        return said


def _is_about_token(said: str) -> bool:
    return "invalid auth token" in said or "revision in header is old" in said or "auth revision" in said


def encoded(text: str) -> str:
    """As keys and values stand in JSON."""
    return base64.b64encode(text.encode()).decode()


def decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _value(found: Mapping[str, Any]) -> str | None:
    values = found.get("kvs") or []
    # proto3 in JSON leaves out what is empty, also an empty value.
    return decoded(values[0].get("value", "")) if values else None
