"""What the fault server's model answers, and what goes wrong with it: by seeded dice, so that a run can be repeated.

The same prompt, asked for the same time, always meets the same fate, in whatever order a client asks.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fault_texts import answer_text, chunk_number, why_not_strict

__all__ = ["ROUGH", "Faults", "Model", "Outcome", "chunk_number", "content_hash", "error_body", "prompt_of"]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares lie in [0, 1] and are of all chat requests; the rest is answered well."""

    rate_limited: float = 0.0
    """Status 429."""
    rate_limited_share_with_retry_after: float = 0.5
    """Of those."""
    retry_after: float = 0.05
    """Seconds that these name."""
    server_error: float = 0.0
    """Status 500."""
    dropped: float = 0.0
    """Half of them closed before the first byte, half in the middle of the answer."""
    hung: float = 0.0
    """No byte ever comes."""
    prose: float = 0.0
    """A preamble and prose without JSON or a question; asked again about the same chunk, the model behaves."""
    cut: float = 0.0
    """Half of the answer, with finish_reason ``length``."""
    refused: float = 0.0
    """A refusal in place of the content."""
    web_page: float = 0.0
    """Status 200 and a page of some proxy."""
    always_fails: frozenset[int] = frozenset()
    """Numbers of chunks that get status 500 each time."""
    fails_once: frozenset[int] = frozenset()
    """Numbers of chunks that get status 500 the first time."""
    latency: float = 0.0
    """Seconds from a request to its answer, errors included."""
    refuses_schema: bool = False
    """Status 400 for response_format json_schema."""
    refuses_json_object: bool = False
    """Status 400 for response_format json_object."""
    ignores_schema: bool = False
    """Text whatever response_format asks, as some local servers do."""
    quota_after: int | None = None
    """So many good answers, then 429 insufficient_quota for ever."""
    per_second: float | None = None
    """Requests a second; above it 429, whatever the dice say."""
    rate_headers: bool = False
    """OpenAI's x-ratelimit headers with each answer."""
    api_key: str | None = None
    """Any other key gets a 401 that quotes it, as careless gateways do."""
    seed: int = 0
    """Of the dice."""
    batch_polls: int = 2
    """How often a batch is looked at before it is over."""
    batch_expires: float | None = None
    """A batch ends as ``expired``, with this share of its requests not done."""
    batch_fails: bool = False
    """A batch fails as a whole, while it is validated."""
    batch_lines: int | None = None
    """The longest batch that passes validation, in lines."""
    loses_first_file: bool = False
    """The first uploaded file is taken, and the connection dropped before that is said."""
    loses_first_batch: bool = False
    """The same with the first batch."""


