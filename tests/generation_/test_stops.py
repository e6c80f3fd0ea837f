"""What never heals ends a run at once, with all that was paid for; what heals, or is about one chunk, does not."""

import threading
from pathlib import Path

import pytest

from embedtune import GenerationReport, Prices, QADataset, QuestionQuality
from embedtune.errors import GenerationError, LLMRequestError
from fault_server import Faults, fault_server
from question_runs import KEY, answer_to, answers, openai_at, own_questions, pages, write
from servers import Reply, Request, scripted_server

CONCURRENCY = 4
N_GOOD = 12


class Turning:
    """A server that answers well for a while, and then with one reply for ever."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.lock = threading.Lock()
        self.n_bad = self.n_asked = 0

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.n_asked += 1
            is_bad = self.n_asked > N_GOOD
            self.n_bad += is_bad
        return self.reply if is_bad else answer_to(request)


def refusal(status: int, code: str | None = None) -> Reply:
    return Reply({"error": {"message": f"It is not allowed to {KEY}.", "code": code}}, status)


TERMINAL = [(401, "invalid_api_key"), (403, None), (404, "model_not_found"), (429, "insufficient_quota"), (402, None)]


@pytest.mark.parametrize(("status", "code"), TERMINAL)
def test_after_the_first_such_answer_none_but_those_in_flight_follow(
    tmp_path: Path, status: int, code: str | None
) -> None:
    turning = Turning(refusal(status, code))
    with scripted_server(turning) as server, pytest.raises(LLMRequestError) as caught:
        QADataset.from_llm(
            pages(200),
            openai_at(server.base_url),
            concurrency=CONCURRENCY,
            journal=tmp_path / "j",
            progress=False,
        )
    assert 1 <= turning.n_bad <= CONCURRENCY
    assert caught.value.status == status
    partial = caught.value.partial
    assert partial is not None
    assert (len(partial), own_questions(partial)) == (2 * N_GOOD, [])
    assert len(answers(tmp_path / "j")) == N_GOOD
    assert isinstance(partial.report, GenerationReport)
    assert partial.report.stopped == str(caught.value)
    assert set(partial.report.failures.values()) == {"it was not asked about", str(caught.value)}


def test_a_400_without_a_reason_stops_too_once_plain_text_is_refused_as_well() -> None:
    turning = Turning(refusal(400))
    with scripted_server(turning) as server, pytest.raises(LLMRequestError, match="400") as caught:
        QADataset.from_llm(pages(200), openai_at(server.base_url), concurrency=CONCURRENCY, progress=False)
    assert turning.n_bad <= 3 * CONCURRENCY
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 2 * N_GOOD


def test_a_400_about_one_text_stays_with_its_chunk() -> None:
    def answer(request: Request) -> Reply:
        too_long = refusal(400, "context_length_exceeded")
        return too_long if "chunk-number-3." in str(request.body) else answer_to(request)

    with scripted_server(answer) as server:
        dataset = QADataset.from_llm(pages(8), openai_at(server.base_url), progress=False)
        assert len(server.requests) == 8
        assert all("json_schema" in str(request.body) for request in server.requests), "no shape was refused"
    assert isinstance(dataset.report, GenerationReport)
    assert list(dataset.report.failures) == ["c3"]


def test_a_used_up_quota_keeps_what_was_paid_for_and_the_next_call_goes_on(tmp_path: Path) -> None:
    with fault_server(Faults(quota_after=20)) as server:
        with pytest.raises(LLMRequestError, match="exceeded your current quota") as caught:
            write(server, 60, journal=tmp_path / "j", concurrency=8)
        assert len(server.done("insufficient_quota")) <= 8
        assert caught.value.partial is not None
        assert len(caught.value.partial) == 40
        server.faults = Faults()
        n_before = len(server.done())
        assert len(write(server, 60, journal=tmp_path / "j")) == 120
        assert len(server.done()) == n_before + 40


def test_a_stop_on_resuming_still_gives_what_the_journal_holds(tmp_path: Path) -> None:
    nodes = [*pages(10, start=30), *pages(30)]  # the chunks that are not answered yet come first
    with fault_server() as server:
        write(server, 30, journal=tmp_path / "j")
        server.faults = Faults(api_key="another")
        with pytest.raises(LLMRequestError, match="401") as caught:
            QADataset.from_llm(nodes, openai_at(server.url), journal=tmp_path / "j", concurrency=4, progress=False)
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 60


def test_workers_that_wait_for_room_in_the_budget_send_nothing_after_a_stop() -> None:
    turning = Turning(refusal(401))
    with scripted_server(turning) as server, pytest.raises(LLMRequestError, match="401"):
        QADataset.from_llm(
            pages(100),
            openai_at(server.base_url),
            concurrency=16,
            prices=Prices(prompt=1, completion=4),
            max_cost=0.006,  # room for four at a time, and for fewer the more is spent
            quality=QuestionQuality(max_answer_tokens=200),
            progress=False,
        )
    assert turning.n_bad <= 4


@pytest.mark.parametrize("api_key", [KEY, "0a1b2c3d4e5f6071"])
def test_a_wrong_key_is_in_no_message_report_journal_or_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, api_key: str
) -> None:
    """The server's answer quotes it, as those of careless gateways do."""
    with fault_server(Faults(api_key="right")) as server, caplog.at_level("DEBUG", logger="embedtune"):
        with pytest.raises(LLMRequestError, match=r"Incorrect API key provided: \[the key\]") as caught:
            write(server, 5, openai_at(server.url, api_key=api_key), journal=tmp_path / "j")
        assert len(server.log) <= 5
    seen = [str(caught.value), repr(caught.value.__dict__), caplog.text, (tmp_path / "j").read_text()]
    assert [text for text in seen if api_key in text] == []


