"""L5. The agent at work: takes orders from its socket, keeps the ledger, ends what is over."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import kinds
from .entry import Entry, Ledger, boot_id, now
from .kind import Call, Kind, Refused

SOCKET = Path("/run/clusterkit/agent.sock")
STATE = Path("/var/lib/clusterkit")
TICK = 0.25


class Server:
    """`kinds` by name and `calls` by name are those of the modules in the package kinds/."""

    def __init__(self, state: Path = STATE) -> None:
        self._lock = threading.RLock()
        self._ledger = Ledger(state / "ledger")
        self._boot = boot_id()
        self._entries: dict[str, Entry] = {}
        self._kinds: dict[str, Kind] = {}
        self._calls: dict[str, Call] = {}
        for module in _modules():
            for kind in getattr(module, "KINDS", ()):
                self._kinds[kind.name] = kind(self)
            self._calls |= getattr(module, "CALLS", {})
        self._trials: dict[str, str] | None = None

    # -- what kinds may ask ------------------------------------------------------------------------------------------

    def entries(self, kind: str, cluster: str = "") -> list[Entry]:
        with self._lock:
            return [entry for entry in self._entries.values() if entry.kind == kind and cluster in ("", entry.cluster)]

    # -- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Takes over what an agent before it left: undoes what is over, keeps up the rest."""
        with self._lock:
            for entry in self._ledger.read():
                if entry.kind not in self._kinds:
                    _complain(f"{entry.id}: an older agent's kind, {entry.kind}, is not known here: left alone")
                    continue
                if entry.boot != self._boot:
                    entry.until = 0.0  # the machine was started anew: only files can be left
                self._entries[entry.id] = entry
            for entry in list(self._entries.values()):
                self._tick(entry)
            for kind in self._kinds.values():
                try:
                    kind.sweep()
                except Exception:  # noqa: BLE001 - what one kind cannot do must not keep the others from healing
                    _complain(f"{kind.name}: {traceback.format_exc()}")

    def serve(self) -> None:
        """Never returns."""
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        SOCKET.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(SOCKET))
        listener.listen(64)
        threading.Thread(target=self._tick_for_ever, daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _tick_for_ever(self) -> None:
        while True:
            time.sleep(TICK)
            for entry in list(self._entries.values()):
                with self._lock:
                    if entry.id in self._entries:
                        self._tick(entry)

    def _tick(self, entry: Entry) -> None:
        if entry.is_overdue:
            return
        try:
            if entry.is_over:
                self._end(entry)
            else:
                self._kinds[entry.kind].keep(entry)
                entry.trouble = ""
        except Exception as error:  # noqa: BLE001 - one fault's trouble must not keep the others from ending
            trouble = f"{type(error).__name__}: {error}"
            if entry.trouble != trouble:
                entry.trouble = trouble
                _complain(f"{entry.id}: {traceback.format_exc()}")

    # -- talk --------------------------------------------------------------------------------------------------------

    def _converse(self, connection: socket.socket) -> None:
        """Each line is an order and is answered by one line with its number; slow ones do not hold up the next."""
        lock = threading.Lock()

        def answer(order: Mapping[str, Any]) -> None:
            said = json.dumps({"n": order.get("n"), **self.do(order)}).encode() + b"\n"
            with lock, contextlib.suppress(OSError):  # who asked may be gone; what was done stands in the ledger
                connection.sendall(said)

        with connection, connection.makefile("rb") as lines:
            for line in lines:
                threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()

    def do(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer: {"ok": ...}, or {"refused": what, "mend": how} or {"bug": traceback}."""
        try:
            return {"ok": self._done(order)}
        except Refused as error:
            return {"refused": error.what, "mend": error.mend}
        except Exception:  # noqa: BLE001 - told to whoever asked
            return {"bug": traceback.format_exc()}

    def _done(self, order: Mapping[str, Any]) -> Any:
        orders: dict[str, Callable[[], Any]] = {
            "inject": lambda: self.inject(order["entry"], order["lease_s"], pretend=order["pretend"]),
            "renew": lambda: self.renew(order["ids"], order["lease_s"]),
            "heal": lambda: self.heal(order["id"]),
            "marks": lambda: self.marks(order["cluster"]),
            "trials": self.trials,
            "call": lambda: self._calls[order["name"]](order["args"]),
        }
        return orders[order["do"]]()

    # -- orders ------------------------------------------------------------------------------------------------------

    def inject(self, given: Mapping[str, Any], lease_s: float | None, *, pretend: bool = False) -> dict[str, Any]:
        """Writes the fault down, makes it, and gives its mark. Nothing is left of one that could not be made, but that
        what may need the engine to be put back stays in the ledger, overdue.

        `pretend`: looks, and neither writes nor makes it.
        """
        with self._lock:
            entry = Entry(
                **given,
                id=self._new_id(given["fault"]),
                since_ns=time.time_ns(),
                until=None if lease_s is None else now() + lease_s,
                boot=self._boot,
            )
            kind = self._kinds[entry.kind]
            entry.before = kind.look(entry)
            if pretend:
                return entry.told()
            self._ledger.write(entry)
            self._entries[entry.id] = entry
            begun = time.perf_counter()
            try:
                kind.make(entry)
            except BaseException:
                self._end(entry)
                raise
            return {**entry.told(), "made_in_s": time.perf_counter() - begun}

    def renew(self, ids: list[str], lease_s: float | None) -> list[str]:
        """Those of the ids that are still in force."""
        with self._lock:
            found = [self._entries[one] for one in ids if one in self._entries and not self._entries[one].is_overdue]
            for entry in found:
                entry.until = None if lease_s is None else now() + lease_s
                self._ledger.write(entry, is_urgent=lease_s is None)
            return [entry.id for entry in found]

    def heal(self, identity: str) -> bool:
        """True when there was something to heal. Whoever orders it has done what needs the engine."""
        with self._lock:
            entry = self._entries.get(identity)
            if entry is not None:
                self._end(entry, forget=True)
            return entry is not None

    def marks(self, cluster: str) -> list[dict[str, Any]]:
        """What is in force; of all clusters when `cluster` is ""."""
        with self._lock:
            return [entry.told() for entry in self._entries.values() if cluster in ("", entry.cluster)]

    def trials(self) -> dict[str, str]:
        """kind -> why this machine cannot do it, "" where it can. Tried once."""
        with self._lock:
            if self._trials is None:
                self._trials = {name: _tried(kind) for name, kind in self._kinds.items()}
            return self._trials

    def _end(self, entry: Entry, *, forget: bool = False) -> None:
        """While `undo` runs the entry is not among those in force; where that fails it stays, and is tried again.

        `forget` False: what also needs the engine stays in the ledger, overdue.
        """
        del self._entries[entry.id]
        try:
            if not entry.is_overdue:
                self._kinds[entry.kind].undo(entry)
        except BaseException:
            self._entries[entry.id] = entry
            raise
        if entry.engine and not forget:
            entry.is_overdue = True
            self._entries[entry.id] = entry
            self._ledger.write(entry)
        else:
            self._ledger.remove(entry)

    def _new_id(self, fault: str) -> str:
        """latency-1, latency-2: short enough to type, and never used again: logs and histories name faults by it."""
        number = self._ledger.next_number(fault)
        while f"{fault}-{number}" in self._entries:
            number = self._ledger.next_number(fault)
        return f"{fault}-{number}"


def _tried(kind: Kind) -> str:
    try:
        return kind.trial()
    except Exception as error:  # noqa: BLE001 - a trial that fails is its answer
        return str(error) or type(error).__name__


def _modules() -> list[Any]:
    return [
        importlib.import_module(f"{kinds.__name__}.{module.name}") for module in pkgutil.iter_modules(kinds.__path__)
    ]


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    os.umask(0o077)
    server = Server()
    server.begin()
    server.serve()
