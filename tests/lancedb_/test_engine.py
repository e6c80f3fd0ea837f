"""LanceDB as a search engine: the contract for each query type, and LanceDB's own traps."""

import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from lancedb.query import MatchQuery
from lancedb.rerankers import RRFReranker

import embedtune
from embedtune import EvaluationError, ExactSearch, Search
from embedtune.plugins import plugin_manager
from embedtune.protocols import Similarity, Vectors
from embedtune.testing import HashEmbedder, SearchContract, tiny_dataset
from embedtune_lancedb import LanceEngine
from lance_tables import run_script


class EngineContract(SearchContract):
    query_type = ""

    def make(self, corpus: Mapping[str, str]) -> Search:
        engine = plugin_manager().search_engine("lancedb").load(corpus, HashEmbedder())
        return engine.searcher(self.query_type)


class TestVectorSearch(EngineContract):
    query_type = "vector"


class TestFullTextSearch(EngineContract):
    query_type = "fts"


class TestHybridSearch(EngineContract):
    query_type = "hybrid"


class RandomEmbedder(HashEmbedder):
    """A random vector, of any length, for each text."""

    def __init__(self, similarity: Similarity) -> None:
        super().__init__(dim=16)
        self._similarity = similarity

    @property
    def similarity(self) -> Similarity:
        return self._similarity

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        rows = [self._embed(text) * (1 + len(text) % 7) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dim)


def corpus_of(n: int) -> dict[str, str]:
    return {f"c{i}": f"text w{i} w{i % 17} w{i % 5} " + "x" * (i % 9) for i in range(n)}


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_vector_search_ranks_as_exact_search(similarity: Similarity) -> None:
    corpus, embedder = corpus_of(400), RandomEmbedder(similarity)
    queries = [f"w{i} w{i % 3} question" for i in range(300)]
    exact = ExactSearch(corpus, embedder).search(queries, k=10)
    assert LanceEngine(corpus, embedder).searcher("vector").search(queries, k=10) == exact


def test_repeated_queries_get_the_same_ranking_each() -> None:
    search = LanceEngine(corpus_of(50), RandomEmbedder("cosine")).searcher("vector")
    first, second, third = search.search(["w1", "w2", "w1"], k=5)
    assert first == third != second


def test_hybrid_ranks_as_the_hybrid_query_of_lancedb() -> None:
    corpus, embedder = corpus_of(300), RandomEmbedder("cosine")
    engine = LanceEngine(corpus, embedder)
    queries = [f"w{i} w{i % 5}" for i in range(20)]
    for query, ranking in zip(queries, engine.searcher("hybrid").search(queries, k=8), strict=True):
        builder = engine._table.search(query_type="hybrid").vector(embedder.embed_queries([query])[0])
        found = builder.text(MatchQuery(query, "text")).distance_type("cosine").rerank(RRFReranker()).limit(8)
        assert ranking == found.to_arrow()["id"].to_pylist()


@pytest.mark.parametrize(
    "query",
    ['"red apples"', "apples AND NOT red", "text:apples", "apples) OR (red", "apples^2 ~ * [a TO b]", "+apples -red"],
)
def test_full_text_takes_syntax_as_plain_words(query: str) -> None:
    engine = LanceEngine({"a": "red apples", "b": "blue sky"}, None)
    assert engine.searcher("fts").search([query], k=2) == [["a"]]


@pytest.mark.parametrize("query_type", ["fts", "hybrid"])
@pytest.mark.parametrize("query", ["", "   ", "((", "the", "\x00", "x" * 5000])
def test_a_query_without_words_is_no_error(query: str, query_type: str) -> None:
    engine = LanceEngine({"a": "red apples", "b": "blue sky"}, HashEmbedder())
    (ranking,) = engine.searcher(query_type).search([query], k=2)
    assert query_type == "hybrid" or ranking == []


def test_a_vector_of_zeros_finds_nothing_and_is_no_error() -> None:
    engine = LanceEngine({"a": "red apples", "b": "blue sky"}, HashEmbedder())
    assert engine.searcher("vector").search([""], k=2) == [[]]


@pytest.mark.parametrize("query_type", ["vector", "fts", "hybrid"])
def test_equal_texts_are_one_answer_under_the_first_id(query_type: str) -> None:
    corpus = {"a": "red apples", "b": "blue sky", "copy": "red apples"}
    assert LanceEngine(corpus, HashEmbedder()).searcher(query_type).search(["red apples"], k=3)[0][0] == "a"
    assert "copy" not in LanceEngine(corpus, HashEmbedder()).searcher(query_type).search(["red apples"], k=3)[0]


def test_without_an_embedder_there_is_full_text_alone() -> None:
    engine = LanceEngine({"a": "red apples"}, None)
    assert engine.searcher("fts").search(["apples"], k=1) == [["a"]]
    with pytest.raises(EvaluationError, match="'hybrid' needs an embedder"):
        engine.searcher("hybrid")
    with pytest.raises(EvaluationError, match="no query type 'auto'"):
        engine.searcher("auto")


def test_a_query_of_another_dimension_is_two_models_mixed_up() -> None:
    embedder = HashEmbedder()
    engine = LanceEngine({"a": "red apples"}, embedder)
    embedder.dim = 32
    with pytest.raises(embedtune.EmbeddingError, match="Queries have 32 dimensions, chunks 64"):
        engine.searcher("vector").search(["apples"], k=1)


def test_the_folder_goes_with_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = LanceEngine({"a": "red apples"}, HashEmbedder())
    search = engine.searcher("vector")
    del engine
    gc.collect()
    assert search.search(["apples"], k=1) == [["a"]], "a search keeps its engine"
    assert len(list(tmp_path.iterdir())) == 1
    del search
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_folder_goes_at_exit_and_lancedb_says_nothing(tmp_path: Path) -> None:
    code = f"""
import tempfile
tempfile.tempdir = {str(tmp_path)!r}
from embedtune.testing import HashEmbedder, tiny_dataset
from embedtune_lancedb import LanceEngine
from lance_tables import run_script
engine = LanceEngine(tiny_dataset().corpus, HashEmbedder())
for query_type in ("vector", "fts", "hybrid"):
    print(engine.searcher(query_type).search(["where do apples come from?", "drums"], k=1))
"""
    found, said = run_script(code)
    assert found.splitlines() == ["[['c0'], ['c3']]"] * 3
    assert said == ""
    assert list(tmp_path.iterdir()) == []


def test_compare_takes_the_engine_for_text_and_hybrid() -> None:
    comparison = embedtune.compare(
        HashEmbedder(64), HashEmbedder(8), tiny_dataset(8), query_types=("vector", "fts", "hybrid")
    )
    by_type = {(row.query_type, row.metric, row.k): row for row in comparison.rows}
    assert by_type["fts", "hit_rate", 5].difference == 0
    assert by_type["vector", "mrr", 5].difference < 0
    assert set(comparison.evaluations) == {"vector", "fts", "hybrid"}
