"""L5. nftables by its own library: a transaction costs a third of a millisecond, a process ten times as much."""

from __future__ import annotations

import ctypes
import threading

from . import nodes
from .kind import Refused

_lock = threading.Lock()
_context: tuple[ctypes.CDLL, int] | None = None


def run(commands: str) -> str:
    """One transaction: all of it or nothing; gives what it printed. Raises: Refused with nft's own words.

    Source: libnftables(3).
    """
    with _lock:
        return _told(*_open(), commands)


def run_in(pid: int, commands: str) -> str:
    """The same in the network namespace of a process. Raises: OSError, where it has ended."""

    def inside() -> str:
        library, context = _made()
        try:
            return _told(library, context, commands)
        finally:
            library.nft_ctx_free(context)

    return nodes.in_network(pid, inside)


def _open() -> tuple[ctypes.CDLL, int]:
    global _context  # noqa: PLW0603 - one for the life of the agent
    if _context is None:
        _context = _made()
    return _context


def _made() -> tuple[ctypes.CDLL, int]:
    """The library, and a context that speaks to the network namespace of the thread that called."""
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
        getattr(library, name).argtypes = (ctypes.c_void_p,)
    library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    context: int = library.nft_ctx_new(0)
    library.nft_ctx_buffer_error(context)
    library.nft_ctx_buffer_output(context)
    return library, context


def _told(library: ctypes.CDLL, context: int, commands: str) -> str:
    if library.nft_run_cmd_from_buffer(context, commands.encode()):
        words = library.nft_ctx_get_error_buffer(context).decode(errors="replace").strip()
        raise Refused(f"nft: {words or 'the kernel refused'}")
    printed: bytes = library.nft_ctx_get_output_buffer(context)
    return printed.decode(errors="replace")
