"""`evaluate`: what it accepts, what counts as found, and what it says when a search goes wrong."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from embedtune import (
    BackendNotFoundError,
    EmbeddingError,
    EvaluationError,
    ExactSearch,
    ModelNotFoundError,
    PluginManager,
    QADataset,
    compare,
    evaluate,
)
from embedtune.evaluation import evaluate_search
from embedtune.protocols import Vectors
from embedtune.records import ModelRecord, SeenTexts
from embedtune.resolve import as_embedder
from embedtune.testing import (
    EmbedderContract,
    HashEmbedder,
    SearchContract,
    WordSearch,
    tiny_dataset,
    tiny_evaluation,
)


class CannedSearch:
    """Gives each query the ranking that was written for it; raises where that is an exception."""

    def __init__(self, rankings: dict[str, list[str] | Exception]) -> None:
        self.rankings = rankings
        self.calls: list[tuple[int, int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        self.calls.append((len(queries), k))
        found = [self.rankings[query] for query in queries]
        for ranking in found:
            if isinstance(ranking, Exception):
                raise ranking
        return [ranking[:k] for ranking in found if isinstance(ranking, list)]


class TestHashEmbedder(EmbedderContract):
    def make(self) -> HashEmbedder:
        return HashEmbedder()


class TestWordSearch(SearchContract):
    def make(self, corpus: Mapping[str, str]) -> WordSearch:
        return WordSearch(corpus)


def one_query(corpus: dict[str, str], relevant: list[str]) -> QADataset:
    return QADataset({"q": "a question"}, corpus, {"q": relevant})


def record_with(seen: SeenTexts) -> ModelRecord:
    return ModelRecord(
        base_model="base",
        base_fingerprint=None,
        fingerprint="f",
        tuner="custom",
        chosen_step=1,
        kept_base=False,
        seen=seen,
    )


def test_tiny_evaluation_finds_everything() -> None:
    assert tiny_evaluation().hit_rate == 1.0


def test_data_frame_of_the_result_gives_the_hit_rate() -> None:
    dataset = tiny_dataset()
    rankings: dict[str, list[str] | Exception] = {text: [] for text in dataset.queries.values()}
    rankings["where do apples come from?"] = ["c3", "c0"]
    evaluation = evaluate(CannedSearch(rankings), dataset)
    frame = pd.DataFrame(evaluation)
    assert frame["is_hit"].mean() == evaluation.hit_rate == 1 / 8
    assert list(frame.columns) == ["query_id", "query", "expected", "retrieved", "rank", "is_hit", "seen"]


def test_row_holds_texts_ids_and_the_first_relevant_rank() -> None:
    dataset = tiny_dataset()
    row = evaluate(WordSearch(dataset.corpus), dataset)[0]
    assert row["query_id"] == "q0-0"
    assert row["query"] == "where do apples come from?"
    assert row["expected"] == ["c0"]
    assert row["retrieved"][0] == "c0"
    assert (row["rank"], row["is_hit"], row["seen"]) == (1, True, False)


def test_evaluation_is_a_sequence_of_its_rows() -> None:
    evaluation = tiny_evaluation()
    assert len(evaluation) == 8
    assert list(evaluation) == [evaluation[i] for i in range(8)]
    assert evaluation[-2:] == (evaluation[6], evaluation[7])
    assert repr(evaluation) == "Evaluation(8 queries, hit_rate@5=1.000)"


def test_evaluations_can_be_compared_and_hashed() -> None:
    """A generated == would ask arrays for one truth value, and raise."""
    one = tiny_evaluation()
    assert one in [one]
    assert one != tiny_evaluation()
    assert isinstance(hash(one), int)


def test_metrics_are_the_means_of_the_per_query_values() -> None:
    evaluation = evaluate(HashEmbedder(dim=2), tiny_dataset(8), top_k=2)
    assert evaluation.metrics == {name: values.mean() for name, values in evaluation.per_query.items()}
    assert {"hit_rate@2", "ndcg@10", "map@1"} <= set(evaluation.metrics)


def test_every_depth_comes_from_one_search() -> None:
    dataset = one_query({"a": "one", "b": "two"}, ["a"])
    search = CannedSearch({"a question": ["b", "a"]})
    evaluate(search, dataset, top_k=7, cut_offs=(1, 20))
    assert search.calls == [(1, 20)]


def test_no_further_cut_offs_is_no_error() -> None:
    assert set(evaluate(HashEmbedder(), tiny_dataset(), top_k=3, cut_offs=()).metrics) == {
        f"{name}@3" for name in ("hit_rate", "mrr", "ndcg", "recall", "map")
    }


@pytest.mark.parametrize(("top_k", "cut_offs"), [(0, (1,)), (-5, (1,)), (5, (0, 1))])
def test_a_cut_off_below_one_is_refused(top_k: int, cut_offs: tuple[int, ...]) -> None:
    with pytest.raises(EvaluationError, match=r"must be at least 1; got top_k="):
        evaluate(HashEmbedder(), tiny_dataset(), top_k=top_k, cut_offs=cut_offs)
    with pytest.raises(EvaluationError, match=r"must be at least 1; got top_k="):
        evaluate_search(WordSearch({}), tiny_dataset(), top_k, cut_offs=cut_offs)


def test_a_depth_beyond_the_corpus_gives_what_there_is() -> None:
    evaluation = evaluate(HashEmbedder(), tiny_dataset(), top_k=1000)
    assert evaluation.hit_rate == 1.0
    assert all(len(row["retrieved"]) == 4 for row in evaluation)


def test_rank_beyond_top_k_is_given_and_is_no_hit() -> None:
    dataset = one_query({f"c{i}": f"text {i}" for i in range(9)}, ["c8"])
    row = evaluate(CannedSearch({"a question": [f"c{i}" for i in range(9)]}), dataset, top_k=5)[0]
    assert (row["rank"], row["is_hit"]) == (9, False)
    assert row["retrieved"] == ["c0", "c1", "c2", "c3", "c4"]


def test_a_models_rank_is_that_in_the_whole_corpus() -> None:
    corpus = {**{f"c{i}": f"apples pears text{i}" for i in range(60)}, "far": "something else"}
    dataset = QADataset({"q": "apples pears"}, corpus, {"q": ["far"]})
    evaluation = evaluate(HashEmbedder(), dataset, top_k=3)
    assert (evaluation[0]["rank"], evaluation[0]["is_hit"], evaluation.depth) == (61, False, None)
    assert len(evaluation[0]["retrieved"]) == 3
    assert evaluation.metrics["mrr@10"] == 0.0


def test_a_model_and_its_search_from_outside_have_equal_figures() -> None:
    """The ranks of one and the rankings of the other are two ways to the same metrics."""
    dataset = tiny_dataset(40)
    exact = ExactSearch(dataset.corpus, HashEmbedder(dim=3))

    class Outside:
        def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
            return exact.search(queries, k)

    by_ranks, by_rankings = evaluate(HashEmbedder(dim=3), dataset), evaluate(Outside(), dataset)
    assert by_ranks.metrics == by_rankings.metrics
    assert 0 < by_ranks.hit_rate < 1
    assert [row["retrieved"] for row in by_ranks] == [row["retrieved"] for row in by_rankings]
    assert (by_ranks.depth, by_rankings.depth) == (None, 10)


def test_many_relevant_chunks_are_all_ranked() -> None:
    corpus = {f"c{i}": f"text {i}" for i in range(40)}
    values = evaluate(HashEmbedder(), one_query(corpus, list(corpus)), top_k=40).metrics
    assert (values["recall@10"], values["recall@40"], values["map@40"]) == (0.25, 1.0, pytest.approx(1.0))


def test_query_ids_may_hold_anything() -> None:
    """trec_eval's files split at white space; ours is no such file."""
    ids = ["a query id", "tab\tid", "ü/雲", "{0}"]
    dataset = QADataset(dict.fromkeys(ids, "apples?"), {"c 1": "apples"}, {name: ["c 1"] for name in ids})
    assert [row["query_id"] for row in evaluate(HashEmbedder(), dataset)] == ids