ROUGH = Faults(rate_limited=0.05, server_error=0.02, dropped=0.02, hung=0.02, prose=0.03, cut=0.01, refused=0.01)
"""A bad day: 16 of 100 requests go wrong."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of one request."""

    done: str
    """``answered``, ``cut``, ``prose``, ``refused``, or the name of the fault."""
    status: int = 200
    body: dict[str, Any] | bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Model:
    """The deterministic model; it counts what it saw."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.seen: Counter[str] = Counter()
        self.n_answered = 0
        self._had_prose: set[int | str] = set()

    def answer(self, body: dict[str, Any]) -> Outcome:
        """What becomes of a chat request."""
        content = content_hash(body)
        seen, self.seen[content] = self.seen[content], self.seen[content] + 1
        number = chunk_number(prompt_of(body))
        if (refusal := self._refusal_of_format(body)) is not None:
            return refusal
        if self.faults.quota_after is not None and self.n_answered >= self.faults.quota_after:
            return _failed("insufficient_quota", 429, "You exceeded your current quota.", "insufficient_quota")
        if number in self.faults.always_fails or (number in self.faults.fails_once and seen == 0):
            return _failed("server_error", 500, "The server had an error while processing your request.")
        done, luck = self._rolled(content, seen)
        if done == "prose":
            done = "answered" if (number or content) in self._had_prose else done
            self._had_prose.add(number or content)
        return self._outcome(done, luck, body)

    def _rolled(self, content: str, seen: int) -> tuple[str, float]:
        """The fault by the dice, and a second throw in [0, 1)."""
        digest = hashlib.sha256(f"{self.faults.seed}:{content}:{seen}".encode()).digest()
        roll, luck = (int.from_bytes(digest[at : at + 8]) / 2**64 for at in (0, 8))
        for name in ("rate_limited", "server_error", "dropped", "hung", "prose", "cut", "refused", "web_page"):
            roll -= getattr(self.faults, name)
            if roll < 0:
                return name, luck
        return "answered", luck

    def _outcome(self, done: str, luck: float, body: dict[str, Any]) -> Outcome:
        if done == "rate_limited":
            told = luck < self.faults.rate_limited_share_with_retry_after
            headers = {"retry-after": f"{self.faults.retry_after:g}"} if told else {}
            return _failed("rate_limited", 429, "Rate limit reached.", "rate_limit_exceeded", headers)
        if done == "server_error":
            return _failed("server_error", 500, "The server had an error while processing your request.")
        if done == "hung":
            return Outcome(done="hung")
        if done == "web_page":
            return Outcome(done=done, body=b"<html>Welcome to the proxy</html>", headers={"content-type": "text/html"})
        self.n_answered += done != "dropped"
        answer = self._completion(done, body)
        return Outcome(done="dropped_early" if done == "dropped" and luck < 0.5 else answer.done, body=answer.body)

    def _completion(self, done: str, body: dict[str, Any]) -> Outcome:
        prompt = prompt_of(body)
        text = answer_text(prompt, None if self.faults.ignores_schema else body.get("response_format"))
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if done == "refused":
            message |= {"content": None, "refusal": "I'm sorry, but I can't help with that."}
        elif done == "prose":
            message["content"] = (
                f"Sure! Here is what I think.\n\nItem {chunk_number(prompt)} is a fine one to ask about."
            )
        elif done == "cut":
            message["content"] = text[: len(text) // 2]
        elif done == "answered" and limit and n_tokens(text) > limit:
            done, message["content"] = "cut", text[: 4 * limit]
        written = n_tokens(message["content"] or message["refusal"])
        finish = "length" if done == "cut" else "stop"
        completion = _completion_body(message, finish, str(body.get("model")), n_tokens(prompt), written)
        return Outcome(done=done, body=completion)

    def _refusal_of_format(self, body: dict[str, Any]) -> Outcome | None:
        wanted = body.get("response_format") or {}
        kind, spec = wanted.get("type"), wanted.get("json_schema") or {}
        if kind == "json_schema" and self.faults.refuses_schema:
            return _failed(
                "refused_format",
                400,
                f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model.",
            )
        if kind == "json_object" and self.faults.refuses_json_object:
            return _failed(
                "refused_format",
                400,
                f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model.",
            )
        if kind == "json_object" and "json" not in json.dumps(body["messages"]).lower():
            return _failed(
                "refused_format", 400, "'messages' must contain the word 'json' in some form, to use 'response_format'."
            )
        if kind == "json_schema" and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(spec.get("name", ""))):
            return _failed("refused_format", 400, "Invalid 'response_format.json_schema.name'.")
        if kind == "json_schema" and spec.get("strict") and (why := why_not_strict(spec.get("schema") or {})):
            return _failed(
                "refused_format",
                400,
                f"Invalid schema for response_format '{spec['name']}': {why}",
                "invalid_json_schema",
            )
        return None


def content_hash(body: dict[str, Any]) -> str:
    """Of the messages alone: what a prompt meets does not hang on the format it is asked in."""
    return hashlib.sha256(json.dumps(body.get("messages"), sort_keys=True).encode()).hexdigest()[:16]


def prompt_of(body: dict[str, Any]) -> str:
    """All that the messages say."""
    contents = [message.get("content") for message in body.get("messages") or []]
    return "\n".join(content if isinstance(content, str) else json.dumps(content) for content in contents)


def n_tokens(text: str) -> int:
    """Four characters each."""
    return max(len(text) // 4, 1)


def error_body(message: str, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's API writes it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _failed(
    done: str, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
) -> Outcome:
    return Outcome(done=done, status=status, body=error_body(message, code), headers=headers or {})


def _completion_body(message: dict[str, Any], finish: str, model: str, read: int, written: int) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fault",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }
