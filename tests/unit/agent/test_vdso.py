"""The stub in the vDSO: where it lies, and what time it tells when it is run."""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterkit.agent.program import vdso
from clusterkit.agent.program.vdso import ONE, SECOND, Skew

HOUR = 3600 * SECOND


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("rest", ctypes.c_long))


class _Running:
    """A patched image in memory of ours, called as a program calls its vDSO."""

    def __init__(self, image: bytes) -> None:
        self._memory = mmap.mmap(-1, len(image), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(image)
        self._view = ctypes.c_char.from_buffer(self._memory)
        self._at = {name: ctypes.addressof(self._view) + place for name, place in vdso.symbols(vdso.pristine()).items()}

    def clock(self, number: int) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Timespec))
        told = _Timespec()
        assert call(self._at["__vdso_clock_gettime"])(number, ctypes.byref(told)) == 0
        return int(told.s * SECOND + told.rest)

    def refused(self) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Timespec))
        told = _Timespec()
        return int(call(self._at["__vdso_clock_gettime"])(9999, ctypes.byref(told)))

    def timeofday(self) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Timespec), ctypes.c_void_p)
        told = _Timespec()
        assert call(self._at["__vdso_gettimeofday"])(ctypes.byref(told), None) == 0
        assert 0 <= told.rest < 10**6
        return int(told.s * SECOND + told.rest * 1000)

    def time(self) -> int:
        call = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.POINTER(ctypes.c_long))
        kept = ctypes.c_long()
        told = int(call(self._at["__vdso_time"])(ctypes.byref(kept)))
        assert kept.value == told
        assert int(call(self._at["__vdso_time"])(None)) in (told, told + 1)
        return told

    def close(self) -> None:
        del self._view
        self._memory.close()


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[_Running]:
    made = _Running(vdso.patched(vdso.pristine(), request.param))
    yield made
    made.close()


def _between(told: int, before: int, after: int, slack: int = 0) -> bool:
    return before - slack <= told <= after + slack


@pytest.mark.parametrize("running", [vdso.jump(HOUR), vdso.jump(-30 * SECOND - 1), vdso.jump(1)], indirect=True)
def test_wall_clocks_are_offset_and_others_are_not(running: _Running, request: pytest.FixtureRequest) -> None:
    offset = request.node.callspec.params["running"].offset_ns
    before = time.time_ns()
    told = running.clock(time.CLOCK_REALTIME)
    assert _between(told - offset, before, time.time_ns())
    before = time.time_ns()
    assert _between(running.timeofday() - offset, before, time.time_ns(), 1000)
    before = time.time_ns()
    assert _between(running.time() * SECOND - offset, before, time.time_ns(), SECOND)
    before = time.clock_gettime_ns(time.CLOCK_TAI)
    assert _between(running.clock(time.CLOCK_TAI) - offset, before, time.clock_gettime_ns(time.CLOCK_TAI))
    for untouched in (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME):
        before = time.clock_gettime_ns(untouched)
        assert _between(running.clock(untouched), before, time.clock_gettime_ns(untouched))
    assert running.refused() < 0


@pytest.mark.parametrize("running", [vdso.drift(ONE, time.time_ns() - HOUR)], indirect=True)
def test_a_clock_twice_as_fast_is_an_hour_ahead_after_an_hour(running: _Running) -> None:
    assert running.clock(time.CLOCK_REALTIME) - time.time_ns() >= HOUR - SECOND


@pytest.mark.parametrize("running", [vdso.drift(-ONE, 1_700_000_000 * SECOND)], indirect=True)
def test_a_clock_that_is_too_slow_by_all_stands_still(running: _Running) -> None:
    assert {running.clock(time.CLOCK_REALTIME) for _ in range(1000)} == {1_700_000_000 * SECOND}


def _told(skew: Skew, true_ns: int) -> int:
    """What the stub computes."""
    return true_ns + (true_ns * skew.rate >> 32) + skew.offset_ns


@given(
    st.lists(st.tuples(st.integers(-ONE, ONE), st.integers(1_600_000_000, 1_900_000_000)), max_size=5),
    st.lists(st.integers(-HOUR, HOUR), max_size=5),
)
def test_skews_add_up(drifts: list[tuple[int, int]], jumps: list[int]) -> None:
    now = 1_800_000_000 * SECOND
    skew = sum((vdso.drift(rate, since * SECOND) for rate, since in drifts), Skew())
    skew = sum((vdso.jump(offset) for offset in jumps), skew)
    wanted = now + sum(jumps) + sum((now - since * SECOND) * rate // ONE for rate, since in drifts)
    assert abs(_told(skew, now) - wanted) <= 2 * len(drifts)


def test_nothing_but_the_functions_first_bytes_and_the_padding_changes() -> None:
    pristine = vdso.pristine()
    made = vdso.patched(pristine, vdso.jump(HOUR))
    at = [vdso.symbols(pristine)[name] for name in ("__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time")]
    changed = [index for index, (old, new) in enumerate(zip(pristine, made, strict=True)) if old != new]
    begin = len(pristine) - 280
    assert all(index >= begin or any(place <= index < place + 5 for place in at) for index in changed)
    assert vdso.is_skewed(made)
    assert not vdso.is_skewed(pristine)
    assert pristine[begin:] == bytes(280)
