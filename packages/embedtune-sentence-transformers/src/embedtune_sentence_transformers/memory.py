"""Memory that the C library keeps between training steps, instead of giving it back and taking it anew; how much."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["MIB", "MemoryMeter", "kept_memory"]

MIB = 1 << 20
"""Bytes."""

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


class MemoryMeter:
    """The most memory of the process that was seen."""

    def __init__(self) -> None:
        self._most = _resident_mib()

    def note(self) -> None:
        """Look at it now; within `kept_memory` what was freed shortly before still counts."""
        if self._most is not None:
            self._most = max(self._most, _resident_mib() or 0.0)

    def peak_mib(self, device: torch.device) -> float | None:
        """The process with its libraries on a CPU, PyTorch's tensors on a GPU; None where the system does not say."""
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / MIB
        return self._most


def _resident_mib() -> float | None:
    """Physical memory of this process, on Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, AttributeError, ValueError):
        return None
