"""Scores of all queries with all chunks, some whole rows at a time: the matrix of all of them is never held."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.protocols import Similarity, Vectors

__all__ = ["Prefix", "lengths", "score_blocks"]

BLOCK_SCORES = 33_554_432
"""Scores held at once: 128 MiB of float32. With half of it a product with 100,000 chunks takes a tenth longer."""

_WORTH_A_GPU = 10**11
"""Multiplications from which the way to a GPU pays: one to three seconds on one core."""

_Columns = npt.NDArray[np.intp]
_Multiply = Callable[[Vectors, slice, Vectors], object]


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first numbers of every chunk's vector, as a model of its own."""

    dim: int
    """How many."""
    scale: Vectors | None
    """What makes a cosine of a product, up to the query's length, which orders nothing: shape (n_chunks,)."""
    repeats: _Columns
    """Chunks with the same vector as an earlier one."""
    originals: _Columns
    """Those earlier ones."""

    @classmethod
    def of(cls, documents: Vectors, dim: int, similarity: Similarity) -> "Prefix":
        """The first ``dim`` numbers of documents that are of length 1 already if they are compared by cosine."""
        cut = documents[:, :dim]
        is_cosine_of_part = similarity == "cosine" and dim < documents.shape[1]
        return cls(dim, np.reciprocal(lengths(cut)) if is_cosine_of_part else None, *_repeated_rows(cut))


def lengths(vectors: Vectors) -> Vectors:
    """Euclidean length of each row, shape (n,); the smallest number above 0 for a row of zeros."""
    # numpy.linalg.norm would make two copies of all vectors.
    squares: Vectors = np.einsum("ij,ij->i", vectors, vectors)
    return np.maximum(np.sqrt(squares), np.finfo(np.float32).tiny)


def score_blocks(
    queries: Vectors, documents: Vectors, prefixes: Sequence[Prefix]
) -> Iterator[tuple[int, int, Vectors]]:
    """The products of every query with every chunk, by each prefix, for the work of the whole vectors'.

    Chunks with equal vectors have equal products, to the last bit. Above some size they are taken on a CUDA
    device, where the program has loaded PyTorch and the chunks fit.

    Args:
        queries: Shape (n_queries, d).
        documents: Shape (n_chunks, d); of length 1 each if they are compared by cosine.
        prefixes: In rising order of ``dim``.

    Yields:
        The index of a block's first query, the index of a prefix, and products of shape (rows, n_chunks), which are
        overwritten in the next turn.
    """
    multiply = _multiplier(len(queries), documents)
    n_arrays = min(len(prefixes), 2)
    # Few rows at once cost several times more each: of many chunks, scores may take a quarter of the vectors' memory.
    rows = max(BLOCK_SCORES // max(len(documents), 1), documents.shape[1] // 4, n_arrays) // n_arrays
    # The second is never touched, and so takes no memory, if there is one prefix.
    sums, spare = (np.empty((min(rows, len(queries)), len(documents)), dtype=np.float32) for _ in range(2))
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows]
        scores, part = sums[: len(block)], spare[: len(block)]
        done = 0
        for place, prefix in enumerate(prefixes):
            multiply(block, slice(done, prefix.dim), part if done else scores)
            if done:
                scores += part
            _equalise(scores, prefix)
            done = prefix.dim
            yield start, place, scores


def _equalise(scores: Vectors, prefix: Prefix) -> None:
    # A BLAS computes the last few columns by another kernel: of equal vectors, some score an ulp more than others.
    if len(prefix.repeats):
        for row in scores:
            row[prefix.repeats] = row[prefix.originals]


def _repeated_rows(vectors: Vectors) -> tuple[_Columns, _Columns]:
    """Rows that repeat an earlier one, and those earlier ones."""
    pairs: list[tuple[int, int]] = []
    if vectors.size:
        _, inverse, counts = np.unique(vectors[:, 0], return_inverse=True, return_counts=True)
        first: dict[bytes, int] = {}
        for row in np.flatnonzero(counts[inverse] > 1).tolist():  # few, unless the model is degenerate
            original = first.setdefault(hashlib.blake2b(vectors[row].tobytes(), digest_size=16).digest(), row)
            if original != row:
                pairs.append((row, original))
    repeats, originals = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return repeats, originals


def _multiplier(n_queries: int, documents: Vectors) -> _Multiply:
    """What writes the products of some queries with all documents, over a slice of the dimensions, to an array."""
    device = _device(documents) if n_queries * documents.size >= _WORTH_A_GPU else None
    if device is None:
        return lambda block, part, out: np.matmul(block[:, part], documents[:, part].T, out=out)
    torch = sys.modules["torch"]
    there = torch.tensor(documents, device=device)

    def multiply(block: Vectors, part: slice, out: Vectors) -> None:
        product = torch.tensor(block[:, part], device=device) @ there[:, part].T
        torch.from_numpy(out).copy_(product)

    return multiply


def _device(documents: Vectors) -> str | None:
    """A CUDA device with room for the documents, if PyTorch is loaded: core imports no framework."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    # TF32 keeps ten bits: it would make ties where there are none.
    if torch.get_float32_matmul_precision() != "highest":
        return None
    free, _ = torch.cuda.mem_get_info()
    return "cuda" if free > documents.nbytes + 2 * 4 * BLOCK_SCORES else None
