"""Writing a file or folder so that a crash leaves the old one whole or the new one whole.

The new one is written as ``.<name>.partial`` beside the target; the old one moves to ``.<name>.old``,
the new one takes its place, the old one is removed. A kill between the two renames leaves the target
missing for a moment; `heal`, which every load and every run calls first, completes the swap.
"""

import contextlib
import errno
import glob
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from embedtune.errors import ModelFolderError

try:
    import fcntl
except ImportError:  # Windows has no flock; there two runs on one target are not told apart.
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "COMPLETE",
    "claim_target",
    "heal",
    "partial_of",
    "read_state",
    "remove_partial",
    "replace_file",
    "replace_folder",
    "swap_in",
    "write_file",
]

logger = logging.getLogger(__name__)

_FILES_WRITTEN = itertools.count()
"""Tells apart the files that threads of this process write to one target."""

COMPLETE = ".complete"
"""Stands in the partial folder once all of the new content is there."""


def partial_of(target: Path) -> Path:
    """Where the new content is prepared: ``.<name>.partial`` beside the target."""
    return target.with_name(f".{target.name}.partial")


def _old_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _new_of(target: Path) -> Path:
    return partial_of(target) / "new"


@contextlib.contextmanager
def claim_target(target: Path, *, keep: bool = False) -> Iterator[Path]:
    """Hold a target for this process; yields its partial folder, with an empty ``new`` in it.

    Args:
        target: The folder to be written; its parents are made.
        keep: Whether what an earlier, interrupted run left in the partial folder stays (to resume).

    Raises:
        ModelFolderError: If another process is writing the same target.
    """
    heal(target)
    partial = partial_of(target)
    with _locked(partial, target):
        for leftover in partial.iterdir():
            if leftover.name != "lock" and not (keep and leftover.name not in {"new", COMPLETE}):
                _remove(leftover)
        _new_of(target).mkdir()
        yield partial


@contextlib.contextmanager
def _locked(partial: Path, target: Path) -> Iterator[None]:
    if fcntl is None:
        partial.mkdir(parents=True, exist_ok=True)
        yield
        return
    with _open_lock(partial, target):
        yield


def _open_lock(partial: Path, target: Path) -> IO[str]:
    """The lock file, held; made anew where a process that has just ended takes it away under our hands."""
    while True:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(partial)
        with contextlib.suppress(FileNotFoundError):
            lock = open(partial / "lock", "a", encoding="utf-8")  # noqa: SIM115 - the caller closes it
            try:
                _hold(lock, partial, target)
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(partial / "lock")):
                    return lock
            except BaseException:
                lock.close()
                raise
            lock.close()


def _hold(lock: IO[str], partial: Path, target: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise ModelFolderError(
            f"Another process is writing {str(target)!r} right now (it holds {str(partial / 'lock')!r}). "
            "Wait for it, or give another path."
        ) from error


def swap_in(target: Path) -> None:
    """Put the finished ``new`` in place of the target, and remove the partial folder."""
    (partial_of(target) / COMPLETE).touch()
    _finish_swap(target)


def _finish_swap(target: Path) -> None:
    partial, new, old = partial_of(target), _new_of(target), _old_of(target)
    complete = (partial / COMPLETE).exists()
    if complete and new.exists():
        if target.exists():
            if old.exists():
                _remove(old)
            os.rename(target, old)
        os.rename(new, target)
    elif not target.exists() and old.exists():
        os.rename(old, target)
    if old.exists() and target.exists():
        _remove(old)
    # Last: with it goes the lock, and another process may begin.
    if complete or {entry.name for entry in partial.iterdir()} <= {"lock"}:
        remove_partial(target)


def remove_partial(target: Path) -> None:
    """Remove what an interrupted run left beside the target; resuming is not possible afterwards."""
    partial = partial_of(target)
    if not partial.is_dir():
        return
    for entry in list(partial.iterdir()):
        if entry.name not in {COMPLETE, "lock"}:
            _remove(entry)
    # The mark goes late: without it a half-removed folder would look like a run that can be resumed. Once the
    # lock is gone the folder may be another process's, which has made its own lock in it: then it stays.
    (partial / COMPLETE).unlink(missing_ok=True)
    (partial / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        partial.rmdir()


def heal(target: Path) -> None:
    """Complete or undo a swap that a crash interrupted; does nothing otherwise.

    An unfinished partial folder stays: a run with ``resume=True`` goes on from it.
    """
    target = Path(target).expanduser().absolute()
    if not target.name:  # a drive or the root, which nobody writes as a whole
        return
    partial = partial_of(target)
    if not (_old_of(target).exists() or (partial / COMPLETE).exists()):
        return
    with contextlib.suppress(ModelFolderError):  # a living process is in the middle of its own swap
        with _locked(partial, target):
            _finish_swap(target)
        logger.warning("completed an interrupted write of %s", target)


@contextlib.contextmanager
def replace_folder(target: Path, owns: Callable[[Path], bool]) -> Iterator[Path]:
    """Write a folder atomically: yields an empty folder that takes the target's place on success.

    Args:
        target: New, empty, or a folder of ours.
        owns: Whether an existing non-empty folder is ours, and so may be replaced.

    Raises:
        ModelFolderError: If the target holds something that is not ours.
    """
    target = Path(target).expanduser().absolute()
    with claim_target(target) as partial:
        try:
            check_target(target, owns)
            yield partial / "new"
        except BaseException:
            remove_partial(target)
            raise
        swap_in(target)


def check_target(target: Path, owns: Callable[[Path], bool]) -> None:
    """Refuse a target that holds something which is not ours.

    Raises:
        ModelFolderError: If the target is a file, or a non-empty folder that ``owns`` denies.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ModelFolderError(f"{str(target)!r} is a file or a link, not a folder. Give a new folder's path.")
    if target.is_dir() and any(target.iterdir()) and not owns(target):
        names = ", ".join(sorted(repr(entry.name) for entry in target.iterdir())[:3])
        raise ModelFolderError(
            f"{str(target)!r} is not empty and was not written by embedtune (it holds {names}, ...); "
            "it is left as it is. Give a new path, or remove the folder yourself."
        )


@contextlib.contextmanager
def replace_file(target: Path) -> Iterator[Path]:
    """Write a file atomically: yields a path beside the target that takes its place on success."""
    target = Path(target).expanduser().absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_files(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{next(_FILES_WRITTEN)}.partial")
    try:
        yield partial
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def read_state(file: Path) -> Any:
    """The JSON that an interrupted run left.

    Raises:
        ModelFolderError: If it is damaged, which no kill does: files of state are replaced whole.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(
            f"{str(file)!r}, the state of an interrupted run, is damaged: {error}. Begin anew, without resume."
        ) from error


def write_file(path: Path, text: str) -> None:
    """Write a text where a user said: atomically, to what a link leads to, and to a pipe or a device as it stands.

    Whatever stands below /dev is written to, even a file that a shell has opened: replaced, nobody would read it.
    """
    path = Path(path).expanduser().absolute()
    if path.is_relative_to("/dev") or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    with replace_file(path.resolve()) as partial:
        partial.write_text(text, encoding="utf-8")


def _remove_stale_files(target: Path) -> None:
    """Remove what processes that were killed in `replace_file` left beside the target."""
    for stale in target.parent.glob(f".{glob.escape(target.name)}.*-*.partial"):
        process = stale.name.removeprefix(f".{target.name}.").partition("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            stale.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there a signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
