"""One file of values by key, which a crash, a second process or a damaged disk cannot make wrong.

SQLite writes all of a call or nothing of it, and lets one process write at a time. What it does not notice, a value
that has changed on the disk, a digest beside each value does. The file is never worth an error: where it cannot be
read or written, the caller finds nothing in it and computes.
"""

import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeVar

__all__ = ["DiskStore"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 30.0
"""How long another process may hold the file; it writes a few megabytes at a time."""
_KEYS_AT_ONCE = 500
"""SQLite before 3.32 takes at most 999 parameters."""
_OF_THE_SURROUNDINGS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors that say nothing of the file's content: another process holds it, the disk is full."""
_TABLE = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL)"


class DiskStore:
    """Bytes by key in one SQLite file. Each call opens it anew, so threads and forked processes may share an object.

    Args:
        path: The file; it is made at the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_off = False

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that are there and whole, by key."""
        if not keys or self._is_off or not self.path.is_file():
            return {}
        return self._tried(lambda connection: self._whole(_rows(connection, keys), set(keys)), {})

    def write(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values, all of them or, after a crash or an error, none."""
        if values and not self._is_off:
            self._tried(lambda connection: _insert(connection, values), None)

    def _whole(self, rows: Iterator[tuple[object, ...]], wanted: Set[bytes]) -> dict[bytes, bytes]:
        found, n_changed = {}, 0
        for key, value, digest in rows:  # a damaged row may hold anything, and be another key's
            if isinstance(key, bytes) and isinstance(value, bytes) and key in wanted and digest == _digest(key, value):
                found[key] = value
            else:
                n_changed += 1
        if n_changed:
            logger.warning("%d entries of %s have changed on the disk; they are computed anew", n_changed, self.path)
        return found

    def _tried(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            with contextlib.closing(_connect(self.path)) as connection:
                return action(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the names in a damaged schema may be no text
            # Codes have details above their first byte.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_SURROUNDINGS:
                logger.warning("the cache %s cannot be used (%s); going on without it", self.path, error)
                self._is_off = True
            else:
                logger.warning("the cache %s is damaged (%s) and is made anew", self.path, error)
                _remove(self.path)
        return otherwise


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    connection.text_factory = bytes  # there is no text, unless a row is damaged
    return connection


def _rows(connection: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[object, ...]]:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone() is None:
        return  # its first writer was killed before anything was in it
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        places = ",".join("?" * len(some))
        yield from connection.execute(f"SELECT key, value, digest FROM entries WHERE key IN ({places})", some)


def _insert(connection: sqlite3.Connection, values: Mapping[bytes, bytes]) -> None:
    # At once, not at the first write: two that have both begun to read would wait for each other.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_TABLE)
    connection.executemany(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
        ((key, value, _digest(key, value)) for key, value in values.items()),
    )
    connection.execute("COMMIT")


def _digest(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=8).digest()


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal"):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)
