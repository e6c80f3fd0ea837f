"""Parts of the questions: which there are, which are shown, and with what interval."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from embedtune import Evaluation, QADataset
from embedtune.comparison import SliceRow, summarise
from embedtune.comparison.slices import slice_rows
from embedtune.evaluation import evaluate_search
from embedtune.statistics import paired_difference


def hits(dataset: QADataset, found: Sequence[bool]) -> Evaluation:
    """The evaluation of a search that answers what is said."""
    answers = {
        text: dataset.relevant_docs[query] if hit else []
        for (query, text), hit in zip(dataset.queries.items(), found, strict=True)
    }
    return evaluate_search(SimpleNamespace(search=lambda queries, k: [answers[query] for query in queries]), dataset)


def shown(dataset: QADataset, name: str, tuned: Sequence[bool] | None = None) -> list[SliceRow]:
    """The rows of one kind, of a base model that finds nothing."""
    pair = hits(dataset, [False] * len(dataset)), hits(dataset, tuned or [True] * len(dataset))
    return [row for row in slice_rows({"vector": pair}, dataset, 5) if row.slice == name]


def questions(texts: Sequence[str], styles: Sequence[str] = (), document_of: Sequence[int] = ()) -> QADataset:
    """One question on each chunk; each chunk is its own document unless said otherwise."""
    corpus = {f"c{i}": f"chunk {i}" for i in range(len(texts))}
    named = {f"c{i}": {"document_id": f"d{document}"} for i, document in enumerate(document_of)}
    return QADataset(
        {f"q{i}": text for i, text in enumerate(texts)},
        corpus,
        {f"q{i}": [f"c{i}"] for i in range(len(texts))},
        named,
        {f"q{i}": style for i, style in enumerate(styles)},
    )


def numbered(n: int, n_words: int) -> list[str]:
    return [" ".join([f"word{i}"] * n_words) for i in range(n)]


def test_query_lengths_are_shown_from_short_to_long() -> None:
    found = shown(questions([text for n in (13, 4, 5, 8, 12) for text in numbered(10, n)]), "query length")
    assert [(row.value, row.n_queries) for row in found] == [
        ("1 to 4 words", 10),
        ("5 to 8 words", 20),
        ("9 to 12 words", 10),
        ("13 words and more", 10),
    ]


def test_overlap_is_that_with_the_closest_answer() -> None:
    """Of ``chunk a0 b c`` one word of four stands in the first answer, all of them in the second of some."""
    dataset = questions([*(f"chunk a{i} b c" for i in range(20)), *(f"nothing{i}" for i in range(10))])
    copies = {f"copy{i}": dataset.queries[f"q{i}"] for i in range(10)}
    relevant = {q: [*chunks, f"copy{q[1:]}"][: 1 + (int(q[1:]) < 10)] for q, chunks in dataset.relevant_docs.items()}
    found = shown(QADataset(dataset.queries, {**dataset.corpus, **copies}, relevant), "lexical overlap")
    assert [(row.value, row.n_queries) for row in found] == [("under 25%", 10), ("25 to 50%", 10), ("75% and more", 10)]


def test_styles_are_shown_by_name() -> None:
    dataset = questions(numbered(25, 2), ["natural"] * 10 + ["keyword"] * 10 + ["rare"] * 5)
    assert [(row.value, row.n_queries) for row in shown(dataset, "style")] == [("keyword", 10), ("natural", 10)]


def test_documents_are_shown_by_their_questions_the_ten_largest() -> None:
    document_of = [document for document in range(12) for _ in range(10 + document)]
    found = shown(questions(numbered(len(document_of), 2), document_of=document_of), "document")
    assert [row.value for row in found] == [f"d{document}" for document in range(11, 1, -1)]
    assert found[0].n_queries == 21


def test_within_a_document_the_clusters_are_its_chunks() -> None:
    """By document it would be one cluster, whose interval is a point."""
    dataset = questions(numbered(30, 2), document_of=[0] * 20 + [1] * 10)
    row = shown(dataset, "document", [i % 2 == 0 for i in range(30)])[0]
    assert (row.value, row.n_clusters) == ("d0", 20)
    assert row.low < row.difference == 0.5 < row.high


def test_a_question_on_several_documents_is_of_none() -> None:
    dataset = questions(numbered(20, 2), document_of=[0] * 10 + [1] * 10)
    relevant = {**dataset.relevant_docs, "q0": ["c0", "c10"]}
    both = QADataset(dataset.queries, dataset.corpus, relevant, dataset.metadata)
    assert [row.value for row in shown(both, "document")] == ["d1"]


@pytest.mark.parametrize(("n_queries", "is_shown"), [(9, False), (10, True)])
def test_a_part_of_less_than_ten_questions_is_not_shown(n_queries: int, is_shown: bool) -> None:
    dataset = questions(numbered(30, 2), ["rare"] * n_queries + ["natural"] * (30 - n_queries))
    assert ("rare" in [row.value for row in shown(dataset, "style")]) is is_shown


@pytest.mark.parametrize(("n_documents", "is_shown"), [(4, False), (5, True)])
def test_a_part_of_less_than_five_clusters_is_not_shown(n_documents: int, is_shown: bool) -> None:
    document_of = [i % n_documents for i in range(20)] + [100 + i for i in range(20)]
    dataset = questions(numbered(40, 2), ["few"] * 20 + ["many"] * 20, document_of)
    assert ("few" in [row.value for row in shown(dataset, "style")]) is is_shown


def test_a_part_that_is_all_there_is_is_not_shown() -> None:
    pair = (hits(questions(numbered(20, 2)), [True] * 20),) * 2
    assert slice_rows({"vector": pair}, questions(numbered(20, 2), ["natural"] * 20), 5) == ()


def test_a_row_holds_the_paired_figures_of_its_part_by_document() -> None:
    document_of = [i // 2 for i in range(40)]
    dataset = questions(numbered(40, 2), ["a"] * 20 + ["b"] * 20, document_of)
    tuned = [bool(hit) for hit in np.random.default_rng(0).random(40) < 0.5]
    row = shown(dataset, "style", tuned)[0]
    expected = paired_difference(np.array(tuned[:20], dtype=float), document_of[:20])
    assert (row.difference, row.low, row.high) == (expected.difference, expected.low, expected.high)
    assert (row.base, row.tuned, row.n_clusters) == (0.0, expected.difference, 10)


def test_slices_are_marked_exploratory_in_the_json_and_leave_out_what_the_model_cannot_change() -> None:
    dataset = questions(numbered(20, 2), ["a"] * 10 + ["b"] * 10)
    pair = hits(dataset, [False] * 20), hits(dataset, [True] * 20)
    found = summarise({"fts": pair, "vector": pair}, dataset, 5, model_free=frozenset({"fts"})).to_json()["slices"]
    assert [(row["value"], row["query_type"], row["exploratory"]) for row in found] == [
        ("a", "vector", True),
        ("b", "vector", True),
    ]