def test_a_key_that_fails_midway_is_in_no_partial_report(tmp_path: Path) -> None:
    with scripted_server(Turning(refusal(401))) as server, pytest.raises(LLMRequestError) as caught:
        QADataset.from_llm(pages(50), openai_at(server.base_url), journal=tmp_path / "j", progress=False)
    partial = caught.value.partial
    assert partial is not None
    partial.save(tmp_path / "saved.json")
    written = [path.read_text() for path in tmp_path.iterdir()]
    assert len(written) == 3
    assert [text for text in written if KEY in text] == []


def test_a_server_that_is_not_there_is_told_after_three_tries() -> None:
    with scripted_server(lambda _: Reply({})) as server:
        dead = server.base_url
    with pytest.raises(LLMRequestError, match=rf"{dead} did not answer: .*ConnectionRefused") as caught:
        QADataset.from_llm(pages(50), openai_at(dead), concurrency=2, progress=False)
    assert caught.value.unreachable
    assert caught.value.partial is None


def test_a_server_that_dies_midway_ends_the_run_with_what_it_answered(tmp_path: Path) -> None:
    """Whether it comes back is not known: some requests are given up first, the rest is not asked about."""
    with fault_server(Faults(latency=0.02)) as server:
        url = server.url
        done = threading.Event()

        def run() -> None:
            try:
                QADataset.from_llm(
                    pages(400), openai_at(url), concurrency=4, retries=1, journal=tmp_path / "j", progress=False
                )
            except GenerationError as error:
                caught.append(error)
            done.set()

        caught: list[GenerationError] = []
        threading.Thread(target=run, daemon=True).start()
        while len(server.done()) < 40:
            assert not done.wait(0.01)
    assert done.wait(60)
    (error,) = caught
    assert isinstance(error, LLMRequestError)
    assert error.partial is not None
    assert len(error.partial) == 2 * len(answers(tmp_path / "j")) >= 80
    assert isinstance(error.partial.report, GenerationReport)
    reasons = list(error.partial.report.failures.values())
    assert reasons.count("it was not asked about") > 200


def test_a_request_to_wait_for_longer_than_five_minutes_is_told_and_not_waited_for() -> None:
    patient = Reply({"error": {"message": "slow down"}}, 429, headers={"retry-after": "3600"})
    told = r"asks to wait 3600 seconds.*With journal=\.\.\. the same"
    with scripted_server(Turning(patient)) as server, pytest.raises(GenerationError, match=told) as caught:
        QADataset.from_llm(pages(50), openai_at(server.base_url), concurrency=4, progress=False)
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 2 * N_GOOD


def test_whoever_wants_all_or_an_error_gets_it_at_the_first_failure() -> None:
    with fault_server(Faults(always_fails=frozenset({5}))) as server:
        with pytest.raises(LLMRequestError, match="500") as caught:
            write(server, 100, retries=0, concurrency=1, on_failure="raise")
        assert len(server.done()) == 6
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 10
