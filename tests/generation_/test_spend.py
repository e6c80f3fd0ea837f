"""Limits on money and requests: they hold while many requests are in flight, over resumed runs and broken lines."""

from pathlib import Path

import pytest

from embedtune import GenerationReport, Prices, QADataset, QuestionQuality, estimate
from embedtune.errors import BudgetExceededError, GenerationError
from fault_server import Faults, fault_server
from question_runs import answers, openai_at, pages, unaccounted, write
from servers import Reply, scripted_server

PRICES = Prices(prompt=1.0, completion=4.0)
SHORT = QuestionQuality(max_answer_tokens=100)
"""So that the upper bound of a request, a token per byte and a full answer, is near 0.0014."""


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


def really_spent(journal: Path) -> float:
    """By the server's own count of tokens."""
    return sum(PRICES.cost(record["prompt_tokens"], record["completion_tokens"]) for record in answers(journal))


@pytest.mark.parametrize("concurrency", [1, 16])
def test_what_is_really_spent_stays_below_the_limit(tmp_path: Path, concurrency: int) -> None:
    journal = tmp_path / "j"
    with fault_server(Faults(latency=0.01)) as server:
        dataset = write(
            server, 300, prices=PRICES, max_cost=0.02, concurrency=concurrency, quality=SHORT, journal=journal
        )
        assert 16 < len(server.done()) < 150
    assert 0.02 - 2 * PRICES.cost(900, 100) < really_spent(journal) <= 0.02
    report = report_of(dataset)
    assert report.cost == pytest.approx(really_spent(journal))
    assert report.stopped is not None
    assert "max_cost=0.02" in report.stopped
    assert unaccounted(dataset) == set()
    assert set(report.failures.values()) == {"it was not asked about"}


def test_requests_that_break_off_count_at_their_upper_bound() -> None:
    """The server may have answered them, and only the line broke."""
    faults = Faults(dropped=0.4, seed=2)
    with fault_server(faults) as server:
        dataset = write(server, 300, prices=PRICES, max_cost=0.02, concurrency=16, quality=SHORT, retries=1)
        n_broken = len(server.done("dropped", "dropped_early"))
        n_paid = len(server.done("answered")) + n_broken
    report = report_of(dataset)
    assert n_broken >= 5
    assert n_paid * PRICES.cost(160, 40) <= 0.02
    assert report.stopped is not None
    assert "of requests that broke off" in report.stopped
    assert report.cost is not None
    assert report.cost < 0.015, "the report tells what is known to be spent"


def test_a_request_that_the_server_could_not_answer_is_not_charged() -> None:
    """Six that are held back at 0.00096 each would leave no room for ten answers."""
    with fault_server(Faults(fails_once=frozenset(range(6)))) as server:
        dataset = write(server, 10, prices=PRICES, max_cost=0.006, quality=SHORT)
        assert len(server.done("server_error")) == 6
    assert report_of(dataset).stopped is None
    assert len(dataset) == 20


def test_a_status_of_200_without_an_answer_may_be_charged() -> None:
    with scripted_server(lambda _: Reply({"choices": []})) as server:
        with pytest.raises(BudgetExceededError, match="requests that broke off"):
            QADataset.from_llm(
                pages(9),
                openai_at(server.base_url),
                prices=PRICES,
                max_cost=0.0025,
                quality=SHORT,
                concurrency=1,
                progress=False,
            )
        assert len(server.requests) == 2


@pytest.mark.parametrize("concurrency", [1, 16])
def test_the_server_gets_exactly_so_many_requests(concurrency: int) -> None:
    with fault_server(Faults(latency=0.01, rate_limited=0.1, retry_after=0.01)) as server:
        dataset = write(server, 100, max_requests=23, concurrency=concurrency)
        assert len(server.done()) == 23
    assert report_of(dataset).stages["questions"].requests == 23
    assert report_of(dataset).stopped is not None


def test_top_ups_and_the_judge_count_as_well() -> None:
    with fault_server(Faults(prose=0.2)) as server:
        judged = QuestionQuality(judge=openai_at(server.url))
        dataset = write(server, 20, max_requests=30, quality=judged)
        assert len(server.done()) == 30
    stages = report_of(dataset).stages
    assert stages["questions"].requests + stages["judge"].requests == 30
    assert stages["questions"].requests > 20
    assert stages["judge"].requests > 0