# Copies of one text


def test_equal_texts_under_two_ids_are_one_answer_in_exact_search() -> None:
    dataset = one_query({"copy": "a question", "original": "a question", "other": "else"}, ["original"])
    row = evaluate(HashEmbedder(), dataset, top_k=1)[0]
    assert (row["retrieved"], row["rank"], row["is_hit"]) == (["copy"], 1, True)


def test_an_external_search_that_returns_copies_is_ranked_over_unique_texts() -> None:
    """The copies stand before the answer and would push it past the cut."""
    corpus = {**{f"copy{i}": "the same text" for i in range(20)}, "answer": "the answer"}
    search = CannedSearch({"a question": list(corpus)})
    row = evaluate(search, one_query(corpus, ["answer"]), top_k=2, cut_offs=(2,))[0]
    assert row["retrieved"] == ["copy0", "answer"]
    assert (row["rank"], row["is_hit"]) == (2, True)


def test_an_external_search_is_asked_for_more_where_there_are_copies_within_reason() -> None:
    corpus = {**{f"copy{i}": "the same text" for i in range(100_000)}, "answer": "the answer"}
    search = CannedSearch({"a question": list(corpus)})
    evaluate(search, one_query(corpus, ["answer"]), top_k=2, cut_offs=(2,))
    assert search.calls == [(1, 22)]


