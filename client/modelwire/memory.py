"""Keeps the C allocator from giving large buffers back to the kernel after every message.

glibc serves a buffer of 128 KiB and more with a mapping of its own, and gives it back when it is freed. A stream of 1 MiB
messages then pays for fresh pages again and again, which on virtual machines costs more than all the copying: see
docs/adr/0004-allocator.md for the figures.
"""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_MIB = 1 << 20


def keep_large_buffers(kept: int = 32 * _MIB) -> bool:
    """Lets freed buffers be used again, up to `kept` bytes at the heap's top; returns whether the allocator took it.

    Does nothing where the C library has no `mallopt`, or where the user has set `MALLOC_` variables of their own.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = {_M_MMAP_THRESHOLD: 32 * _MIB, _M_TRIM_THRESHOLD: kept, _M_TOP_PAD: 4 * _MIB, _M_ARENA_MAX: 2}
    return all(mallopt(parameter, value) for parameter, value in settings.items())
