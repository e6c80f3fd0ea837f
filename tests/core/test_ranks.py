"""Ranks from blocks of products: equal to sorting every row, whatever the block, the ties and the dimensions."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedtune import ranks, scores
from embedtune.protocols import Similarity, Vectors
from embedtune.ranks import best_columns, column_ranks, rank_columns
from embedtune.scores import Prefix, score_blocks


def ranks_by_sorting(row: Vectors) -> npt.NDArray[np.intp]:
    """The rank of every column: higher scores first, of equal ones the lower column."""
    places = np.empty(len(row), dtype=np.intp)
    places[np.argsort(-row, kind="stable")] = np.arange(1, len(row) + 1)
    return places


def rows_of_scores(seed: int, n: int = 400) -> list[Vectors]:
    """Rows without ties, with many, with nothing else, and with infinities and both zeros."""
    rng = np.random.default_rng(seed)
    smooth = rng.standard_normal(n).astype(np.float32)
    odd = rng.choice(np.array([-np.inf, -0.0, 0.0, 1.0, np.inf], dtype=np.float32), n)
    return [smooth, smooth.round(1), rng.integers(-2, 3, n).astype(np.float32), np.ones(n, dtype=np.float32), odd]


def integers(seed: int, *shape: int) -> Vectors:
    """Small whole numbers: their products are exact, and tie often."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def all_scores(
    queries: Vectors, documents: Vectors, dims: list[int], similarity: Similarity = "dot"
) -> dict[int, list[Vectors]]:
    """What `score_blocks` yields, the rows of all blocks together."""
    prefixes = [Prefix.of(documents, dim, similarity) for dim in dims]
    rows: dict[int, list[Vectors]] = {dim: [] for dim in dims}
    for start, place, products in score_blocks(queries, documents, prefixes):
        assert start == len(rows[dims[place]])
        rows[dims[place]].extend(products.copy())
    return rows


# One row


@pytest.mark.parametrize("n_columns", [1, 3, 40], ids=["one", "some", "so many that the row is sorted"])
@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_those_of_a_stable_sort(seed: int, n_columns: int) -> None:
    columns = np.random.default_rng(seed).choice(400, n_columns, replace=False)
    for row in rows_of_scores(seed):
        np.testing.assert_array_equal(column_ranks(row, columns), ranks_by_sorting(row)[columns])


def test_no_columns_have_no_ranks() -> None:
    assert column_ranks(np.ones(3, dtype=np.float32), np.array([], dtype=np.intp)).tolist() == []


@pytest.mark.parametrize("k", [0, 1, 5, 399, 400, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_best_columns_are_the_first_of_a_stable_sort(seed: int, k: int) -> None:
    for row in rows_of_scores(seed):
        np.testing.assert_array_equal(best_columns(row, k), np.argsort(-row, kind="stable")[:k])


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1281, 5000])
def test_best_columns_hold_where_the_row_does_not_divide_into_stripes(n: int) -> None:
    for row in rows_of_scores(n, n):
        np.testing.assert_array_equal(best_columns(row, 5), np.argsort(-row, kind="stable")[:5])


# All rows


