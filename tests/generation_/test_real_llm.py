"""A real LLM of 135 million parameters on a real guide: poor questions, but every chunk and token is accounted for."""

import sys
from pathlib import Path

import pytest

from embedtune import GenerationReport, QADataset, QuestionQuality, TextChunk
from embedtune.errors import GenerationError
from embedtune.passages import cut_text
from embedtune_openai import Openai
from question_runs import answers, unaccounted

GUIDE = "concepts__data_management.md"
N_CHUNKS = 6


@pytest.fixture
def guide(test_data: Path) -> list[TextChunk]:
    """The guide's first passages."""
    text = (test_data / "lancedb_docs" / "raw" / GUIDE).read_text(encoding="utf-8")
    passages = cut_text(text, max_characters=400, markup="markdown")[:N_CHUNKS]
    assert len(passages) == N_CHUNKS
    return [TextChunk.from_chunk(passage.text, {"document_id": GUIDE}) for passage in passages]


@pytest.mark.slow
def test_a_real_llm_writes_on_a_real_guide_and_a_second_run_asks_for_nothing(
    guide: list[TextChunk], local_llm: str, tmp_path: Path
) -> None:
    quality = QuestionQuality(max_answer_tokens=120, temperature=0.0)
    journal = tmp_path / "journal.jsonl"

    def run() -> QADataset | None:
        llm = Openai("smollm2", base_url=local_llm, timeout=300)
        try:
            return QADataset.from_llm(guide, llm, concurrency=1, quality=quality, journal=journal, progress=False)
        except GenerationError as error:  # a model this small may write nothing of use; what it wrote is paid for
            sys.stdout.write(f"{error}\n")
            return error.partial

    dataset = run()
    n_answers = len(answers(journal))
    again = run()
    assert n_answers >= N_CHUNKS
    assert len(answers(journal)) == n_answers
    if dataset is not None and again is not None:
        assert again.queries == dataset.queries
        check(dataset, n_answers)
        sys.stdout.write("\n".join([*dataset.queries.values(), str(dataset.report), ""]))


def check(dataset: QADataset, n_answers: int) -> None:
    report = dataset.report
    assert isinstance(report, GenerationReport)
    assert unaccounted(dataset) == set()
    assert report.written == len(dataset) <= report.asked == 2 * N_CHUNKS
    spend = report.stages["questions"]
    assert spend.answers == n_answers
    assert spend.prompt_tokens > 100 * N_CHUNKS
    assert 0 < spend.completion_tokens <= 120 * spend.answers
