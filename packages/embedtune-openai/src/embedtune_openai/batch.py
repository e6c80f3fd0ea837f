"""OpenAI's Batch API: a file of requests in, a file of answers and one of errors out, within a day."""

import itertools
import json
import logging
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from embedtune.errors import LLMRequestError
from embedtune.llm_failures import failure_kind, llm_request_error
from embedtune.protocols import BatchState, LLMAnswer
from embedtune_openai.chat import ChatReader
from embedtune_openai.connection import Connection

if TYPE_CHECKING:
    from openai.types import Batch

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_REQUESTS", "Batches"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BATCH_REQUESTS = 50_000
"""OpenAI's limit on the requests of one batch."""

MAX_BATCH_BYTES = 200_000_000
"""OpenAI's limit on the file of one batch."""

ENDPOINT: Final = "/v1/chat/completions"
TAG = "embedtune"
"""Under this name a batch's metadata hold the tag."""

_LOOKED_THROUGH = 1000
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_NOT_DONE = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of requests that were never begun; asked again, they may be answered."""


class Batches:
    """The batches of one server.

    Args:
        connection: Its client repeats what may heal.
        max_requests: Of one batch.
        max_bytes: Of one batch's file.
    """

    def __init__(
        self, connection: Connection, max_requests: int = MAX_BATCH_REQUESTS, max_bytes: int = MAX_BATCH_BYTES
    ) -> None:
        self._connection = connection
        self._max_requests, self._max_bytes = max_requests, max_bytes

    def submit(self, requests: Iterable[tuple[str, dict[str, Any]]], tag: str) -> tuple[str, int]:
        """Submit as many requests from the front as one batch holds; its id, and how many these are."""
        with tempfile.TemporaryFile() as file:
            n_requests = self._write(requests, file)
            uploaded = self._called("took no file", lambda: self._upload(file))
        return self._create(uploaded, tag), n_requests

    def _write(self, requests: Iterable[tuple[str, dict[str, Any]]], file: IO[bytes]) -> int:
        n_requests = n_bytes = 0
        first_bytes: int | None = None
        for key, body in itertools.islice(requests, self._max_requests):
            request = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
            line = json.dumps(request).encode() + b"\n"
            first_bytes = first_bytes or len(line)
            if n_bytes + len(line) > self._max_bytes:
                break
            file.write(line)
            n_requests += 1
            n_bytes += len(line)
        if not n_requests:
            got = "none" if first_bytes is None else f"a first one of {first_bytes}; make its prompt shorter"
            raise LLMRequestError(
                f"A batch holds 1 to {self._max_requests} requests in at most {self._max_bytes} bytes; got {got}.",
                heals=False,
            )
        file.seek(0)
        return n_requests

    def _upload(self, file: IO[bytes]) -> str:
        return str(self._connection.client.files.create(file=("embedtune.jsonl", file), purpose="batch").id)

    def _create(self, file_id: str, tag: str) -> str:
        """The id of a new batch, made once: a repeat after a lost answer would be paid for twice."""
        create = self._connection.single_try_client.batches.create
        try:
            return self._called(
                "took no batch",
                lambda: (
                    create(input_file_id=file_id, endpoint=ENDPOINT, completion_window="24h", metadata={TAG: tag}).id
                ),
            )
        except LLMRequestError as error:
            if failure_kind(error) != "heals":
                raise
            failure = error
        found = self._newest(lambda batch: batch.input_file_id == file_id)
        if found is None:
            raise failure
        return found

    def find(self, tag: str) -> str | None:
        """The newest batch with the tag."""
        return self._newest(lambda batch: (batch.metadata or {}).get(TAG) == tag)

    def _newest(self, is_wanted: "Callable[[Batch], bool]") -> str | None:
        def look() -> str | None:
            batches = itertools.islice(self._connection.client.batches.list(limit=100), _LOOKED_THROUGH)
            return next((batch.id for batch in batches if is_wanted(batch)), None)

        return self._called("did not list its batches", look)

    def poll(self, batch: str) -> BatchState:
        """How far a batch is."""
        found = self._retrieved(batch)
        counts = found.request_counts
        errors = (found.errors.data or []) if found.errors else []
        told = "; ".join(f"{error.code}: {error.message}" + _at_line(error.line) for error in errors)
        return BatchState(
            status=found.status,
            is_over=found.status in _OVER,
            n_requests=counts.total if counts else 0,
            n_answered=counts.completed if counts else 0,
            n_failed=counts.failed if counts else 0,
            reason=self._connection.shown(told) if told else None,
        )

    def fetch(self, batch: str) -> Iterator[tuple[str, LLMAnswer | LLMRequestError]]:
        """Each key with its answer or its error, as the lines come; one line is in memory at a time."""
        found = self._retrieved(batch)
        for file_id in (found.output_file_id, found.error_file_id):
            if not file_id:  # there is no file of errors without errors
                continue
            for number, line in enumerate(self._lines(file_id), start=1):
                if (result := self._result(line)) is not None:
                    yield result
                elif line.strip():
                    shown = self._connection.shown(line.decode(errors="replace"))
                    logger.warning(
                        "line %d of file %s of batch %s cannot be read, and its request counts as not answered: %r",
                        *(number, file_id, batch, shown),
                    )

    def _lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a file, while it comes."""
        blocks = self._blocks(file_id)
        rest = b""
        with closing(blocks):
            while block := self._called(f"broke off while sending file {file_id}", lambda: next(blocks, b"")):
                # By line feeds alone: the client's own iter_lines also cuts at U+2028, which JSON may hold.
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
        if rest:
            yield rest

    def _blocks(self, file_id: str) -> Generator[bytes, None, None]:
        with self._connection.client.files.with_streaming_response.content(file_id) as response:
            yield from (block for block in response.iter_bytes(1 << 16) if block)

    def _result(self, line: bytes) -> tuple[str, LLMAnswer | LLMRequestError] | None:
        """A line's key and result; None if the line has no key."""
        try:
            told = json.loads(line)
        except ValueError:
            return None
        if not isinstance(told, dict) or not isinstance(told.get("custom_id"), str):
            return None
        return told["custom_id"], self._answer(told)

    def _answer(self, told: dict[str, Any]) -> LLMAnswer | LLMRequestError:
        reader, response = ChatReader(self._connection), told.get("response")
        if not isinstance(response, dict):
            error = reader.error_of(told, None)
            error.heals = True if error.code in _NOT_DONE else error.heals
            return error
        status = response.get("status_code")
        if status != 200:
            return reader.error_of(response.get("body"), status if isinstance(status, int) else None)
        try:
            return reader.answer_of(response.get("body"))[0]
        except LLMRequestError as error:
            return error

    def _retrieved(self, batch: str) -> "Batch":
        return self._called(f"did not tell of batch {batch!r}", lambda: self._connection.client.batches.retrieve(batch))

    def _called(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except LLMRequestError:
            raise
        except Exception as error:
            reason = self._connection.reason(error)
            failure = llm_request_error(error, f"The server at {self._connection.place} {what}: {reason}")
        raise failure  # out here, so that the client's error is not chained to it: that holds the key


def _at_line(line: int | None) -> str:
    return "" if line is None else f" (line {line})"
