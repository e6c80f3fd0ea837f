"""`ExactSearch` and `EmbedOnce`: what is nearest, what ranks, and what is embedded."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from embedtune import EmbeddingError, ExactSearch
from embedtune.protocols import Similarity, Vectors
from embedtune.search import EmbedOnce, Ranking, checked_vectors, normalised
from embedtune.testing import EmbedderContract, HashEmbedder, SearchContract


class TestEmbedOnce(EmbedderContract):
    def make(self) -> EmbedOnce:
        return EmbedOnce(HashEmbedder())


class TestExactSearch(SearchContract):
    def make(self, corpus: Mapping[str, str]) -> ExactSearch:
        return ExactSearch(corpus, HashEmbedder())


class VectorTable:
    """Knows the vectors of some texts, and counts how many chunks it was given."""

    fingerprint = None

    def __init__(self, vectors: Mapping[str, Sequence[float]], similarity: Similarity = "dot") -> None:
        self.vectors, self.similarity = vectors, similarity
        self.n_documents = 0

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.n_documents += len(texts)
        return self.embed_queries(texts)


def test_vectors_of_no_texts_keep_their_width() -> None:
    assert checked_vectors(np.zeros((0, 7)), 0, "x").shape == (0, 7)
    assert checked_vectors([], 0, "x").shape == (0, 0)


def test_dot_similarity_is_not_normalised_and_cosine_is() -> None:
    vectors = {"long": [10.0, 10.0], "near": [1.0, 0.0], "q": [1.0, 0.0]}

    class Plane(HashEmbedder):
        similarity = "cosine"

        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.array([vectors[text] for text in texts], dtype=np.float32)

    class DotPlane(Plane):
        similarity = "dot"

    corpus = {"long": "long", "near": "near"}
    assert ExactSearch(corpus, Plane()).search(["q"], k=1) == [["near"]]
    assert ExactSearch(corpus, DotPlane()).search(["q"], k=1) == [["long"]]


def test_equal_scores_keep_the_order_of_the_corpus() -> None:
    class Flat(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.ones((len(texts), 2), dtype=np.float32)

    corpus = {f"c{i}": f"text {i}" for i in range(50)}
    assert ExactSearch(corpus, Flat()).search(["q"], k=5) == [["c0", "c1", "c2", "c3", "c4"]]


@pytest.mark.parametrize("k", [1, 7, 40])
def test_exact_search_equals_sorting_all_scores(k: int) -> None:
    rng = np.random.default_rng(0)
    table = {f"t{i}": rng.standard_normal(4).round(1) for i in range(40)}

    class Table40(HashEmbedder):
        similarity = "dot"

        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.array([table[text] for text in texts], dtype=np.float32)

    corpus = {f"c{text}": text for text in table}
    scores = {chunk: float(np.float32(table["t3"]) @ np.float32(table[text])) for chunk, text in corpus.items()}
    expected = sorted(scores, key=lambda chunk: -scores[chunk])[:k]
    assert [round(scores[c], 4) for c in ExactSearch(corpus, Table40()).search(["t3"], k)[0]] == [
        round(scores[c], 4) for c in expected
    ]


def test_an_empty_corpus_or_no_depth_finds_nothing() -> None:
    assert ExactSearch({}, HashEmbedder()).search(["q"], k=5) == [[]]
    assert ExactSearch({"a": "text"}, HashEmbedder()).search(["q"], k=0) == [[]]


def test_each_text_is_embedded_once() -> None:
    asked: list[str] = []

    class Counting(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            asked.extend(texts)
            return super().embed_documents(texts)

    once = EmbedOnce(Counting())
    first = once.embed_documents(["a", "b", "a"])
    second = once.embed_documents(["b", "c"])
    assert asked == ["a", "b", "c"]
    np.testing.assert_array_equal(first[1], second[0])
    np.testing.assert_array_equal(first[0], first[2])


def test_one_call_for_all_texts_copies_no_vectors() -> None:
    """The vectors of a large corpus are most of an evaluation's memory."""
    once = EmbedOnce(HashEmbedder())
    assert np.shares_memory(once.embed_documents(["a", "b"]), once._documents["a"])


@pytest.mark.parametrize("row", [[3.0, 4.0], [0.0, 0.0], [-1.0, 0.0]])
def test_normalised_rows_have_length_one_or_are_zeros(row: list[float]) -> None:
    length = float(np.hypot(*row)) or 1.0
    np.testing.assert_allclose(normalised(np.array([row], dtype=np.float32)), [[x / length for x in row]], rtol=1e-6)


