"""What breaks a training although nothing is wrong with it: no memory, no disk."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from embedtune import TuningError

__all__ = ["telling_of_disk", "telling_of_memory"]

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
_NO_DISK = ("no space left", "disk quota", "file too large", "disk is full", "file write failed", "unexpected pos")
"""The last two are torch's, whose writer does not say why a write failed or fell short."""


_SMALLER = "a smaller max_seq_length, or freeze_layers; `embedtune tune --dry-run` tells what a run needs"


class _Batched(Protocol):
    @property
    def batch_size(self) -> int: ...


@contextmanager
def telling_of_memory(
    options: _Batched, max_seq_length: int | None, *, of: str = "chunks", smaller: str = _SMALLER
) -> Iterator[None]:
    """Turn an allocation that failed into an error that says what to make smaller.

    Args:
        options: The tuner's.
        max_seq_length: Tokens read of each thing in a batch.
        of: What a batch is of.
        smaller: What else can be given than a smaller batch.

    Raises:
        TuningError: If one did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        raise TuningError(
            f"Memory ran out in training, with batch_size={options.batch_size} {of} of up to {max_seq_length} "
            f"tokens. Give a smaller batch_size (half the memory at half of it), {smaller}. The target folder is as it "
            "was."
        ) from error


@contextmanager
def telling_of_disk(folder: Path) -> Iterator[None]:
    """Turn a write that failed for want of space into an error that says what to do.

    Args:
        folder: Where the model goes.

    Raises:
        TuningError: If one did.
    """
    try:
        yield
    except Exception as error:  # safetensors has an error of its own, which carries only words
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not is_full and not any(words in str(error).lower() for words in _NO_DISK):
            raise
        raise TuningError(
            f"The disk is full while writing beside {str(folder)!r}: {error}. The target folder is as it was. Free "
            "some space, and resume=True goes on from the last checkpoint."
        ) from error