def test_two_relevant_copies_count_as_one_relevant_chunk() -> None:
    dataset = one_query({"a": "same", "b": "same", "x": "other"}, ["a", "b"])
    evaluation = evaluate(CannedSearch({"a question": ["b"]}), dataset, top_k=1, cut_offs=())
    assert evaluation.metrics == dict.fromkeys(evaluation.metrics, 1.0)


def test_grades_enter_ndcg_and_the_best_copy_counts() -> None:
    dataset = QADataset(
        {"q": "a question"}, {"a": "same", "b": "same", "c": "other"}, {"q": ["a", "b", "c"]}, grades={"q": {"b": 3}}
    )
    evaluation = evaluate(CannedSearch({"a question": ["c", "a"]}), dataset, cut_offs=())
    expected = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert evaluation.metrics["ndcg@5"] == pytest.approx(expected)


def test_a_hundred_thousand_chunks_with_one_text_are_one_answer() -> None:
    corpus = {**{f"c{i}": "apples apples" for i in range(100_000)}, "d": "drums"}
    dataset = QADataset({"q1": "apples", "q2": "drums"}, corpus, {"q1": ["c99999"], "q2": ["d"]})
    evaluation = evaluate(HashEmbedder(), dataset, top_k=1)
    assert evaluation.hit_rate == 1.0
    assert evaluation[0]["retrieved"] == ["c0"]


# Searches that fail or answer oddly


def test_an_empty_ranking_counts_as_not_found() -> None:
    row = evaluate(CannedSearch({"a question": []}), one_query({"a": "one"}, ["a"]))[0]
    assert (row["retrieved"], row["rank"], row["is_hit"]) == ([], None, False)


def test_a_failed_search_scores_zero_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    dataset = QADataset({"q1": "fine", "q2": "broken"}, {"a": "one"}, {"q1": ["a"], "q2": ["a"]})
    evaluation = evaluate(CannedSearch({"fine": ["a"], "broken": RuntimeError("timed out")}), dataset)
    assert evaluation.hit_rate == 0.5
    assert evaluation.failed_queries == ("q2",)
    assert "1 of 2 searches failed and count as not found" in caplog.text
    assert "timed out" in caplog.text


def test_all_searches_failing_raises_with_the_first_cause() -> None:
    cause = ConnectionError("no route to host")
    dataset = QADataset({"q1": "x", "q2": "y"}, {"a": "one"}, {"q1": ["a"], "q2": ["a"]})
    with pytest.raises(EvaluationError, match=r"All 2 searches failed. The first: ConnectionError: no route") as caught:
        evaluate(CannedSearch({"x": cause, "y": ValueError("later")}), dataset)
    assert caught.value.__cause__ is cause


