"""Batches of `Openai` against a server that keeps OpenAI's rules for them."""

import dataclasses
import json
import logging
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from embedtune.errors import GenerationError, LLMRequestError
from embedtune.llm_failures import failure_kind
from embedtune.protocols import BatchState, LLMAnswer, LLMRequest
from embedtune_openai import Openai
from embedtune_openai.batch import MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, Batches
from embedtune_openai.connection import connect
from fault_server import Faults, FaultServer, fault_server
from servers import Reply, chat_answer, scripted_server

SCHEMA = {
    "type": "object",
    "properties": {"questions": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
    "required": ["questions"],
    "additionalProperties": False,
}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


def llm_at(server: FaultServer) -> Openai:
    return Openai("m", base_url=server.url, max_retries=0, timeout=60)


def requests(n_requests: int) -> list[tuple[str, LLMRequest]]:
    return [(f"key-{n}", LLMRequest(prompt=f"This is chunk-number-{n}.", schema=SCHEMA)) for n in range(n_requests)]


def states(llm: Openai, name: str) -> list[BatchState]:
    """Each state that a batch goes through, the last one over."""
    found = [llm.poll_batch(name)]
    while not found[-1].is_over:
        found.append(llm.poll_batch(name))
    return found


def collected(llm: Openai, n_requests: int) -> dict[str, LLMAnswer | LLMRequestError]:
    name, n_taken = llm.submit_batch(requests(n_requests), "tag")
    assert n_taken == n_requests
    states(llm, name)
    return dict(llm.fetch_batch(name))


def files(server: FaultServer) -> list[bytes]:
    return list(server.batches.files.values())


def test_each_line_is_the_request_that_would_go_alone(server: FaultServer) -> None:
    llm = llm_at(server)
    llm.submit_batch(requests(2), "tag")
    lines = [json.loads(line) for line in files(server)[0].splitlines()]
    assert lines[1] == {
        "custom_id": "key-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": llm.request_body(requests(2)[1][1]),
    }


def test_answers_come_to_their_keys_in_any_order(server: FaultServer) -> None:
    found = collected(llm_at(server), 40)
    assert list(found) != [key for key, _ in requests(40)], "the server mixes the order"
    assert set(found) == {key for key, _ in requests(40)}
    for key, answer in found.items():
        assert isinstance(answer, LLMAnswer)
        assert answer.finish == "stop"
        assert answer.prompt_tokens
        assert answer.completion_tokens
        questions = json.loads(answer.text)["questions"]
        assert all(f"item {key.removeprefix('key-')} " in question for question in questions)


def test_a_batch_goes_through_its_states() -> None:
    with fault_server(Faults(batch_polls=4, always_fails=frozenset({1}))) as server:
        llm = llm_at(server)
        found = states(llm, llm.submit_batch(requests(3), "tag")[0])
    assert [state.status for state in found] == ["in_progress", "in_progress", "finalizing", "completed"]
    assert [state.is_over for state in found] == [False, False, False, True]
    assert found[-1] == BatchState(status="completed", is_over=True, n_requests=3, n_answered=2, n_failed=1)


def test_a_batch_is_found_by_its_tag_after_a_crash(server: FaultServer) -> None:
    first, _ = llm_at(server).submit_batch(requests(1), "one run")
    llm_at(server).submit_batch(requests(1), "another run")
    assert llm_at(server).find_batch("one run") == first
    assert llm_at(server).find_batch("no run") is None


def test_a_batch_is_found_behind_the_first_page(server: FaultServer) -> None:
    first, _ = llm_at(server).submit_batch(requests(1), "one run")
    made = server.batches.batches[first]
    for name in (f"batch_other{number}" for number in range(101)):
        server.batches.batches[name] = dataclasses.replace(made, body={**made.body, "id": name, "metadata": None})
    assert llm_at(server).find_batch("one run") == first


def bodies(n_requests: int) -> list[tuple[str, dict[str, Any]]]:
    return [(f"key-{n}", {"model": "m", "messages": [{"role": "user", "content": f"{n}"}]}) for n in range(n_requests)]


def batches_at(server: FaultServer, **limits: int) -> Batches:
    return Batches(connect(server.url, None, 60, 0, GenerationError), **limits)


def test_the_limits_are_openais() -> None:
    assert (MAX_BATCH_REQUESTS, MAX_BATCH_BYTES) == (50_000, 200_000_000)


def test_no_more_requests_go_into_a_batch_than_it_takes(server: FaultServer) -> None:
    assert batches_at(server, max_requests=3).submit(bodies(5), "tag")[1] == 3
    assert len(files(server)[0].splitlines()) == 3


def test_no_more_bytes_go_into_a_batch_than_it_takes(server: FaultServer) -> None:
    _, n_taken = batches_at(server, max_bytes=1000).submit(bodies(50), "tag")
    assert 1 < n_taken < 10
    assert 800 < len(files(server)[0]) <= 1000


def test_a_first_request_that_is_too_large_is_refused_before_anything_is_sent(server: FaultServer) -> None:
    with pytest.raises(LLMRequestError, match=r"at most 10 bytes; got a first one of \d+; make its prompt") as caught:
        batches_at(server, max_bytes=10).submit(bodies(1), "tag")
    assert failure_kind(caught.value) == "chunk"
    assert files(server) == []


def test_no_requests_are_no_batch(server: FaultServer) -> None:
    with pytest.raises(LLMRequestError, match=r"1 to 50000 requests .* got none"):
        batches_at(server).submit([], "tag")


def test_a_failed_line_is_an_error_that_means_what_it_says() -> None:
    with fault_server(Faults(always_fails=frozenset({1}))) as server:
        found = collected(llm_at(server), 3)
    error = found["key-1"]
    assert isinstance(error, LLMRequestError)
    assert (error.status, failure_kind(error)) == (500, "heals")
    assert "The server had an error while processing your request." in str(error)
    assert isinstance(found["key-2"], LLMAnswer)


def test_a_refused_schema_is_told_by_status_for_each_line() -> None:
    with fault_server(Faults(refuses_schema=True)) as server:
        found = collected(llm_at(server), 2)
    assert [error.status for error in found.values() if isinstance(error, LLMRequestError)] == [400, 400]


def test_of_an_expired_batch_what_was_done_comes_and_the_rest_can_heal() -> None:
    with fault_server(Faults(batch_expires=0.25)) as server:
        llm = llm_at(server)
        name, _ = llm.submit_batch(requests(8), "tag")
        assert states(llm, name)[-1].status == "expired"
        results = list(dict(llm.fetch_batch(name)).values())
    errors = [result for result in results if isinstance(result, LLMRequestError)]
    assert [len(results), len(errors)] == [8, 2]
    assert {(error.code, error.heals) for error in errors} == {("batch_expired", True)}
    assert "could not be executed before the completion window expired" in str(errors[0])


def test_of_a_cancelled_batch_what_was_done_comes(server: FaultServer) -> None:
    server.faults = Faults(batch_polls=100)
    llm = llm_at(server)
    name, _ = llm.submit_batch(requests(8), "tag")
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/batches/{name}/cancel", b"{}")).close()
    assert [state.status for state in states(llm, name)] == ["cancelled"]
    results = list(dict(llm.fetch_batch(name)).values())
    assert sum(isinstance(result, LLMAnswer) for result in results) == 4
    assert {result.heals for result in results if isinstance(result, LLMRequestError)} == {True}


def test_a_batch_that_fails_says_why() -> None:
    with fault_server(Faults(batch_fails=True)) as server:
        llm = llm_at(server)
        name, _ = llm.submit_batch(requests(1), "tag")
        (state,) = states(llm, name)
        assert list(llm.fetch_batch(name)) == []
    assert (state.status, state.is_over) == ("failed", True)
    assert state.reason == "token_limit_exceeded: Enqueued token limit reached."


def test_a_line_that_cannot_be_read_is_named_and_takes_no_other_with_it(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    llm = llm_at(server)
    name, _ = llm.submit_batch(requests(3), "tag")
    states(llm, name)
    (output,) = [file for file in server.batches.files if file != "file-1"]
    lines = server.batches.files[output].splitlines(keepends=True)
    server.batches.files[output] = b"".join([lines[0], b'{"custom_id": "key-\n', b"\n", lines[2]])
    with caplog.at_level(logging.WARNING):
        found = dict(llm.fetch_batch(name))
    assert len(found) == 2
    assert f"line 2 of file {output} of batch {name} cannot be read" in caplog.text
    assert caplog.text.count("cannot be read") == 1, "an empty line is nothing"


def test_a_line_separator_in_an_answer_ends_no_line(server: FaultServer) -> None:
    """JSON may hold U+2028 and U+0085 as they are; the HTTP library's ``iter_lines`` cuts there."""
    llm = llm_at(server)
    name, _ = llm.submit_batch(requests(1), "tag")
    states(llm, name)
    (output,) = [file for file in server.batches.files if file != "file-1"]
    response = {"status_code": 200, "body": chat_answer("Why\u2028now\u0085?")}
    line = {"custom_id": "key-0", "response": response, "error": None}
    server.batches.files[output] = json.dumps(line, ensure_ascii=False).encode()  # and no line feed at the end
    ((key, answer),) = llm.fetch_batch(name)
    assert isinstance(answer, LLMAnswer)
    assert (key, answer.text) == ("key-0", "Why\u2028now\u0085?")


def test_answers_come_while_the_file_is_still_on_its_way(server: FaultServer) -> None:
    """A file may hold 200 MB: the first answer is there before the last one is read."""
    llm = llm_at(server)
    name, _ = llm.submit_batch(requests(2000), "tag")
    states(llm, name)
    results = llm.fetch_batch(name)
    assert next(results)[0].startswith("key-")
    assert sum(1 for _ in results) == 1999


def test_a_batch_that_nobody_knows_is_named(server: FaultServer) -> None:
    with pytest.raises(LLMRequestError, match=r"did not tell of batch 'batch_none'.*No such thing") as caught:
        llm_at(server).poll_batch("batch_none")
    assert caught.value.status == 404


def test_a_server_without_batches_says_so() -> None:
    with scripted_server(lambda _: Reply({"error": {"message": "no such route"}}, 404)) as scripted:
        llm = Openai("m", base_url=scripted.base_url, max_retries=0)
        with pytest.raises(LLMRequestError, match=r"took no file.*no such route") as caught:
            llm.submit_batch(requests(1), "tag")
    assert failure_kind(caught.value) == "stop"


def test_a_batch_whose_confirmation_was_lost_is_not_made_twice() -> None:
    """It would be paid for twice: it is looked for by its file instead."""
    with fault_server(Faults(loses_first_batch=True)) as server:
        llm = Openai("m", base_url=server.url, max_retries=2, timeout=60)
        name, n_taken = llm.submit_batch(requests(2), "tag")
        assert (list(server.batches.batches), n_taken) == ([name], 2)


def test_an_upload_that_failed_once_is_repeated_whole() -> None:
    with fault_server(Faults(loses_first_file=True)) as server:
        llm = Openai("m", base_url=server.url, max_retries=2, timeout=60)
        llm.submit_batch(requests(2), "tag")
        assert {len(content.splitlines()) for content in files(server)} == {2}
