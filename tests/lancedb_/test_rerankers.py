"""LanceDB's rerankers as rerankers over any search: their own scores, and which of them cannot score."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import FTS
from lancedb.rerankers import (
    CohereReranker,
    CrossEncoderReranker,
    JinaReranker,
    LinearCombinationReranker,
    MRRReranker,
    OpenaiReranker,
    RRFReranker,
)
from lancedb.rerankers import Reranker as LanceDBReranker
from sentence_transformers import CrossEncoder

from embedtune import EvaluationError, ModelNotFoundError, Reranker, compare
from embedtune.plugins import plugin_manager
from embedtune.resolve import as_reranker
from embedtune.testing import HashEmbedder, RerankerContract, WordReranker, tiny_dataset
from embedtune_lancedb import LanceEngine, LanceReranker, TunedReranker, lancedb_engine
from small_models import first_layer_of, trained_cross_encoder

QUERIES = ["what is red?", "what drifts?"]


class WordCount(LanceDBReranker):
    """A reranker as LanceDB's documentation writes one; notes its calls."""

    def __init__(self, column: str = "text", **options: Any) -> None:
        super().__init__(**options)
        self.column = column
        self.calls: list[tuple[str, list[str]]] = []

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        raise AssertionError("nothing here is hybrid")

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        texts = fts_results[self.column].to_pylist()
        self.calls.append((query, texts))
        scores = WordReranker().score([(query, text) for text in texts])
        scored = fts_results.append_column("_relevance_score", pa.array(scores))
        if self.score == "relevance":
            scored = scored.drop_columns(["_score"])
        return scored.sort_by([("_relevance_score", "descending")])


class VectorOnly(LanceDBReranker):
    """Reranks vector search alone."""

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        raise AssertionError("nothing here is hybrid")

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        lengths = pa.array([float(len(text)) for text in vector_results["text"].to_pylist()])
        return vector_results.drop_columns(["_distance"]).append_column("_relevance_score", lengths)


@pytest.fixture(scope="session")
def cross_encoder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return trained_cross_encoder(first_layer_of(minilm, folder / "small"), folder / "cross", tiny_dataset())


class TestLanceReranker(RerankerContract):
    def make(self) -> Reranker:
        return as_reranker(WordCount())


class TestCrossEncoderOfLanceDB(RerankerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, cross_encoder: Path) -> None:
        self.folder = cross_encoder

    def make(self) -> Reranker:
        return as_reranker(CrossEncoderReranker(str(self.folder), device="cpu", trust_remote_code=False))


# Scores


@pytest.mark.parametrize("options", [{}, {"column": "content"}, {"return_score": "all"}])
def test_scores_come_back_in_the_order_of_the_pairs(options: dict[str, Any]) -> None:
    """LanceDB sorts by score."""
    pairs = [("red apples", "blue"), ("red apples", "apples"), ("red apples", "red apples"), ("sky", "the sky")]
    scores = as_reranker(WordCount(**options)).score(pairs)
    np.testing.assert_array_equal(scores, WordReranker().score(pairs))


def test_one_query_is_one_call_with_each_text_once() -> None:
    reranker = WordCount()
    as_reranker(reranker).score([("q", "a"), ("r", "a"), ("q", "b"), ("q", "a")])
    assert reranker.calls == [("q", ["a", "b"]), ("r", ["a"])]


def test_a_reranker_of_vector_search_alone_scores_too() -> None:
    np.testing.assert_array_equal(as_reranker(VectorOnly()).score([("q", "abc"), ("q", "a")]), [3.0, 1.0])


def test_scores_are_those_that_lancedb_sorts_by(cross_encoder: Path) -> None:
    """The same model on the same rows, through LanceDB's own query and through ours."""
    corpus = tiny_dataset().corpus
    reranker = CrossEncoderReranker(str(cross_encoder), device="cpu", trust_remote_code=False)
    engine = LanceEngine(corpus, HashEmbedder())
    engine.searcher("fts")
    query = "what do drums cost?"
    theirs = engine._table.search(query, query_type="fts").rerank(reranker).limit(4).to_arrow()
    ours = as_reranker(reranker).score([(query, corpus[chunk]) for chunk in theirs["id"].to_pylist()])
    np.testing.assert_allclose(ours, theirs["_relevance_score"].to_numpy(), atol=1e-5)