def test_a_model_that_fails_on_one_query_loses_that_alone() -> None:
    class Fragile(HashEmbedder):
        def embed_queries(self, texts: Sequence[str]) -> Vectors:
            if any("drums" in text for text in texts):
                raise TimeoutError("the server is gone")
            return super().embed_queries(texts)

    evaluation = evaluate(Fragile(), tiny_dataset())
    assert evaluation.hit_rate == 0.75
    assert evaluation.failed_queries == ("q3-0", "q3-1")
    assert (evaluation[6]["rank"], evaluation[6]["retrieved"], evaluation[6]["is_hit"]) == (None, [], False)


def test_cut_offs_beyond_what_a_search_gives_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Figures at 10 would equal those at 2, and nobody would know why."""
    dataset = QADataset({"q1": "x", "q2": "y"}, {f"c{i}": f"text {i}" for i in range(9)}, {"q1": ["c0"], "q2": ["c1"]})
    evaluation = evaluate(CannedSearch({"x": ["c5", "c0"], "y": ["c2", "c3"]}), dataset)
    assert "returns 2 chunks at most: figures at larger cut-offs, up to 10, are those at 2" in caplog.text
    assert evaluation.depth == 2


def test_searches_that_find_few_for_some_queries_have_no_such_limit(caplog: pytest.LogCaptureFixture) -> None:
    dataset = QADataset({"q1": "x", "q2": "y"}, {f"c{i}": f"text {i}" for i in range(9)}, {"q1": ["c0"], "q2": ["c1"]})
    evaluation = evaluate(CannedSearch({"x": ["c5", "c0"], "y": ["c2", "c3", "c4"]}), dataset)
    assert evaluation.depth == 10
    assert caplog.text == ""


def test_repeated_ids_take_no_place() -> None:
    search = CannedSearch({"a question": ["b", "b", "b", "a"]})
    row = evaluate(search, one_query({"a": "one", "b": "two"}, ["a"]), top_k=2, cut_offs=(4,))[0]
    assert (row["rank"], row["retrieved"]) == (2, ["b", "a"])


def test_too_few_rankings_are_refused() -> None:
    """Scoring by position would give each query another one's answer."""

    class Silent:
        def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
            return []

    with pytest.raises(EvaluationError, match="returned 0 rankings for 8 queries; it must be one each"):
        evaluate(Silent(), tiny_dataset())


def test_ids_that_are_not_in_the_corpus_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    evaluation = evaluate(CannedSearch({"a question": ["ghost", "a"]}), one_query({"a": "one"}, ["a"]))
    assert "returned 1 ids that are not in the corpus, such as 'ghost'" in caplog.text
    assert evaluation[0]["rank"] == 2


# What is no model and no search


class Table:
    """Searches like a LanceDB table: same method, other arguments."""

    def search(self, query: object = None, vector_column_name: str | None = None) -> object:
        raise AssertionError("must not be called")


@pytest.mark.parametrize("thing", [Table(), object(), 5, None])
def test_an_unknown_object_is_refused_with_what_would_do(thing: object) -> None:
    with pytest.raises(
        EvaluationError, match=rf"{type(thing).__name__} is no model and no search .* search\(queries, k\)"
    ):
        evaluate(thing, tiny_dataset())


def test_as_embedder_refuses_a_search() -> None:
    with pytest.raises(EvaluationError, match="WordSearch is no model"):
        as_embedder(WordSearch({}))


def test_a_search_of_ones_own_needs_no_base_class() -> None:
    class First:
        def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
            return [["c0"] for _ in queries]

    assert evaluate(First(), tiny_dataset()).hit_rate == 0.25


def test_a_named_model_without_an_adapter_names_the_extra(plugins: PluginManager) -> None:
    with pytest.raises(BackendNotFoundError, match=r'pip install "embedtune\[sentence-transformers\]"'):
        evaluate("BAAI/bge-small-en-v1.5", tiny_dataset(), plugins=plugins)
    with pytest.raises(BackendNotFoundError, match=r'pip install "embedtune\[openai\]"'):
        evaluate("openai:text-embedding-3-small", tiny_dataset(), plugins=plugins)


