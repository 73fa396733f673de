"""L5. The wall clock of a process: a stub in its private copy of the vDSO answers clock_gettime, gettimeofday and time.

Programs in C, Java, Python and Go read the clock through the vDSO, code that the kernel maps into every process. All
processes share its pages until one is written to; then that process has a copy of its own. The stub asks the kernel
and adds what `Skew` says, to the wall clocks alone. Children inherit it; what is exec'd starts without it. Programs
that enter the kernel for the time by themselves, and sleeps until a moment of the wall clock, are not skewed. x86-64.

Source: vdso(7); elf(5) for the table of symbols.
"""

from __future__ import annotations

import functools
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import tracer

SECOND = 10**9
ONE = 1 << 32
"""A rate of 100 %: rates are counted in parts of it."""

# The stub, in GNU assembler's words (AT&T); its code uses no stack for returning, so that no stale address is found
# there by tracer.held:
#
#   clock_gettime:                      gettimeofday:                        time:
#     mov $228,%eax                       mov $96,%eax                         mov %rdi,%r8
#     syscall                             syscall                              sub $24,%rsp
#     test %eax,%eax                      test %eax,%eax                       mov %rsp,%rsi
#     jnz 9f                              jnz 9f                               xor %edi,%edi
#     test %edi,%edi  # REALTIME          test %rdi,%rdi                       mov $228,%eax
#     jz 1f                               jz 9f                                syscall
#     cmp $5,%edi     # REALTIME_COARSE   imul $1000000000,(%rdi),%rax         imul $1000000000,(%rsp),%rax
#     je 1f                               imul $1000,8(%rdi),%rcx              add 8(%rsp),%rax
#     cmp $11,%edi    # TAI               add %rcx,%rax                        lea 2f(%rip),%r9
#     jne 9f                              lea 2f(%rip),%r9                     jmp skew
#  1: imul $1000000000,(%rsi),%rax        jmp skew                          2: add $24,%rsp
#     add 8(%rsi),%rax                 2: mov %rax,(%rdi)                      test %r8,%r8
#     lea 2f(%rip),%r9                    mov %rdx,%rax                        jz 9f
#     jmp skew                            xor %edx,%edx                        mov %rax,(%r8)
#  2: mov %rax,(%rsi)                     mov $1000,%ecx                    9: ret
#     mov %rdx,8(%rsi)                    div %rcx
#     xor %eax,%eax                       mov %rax,8(%rdi)                   skew:  # rax: ns -> rax: s, rdx: ns
#  9: ret                                 xor %eax,%eax                        mov %rax,%rcx
#                                      9: ret                                 imulq rate(%rip)
#   rate: .quad 0                                                             shrd $32,%rdx,%rax
#   offset: .quad 0                                                           add %rcx,%rax
#   .ascii "CKVDSO"                                                           add offset(%rip),%rax
#   .short 280      # its length                                              xor %edx,%edx
#                                                                             mov $1000000000,%ecx
#   (each of the four begins at a multiple of 16)                             div %rcx
#                                                                             jmp *%r9
_CODE = bytes.fromhex(
    "b8e40000000f0585c0752e85ff740a83ff05740583ff0b752048690600ca9a3b480346084c8d0d05000000e9a000000048890648895608"
    "31c0c3660f1f440000b8600000000f0585c075364885ff743148690700ca9a3b48694f08e80300004801c84c8d0d02000000eb65488907"
    "4889d031d2b9e803000048f7f14889470831c0c366662e0f1f8400000000000f1f004989f84883ec184889e631ffb8e40000000f054869"
    "042400ca9a3b48034424084c8d0d02000000eb174883c4184d85c07403498900c3662e0f1f8400000000004889c148f72d26000000480f"
    "acd0204801c84803051f00000031d2b900ca9a3b48f7f141ffe1662e0f1f840000000000"
)
_TAIL = struct.Struct("<QQ6sH")
_MAGIC = b"CKVDSO"
_LENGTH = len(_CODE) + _TAIL.size
_ENTRIES = {"__vdso_clock_gettime": 0x00, "__vdso_gettimeofday": 0x40, "__vdso_time": 0x90}
_JUMP = 5
_TIMES = 20

_EXECUTABLE_BASE = 33  # AT_SYSINFO_EHDR
_DYNAMIC_SYMBOLS = 11
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class NoClock(Exception):
    """The process has no vDSO like this machine's: its text says what it has."""


@dataclass(frozen=True)
class Skew:
    """What is added to the wall clock `t`, in ns: `offset_ns` + `t` * `rate`/ONE. Sums of both are taken modulo 2^64.

    Being a function of the clock itself, a drift is smooth, and the same in every process.
    """

    rate: int = 0
    offset_ns: int = 0

    def __add__(self, other: Skew) -> Skew:
        return Skew(self.rate + other.rate, self.offset_ns + other.offset_ns)


def jump(offset_ns: int) -> Skew:
    return Skew(0, offset_ns)


def drift(rate: int, since_ns: int) -> Skew:
    """Nothing at the wall clock's `since_ns`, and `rate`/ONE of a second more with each second after it."""
    return Skew(rate, -(since_ns * rate >> 32))


