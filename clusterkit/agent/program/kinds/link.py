"""L5. Links that are slow, lossy, narrow or unreliable, towards chosen peers and ports, each way by itself.

Two ways to make them. Where the kernel has netem: in the network namespace of the node that sends. Else, and always
for resets: rules in the host's mangle table send the packets that the bridge forwards to a queue, served by a process
of ours. They are never queued where they are sent: TCP would be as slow as one packet a round trip.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from .. import mangle, netem, nodes, packet
from ..delay import Engine, Sender, Worker
from ..entry import Entry
from ..impair import Impair
from ..kind import Box, Kind, Refused
from ..netem import Wanted
from ..nfqueue import Queue
from .traffic import Counted, Sends, open_in, spot_id

Backend = Literal["netem", "nfqueue", ""]

_NEW_NET = 0x40000000
_SECONDS = 5.0
_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_ALL_PROTOCOLS = 3
_PROBE = 0.5


class Link(Kind):
    """`args`: `ways`, a list of [source, destination], addresses as text; `ids`, the container of each way's source;
    `ports`, those that packets are sent to, like "6379/tcp" (empty: all traffic); `impair`, the fields of Impair.
    """

    name = "link"

    def __init__(self, box: Box) -> None:
        super().__init__(box)
        self._worker = Worker()
        self._queued: list[dict[str, Any]] = []
        self._netem: dict[str, tuple[int, list[list[str]]]] = {}

    def trial(self) -> str:
        return "" if backend() else f"no netem: {_netem_trial()}; no packet queue: {_queue_trial()}"

    def look(self, entry: Entry) -> dict[str, Any]:
        impair = Impair.parse(entry.args["impair"])
        if not backend():
            raise Refused(f"links cannot be impaired on this machine: {self.trial()}")
        if impair.reset and _queue_trial():
            raise Refused(f"connections cannot be reset on this machine: {_queue_trial()}")
        return {}

    def make(self, entry: Entry) -> None:
        if not entry.args["ways"]:
            raise Refused("no packets would be impaired: nobody is on the other side", "name others with `towards:`")
        self._bring()

    def keep(self, _entry: Entry) -> None:
        self._bring()

    def undo(self, entry: Entry) -> None:
        for identity in dict.fromkeys(entry.args.get("ids", ())):
            if _is_for_netem(entry):
                self._bring_node(identity, is_known=False)
        self._bring_queue(is_known=False)

    def sweep(self) -> None:
        """The chain that an agent before this one left behind."""
        self._bring_queue(is_known=False)

    def _bring(self) -> None:
        """The links as all faults in force want them; where they are so already, nothing is done."""
        for identity in {one for entry in self._entries() if _is_for_netem(entry) for one in entry.args["ids"]}:
            self._bring_node(identity)
        self._bring_queue()

    def _entries(self) -> list[Entry]:
        return self.box.entries(self.name)

    def _bring_queue(self, *, is_known: bool = True) -> None:
        """The process first and then the rules; the other way round at the end, so that no packet waits in vain."""
        wanted = queued([entry for entry in self._entries() if not _is_for_netem(entry)])
        if is_known and wanted == self._queued and (self._worker.is_alive or not wanted):
            return
        if wanted:
            self._worker.use(wanted)
        mangle.apply(((one["source"], one["destination"], one["port"]) for one in wanted), self._worker.queue)
        if not wanted:
            self._worker.stop()
        self._queued = wanted

    def _bring_node(self, identity: str, *, is_known: bool = True) -> None:
        """A node that was started anew has lost what was there; one that does not run has nothing."""
        pid = nodes.init(identity)
        if pid is None:
            self._netem.pop(identity, None)
            return
        plan = netem.plan(_wanted([entry for entry in self._entries() if _is_for_netem(entry)], identity))
        if is_known and self._netem.get(identity) == (pid, plan):
            return
        nodes.in_network(pid, lambda: _tc([netem.REMOVAL], force=True))
        if plan:
            nodes.in_network(pid, lambda: _tc(plan))
            self._netem[identity] = pid, plan
        else:
            self._netem.pop(identity, None)


def _is_for_netem(entry: Entry) -> bool:
    return backend() == "netem" and not entry.args["impair"].get("reset")


def queued(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The table of links for the process that serves the queue."""
    return [
        {"id": entry.id, "source": source, "destination": destination, "port": port, "impair": entry.args["impair"]}
        for entry in entries
        for source, destination in entry.args["ways"]
        for port in entry.args["ports"] or ("",)
    ]


