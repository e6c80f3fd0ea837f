"""LanceDB as a search engine: the contract for each query type, and LanceDB's own traps."""

import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from lancedb.index import HnswSq, IvfFlat, IvfPq
from lancedb.query import MatchQuery
from lancedb.rerankers import RRFReranker

import embedtune
from embedtune import EvaluationError, ExactSearch, Search
from embedtune.plugins import plugin_manager
from embedtune.protocols import Similarity, Vectors
from embedtune.testing import HashEmbedder, SearchContract, tiny_dataset
from embedtune_lancedb import LanceEngine, lancedb_engine
from lance_tables import run_script


class EngineContract(SearchContract):
    query_type = ""

    def make(self, corpus: Mapping[str, str]) -> Search:
        engine = plugin_manager().search_engine("lancedb").load(corpus, HashEmbedder())
        return engine.searcher(self.query_type)


class TestVectorSearch(EngineContract):
    query_type = "vector"


class TestIndexedSearch(EngineContract):
    query_type = "vector_indexed"


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
from embedtune_lancedb import LanceEngine, lancedb_engine
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


# Indexes


class Clustered:
    """Vectors around centres, looked up by the number in the text."""

    fingerprint = None

    def __init__(self, n: int, dim: int = 64, similarity: Similarity = "cosine", spread: float = 0.6) -> None:
        random = np.random.default_rng(0)
        centres = random.standard_normal((n // 20, dim))
        rows = centres[random.integers(len(centres), size=n)] + spread * random.standard_normal((n, dim))
        self.vectors, self.similarity = rows.astype(np.float32), similarity

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self.vectors[[int(text) for text in texts]]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_documents(texts) + np.float32(0.1)


N_VECTORS = 1500
NUMBERS = {f"c{i}": str(i) for i in range(N_VECTORS)}
ASKED = [str(i) for i in range(0, N_VECTORS, 15)]


@pytest.fixture(scope="module")
def clustered() -> Clustered:
    return Clustered(N_VECTORS)


@pytest.mark.parametrize("index", ["IVF_HNSW_SQ", "IVF_SQ", HnswSq(distance_type="l2", m=8)])
def test_an_index_loses_a_little_of_the_exact_ranking(index: object, clustered: Clustered) -> None:
    engine = LanceEngine(NUMBERS, clustered, index=index)
    exact = engine.searcher("vector").search(ASKED, k=10)
    indexed = engine.searcher("vector_indexed").search(ASKED, k=10)
    kept = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(exact, indexed, strict=True)])
    assert engine.index_recall(ASKED, k=10) == pytest.approx(kept)
    assert 0.9 < kept < 1.0
    assert exact == LanceEngine(NUMBERS, clustered).searcher("vector").search(ASKED, k=10), "vector stays exact"


def test_product_quantisation_loses_much_and_refining_gives_it_back(clustered: Clustered) -> None:
    settings = IvfPq(num_partitions=4, num_sub_vectors=8)
    coarse = LanceEngine(NUMBERS, clustered, index=settings).index_recall(ASKED, k=10)
    refined = LanceEngine(NUMBERS, clustered, index=settings, refine_factor=20, nprobes=4).index_recall(ASKED, k=10)
    assert coarse < 0.9 < refined


def test_fewer_partitions_looked_at_find_less() -> None:
    """Of vectors with no clusters, whose neighbours lie in many partitions wherever these start."""
    settings, scattered = IvfFlat(num_partitions=32), Clustered(N_VECTORS, spread=100)
    few, all_of_them = (
        LanceEngine(NUMBERS, scattered, index=settings, nprobes=nprobes).index_recall(ASKED, k=10)
        for nprobes in (1, 32)
    )
    assert few < 0.9 < all_of_them == 1.0


def test_the_index_compares_as_the_embedder_does() -> None:
    embedder = Clustered(N_VECTORS, similarity="dot")
    assert LanceEngine(NUMBERS, embedder, index="IVF_HNSW_SQ").index_recall(ASKED, k=10) > 0.8


def test_one_indexed_query_and_many_agree(clustered: Clustered) -> None:
    search = LanceEngine(NUMBERS, clustered).searcher("vector_indexed")
    assert [search.search([query], k=5)[0] for query in ASKED[:5]] == search.search(ASKED[:5], k=5)


def test_an_index_is_built_for_the_search_that_needs_it_alone() -> None:
    """Of two tables that are compared by vectors and by text, one needs the text's index."""
    engine = LanceEngine({"a": "red apples", "b": "blue sky"}, HashEmbedder(), index="IVF_FLAT")
    engine.searcher("vector").search(["apples"], k=1)
    assert engine._table.list_indices() == []
    engine.searcher("fts")
    engine.searcher("hybrid")
    assert [index.columns for index in engine._table.list_indices()] == [["text"]]
    engine.searcher("vector_indexed")
    assert sorted(index.columns for index in engine._table.list_indices()) == [["text"], ["vector"]]


def test_an_index_that_holds_nothing_says_that_the_search_is_exact(caplog: pytest.LogCaptureFixture) -> None:
    """Below 256 rows LanceDB trains no product quantiser, and a recall of 1 would be a lie."""
    engine = LanceEngine(tiny_dataset(8).corpus, HashEmbedder(), index="IVF_PQ")
    assert engine.index_recall(["what do drums cost?"], k=3) == 1.0
    assert caplog.messages == [
        "the index IvfPq holds none of the 8 chunks, which are too few to train it: the search is exact"
    ]


@pytest.mark.parametrize("index", ["HNSW", "ivf_pq", 3, None, []])
def test_an_unknown_index_names_those_there_are(index: object) -> None:
    with pytest.raises(EvaluationError, match=r"LanceDB has no index .* it has IVF_FLAT, IVF_SQ, IVF_PQ, IVF_RQ,"):
        LanceEngine({"a": "red apples"}, HashEmbedder(), index=index)


def test_settings_that_lancedb_refuses_are_named(clustered: Clustered) -> None:
    engine = LanceEngine(NUMBERS, clustered, index=IvfPq(num_sub_vectors=7))
    with pytest.raises(EvaluationError, match=r"LanceDB cannot build the index IvfPq\(.*num_sub_vectors=7"):
        engine.searcher("vector_indexed").search(["1"], k=3)


def test_no_query_and_no_find_lose_nothing() -> None:
    engine = LanceEngine({"a": "red apples"}, HashEmbedder(), index="IVF_FLAT")
    assert engine.index_recall([], k=3) == 1.0
    assert engine.index_recall([""], k=3) == 1.0


def test_compare_tells_what_the_index_loses_with_each_model() -> None:
    found = embedtune.compare(
        HashEmbedder(64),
        HashEmbedder(8),
        tiny_dataset(8),
        query_types=("vector", "vector_indexed"),
        engine=lancedb_engine(index="IVF_FLAT"),
    )
    assert found.settings["index_recall"] == {"k": 5, "base": 1.0, "tuned": 1.0}
    assert found.settings["engine_options"] == {
        "index": "IVF_FLAT",
        "nprobes": None,
        "refine_factor": None,
        "fusion": None,
    }
    assert {row.query_type for row in found.rows} == {"vector", "vector_indexed"}