def test_a_missing_folder_raises_before_any_framework_is_imported(
    run_python: Callable[..., Any], tmp_path: Path
) -> None:
    """LanceDB goes through seven retries there, and torch alone costs seconds."""
    done = run_python(
        """
import json, sys
import embedtune, embedtune.testing
try:
    embedtune.evaluate(sys.argv[1], embedtune.testing.tiny_dataset())
except embedtune.ModelNotFoundError as error:
    frameworks = {"torch", "transformers", "sentence_transformers", "lancedb", "openai"} & set(sys.modules)
    print(json.dumps([str(error), sorted(frameworks)]))
""",
        str(tmp_path / "models" / "gone"),
    )
    message, frameworks = json.loads(done.stdout)
    assert str(tmp_path / "models" / "gone") in message
    assert frameworks == []


@pytest.mark.parametrize("kind", [str, Path])
def test_a_missing_folder_is_named_in_full(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"No model folder at .*models.gone") as caught:
        evaluate(kind("models/gone"), tiny_dataset())
    assert str(tmp_path / "models" / "gone") in str(caught.value)


# Questions that the model has seen


def test_rows_on_seen_questions_are_marked(caplog: pytest.LogCaptureFixture) -> None:
    dataset = tiny_dataset()
    seen = SeenTexts.of([dataset.subset(["q0-0"])])
    evaluation = evaluate_search(WordSearch(dataset.corpus), dataset, record=record_with(seen))
    assert [row["query_id"] for row in evaluation if row["seen"]] == ["q0-0", "q0-1"]
    assert evaluation.n_seen == 2
    assert "2 of them seen in training" in repr(evaluation)


def test_a_model_folder_tells_what_it_has_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = tiny_dataset()
    record_with(SeenTexts.of([dataset])).write(tmp_path)

    class FolderEmbedder(HashEmbedder):
        folder = tmp_path

    with caplog.at_level(logging.WARNING):
        assert evaluate(FolderEmbedder(), dataset).n_seen == len(dataset)
    assert "the model was trained on, or chosen by, 8 of these 8 queries" in caplog.text


# Vectors


class Given(HashEmbedder):
    """Returns whatever it was given."""

    def __init__(self, vectors: object) -> None:
        super().__init__()
        self.vectors = vectors

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self.vectors  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 2)), r"returned shape \(3, 2\) for 4 texts; expected \(4, d\)"),
        (np.zeros(4), r"returned shape \(4,\)"),
        (np.zeros((4, 0)), r"returned shape \(4, 0\)"),
        (np.array([[0.0], [np.nan], [0.0], [0.0]]), "NaN or infinity for text 1 of 4"),
        ([None] * 4, r"returned shape \(4,\)"),
        ([[1.0], [1.0, 2.0], [1.0], [1.0]], "did not return numbers in rows of one length"),
        ([["a"]] * 4, "did not return numbers in rows of one length"),
    ],
)
def test_bad_vectors_are_refused(vectors: object, message: str) -> None:
    """An all-None answer of a hosted model must not become a score."""
    with pytest.raises(EmbeddingError, match=message):
        evaluate(Given(vectors), tiny_dataset())


def test_two_models_mixed_up_are_refused() -> None:
    class Mixed(HashEmbedder):
        def embed_queries(self, texts: Sequence[str]) -> Vectors:
            return HashEmbedder(dim=8).embed_queries(texts)

    with pytest.raises(EvaluationError, match="Queries have 8 dimensions, chunks 64: two models are mixed up"):
        evaluate(Mixed(), tiny_dataset())


def test_a_data_set_of_another_shape_is_asked_for_ours() -> None:
    """As the data sets for other frameworks are."""

    class Other:
        def to_qa_dataset(self) -> QADataset:
            return tiny_dataset()

    expected = evaluate(HashEmbedder(), tiny_dataset()).metrics
    assert evaluate(HashEmbedder(), Other()).metrics == expected  # type: ignore[arg-type]  # by its method
    assert compare(HashEmbedder(), HashEmbedder(), Other()).n_queries == 8  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize("wrong", ["questions.json", {"queries": {}}, None])
def test_what_is_no_data_set_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(EvaluationError, match=r"must be a QADataset; got a \w+.*QADataset.load"):
        evaluate(HashEmbedder(), wrong)
