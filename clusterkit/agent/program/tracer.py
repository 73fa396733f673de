"""L5. Holds all threads of a process still for a moment, by ptrace(2): to change code that they may be running.

Nobody notices: no signal is sent, what was stopped before stays stopped, and if the agent is killed meanwhile the
kernel lets go of the process at once.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HOLD_SECONDS = 0.25
"""How long to wait for threads to stop."""

_SINGLE_STEP, _DETACH, _SEIZE, _INTERRUPT = 9, 17, 0x4206, 0x4207
_ALL = 0x40000000  # __WALL
_TRAP = 5
_TGKILL = 234
_MOST_STEPS = 500
_FRAME = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long
_one_at_a_time = threading.Lock()


class Busy(Exception):
    """The process could not be held, or not away from the code in question: its text says why."""


Region = tuple[int, int]
"""Addresses from, up to and without."""


def held(pid: int, regions: Sequence[Region], do: Callable[[], None]) -> None:
    """Calls `do` while no thread of the process runs, none stands in the regions, and none will return into them
    from a signal's handler.

    Raises: Busy; OSError, where the process ended or is traced by somebody else. `do` was not called then.
    """
    raised: list[BaseException] = []

    def hold() -> None:
        held = _Held(pid)
        try:
            held.stop()
            held.leave(regions)
            do()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that called
            raised.append(error)
        finally:
            held.release()

    with _one_at_a_time:
        thread = threading.Thread(target=hold)  # the kernel lets go of all that a tracer holds when its thread ends
        thread.start()
        thread.join()
    if raised:
        raise raised[0]


def reap(wait: Callable[[], int]) -> None:
    """Waits for a child of ours that was killed: not while a tracer waits for the same process."""
    with _one_at_a_time:
        wait()


@dataclass
class _Held:
    """`stopped`: threads that are ours; `asleep`: those inside the kernel, which stop before they run again."""

    pid: int
    stopped: set[int] = field(default_factory=set)
    asleep: set[int] = field(default_factory=set)
    signals: list[tuple[int, int]] = field(default_factory=list)

    def stop(self) -> None:
        end = time.monotonic() + HOLD_SECONDS
        seized: set[int] = set()
        while True:
            threads = {int(name) for name in os.listdir(f"/proc/{self.pid}/task")}
            for thread in threads - seized:
                _ptrace(_SEIZE, thread)
                _ptrace(_INTERRUPT, thread)
                seized.add(thread)
            for thread in seized - self.stopped:
                self._see(thread)
            self.stopped &= threads
            self.asleep = {thread for thread in threads - self.stopped if _state(self.pid, thread) == "D"}
            if threads <= seized and threads == self.stopped | self.asleep:
                return
            if time.monotonic() > end:
                raise Busy(f"process {self.pid} cannot be held still")
            time.sleep(0.0002)

    def leave(self, regions: Sequence[Region]) -> None:
        """Goes on with each thread, one instruction at a time, until it is out of the regions."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for thread in sorted(self.stopped | self.asleep):
                at, stack = _place(self.pid, thread)
                steps = 0
                while _is_within(at, regions):
                    steps += 1
                    if thread in self.asleep or steps > _MOST_STEPS:
                        raise Busy(f"process {self.pid} does not leave the code that tells the time")
                    self._step(thread)
                    at, stack = _place(self.pid, thread)
                if _returns_into(memory.fileno(), stack, regions):
                    raise Busy(f"process {self.pid} handles a signal that came while it read its clock")

    def release(self) -> None:
        for thread in self.stopped:
            try:
                _ptrace(_DETACH, thread)
            except ProcessLookupError:  # it ended
                continue
        for thread, signal in self.signals:
            _libc.syscall(_TGKILL, self.pid, thread, signal)

    def _see(self, thread: int) -> bool:
        """Whether it has stopped. A signal on its way is taken off it and given back when it is let go."""
        try:
            seen, status = os.waitpid(thread, _ALL | os.WNOHANG)
        except ChildProcessError:
            return False
        if not seen or not os.WIFSTOPPED(status):
            return False
        signal, event = os.WSTOPSIG(status), status >> 16
        if not event and signal != _TRAP:
            self.signals.append((thread, signal))
        self.stopped.add(thread)
        return True

    def _step(self, thread: int) -> None:
        self.stopped.discard(thread)
        _ptrace(_SINGLE_STEP, thread)
        end = time.monotonic() + HOLD_SECONDS
        while not self._see(thread):
            if time.monotonic() > end:
                raise Busy(f"process {self.pid} cannot be held still")


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _state(pid: int, thread: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it ended
        return ""


def _place(pid: int, thread: int) -> tuple[int, int]:
    """Where a thread that does not run will go on, and its stack. Source: proc(5), /proc/PID/syscall."""
    words = Path(f"/proc/{pid}/task/{thread}/syscall").read_text().split()
    if words == ["running"]:
        raise Busy(f"process {pid} cannot be held still")
    return int(words[-1], 16), int(words[-2], 16)


def _is_within(address: int, regions: Sequence[Region]) -> bool:
    return any(begin <= address < end for begin, end in regions)


def _returns_into(memory: int, stack: int, regions: Sequence[Region]) -> bool:
    """Whether a word on the stack in use is an address in the regions: a handler's frame says where to go back to."""
    try:
        words = os.pread(memory, _FRAME, stack)
    except OSError:  # a stack that is not there has no frames
        return False
    for begin, end in regions:
        common = begin.to_bytes(8, "little")[2:]
        at = words.find(common)
        while at >= 0:
            if at >= 2 and (at - 2) % 8 == 0 and begin <= int.from_bytes(words[at - 2 : at + 6], "little") < end:
                return True
            at = words.find(common, at + 1)
    return False
