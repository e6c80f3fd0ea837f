"""Files and batches of the fault server: what OpenAI's Batch API does with a file of requests."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fault_model import Model, Outcome, error_body

__all__ = ["Batches"]

OVER = ("completed", "expired", "failed", "cancelled")


@dataclass
class _Batch:
    body: dict[str, Any]
    lines: list[dict[str, Any]]
    n_polls: int = 0


class Batches:
    """Files by id, and batches that move on each time they are looked at.

    Args:
        model: Answers the requests in a batch too.
        record: Told of each of them: chunk, messages' prompt, what was done.
    """

    def __init__(self, model: Model, record: Callable[[dict[str, Any], str], None]) -> None:
        self.model = model
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, _Batch] = {}
        self._record = record
        self._ids = itertools.count(1)

    def handle(self, method: str, target: str, content_type: str, body: bytes) -> Outcome | None:
        """The answer to a request about files or batches; None if it is about something else."""
        path, query = urlsplit(target).path.removeprefix("/v1"), parse_qs(urlsplit(target).query)
        if method == "POST" and path == "/files":
            return self._upload(content_type, body)
        if method == "POST" and path == "/batches":
            return self._create(json.loads(body))
        if method == "GET" and path == "/batches":
            return self._listed(query)
        if found := re.fullmatch(r"/files/([\w-]+)/content", path):
            content = self.files.get(found[1])
            return _missing(found[1]) if content is None else Outcome(done="file", body=content)
        if found := re.fullmatch(r"/batches/([\w-]+)(/cancel)?", path):
            return self._looked_at(found[1], cancel=bool(found[2]))
        return None

    def _upload(self, content_type: str, body: bytes) -> Outcome:
        found = re.search(r'boundary="?([^";]+)', content_type)
        parts = body.split(b"--" + found[1].encode()) if found else []
        by_name: dict[str, bytes] = {}
        for part in parts:
            head, _, content = part.partition(b"\r\n\r\n")
            if name := re.search(rb'name="(\w+)"', head):
                by_name[name[1].decode()] = content.removesuffix(b"\r\n")
        if by_name.get("purpose") != b"batch" or "file" not in by_name:
            return Outcome(done="bad_file", status=400, body=error_body("'purpose' must be 'batch', with a file."))
        content = by_name["file"]
        is_lost = self.model.faults.loses_first_file and not self.files
        told = {"id": self._stored(content), "object": "file", "bytes": len(content), "created_at": 1}
        done = "dropped_early" if is_lost else "file"
        return Outcome(done=done, body={**told, "filename": "b.jsonl", "purpose": "batch", "status": "processed"})

    def _stored(self, content: bytes) -> str:
        name = f"file-{next(self._ids)}"
        self.files[name] = content
        return name

    def _create(self, body: dict[str, Any]) -> Outcome:
        content = self.files.get(body.get("input_file_id", ""))
        if content is None:
            return _missing(str(body.get("input_file_id")))
        if (body.get("endpoint"), body.get("completion_window")) != ("/v1/chat/completions", "24h"):
            return Outcome(done="bad_batch", status=400, body=error_body("Invalid endpoint or completion_window."))
        lines = [json.loads(line) for line in content.splitlines()]
        name = f"batch_{next(self._ids)}"
        wrong = self._wrong(lines)
        is_lost = self.model.faults.loses_first_batch and not self.batches
        self.batches[name] = batch = _Batch(
            {
                "id": name,
                "object": "batch",
                "endpoint": body["endpoint"],
                "completion_window": "24h",
                "input_file_id": body["input_file_id"],
                "created_at": len(self.batches) + 1,
                "metadata": body.get("metadata"),
                "status": "failed" if wrong else "validating",
                "request_counts": {"total": 0 if wrong else len(lines), "completed": 0, "failed": 0},
                "errors": {"object": "list", "data": [wrong]} if wrong else None,
            },
            lines,
        )
        return Outcome(done="dropped_early" if is_lost else "batch", body=batch.body)

    def _wrong(self, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
        names = [line.get("custom_id") for line in lines]
        longest = self.model.faults.batch_lines
        if self.model.faults.batch_fails:
            return {"code": "token_limit_exceeded", "message": "Enqueued token limit reached.", "line": None}
        if len(set(names)) != len(names) or not all(names):
            return {"code": "duplicate_custom_id", "message": "The custom_id is not unique.", "line": 1}
        if longest is not None and len(lines) > longest:
            return {"code": "too_many_tasks", "message": f"The batch holds more than {longest} lines.", "line": None}
        return None

    def _listed(self, query: dict[str, list[str]]) -> Outcome:
        newest_first = list(reversed(self.batches))
        start = newest_first.index(query["after"][0]) + 1 if "after" in query else 0
        shown = newest_first[start : start + int(query.get("limit", ["20"])[0])]
        has_more = start + len(shown) < len(newest_first)
        told: dict[str, Any] = {"object": "list", "data": [self.batches[name].body for name in shown]}
        return Outcome(done="batches", body={**told, "has_more": has_more, "last_id": shown[-1] if shown else None})

    def _looked_at(self, name: str, cancel: bool) -> Outcome:
        batch = self.batches.get(name)
        if batch is None:
            return _missing(name)
        batch.n_polls += 1
        if batch.body["status"] in OVER:
            pass
        elif cancel:
            batch.body["status"] = "cancelling"
        elif batch.body["status"] == "cancelling":
            self._finish(batch, "cancelled", 0.5)
        elif batch.n_polls >= self.model.faults.batch_polls:
            undone = self.model.faults.batch_expires
            self._finish(batch, "completed" if undone is None else "expired", undone or 0.0)
        else:
            batch.body["status"] = "finalizing" if batch.n_polls + 1 == self.model.faults.batch_polls else "in_progress"
        return Outcome(done="batch", body=batch.body)

    def _finish(self, batch: _Batch, status: str, share_undone: float) -> None:
        answered: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        n_done = len(batch.lines) - int(len(batch.lines) * share_undone)
        # By a hash of the name: in no order that a client could rely on.
        for at, line in enumerate(sorted(batch.lines, key=lambda line: _hash(line["custom_id"]))):
            told: dict[str, Any] = {"id": f"batch_req_{at}", "custom_id": line["custom_id"], "error": None}
            if at >= n_done:
                message = "This request could not be executed before the completion window expired."
                failed.append({**told, "response": None, "error": {"code": f"batch_{status}", "message": message}})
                continue
            outcome = self.model.answer(line["body"])
            self._record(line["body"], outcome.done)
            body = outcome.body if isinstance(outcome.body, dict) and outcome.body else error_body("It was lost.")
            status_code = 500 if "error" in body and outcome.status == 200 else outcome.status
            response = {"status_code": status_code, "request_id": f"req_{at}", "body": body}
            (answered if status_code == 200 else failed).append({**told, "response": response})
        for key, lines in (("output_file_id", answered), ("error_file_id", failed)):
            if lines:
                content = "".join(json.dumps(line) + "\n" for line in lines).encode()
                batch.body[key] = self._stored(content)
        batch.body["status"] = status
        batch.body["request_counts"] |= {"completed": len(answered), "failed": len(failed)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(name: str) -> Outcome:
    return Outcome(done="missing", status=404, body=error_body(f"No such thing: {name}", "not_found"))