@pytest.mark.parametrize("rows", [1, 2, 7, 30, 1000])
def test_ranks_do_not_depend_on_the_block(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = integers(0, 30, 3), integers(1, 50, 3)
    monkeypatch.setattr(scores, "BLOCK_SCORES", rows * 50)
    columns = [np.array([i, i + 7]) for i in range(30)]
    found = rank_columns(queries, documents, [Prefix.of(documents, 3, "dot")], columns, 4)
    expected = [ranks_by_sorting(row) for row in queries @ documents.T]
    assert [places.ranks.tolist() for (places,) in found] == [
        e[c].tolist() for e, c in zip(expected, columns, strict=True)
    ]
    assert [places.best.tolist() for (places,) in found] == [np.argsort(e)[:4].tolist() for e in expected]


def test_threads_keep_the_order_of_the_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_THREADS", 4)
    monkeypatch.setattr(ranks, "_SCORES_WORTH_A_THREAD", 100)
    queries, documents = integers(0, 41, 3), integers(1, 50, 3)
    found = rank_columns(queries, documents, [Prefix.of(documents, 3, "dot")], [np.array([5])] * 41, 0)
    expected = [ranks_by_sorting(row)[5] for row in queries @ documents.T]
    assert [places.ranks.item() for (places,) in found] == expected


def test_no_query_has_no_answer() -> None:
    documents = integers(0, 5, 3)
    assert rank_columns(np.zeros((0, 3), np.float32), documents, [Prefix.of(documents, 3, "dot")], [], 5) == []


def test_a_block_is_a_quarter_of_many_vectors_where_that_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of one row with all chunks costs several times what it does among many."""
    monkeypatch.setattr(scores, "BLOCK_SCORES", 1)
    documents = integers(0, 20, 16)
    blocks = [len(products) for _, _, products in score_blocks(documents, documents, [Prefix.of(documents, 16, "dot")])]
    assert blocks == [4] * 5


@pytest.mark.parametrize("n_queries", [1, 2, 3, 31])
@pytest.mark.parametrize("n_chunks", [5, 17, 100, 4099])
@pytest.mark.parametrize("dim", [64, 384])
def test_chunks_with_equal_vectors_have_equal_scores(n_queries: int, n_chunks: int, dim: int) -> None:
    """A BLAS takes another kernel for the last columns: a model that answers all with one vector would find some."""
    rng = np.random.default_rng(0)
    documents = np.repeat(rng.standard_normal((1, dim)).astype(np.float32), n_chunks, axis=0)
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    for row in all_scores(queries, documents, [dim])[dim]:
        assert len(np.unique(row)) == 1


def test_repeated_vectors_are_found_among_others() -> None:
    vectors = np.array([[1, 2], [1, 3], [4, 5], [1, 2], [1, 3], [1, 2]], dtype=np.float32)
    prefix = Prefix.of(vectors, 2, "dot")
    assert list(zip(prefix.repeats.tolist(), prefix.originals.tolist(), strict=True)) == [(3, 0), (4, 1), (5, 0)]


# Fewer dimensions


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_products_of_prefixes_are_those_of_cut_vectors(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "BLOCK_SCORES", rows * 50 * 2)
    queries, documents = integers(0, 30, 16), integers(1, 50, 16)
    for dim, found in all_scores(queries, documents, [1, 4, 9, 16]).items():
        np.testing.assert_array_equal(found, queries[:, :dim] @ documents[:, :dim].T)


def test_cosines_of_prefixes_order_as_those_of_cut_and_normalised_vectors() -> None:
    rng = np.random.default_rng(0)
    queries, documents = (rng.standard_normal((n, 16)).astype(np.float32) for n in (30, 50))
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    prefixes = [Prefix.of(documents, dim, "cosine") for dim in (3, 8, 16)]
    found = rank_columns(queries, documents, prefixes, [np.arange(10)] * 30, 0)
    for place, dim in enumerate((3, 8, 16)):
        cut = documents[:, :dim].astype(np.float64)
        cosines = queries[:, :dim] @ (cut / np.linalg.norm(cut, axis=1, keepdims=True)).T
        for row, places in zip(cosines, found, strict=True):
            assert places[place].ranks.tolist() == ranks_by_sorting(row)[:10].tolist()


def test_a_prefix_of_zeros_scores_nothing() -> None:
    documents = np.array([[0, 0, 1], [1, 0, 0]], dtype=np.float32)
    found = rank_columns(documents[1:], documents, [Prefix.of(documents, 2, "cosine")], [np.array([0, 1])], 2)
    assert found[0][0].ranks.tolist() == [2, 1]


# On another device


def test_products_of_another_device_give_the_same_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's CPU stands for the GPU: all else is the same."""
    pytest.importorskip("torch")
    monkeypatch.setattr(scores, "_WORTH_A_GPU", 0)
    queries, documents = integers(0, 30, 16), integers(1, 50, 16)
    prefixes = [Prefix.of(documents, dim, "cosine") for dim in (4, 16)]
    columns = [np.array([i, i + 7]) for i in range(30)]
    monkeypatch.setattr(scores, "_device", lambda documents: None)
    here = rank_columns(queries, documents, prefixes, columns, 5)
    monkeypatch.setattr(scores, "_device", lambda documents: "cpu")
    there = rank_columns(queries, documents, prefixes, columns, 5)
    for one, other in zip(here, there, strict=True):
        for a, b in zip(one, other, strict=True):
            assert (a.ranks.tolist(), a.best.tolist()) == (b.ranks.tolist(), b.best.tolist())


def a_torch(*, has_cuda: bool = True, precision: str = "highest", free: int = 2**40) -> Any:
    cuda = SimpleNamespace(is_available=lambda: has_cuda, mem_get_info=lambda: (free, free))
    return SimpleNamespace(cuda=cuda, get_float32_matmul_precision=lambda: precision)


@pytest.mark.parametrize(
    ("torch", "device"),
    [
        (None, None),
        (a_torch(), "cuda"),
        (a_torch(has_cuda=False), None),
        (a_torch(precision="high"), None),
        (a_torch(free=1000), None),
    ],
    ids=["not loaded", "a GPU", "no GPU", "a precision that makes ties", "a full GPU"],
)
def test_a_gpu_is_used_where_it_can_be(torch: Any, device: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert scores._device(integers(0, 5, 3)) == device


def test_small_work_stays_off_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first use of CUDA takes seconds."""

    def never(documents: Vectors) -> str:
        raise AssertionError("asked for a GPU")

    monkeypatch.setattr(scores, "_device", never)
    documents = integers(0, 5, 3)
    assert len(all_scores(documents, documents, [3])[3]) == 5
