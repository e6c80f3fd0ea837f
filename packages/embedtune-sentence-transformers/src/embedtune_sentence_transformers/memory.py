"""Memory that the C library keeps between training steps, instead of giving it back and taking it anew."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""mallopt(3)'s names for: how much free memory goes back to the system, and how many blocks get a mapping of their
own. Freeing such a block gives each of its pages back, and the next step takes them one page fault at a time."""
_NEVER, _NONE = -1, 0
_DEFAULTS = {_M_TRIM_THRESHOLD: 128 * 1024, _M_MMAP_MAX: 65536}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within it, what large tensors free stays with the process; on another C library than glibc nothing changes."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, _NONE)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        for name, value in _DEFAULTS.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)