def _wanted(entries: Sequence[Entry], identity: str) -> list[Wanted]:
    return [
        Wanted(destination, port, Impair.parse(entry.args["impair"]))
        for entry in entries
        for (_, destination), source in zip(entry.args["ways"], entry.args["ids"], strict=True)
        for port in entry.args["ports"] or ("",)
        if source == identity
    ]


# -- what this machine can do ----------------------------------------------------------------------------------------


@cache
def backend() -> Backend:
    """What makes impaired links here; "" where nothing can."""
    if not _netem_trial():
        return "netem"
    return "" if _queue_trial() else "nfqueue"


@cache
def _netem_trial() -> str:
    """Tried in a network namespace that ends with the trial: "", or why not."""
    return _tried(lambda: _tc([["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]]))


@cache
def _queue_trial() -> str:
    """Whether the bridge's packets come to iptables, and whether a packet that is queued is held and then arrives."""
    try:
        bridged = _BRIDGED.read_text().strip()
    except FileNotFoundError:
        return "the kernel does not show a bridge's packets to iptables: load the module br_netfilter"
    if bridged != "1":
        return "the kernel does not show a bridge's packets to iptables: net.bridge.bridge-nf-call-iptables is 0"
    return _tried(_queue_packet)


def _queue_packet() -> None:
    """Raises: Refused, OSError."""
    _run("ip", "link", "set", "lo", "up")
    with (
        contextlib.closing(Queue(1)) as queue,
        contextlib.closing(Sender()) as raw,
        _udp() as sender,
        _udp() as receiver,
    ):
        engine = Engine(queue, raw, Random())  # noqa: S311 - chance, not secrets
        link = {"id": "", "source": "127.0.0.1", "destination": "127.0.0.1", "port": ""}
        engine.use([{**link, "impair": asdict(Impair(delay_ms=10))}])
        mangle.apply([("127.0.0.1", "127.0.0.1", "")], 1, hook="OUTPUT")
        sender.sendto(b"trial", receiver.getsockname())
        begun = time.monotonic()
        while time.monotonic() < begun + _PROBE:
            wait = engine.wait_s()
            ready, _, _ = select.select([receiver.fileno(), queue.fileno()], [], [], 0.02 if wait is None else wait)
            if receiver.fileno() in ready:
                if time.monotonic() < begun + 0.009:
                    raise Refused("a packet that should wait in a queue went past it")
                return
            engine.work()
    raise Refused("a packet that waited in a queue did not arrive")


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def _tried(do: Callable[[], None]) -> str:
    """Calls it in a network namespace of its own, which is gone afterwards."""
    words: list[str] = []

    def inside() -> None:
        try:
            _enter_new_network()
            do()
        except Exception as error:  # noqa: BLE001 - a trial that fails is its answer
            words.append(str(error) or type(error).__name__)

    thread = threading.Thread(target=inside)  # namespaces belong to threads: this one ends with its own
    thread.start()
    thread.join()
    return words[0] if words else ""


def _enter_new_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NET):
        raise OSError(ctypes.get_errno(), "no network namespace can be made")


def _tc(lines: Sequence[Sequence[str]], *, force: bool = False) -> None:
    """`force`: what is not there need not be removed."""
    text = "".join(" ".join(line) + "\n" for line in lines)
    _run("tc", *(["-force"] if force else []), "-batch", "-", text=text, check=not force)


def _run(*argv: str, text: str = "", check: bool = True) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if check and done.returncode:
        words = done.stderr.strip().splitlines()
        raise Refused(f"{argv[0]}: {words[0] if words else f'exit {done.returncode}'}")


# -- measurements ----------------------------------------------------------------------------------------------------


def link_backend(_args: Mapping[str, Any]) -> str:
    """ "netem", "nfqueue", or "" where links cannot be impaired."""
    return backend()


def segments(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As the call `datagrams`, by TCP segments to a port: `pairs` are [from, to, port].

    They are resets that belong to no connection: whoever listens there does not notice them. What arrives is read
    beside the receiver's own TCP.
    """
    pairs = [
        (spot_id(one), spot_id(other), one["address"], other["address"], port) for one, other, port in args["pairs"]
    ]
    count, interval = int(args.get("count", 3)), float(args.get("interval_ms", 15)) / 1000
    wait = float(args.get("wait_s", 0.15))
    with contextlib.ExitStack() as stack:
        ends: dict[tuple[str, bool], socket.socket | str] = {}
        for identity, is_reading in dict.fromkeys(
            end for source, target, *_ in pairs for end in ((source, False), (target, True))
        ):
            try:
                made = stack.enter_context(open_in(identity, _sniffer if is_reading else _raw))
            except OSError as error:
                ends[identity, is_reading] = f"it cannot be tried: {error.strerror or error}"
            else:
                ends[identity, is_reading] = made
        readers = [end for (_, is_reading), end in ends.items() if is_reading and isinstance(end, socket.socket)]
        ports = {int(port) for *_, port in pairs}

        def taken(data: bytes) -> bytes:
            """What the segment carries; b"" of all others."""
            found = packet.read(data)
            return packet.body(found, data) if found is not None and found.port in ports else b""

        sends = [
            _sends(ends[source, False], ends[target, True], from_address, address, int(port))
            for source, target, from_address, address, port in pairs
        ]
        return Counted(len(pairs), count, int(args.get("size", 64))).exchange(sends, readers, interval, wait, taken)


def _sends(
    sender: socket.socket | str, receiver: socket.socket | str, from_address: str, address: str, port: int
) -> Sends:
    if isinstance(sender, str) or isinstance(receiver, str):
        return sender if isinstance(sender, str) else str(receiver)
    source, target = socket.inet_aton(from_address), socket.inet_aton(address)
    return lambda body: sender.sendto(packet.segment(source, target, port, body), (address, 0))


def _raw() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _sniffer() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, packet.TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.setblocking(False)
    return made


def transfer(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sends as much as passes over one TCP connection along each of `pairs`, [from, to], one after the other.

    `seconds` for each. Gives for each: `received_bytes`, `bits_per_second` as the receiver sees it, `trouble` (""
    unless it could not be tried).
    """
    seconds = float(args.get("seconds", 0.5))
    found = []
    for source, target in args["pairs"]:
        one = {"received_bytes": 0, "bits_per_second": 0.0, "trouble": ""}
        try:
            one["received_bytes"], one["bits_per_second"] = _sent(source, target, seconds)
        except OSError as error:
            one["trouble"] = f"it cannot be tried: {error.strerror or error}"
        found.append(one)
    return found


def _sent(source: Mapping[str, Any], target: Mapping[str, Any], seconds: float) -> tuple[int, float]:
    """Bytes and bits a second."""
    body = bytes(1 << 16)
    with open_in(spot_id(target), _listener) as listener, open_in(spot_id(source), socket.socket) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sender.settimeout(seconds)
        sender.connect((target["address"], listener.getsockname()[1]))
        listener.settimeout(seconds)
        receiver, _ = listener.accept()
        with receiver:
            sender.setblocking(False)
            receiver.setblocking(False)
            begun = time.monotonic()
            received = 0
            while (left := begun + seconds - time.monotonic()) > 0:
                readable, writable, _ = select.select([receiver], [sender], [], left)
                if writable:
                    with contextlib.suppress(BlockingIOError):
                        sender.send(body)
                elif not readable:
                    continue
                if readable:
                    received += len(receiver.recv(1 << 20))
    return received, received * 8 / seconds


def _listener() -> socket.socket:
    made = socket.socket()
    made.bind(("0.0.0.0", 0))  # noqa: S104 - inside the node's own network
    made.listen(1)
    return made


KINDS = (Link,)
CALLS = {"link_backend": link_backend, "segments": segments, "transfer": transfer}
