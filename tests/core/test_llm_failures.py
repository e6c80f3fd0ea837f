"""What a failed request means is read off any client's error, and told without a key."""

import email.utils
import json
import time
import urllib.error
from email.message import Message

import pytest

from embedtune.errors import LLMRequestError
from embedtune.llm_failures import (
    failure_kind,
    llm_request_error,
    pause_of,
    reason_of,
    retry_after_of,
    secrets_of,
    without_secrets,
)


class Secret:
    """As pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        return "hidden-0123456789"


def chained(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def test_status_and_headers_of_a_standard_librarys_error_are_read() -> None:
    headers = Message()
    headers["Retry-After"] = "3"
    found = llm_request_error(urllib.error.HTTPError("http://x", 429, "slow", headers, None), "slow")
    assert (found.status, found.retry_after, failure_kind(found)) == (429, 3.0, "heals")


def test_status_of_a_cause_is_read() -> None:
    cause = urllib.error.HTTPError("http://x", 401, "no", Message(), None)
    assert failure_kind(llm_request_error(chained(RuntimeError("failed"), cause), "failed")) == "stop"


@pytest.mark.parametrize(
    "cause",
    [
        ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0)"),
        OSError(-2, "Name or service not known"),
        OSError(8, "nodename nor servname provided, or not known"),
    ],
)
def test_nobody_at_the_address_is_known_by_the_first_cause(cause: OSError) -> None:
    assert llm_request_error(chained(RuntimeError("Connection error."), cause), "no answer").unreachable


def test_a_lost_connection_is_not_an_unreachable_server() -> None:
    found = llm_request_error(ConnectionResetError(104, "Connection reset by peer"), "lost")
    assert (found.unreachable, failure_kind(found)) == (False, "heals")


@pytest.mark.parametrize(
    "mistake", [KeyError("choices"), TypeError("no"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates")]
)
def test_a_mistake_in_somebodys_code_is_not_asked_again(mistake: Exception) -> None:
    assert failure_kind(llm_request_error(mistake, "failed")) == "chunk"


@pytest.mark.parametrize("error", [TimeoutError(), json.JSONDecodeError("cut", "{", 1), RuntimeError("loop is closed")])
def test_what_looks_like_the_line_is_asked_again(error: Exception) -> None:
    assert failure_kind(llm_request_error(error, "failed")) == "heals"


def test_the_first_cause_is_told_where_no_status_came() -> None:
    error = chained(RuntimeError("Connection error."), ConnectionRefusedError(111, "refused"))
    assert reason_of(error) == "RuntimeError: Connection error. ConnectionRefusedError: [Errno 111] refused"


def test_with_a_status_the_servers_own_words_are_enough() -> None:
    cause = urllib.error.HTTPError("http://x", 401, "no", Message(), None)
    assert reason_of(chained(RuntimeError("wrong key"), cause)) == "RuntimeError: wrong key"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key 0123456789 is wrong", "key [the key] is wrong"),
        ("key sk-proj-abc_DEF-1234 is wrong", "key [the key] is wrong"),
        ("got Bearer abcdefghijklmnop1234", "got Bearer [the key]"),
        ("Bearer authentication failed", "Bearer authentication failed"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_key_is_struck_out(text: str, shown: str) -> None:
    assert without_secrets(text, ["0123456789"]) == shown


def test_a_long_text_is_cut_after_the_key_is_struck_out() -> None:
    """Cut first, half a key could stand at the end."""
    shown = without_secrets("x" * 290 + " " + "k" * 40, ["k" * 40])
    assert "kk" not in shown
    assert len(shown) <= 304


def test_the_keys_that_a_model_holds_are_known_by_type_or_name() -> None:
    held = {
        "api_key": "0123456789",
        "odd": Secret(),
        "max_tokens": 5,
        "model": "gpt-long-name",
        "hf_token": "hf_012345",
    }
    assert secrets_of(type("Model", (), {"__init__": lambda self: vars(self).update(held)})()) == [
        "0123456789",
        "hidden-0123456789",
        "hf_012345",
    ]


def test_a_placeholder_is_no_secret() -> None:
    assert secrets_of(type("Model", (), {"__init__": lambda self: vars(self).update(api_key="ollama")})()) == []


def test_retry_after_may_be_a_date() -> None:
    told = retry_after_of({"retry-after": email.utils.formatdate(time.time() + 100, usegmt=True)})
    assert told == pytest.approx(100, abs=30)


@pytest.mark.parametrize("text", ["", "soon", "nan", "-1"])
def test_a_retry_after_that_cannot_be_read_is_none(text: str) -> None:
    assert retry_after_of({"retry-after": text}) is None


def test_there_is_no_pause_while_requests_are_left() -> None:
    assert pause_of({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "60s"}) is None


def test_the_longer_of_two_pauses_counts() -> None:
    kinds = {"requests": "250ms", "tokens": "6m0s"}
    headers = {f"x-ratelimit-reset-{kind}": span for kind, span in kinds.items()}
    assert pause_of({**headers, **{f"x-ratelimit-remaining-{kind}": "0" for kind in kinds}}) == 360


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = LLMRequestError("no", status=429)
    assert llm_request_error(error, "other words") is error