def test_compare_reranks_over_lancedb(cross_encoder: Path) -> None:
    types = ("vector", "fts", "hybrid", "reranked_vector", "reranked_fts", "reranked_hybrid")
    reranker = CrossEncoderReranker(str(cross_encoder), device="cpu", trust_remote_code=False)
    found = compare(HashEmbedder(2), HashEmbedder(3), tiny_dataset(), types, top_k=1, reranker=reranker)
    assert set(found.evaluations) == set(types)
    assert found.row("reranked_vector", "hit_rate", 1).base == 1.0 > found.row("vector", "hit_rate", 1).base
    assert found.settings["reranker"]["name"] == "lancedb.rerankers.cross_encoder.CrossEncoderReranker"


# Fingerprints


def test_a_cross_encoder_is_known_by_its_weights(cross_encoder: Path) -> None:
    one, same = (as_reranker(CrossEncoderReranker(str(cross_encoder), device="cpu")).fingerprint for _ in range(2))
    plain = plugin_manager().as_reranker(CrossEncoder(str(cross_encoder), device="cpu"))
    assert plain is not None
    assert one == same != plain.fingerprint, "LanceDB's scores are the sigmoid's"


def test_a_hosted_reranker_is_known_by_its_settings_and_never_by_its_key() -> None:
    one, same, other = (
        as_reranker(CohereReranker(model_name=name, api_key=key)).fingerprint
        for name, key in (("a", "secret"), ("a", "changed"), ("b", "secret"))
    )
    assert one is not None
    assert one == same != other


def test_a_reranker_of_ones_own_is_not_known() -> None:
    assert as_reranker(WordCount()).fingerprint is None


# Refused


@pytest.mark.parametrize("fusion", [RRFReranker, LinearCombinationReranker, MRRReranker])
def test_a_fusion_of_two_rankings_cannot_score(fusion: type[LanceDBReranker]) -> None:
    name = fusion.__name__
    with pytest.raises(
        EvaluationError, match=rf"{name} makes one ranking of two .*lancedb_engine\(fusion={name}\(\)\)"
    ):
        as_reranker(fusion())


def test_a_reranker_that_drops_texts_is_refused_before_it_is_asked() -> None:
    with pytest.raises(EvaluationError, match=r"CohereReranker\(top_n=5\) gives no score to what is not"):
        as_reranker(CohereReranker(top_n=5, api_key="none"))


def test_a_reranker_that_loses_rows_is_refused() -> None:
    class Forgetful(WordCount):
        def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
            return super().rerank_fts(query, fts_results).slice(0, 1)

    with pytest.raises(EvaluationError, match="Forgetful returned 1 scores for the 2 texts of one query"):
        as_reranker(Forgetful()).score([("q", "a"), ("q", "b")])


def test_a_reranker_without_scores_is_refused() -> None:
    class Silent(WordCount):
        def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
            return fts_results

    with pytest.raises(EvaluationError, match=r"Silent.rerank_fts returned the columns .*adds '_relevance_score'"):
        as_reranker(Silent()).score([("q", "a")])


def test_a_reranker_that_moves_texts_and_leaves_ids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """LanceDB's OpenaiReranker writes the texts in the LLM's order into rows that stay where they were."""
    answer = '{"documents": [{"content": "b", "relevance_score": 0.9}, {"content": "a", "relevance_score": 0.1}]}'

    class Client:
        """What the openai client is, as far as the reranker looks."""

        class chat:
            class completions:
                @staticmethod
                def create(**request: Any) -> Any:
                    message = type("Message", (), {"content": answer})
                    return type("Completion", (), {"choices": [type("Choice", (), {"message": message})]})

    reranker = OpenaiReranker(api_key="none")
    monkeypatch.setitem(vars(reranker), "_client", Client)
    with pytest.raises(EvaluationError, match="OpenaiReranker returned rows whose texts are not those of their ids"):
        as_reranker(reranker).score([("q", "a"), ("q", "b")])


def test_strangers_are_not_claimed() -> None:
    assert plugin_manager().claim("embedtune_as_reranker", object()) is None
    assert isinstance(plugin_manager().claim("embedtune_as_reranker", WordCount()), LanceReranker)
    assert isinstance(as_reranker(JinaReranker(api_key="none")), LanceReranker)


# Fusions of hybrid search