# Ranks

NEAR = {"q": [1.0, 0.0], "best": [4.0, 0.0], "good": [3.0, 0.0], "also good": [3.0, 1.0], "bad": [-1.0, 0.0]}
CORPUS = {"b": "bad", "g1": "good", "g2": "also good", "x": "best"}


def test_a_rank_counts_higher_scores_and_earlier_equal_ones() -> None:
    ((found,),) = ExactSearch(CORPUS, VectorTable(NEAR)).rank(["q"], [["x", "g1", "g2", "b"]])
    assert found == Ranking(ranks=[1, 2, 3, 4], retrieved=[])


def test_ranks_are_the_places_in_what_search_gives() -> None:
    rng = np.random.default_rng(0)
    table = {f"t{i}": rng.integers(-2, 3, 4).tolist() for i in range(60)}
    search = ExactSearch({f"c{i}": f"t{i}" for i in range(60)}, VectorTable(table))
    queries = list(table)
    for ranking, (found,) in zip(
        search.search(queries, 60), search.rank(queries, [["c7", "c30"]] * 60, 5), strict=True
    ):
        assert [ranking.index("c7") + 1, ranking.index("c30") + 1] == found.ranks
        assert ranking[:5] == found.retrieved


def test_the_rank_of_a_copy_is_that_of_the_first_chunk_with_its_text() -> None:
    corpus = {"x": "best", "g1": "good", "g2": "good", "b": "bad"}
    ((found,),) = ExactSearch(corpus, VectorTable(NEAR)).rank(["q"], [["g2", "b"]], k=4)
    assert found == Ranking(ranks=[2, 3], retrieved=["x", "g1", "b"])


def test_a_chunk_that_is_not_in_the_corpus_has_no_rank() -> None:
    ((found,),) = ExactSearch(CORPUS, VectorTable(NEAR)).rank(["q"], [["ghost", "x"]])
    assert found.ranks == [np.inf, 1]


def test_ranks_by_fewer_dimensions_are_those_of_cut_vectors() -> None:
    rng = np.random.default_rng(0)
    table = {f"t{i}": rng.standard_normal(8) for i in range(60)}
    corpus = {f"c{i}": f"t{i}" for i in range(60)}
    wanted = [["c1", "c2"]] * 60
    found = ExactSearch(corpus, VectorTable(table, "cosine")).rank(list(table), wanted, 3, dims=[2, 5, 8])
    for place, dim in enumerate((2, 5, 8)):
        cut = VectorTable({text: vector[:dim] for text, vector in table.items()}, "cosine")
        expected = ExactSearch(corpus, cut).rank(list(table), wanted, 3)
        assert [by_dim[place] for by_dim in found] == [ranking for (ranking,) in expected]


def test_a_hundred_thousand_chunks_with_one_text_are_embedded_and_ranked_as_one() -> None:
    corpus = {**{f"c{i}": "good" for i in range(100_000)}, "x": "best"}
    table = VectorTable(NEAR)
    ((found,),) = ExactSearch(corpus, table).rank(["q"], [["c99999", "x"]], k=5)
    assert found == Ranking(ranks=[2, 1], retrieved=["x", "c0"])
    assert table.n_documents == 2


def test_a_hundred_thousand_texts_with_one_vector_rank_in_the_order_of_the_corpus() -> None:
    """Of a model that gives one vector to all, no chunk may stand first by the noise of a last digit."""

    class Flat(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.repeat(super().embed_documents(["flat"]), len(texts), axis=0)

    search = ExactSearch({f"c{i}": f"text {i}" for i in range(100_000)}, Flat(100))
    ((found,),) = search.rank(["q"], [["c0", "c99999", "c500"]], k=2)
    assert found == Ranking(ranks=[1, 100_000, 501], retrieved=["c0", "c1"])


def test_vectors_whose_products_overflow_are_refused() -> None:
    """A product would be infinity or NaN, and no chunk scores higher than NaN: its rank would be 1."""
    search = ExactSearch({"a": "far"}, VectorTable({"far": [1e30, -1e30]}))
    with pytest.raises(EmbeddingError, match="'VectorTable' returned vectors whose products are no float32"):
        search.search(["far"], k=1)