def test_a_limit_is_on_the_job_however_often_it_is_resumed(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with fault_server() as server:
        write(server, 20, max_requests=8, journal=journal)
        again = write(server, 20, max_requests=8, journal=journal)
        assert len(server.done()) == 8
        assert len(again) == 16, "what the journal holds is used all the same"
        more = write(server, 20, max_requests=12, journal=journal)
        assert len(server.done()) == 12
        assert len(more) == 24


def test_a_limit_on_money_counts_what_the_journal_holds(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with fault_server() as server:
        for _ in range(3):
            write(server, 100, prices=PRICES, max_cost=0.02, quality=SHORT, journal=journal)
    assert really_spent(journal) <= 0.02


def test_a_resumed_run_at_its_limit_uses_what_stands_behind_a_gap_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with fault_server(Faults(always_fails=frozenset({2}))) as server:
        write(server, 10, journal=journal, retries=0)
        again = write(server, 10, journal=journal, max_requests=9, concurrency=1)
    assert len(again) == 18
    assert report_of(again).failures == {"c2": "it was not asked about"}


@pytest.mark.parametrize(
    "limit", [{"max_requests": 5}, {"max_cost": 0.004, "prices": PRICES}], ids=["requests", "cost"]
)
def test_whoever_wants_all_or_an_error_gets_the_error_with_what_was_paid_for(limit: dict[str, object]) -> None:
    with fault_server() as server:
        with pytest.raises(BudgetExceededError, match=r"higher limit and the same journal goes on from here") as caught:
            write(server, 50, on_failure="raise", concurrency=1, quality=SHORT, **limit)
        partial = caught.value.partial
        assert partial is not None
        assert len(partial) == 2 * len(server.done("answered"))
        assert report_of(partial).stopped == str(caught.value)


def test_a_limit_that_not_even_one_request_fits_says_what_one_may_cost() -> None:
    with fault_server() as server:
        with pytest.raises(BudgetExceededError, match=r"next request could cost up to 0\.00\d+; with 0\.0000 spent"):
            write(server, 2, prices=PRICES, max_cost=0.0001)
        assert server.log == []


def test_a_limit_without_prices_is_refused_with_the_way_out() -> None:
    with fault_server() as server:
        with pytest.raises(
            GenerationError, match=r"max_cost=1 cannot be held without prices: .* or limit max_requests"
        ):
            write(server, 2, max_cost=1)
        assert server.log == []


def test_usage_and_cost_are_told_by_stage() -> None:
    with fault_server() as server:
        judged = QuestionQuality(judge=openai_at(server.url))
        report = report_of(write(server, 10, prices=PRICES, quality=judged))
    for spend in report.stages.values():
        assert (spend.requests, spend.answers, spend.tokens_estimated) == (10, 10, False)
        assert spend.cost == pytest.approx(PRICES.cost(spend.prompt_tokens, spend.completion_tokens))
    assert set(report.stages) == {"questions", "judge"}
    assert report.cost == pytest.approx(sum(spend.cost or 0 for spend in report.stages.values()))


def test_without_prices_tokens_are_told_and_no_cost() -> None:
    with fault_server() as server:
        report = report_of(write(server, 3))
    assert report.cost is None
    assert report.stages["questions"].cost is None
    assert report.stages["questions"].prompt_tokens > 300


def test_the_report_of_a_resumed_job_tells_what_the_whole_job_cost(tmp_path: Path) -> None:
    with fault_server() as server:
        first = report_of(write(server, 5, prices=PRICES, journal=tmp_path / "j"))
        report = report_of(write(server, 5, prices=PRICES, journal=tmp_path / "j"))
        assert len(server.done()) == 5
    assert report.cost == pytest.approx(first.cost)
    assert report.stages["questions"].from_journal == 5
    assert report.stages["questions"].requests == 0


def test_the_estimate_is_near_what_is_spent_and_its_most_is_above(tmp_path: Path) -> None:
    with fault_server() as server:
        expected = estimate(pages(100), openai_at(server.url), prices=PRICES, journal=tmp_path / "j")
        assert (server.log, (tmp_path / "j").exists()) == ([], False), "nothing is sent, nothing is written"
        report = report_of(write(server, 100, prices=PRICES))
    assert expected.requests == report.stages["questions"].requests == 100
    assert expected.cost is not None
    assert expected.max_cost is not None
    assert report.cost is not None
    assert report.cost / 2 < expected.cost < 2 * report.cost < expected.max_cost


def test_the_estimate_knows_what_a_journal_answers_and_how_long_its_answers_were(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with fault_server() as server:
        write(server, 30, journal=journal)
        rest = estimate(pages(40), openai_at(server.url), journal=journal, requests_per_minute=5)
        mean = sum(record["completion_tokens"] for record in answers(journal)) / 30
    assert (rest.requests, rest.from_journal, rest.minutes) == (10, 30, 2.0)
    assert rest.completion_tokens == round(10 * mean)
