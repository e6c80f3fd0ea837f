"""The adapter's arithmetic: loss, gradient, truncation, pools and the ranks of candidates."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from adapter_worlds import TurnedEmbedder, words_dataset
from embedtune import QADataset, evaluate
from embedtune.adapter.candidates import candidate_values
from embedtune.adapter.choosing import Fold, Problem, fit_adapter
from embedtune.adapter.fitting import Factors, truncated
from embedtune.adapter.objective import Pool, softmax_loss
from embedtune.adapter.pooling import SAMPLED, WHOLE, ChunkVectors, nearest, pool_of, temperature_of
from embedtune.adapter.problems import embedded_problem
from embedtune.protocols import Similarity, Vectors
from embedtune.validation import plan_validation

NOTHING = np.empty(0, dtype=np.intp)


def drawn(*shape: int, seed: int = 0) -> Vectors:
    """Rows of length 1."""
    vectors = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


def rows(*found: list[int]) -> list[npt.NDArray[np.intp]]:
    """Answers."""
    return [np.array(some, dtype=np.intp) for some in found]


# Loss


def test_the_loss_is_the_cross_entropy_of_each_answer_against_all_that_do_not_answer() -> None:
    queries, chunks = drawn(2, 4), drawn(5, 4, seed=1)
    scores = queries.astype(np.float64) @ chunks.T / 0.1
    expected = []
    for line, answers in enumerate(([0], [1, 3])):
        others = np.exp(np.delete(scores[line], answers)).sum()
        expected.append(
            np.mean([-np.log(np.exp(scores[line, i]) / (np.exp(scores[line, i]) + others)) for i in answers])
        )
    pool = Pool(chunks, np.zeros(5, dtype=np.float32))
    loss, _ = softmax_loss(queries, pool, rows([0], [1, 3]), 0.1)
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_gradient_is_that_of_the_loss() -> None:
    queries, answers = drawn(3, 6), rows([0], [1, 3], [6])
    pool = Pool(drawn(7, 6, seed=1), np.array([0, 0, 0, 0, 1.5, 0, 0], dtype=np.float32))
    _, gradient = softmax_loss(queries, pool, answers, 0.3)
    step = 1e-2
    for place in np.ndindex(queries.shape):
        moved = [queries.copy(), queries.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (softmax_loss(side, pool, answers, 0.3)[0] for side in moved)
        assert gradient[place] == pytest.approx((up - down) / (2 * step), abs=2e-3)


def test_a_weight_stands_for_copies_of_a_chunk() -> None:
    queries, chunks = drawn(2, 4), drawn(3, 4, seed=1)
    weighted = Pool(chunks, np.log(np.array([1, 1, 3], dtype=np.float32)))
    copied = Pool(chunks[[0, 1, 2, 2, 2]], np.zeros(5, dtype=np.float32))
    one, other = (softmax_loss(queries, pool, rows([0], [1]), 0.1) for pool in (weighted, copied))
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)


def test_a_query_that_everything_answers_pulls_nowhere() -> None:
    pool = Pool(drawn(2, 4), np.zeros(2, dtype=np.float32))
    loss, gradient = softmax_loss(drawn(1, 4, seed=2), pool, rows([0, 1]), 0.1)
    assert loss == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


# Truncation


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_truncation_is_the_best_of_its_rank(rank: int) -> None:
    left, _, right = np.linalg.svd(np.random.default_rng(0).standard_normal((16, 16)))
    values = 2.0 ** -np.arange(16)
    matrix = np.asarray(left * values @ right, dtype=np.float32)
    factors = truncated(matrix, rank)
    assert factors.rank == rank
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    np.testing.assert_allclose(factors.up @ factors.down, best, atol=1e-4)


# Pools


def test_a_small_corpus_is_the_pool_but_for_what_is_hidden() -> None:
    chunks = ChunkVectors(drawn(6, 4), "cosine")
    answers = rows([5], [0])
    assert nearest(drawn(2, 4), chunks, answers, progress=False) is None
    pool, places = pool_of(None, chunks, answers, np.array([1, 5]), seed=0)
    np.testing.assert_array_equal(pool.vectors, chunks.rows(np.array([0, 2, 3, 4, 5])))
    assert [found.tolist() for found in places] == [[4], [0]]
    assert not pool.log_weights.any()


def test_the_nearest_of_a_large_corpus_are_those_of_exact_search() -> None:
    array = drawn(WHOLE + 5000, 8)
    chunks, queries = ChunkVectors(array, "cosine"), drawn(40, 8, seed=1)
    answers = [np.argsort(-(query @ array.T))[:2] for query in queries]
    near = nearest(queries, chunks, answers, progress=False)
    assert near is not None
    for query, found, own in zip(queries, near, answers, strict=True):
        expected = [i for i in np.argsort(-(query @ array.T))[: len(found) + 2] if i not in own]
        assert set(found) == set(expected)


def test_a_large_corpus_gives_the_nearest_the_answers_and_a_sample_for_the_rest() -> None:
    chunks = ChunkVectors(drawn(WHOLE + 9000, 8), "cosine")
    near, answers = np.array([[10, 11], [12, 10]]), rows([7], [8, 12])
    pool, places = pool_of(near, chunks, answers, np.array([11, 7]), seed=0)
    kept = [7, 8, 10, 12]
    np.testing.assert_array_equal(pool.vectors[:4], chunks.rows(np.array(kept)))
    assert [found.tolist() for found in places] == [[0], [1, 3]]
    assert len(pool.vectors) == 4 + SAMPLED
    n_others = len(chunks) - len(kept) - 1  # 11 is hidden, 7 answers
    assert np.exp(pool.log_weights[4:]).sum() == pytest.approx(n_others, rel=1e-4)
    assert not (pool.vectors == chunks.rows(np.array([11]))).all(axis=1).any()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vectors_come_in_any_type_and_length(dtype: str) -> None:
    array = (drawn(9, 4) * np.arange(9)[:, None]).astype(dtype)
    by_cosine = ChunkVectors(array, "cosine").rows(slice(0, 9))
    assert by_cosine.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(by_cosine, axis=1), [0] + [1] * 8, atol=1e-3)
    by_dot = ChunkVectors(array, "dot").rows(slice(0, 9))
    np.testing.assert_array_equal(by_dot, array.astype(np.float32))


def test_the_temperature_follows_how_far_scores_lie_apart() -> None:
    """Some embedders give all texts cosines of 0.8 and more; one fixed temperature would learn little there."""
    queries, chunks = drawn(50, 16), drawn(3000, 16, seed=1)
    apart = temperature_of(queries, ChunkVectors(chunks, "dot"))
    assert apart == pytest.approx(0.3 * np.std(queries @ chunks.T, axis=1).mean(), rel=0.05)
    assert temperature_of(queries, ChunkVectors(chunks / 10, "dot")) == pytest.approx(apart / 10, rel=1e-3)
    assert temperature_of(queries, ChunkVectors(np.ones((5, 16)), "dot")) > 0


# Candidates


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_candidates_have_the_metrics_that_a_search_with_them_has(similarity: Similarity) -> None:
    queries, array = drawn(30, 8), drawn(50, 8, seed=1) * np.linspace(1, 2, 50, dtype=np.float32)[:, None]
    change = Factors(drawn(8, 2, seed=2), drawn(2, 8, seed=3))
    answers = rows(*([i, i + 1] for i in range(30)))
    values = candidate_values(queries, [change], (0.5, 1.0), ChunkVectors(array, similarity), answers, "ndcg@10")
    for row, strength in zip(values, (0.0, 0.5, 1.0), strict=True):
        mapped = queries + np.float32(strength) * change.change(queries)
        expected = evaluate(Vectored(mapped, array, similarity), pairs(answers, len(array)), cut_offs=(10,))
        np.testing.assert_allclose(row, expected.per_query["ndcg@10"], atol=1e-9)


def test_equal_vectors_of_different_texts_rank_as_in_exact_search() -> None:
    """Long headers make texts equal to a model that cuts them; none of them may count as first."""
    array = drawn(60, 8)
    array[20:50] = array[20]
    queries, answers = array[np.arange(15, 45)].copy(), rows(*([i] for i in range(15, 45)))
    values = candidate_values(
        queries, [Factors(drawn(8, 2), drawn(2, 8))], (0.5,), ChunkVectors(array, "cosine"), answers, "ndcg@10"
    )
    expected = evaluate(Vectored(queries, array, "cosine"), pairs(answers, 60), cut_offs=(10,))
    np.testing.assert_allclose(values[0], expected.per_query["ndcg@10"], atol=1e-9)
    assert values[0].mean() < 0.6


class Vectored:
    """Gives numbered texts the rows of two arrays."""

    fingerprint = None

    def __init__(self, queries: Vectors, chunks: Vectors, similarity: Similarity) -> None:
        self._queries, self._chunks, self.similarity = queries, chunks, similarity

    def embed_queries(self, texts: list[str]) -> Vectors:
        """By number."""
        return self._queries[[int(text) for text in texts]]

    def embed_documents(self, texts: list[str]) -> Vectors:
        """By number."""
        return self._chunks[[int(text) for text in texts]]


def pairs(answers: list[npt.NDArray[np.intp]], n_chunks: int) -> QADataset:
    """Numbers as texts."""
    return QADataset(
        {f"q{i}": str(i) for i in range(len(answers))},
        {f"c{i}": str(i) for i in range(n_chunks)},
        {f"q{i}": [f"c{chunk}" for chunk in found] for i, found in enumerate(answers)},
    )


# The whole


def test_a_query_text_has_all_answers_that_it_has_under_any_id(tmp_path: Path) -> None:
    """Or one right answer would be pushed away as a negative of the other."""
    base = words_dataset(40)
    twice = QADataset(base.queries | {"again": base.queries["q0"]}, base.corpus, base.relevant_docs | {"again": ["c1"]})
    plan = plan_validation(twice, None, seed=0, folds=3)
    problem = embedded_problem(plan, TurnedEmbedder(), tmp_path, progress=False).problem
    assert len(problem.queries) == 40
    texts = list(dict.fromkeys(text for part in plan.folds for side in part for text in side.corpus.values()))
    both = {texts.index(base.corpus[chunk]) for chunk in ("c0", "c1")}
    assert both in [set(found.tolist()) for found in problem.answers]


def test_a_memory_map_of_half_precision_gives_the_adapter_of_the_array(tmp_path: Path) -> None:
    chunks, turn = drawn(WHOLE + 2000, 16), np.eye(16, dtype=np.float32) + 0.5 * drawn(16, 16, seed=1)
    picked = np.random.default_rng(2).choice(len(chunks), 150, replace=False)
    np.save(tmp_path / "chunks.npy", chunks.astype(np.float16))
    mapped = np.load(tmp_path / "chunks.npy", mmap_mode="r")
    queries = (chunks[picked] + 0.1 * drawn(150, 16, seed=3)) @ turn
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    parts = np.array_split(np.arange(150), 3)
    folds = [Fold(np.setdiff1d(np.arange(150), part), part, NOTHING) for part in parts]
    found = []
    for array in (mapped, np.asarray(mapped)):
        problem = Problem(queries, ChunkVectors(array, "cosine"), [np.array([i]) for i in picked], list(range(150)))
        found.append(fit_adapter(problem, folds))
    assert found[0].kept_base_reason is None
    assert found[0].values.mean() > found[0].base.mean()
    np.testing.assert_array_equal(found[0].factors.up, found[1].factors.up)
