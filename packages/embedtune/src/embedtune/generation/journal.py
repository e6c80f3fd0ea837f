"""The journal: every answer that was paid for, on disk before it is used.

One JSON object a line, appended and fsynced; answers are found by the key of what was asked, so a run that was
killed, cancelled, or ran out of money goes on where it stopped. A torn last line, as a crash leaves it, is cut
off. One process at a time holds the file, by a lock of the operating system.
"""

import asyncio
import contextlib
import errno
import json
import logging
import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from embedtune.errors import GenerationError
from embedtune.protocols import LLMAnswer

try:
    import fcntl
except ImportError:  # Windows has no flock, but a lock of its own
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal", "answer_record"]

logger = logging.getLogger(__name__)

_HEADER = {"embedtune_journal": 1}
_LOCK_BYTE = 2**40
"""Windows locks bytes: one far behind the end keeps nobody from reading."""


class Journal:
    """Answers by key, in memory or in a file.

    Args:
        path: The file, made if it is not there; None keeps what this run needs in memory.

    Raises:
        GenerationError: If the file is something else, is held by another process, or cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = None if path is None else Path(path).expanduser().absolute()
        self.n_answers = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.batches: dict[str, dict[str, Any]] = {}
        """What is known of each batch, by its tag."""
        self._places: dict[bytes, int] = {}
        self._file: IO[bytes] | None = None
        self._reader: IO[bytes] | None = None
        self._end = 0
        self._pending: deque[bytes] = deque()
        self._broken: OSError | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedtune-journal")

    def __enter__(self) -> "Journal":
        if self.path is not None:
            try:
                self._file = self._open(self.path)
                self._reader = open(self.path, "rb")
                self._read(self._reader)
            except OSError as error:
                self._close_file()
                raise GenerationError(f"The journal {str(self.path)!r} cannot be used: {error}.") from error
            except BaseException:
                self._close_file()
                raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._writer.shutdown(wait=True)
        self._write_pending()  # of a run that was cancelled between answer and disk
        self._close_file()

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def answer(self, key: str) -> LLMAnswer | None:
        """The answer to what has this key, None if it has not arrived yet."""
        place = self._places.get(bytes.fromhex(key))
        if place is None or self._reader is None:
            return None
        self._reader.seek(place)
        record = json.loads(self._reader.readline())
        return LLMAnswer(
            text=record["text"],
            prompt_tokens=record.get("prompt_tokens"),
            completion_tokens=record.get("completion_tokens"),
            finish=record.get("finish"),
        )

    def open_batches(self, llm: str) -> list[str]:
        """Tags of the batches that an LLM, by its fingerprint, was given and whose answers are not here yet."""
        return [tag for tag, known in self.batches.items() if not known.get("fetched") and known.get("llm", llm) == llm]

    async def keep(self, key: str, answer: LLMAnswer, stage: str) -> None:
        """Append an answer; when this returns it is on the disk.

        Answers that arrive while others are being written go together in the next write.

        Raises:
            GenerationError: If it cannot be written.
        """
        if self._file is None:
            return
        # No asyncio.Lock: each stage has an event loop of its own, and the writer's one thread is a queue already.
        self._pending.append(_line(answer_record(key, answer, stage)))
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write_pending)
        if self._broken is not None:
            raise GenerationError(
                f"The journal {str(self.path)!r} cannot be written: {self._broken}. What it holds so far is whole; "
                "the same call goes on from there."
            )

    def keep_now(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append records of a batch, and wait for the disk.

        Raises:
            OSError: If they cannot be written.
        """
        if self._file is not None:
            self._write([_line(record) for record in records])
        for record in records:
            if "tag" in record:
                self.batches.setdefault(record["tag"], {}).update(record)

    def _write_pending(self) -> None:
        """Write what is waiting, and remember why it could not be written."""
        lines: list[bytes] = []
        while self._pending:  # the event loop appends meanwhile
            lines.append(self._pending.popleft())
        if not lines or self._broken is not None:
            return
        try:
            self._write(lines)
        except OSError as error:
            self._broken = error
            logger.warning("%d answers are not in the journal %s: %s", len(lines), self.path, error)

    def _write(self, lines: list[bytes]) -> None:
        assert self._file is not None
        try:
            self._file.seek(self._end)
            left = memoryview(b"".join(lines))
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):  # half a line is healed by the next run too
                os.ftruncate(self._file.fileno(), self._end)
            raise
        self._end += sum(map(len, lines))

    def _open(self, path: Path) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb+", buffering=0)  # noqa: SIM115 - held till the end
        try:
            _lock(file, path)
        except BaseException:
            file.close()
            raise
        return file

    def _read(self, lines: IO[bytes]) -> None:
        """Index what is there, and cut off a torn last line."""
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        for number, line in enumerate(lines):
            if not line.endswith(b"\n") and (number or _line(_HEADER).startswith(line)):
                break  # a crash cut it
            self._index(self._record(line, number), self._end)
            self._end += len(line)
        if self._end < size:
            logger.warning("cut off a torn last line of %d bytes in %s", size - self._end, self.path)
            os.ftruncate(self._file.fileno(), self._end)
        if self._end == 0:
            self._write([_line(_HEADER)])

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        """A line's record; empty for one that is damaged, whose answer is then asked for again."""
        record: object = None
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
        if number == 0 and record != _HEADER:
            raise GenerationError(
                f"{str(self.path)!r} is no journal of embedtune, or of another version: it starts {line[:60]!r}. It is "
                "left as it is; give a new file."
            )
        if isinstance(record, dict) and _is_sound(record):
            return record
        logger.warning("line %d of the journal %s is damaged, and left out: %r", number + 1, self.path, line[:60])
        return {}

    def _index(self, record: Mapping[str, Any], place: int) -> None:
        if "tag" in record:
            self.batches.setdefault(record["tag"], {}).update(record)
        if "key" not in record:
            return
        self._places[bytes.fromhex(record["key"])] = place
        self.n_answers += 1
        self.prompt_tokens += record.get("prompt_tokens") or 0
        self.completion_tokens += record.get("completion_tokens") or 0

    def _close_file(self) -> None:
        for file in (self._reader, self._file):
            if file is not None:
                file.close()
        self._file = self._reader = None


def _is_sound(record: dict[str, Any]) -> bool:
    """Whether a line holds what its kind holds; somebody may have edited it."""
    if "key" not in record:
        return isinstance(record.get("tag", ""), str) and isinstance(record.get("keys", []), list)
    counts = [record.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    return (
        isinstance(record["key"], str)
        and re.fullmatch("[0-9a-f]{32}", record["key"]) is not None
        and isinstance(record.get("text"), str)
        and all(isinstance(count, int) and count >= 0 for count in counts)
    )


def answer_record(key: str, answer: LLMAnswer, stage: str) -> dict[str, Any]:
    """The line of an answer."""
    record = {"key": key, "stage": stage, "text": answer.text, "finish": answer.finish}
    return record | {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII: half of a surrogate pair in an answer must not stop the journal.
    return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_on_windows(file)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        raise GenerationError(
            f"Another process is using the journal {str(path)!r} right now. Wait for it, or give another file."
        ) from error


def _lock_on_windows(file: IO[bytes]) -> None:
    import msvcrt

    file.seek(_LOCK_BYTE)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # there only
    file.seek(0)
