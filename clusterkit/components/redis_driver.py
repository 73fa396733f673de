"""L3. Redis under a workload: every kind of object by one command, or by one script, each of which is atomic."""

from __future__ import annotations

from typing import Any

from clusterkit.client import ClientError, Refused, Unmet
from clusterkit.components.base import Member, Purpose, Running
from clusterkit.components.redis_client import Asks, Reply, connect

_REFUSED = (
    "READONLY",
    "NOREPLICAS",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MISCONF",
    "OOM",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
)
"""How an error begins that Redis gives before it runs a command. Source: Redis 7.0, processCommand() in server.c, and
for scripts scriptPrepareForRun() in script.c."""

_CAS = """
local now = redis.call('GET', KEYS[1])
if (now or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
_TRANSFER = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1])) < tonumber(ARGV[3]) then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[1], -ARGV[3])
redis.call('HINCRBY', KEYS[1], ARGV[2], ARGV[3])
return 1
"""


class RedisDriver:
    """One client. `connection` is closed with it."""

    def __init__(self, connection: Asks, purpose: Purpose) -> None:
        self._connection = connection
        self._do = getattr(self, f"_{purpose.kind}")

    def call(self, f: str, key: str, value: Any) -> Any:
        return self._do(f, key, value)

    def close(self) -> None:
        self._connection.close()

    def _register(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return _number(self._ask("GET", key))
        if f == "write":
            self._ask("SET", key, value)
        elif not self._ask("EVAL", _CAS, 1, key, "" if value[0] is None else value[0], value[1]):
            raise Unmet(f"the value is not {value[0]}")
        return None

    def _set(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return _numbers(self._ask("SMEMBERS", key))
        self._ask("SADD" if f == "add" else "SREM", key, value)
        return None

    def _counter(self, f: str, key: str, value: Any) -> Any:
        if f == "read":
            return _number(self._ask("GET", key)) or 0
        self._ask("INCRBY", key, value)
        return None

    def _queue(self, f: str, key: str, value: Any) -> Any:
        if f == "dequeue":
            return _number(self._ask("LPOP", key))
        self._ask("RPUSH", key, value)
        return None

    def _bank(self, f: str, key: str, value: Any) -> Any:
        """All accounts are fields of one hash, which is read as a whole."""
        if f == "read":
            words = self._ask("HGETALL", key)
            fields = words if isinstance(words, list) else []
            return {str(name): int(str(balance)) for name, balance in zip(fields[::2], fields[1::2], strict=True)}
        if f == "open":
            self._ask("HSET", key, *(word for account in value.items() for word in account))
        elif not self._ask("EVAL", _TRANSFER, 1, key, value["from"], value["to"], value["amount"]):
            raise Unmet(f"account {value['from']} has not {value['amount']}")
        return None

    def _ids(self, _f: str, key: str, _value: Any) -> Any:
        return _number(self._ask("INCR", key))

    def _ask(self, *words: str | int) -> Reply:
        try:
            return self._connection.ask(*words)
        except ClientError as error:
            if str(error).startswith(_REFUSED):
                raise Refused(str(error)) from error
            raise


class NodeDriver(RedisDriver):
    """One client of one node. What a node answers may be older, or newer, than what its primary has."""

    def __init__(self, running: Running, member: Member, purpose: Purpose) -> None:
        super().__init__(connect(running, member), purpose)


def _number(reply: Reply) -> int | None:
    return None if reply is None else int(str(reply))


def _numbers(reply: Reply) -> list[int]:
    return [int(str(one)) for one in reply] if isinstance(reply, list) else []