@functools.cache
def pristine() -> bytes:
    """The vDSO as the kernel made it: ours is never written to. Raises: NoClock."""
    if platform.machine() != "x86_64":
        raise NoClock(f"clocks are skewed on x86-64 alone; this is {platform.machine()}")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[vdso]"):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            image = _read("self", begin, end - begin)
            if image[-_LENGTH:].strip(b"\0"):
                raise NoClock("the vDSO of this kernel has no room for a stub")
            if missing := set(_ENTRIES) - set(symbols(image)):
                raise NoClock(f"the vDSO of this kernel lacks {', '.join(sorted(missing))}")
            return image
    raise NoClock("this kernel has no vDSO")


def patched(image: bytes, skew: Skew) -> bytes:
    """The pristine image with the stub in its last bytes, and a jump to it in place of each function's first bytes."""
    made = bytearray(image)
    begin = len(made) - _LENGTH
    made[begin:] = _CODE + _TAIL.pack(skew.rate % 2**64, skew.offset_ns % 2**64, _MAGIC, _LENGTH)
    at = symbols(image)
    for name, inside in _ENTRIES.items():
        made[at[name] : at[name] + _JUMP] = b"\xe9" + struct.pack("<i", begin + inside - (at[name] + _JUMP))
    return bytes(made)


def is_skewed(image: bytes) -> bool:
    """Whether a stub, of this agent or of an older one, is in it."""
    return image[-2 - len(_MAGIC) : -2] == _MAGIC


def symbols(image: bytes) -> Mapping[str, int]:
    """name -> where in the image it begins."""
    (table,) = struct.unpack_from("<Q", image, 0x28)
    (count,) = struct.unpack_from("<H", image, 0x3C)
    sections = [_SECTION.unpack_from(image, table + _SECTION.size * number) for number in range(count)]
    dynamic = next(section for section in sections if section[1] == _DYNAMIC_SYMBOLS)
    texts = sections[dynamic[6]][4]
    found = {}
    for place in range(dynamic[4], dynamic[4] + dynamic[5], _SYMBOL.size):
        name, _, _, _, value, _ = _SYMBOL.unpack_from(image, place)
        found[image[texts + name : image.index(b"\0", texts + name)].decode()] = value
    return found


def look(pid: int) -> bytes:
    """A process's vDSO as it is. Raises: NoClock; OSError, where it has ended."""
    trouble = NoClock("its vDSO is not this kernel's own (a 32-bit program?)")
    for _ in range(_TIMES):  # a program that is being exec'd has a new one, elsewhere, from one moment to the next
        base = _base(pid)
        try:
            image = _read(pid, base, len(pristine()))
        except OSError as error:
            trouble = NoClock(f"its vDSO cannot be read: {error.strerror}")
        else:
            if is_skewed(image) or image == pristine():
                return image
        if base == _base(pid):
            break
    raise trouble


def change(pid: int, skew: Skew | None) -> bool:
    """Makes a process's clock go so (None: true again, to the byte); whether there was something to do.

    Raises: NoClock; tracer.Busy; OSError, where the process has ended or cannot be written to.
    """
    wanted = pristine() if skew is None else patched(pristine(), skew)
    if look(pid) == wanted:
        return False
    for left in reversed(range(_TIMES)):
        try:
            _write(pid, wanted, is_plain=skew is None)
        except tracer.Busy:
            if not left:
                raise
        else:
            break
    return True


def _write(pid: int, wanted: bytes, *, is_plain: bool) -> None:
    """The stub before the jumps into it; the other way round where it is taken away: a moment between is whole too."""
    base, at = _base(pid), symbols(pristine())
    image = look(pid)
    (length,) = struct.unpack("<H", image[-2:]) if is_skewed(image) else (_LENGTH,)
    length = max(length, _LENGTH)
    stub = (len(image) - length, len(image))
    jumps = [(at[name], at[name] + _JUMP) for name in _ENTRIES]
    kept_off = [(base + stub[0], base + stub[1]), *((base + begin + 1, base + end) for begin, end in jumps)]

    def write() -> None:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            for begin, end in (*jumps, stub) if is_plain else (stub, *jumps):
                if os.pread(memory, end - begin, base + begin) != wanted[begin:end]:
                    os.pwrite(memory, wanted[begin:end], base + begin)
        finally:
            os.close(memory)

    tracer.held(pid, kept_off, write)


def _base(pid: int) -> int:
    """Source: getauxval(3), proc(5) for /proc/PID/auxv."""
    words = Path(f"/proc/{pid}/auxv").read_bytes()
    if not words:
        raise ProcessLookupError(f"process {pid} has ended")
    for kind, value in struct.iter_unpack("<QQ", words[: len(words) // 16 * 16]):
        if kind == _EXECUTABLE_BASE:
            return int(value)
    raise NoClock("it has no vDSO")


def _read(pid: int | str, begin: int, size: int) -> bytes:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, size, begin)
    finally:
        os.close(memory)
