"""Styles in shares, typing errors by rule, and the language of the questions."""

import json
from collections import Counter
from pathlib import Path

import pytest

from embedtune import QADataset, QuestionQuality, TextChunk
from embedtune.generation.misspelling import misspelt
from embedtune.generation.prompting import styles_of
from fault_server import fault_server
from question_runs import answer_to, openai_at, prompt_in, shape, write
from servers import scripted_server

SHARES = {"natural": 0.5, "keyword": 0.3, "misspelt": 0.2}


@pytest.mark.parametrize("n_questions", [1, 2, 3, 10])
def test_shares_hold_over_many_chunks(n_questions: int) -> None:
    drawn = Counter(style for i in range(2000) for style in styles_of(f"chunk {i}", SHARES, n_questions, 0))
    for style, share in SHARES.items():
        assert drawn[style] / (2000 * n_questions) == pytest.approx(share, abs=0.035)


def test_ten_questions_on_a_chunk_have_the_shares_themselves() -> None:
    drawn = Counter(styles_of("a chunk", SHARES, 10, 0))
    assert drawn == {"natural": 5, "keyword": 3, "misspelt": 2}


def test_styles_hang_on_the_chunk_and_the_seed_alone() -> None:
    assert styles_of("a", SHARES, 2, 0) == styles_of("a", SHARES, 2, 0)
    assert len({tuple(styles_of("a", SHARES, 2, seed)) for seed in range(20)}) > 1


def test_each_query_says_its_style_and_looks_like_it() -> None:
    with fault_server() as server:
        dataset = write(server, 100, quality=QuestionQuality(styles=SHARES))
        natural = set(write(server, 100).queries.values())
    styles = Counter(dataset.styles.values())
    assert styles["natural"] == pytest.approx(100, abs=15)
    assert styles["keyword"] == pytest.approx(60, abs=15)
    assert styles["misspelt"] == pytest.approx(40, abs=15)
    for query, style in dataset.styles.items():
        text = dataset.queries[query]
        assert text.endswith("?") == (style != "keyword")
        assert (text in natural) == (style == "natural")
    assert getattr(dataset.report, "styles", None) == styles


def test_only_keyword_queries_can_be_wanted() -> None:
    with fault_server() as server:
        dataset = write(server, 10, quality=QuestionQuality(styles={"keyword": 1.0}))
    assert set(dataset.styles.values()) == {"keyword"}
    assert len(dataset) == 20


def test_an_llm_that_lists_keyword_queries_as_questions_is_understood() -> None:
    with fault_server() as server:
        server.faults = type(server.faults)(ignores_schema=True)
        dataset = write(server, 4, quality=QuestionQuality(styles={"keyword": 1.0}))
    assert set(dataset.styles.values()) == {"keyword"}


def test_styles_survive_saving(tmp_path: Path) -> None:
    with fault_server() as server:
        dataset = write(server, 20, quality=QuestionQuality(styles=SHARES))
    dataset.save(tmp_path / "d.json")
    assert shape(QADataset.load(tmp_path / "d.json")) == shape(dataset)


def test_another_seed_makes_other_typing_errors_and_the_same_seed_the_same() -> None:
    question = "How are vectors stored in the background of a table?"
    assert misspelt(question, 0) == misspelt(question, 0) != question
    assert len({misspelt(question, seed) for seed in range(20)}) > 5


def test_typing_errors_are_few_and_leave_first_letters_and_code_alone() -> None:
    question = "How does create_fts_index of LanceDB handle really complicated German compound nouns?"
    for seed in range(100):
        words, found = question.split(), misspelt(question, seed).split()
        assert len(words) == len(found)
        changed = [(word, wrong) for word, wrong in zip(words, found, strict=True) if word != wrong]
        assert 1 <= len(changed) <= 2
        assert all(word[0] == wrong[0] and "_" not in word and word != "LanceDB" for word, wrong in changed)
        assert all(abs(len(word) - len(wrong)) <= 1 for word, wrong in changed)


@pytest.mark.parametrize(
    "question", ["什么是向量数据库\uff1f", "Why?", "A b c?", "table.add(x)?", "LanceDB a/path/here create_index"]
)
def test_what_nobody_mistypes_stays(question: str) -> None:
    assert misspelt(question, 0) == question


NORWEGIAN = "Ærlige bønder på Sørlandet dyrker blåbær, «markens grøde», i {klammer} & <tegn>."


def prompts(text: str, **options: object) -> list[str]:
    """What goes over the wire on a chunk."""
    chunk = TextChunk(f"{text} chunk-number-1.", "c")
    with scripted_server(answer_to) as server:
        QADataset.from_llm([chunk], openai_at(server.base_url), progress=False, **options)  # type: ignore[arg-type]
        return [prompt_in(request) for request in server.requests]


def test_the_chunks_own_language_is_asked_for_and_the_chunk_goes_unharmed() -> None:
    (prompt,) = prompts(NORWEGIAN)
    assert f"\n{NORWEGIAN} chunk-number-1.\n" in prompt
    assert "the language of the passage" in prompt


@pytest.mark.parametrize("template", ["{num_questions_per_chunk} questions on {context_str}"])
def test_the_chunks_own_language_is_asked_for_under_a_template_of_the_users(template: str) -> None:
    (prompt,) = prompts(NORWEGIAN, qa_generate_prompt_tmpl=template)
    assert "the language of the passage" in prompt


def test_another_language_can_be_asked_for() -> None:
    (prompt,) = prompts(NORWEGIAN, quality=QuestionQuality(language="Sami"))
    assert "Write in Sami." in prompt


def test_german_paragraphs_go_over_the_wire_as_they_are(test_data: Path) -> None:
    lines = (test_data / "xquad_de" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:5]
    for text in (json.loads(line)["text"] for line in lines):
        (prompt,) = prompts(text)
        assert f"\n{text} chunk-number-1.\n" in prompt