def test_linear_combination_ranks_the_best_first() -> None:
    """Until LanceDB 0.33 it ranked the worst first."""
    dataset = tiny_dataset(8)
    queries: Sequence[str] = list(dataset.queries.values())
    engine = LanceEngine(dataset.corpus, HashEmbedder(), fusion=LinearCombinationReranker())
    for ids, relevant in zip(engine.searcher("hybrid").search(queries, 8), dataset.relevant_docs.values(), strict=True):
        assert relevant[0] in ids[:3]


def test_compare_takes_a_fusion_through_the_engine() -> None:
    options: dict[str, Any] = {"query_types": ("hybrid",), "top_k": 1}
    fused = compare(
        HashEmbedder(2), HashEmbedder(3), tiny_dataset(8), engine=lancedb_engine(fusion=MRRReranker()), **options
    )
    plain = compare(HashEmbedder(2), HashEmbedder(3), tiny_dataset(8), engine="lancedb", **options)
    assert fused.settings["engine"] == "lancedb"
    rankings = [[row["retrieved"] for row in found.evaluations["hybrid"][0]] for found in (fused, plain)]
    assert rankings[0] != rankings[1]


# A tuned reranker in LanceDB's own searches


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """The tiny corpus with vectors by words, and a full-text index."""
    corpus = tiny_dataset().corpus
    vectors = HashEmbedder().embed_documents(list(corpus.values()))
    rows = [{"id": i, "text": t, "vector": v} for (i, t), v in zip(corpus.items(), vectors.tolist(), strict=True)]
    table = lancedb.connect(tmp_path).create_table("chunks", rows)
    table.create_index("text", config=FTS())
    return table


def searches(table: Any, query: str) -> dict[str, Any]:
    """The three searches of one query, of all chunks."""
    vector = HashEmbedder().embed_queries([query])[0]
    return {
        "vector": table.search(vector),
        "fts": table.search(query, query_type="fts"),
        "hybrid": table.search(query_type="hybrid").vector(vector).text(query),
    }


@pytest.mark.parametrize("query_type", ["vector", "fts", "hybrid"])
def test_a_tuned_reranker_ranks_as_lancedbs_own_does(table: Any, cross_encoder: Path, query_type: str) -> None:
    """LanceDB's scores are the sigmoid's of ours."""
    query = next(iter(tiny_dataset().queries.values()))
    own = CrossEncoderReranker(str(cross_encoder), device="cpu", trust_remote_code=False)
    tuned = TunedReranker(cross_encoder, options={"device": "cpu"})
    given = {"query_string": query} if query_type == "vector" else {}
    theirs, ours = (
        searches(table, query)[query_type].rerank(reranker, **given).limit(4).to_arrow() for reranker in (own, tuned)
    )
    assert ours["id"].to_pylist() == theirs["id"].to_pylist()
    logits = ours["_relevance_score"].to_numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), theirs["_relevance_score"].to_numpy(), atol=1e-5)
    assert {"_distance", "_score"}.isdisjoint(ours.column_names)


def test_a_tuned_reranker_finds_the_answer_first(table: Any, cross_encoder: Path) -> None:
    dataset, reranker = tiny_dataset(), TunedReranker(str(cross_encoder))
    for query, relevant in dataset.relevant_docs.items():
        text = dataset.queries[query]
        found = searches(table, text)["hybrid"].rerank(reranker).limit(4).to_list()
        assert found[0]["id"] == relevant[0]


def test_what_the_searches_said_is_kept_where_asked_for(table: Any) -> None:
    reranker = TunedReranker(WordReranker(), return_score="all")
    found = searches(table, "apples")["hybrid"].rerank(reranker).limit(4).to_arrow()
    assert {"_distance", "_score", "_relevance_score"} <= set(found.column_names)


def test_a_search_that_finds_nothing_is_no_error(table: Any) -> None:
    found = searches(table, "zzzz")["fts"].rerank(TunedReranker(WordReranker())).limit(4).to_arrow()
    assert len(found) == 0


def test_a_column_that_is_not_there_is_told(table: Any) -> None:
    with pytest.raises(EvaluationError, match=r"TunedReranker reads the column 'body', which is not among \['id'"):
        searches(table, "apples")["fts"].rerank(TunedReranker(WordReranker(), column="body")).limit(4).to_arrow()


def test_a_folder_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './none'"):
        TunedReranker("./none")


def test_embedtune_takes_a_tuned_reranker_back() -> None:
    own = WordReranker()
    assert as_reranker(TunedReranker(own)) is own
