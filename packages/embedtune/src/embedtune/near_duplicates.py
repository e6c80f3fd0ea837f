"""Chunks that are nearly the same text, found by MinHash without comparing all pairs.

Shingles are runs of five characters of the folded text, so it works in languages without spaces. Signatures
are MinHash (Broder 1997), candidates come from banding, and each candidate is checked by its exact Jaccard
similarity.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embedtune.grouping import UnionFind
from embedtune.texts import fold

__all__ = ["near_duplicate_groups", "shared_runs"]

_SHINGLE = 5
_PERMUTATIONS = 64
_BANDS = 16
_LONGEST = 20_000
_Hashes = npt.NDArray[np.uint64]


def near_duplicate_groups(texts: Mapping[str, str], threshold: float = 0.8) -> list[list[str]]:
    """Groups of ids whose folded texts are equal or share ``threshold`` of their shingles.

    Args:
        texts: Text by id. Of a text only the first 20,000 characters are compared.
        threshold: Jaccard similarity of the shingle sets, in (0, 1].

    Returns:
        Groups of two and more ids, in the order of ``texts``.
    """
    ids_by_text: dict[str, list[str]] = {}
    for identifier, text in texts.items():
        ids_by_text.setdefault(fold(text)[:_LONGEST], []).append(identifier)
    unique = list(ids_by_text)
    union = UnionFind(len(unique))
    shingles = [_shingles(text) for text in unique]
    for candidates in _buckets(shingles):
        first = candidates[0]
        for other in candidates[1:]:
            if union.find(first) != union.find(other) and _jaccard(shingles[first], shingles[other]) >= threshold:
                union.join(first, other)
    groups = ([i for member in group for i in ids_by_text[unique[member]]] for group in union.groups())
    return [group for group in groups if len(group) > 1]


def shared_runs(one: str, other: str) -> float:
    """Jaccard similarity of the runs of five characters of two texts, in [0, 1]; of texts that are folded already.

    >>> shared_runs("a long text", "a long text")
    1.0
    """
    return _jaccard(_shingles(one), _shingles(other))


def _shingles(text: str) -> _Hashes:
    """Distinct hashes of all runs of five characters; of a shorter text, of the whole."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    n_runs = max(len(codes) - _SHINGLE + 1, 1)
    hashes = np.zeros(n_runs, dtype=np.uint64)
    for offset in range(min(_SHINGLE, len(codes))):
        hashes = hashes * np.uint64(1_000_003) + codes[offset : offset + n_runs]
    return np.unique(_mix(hashes))


def _mix(hashes: _Hashes) -> _Hashes:
    # The finaliser of SplitMix64 (Steele, Lea, Flood 2014): neighbours must not stay neighbours.
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _buckets(shingles: list[_Hashes]) -> list[list[int]]:
    """Indices of texts whose signatures agree in a whole band."""
    rng = np.random.default_rng(0)
    factors = rng.integers(1, 2**63, _PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    signatures = np.empty((len(shingles), _PERMUTATIONS), dtype=np.uint64)
    for row, hashes in enumerate(shingles):
        signatures[row] = (hashes[:, None] * factors[None, :]).min(axis=0)
    buckets: dict[tuple[int, bytes], list[int]] = {}
    for band, columns in enumerate(np.split(signatures, _BANDS, axis=1)):
        for row, key in enumerate(np.ascontiguousarray(columns)):
            buckets.setdefault((band, key.tobytes()), []).append(row)
    return [bucket for bucket in buckets.values() if len(bucket) > 1]


def _jaccard(a: _Hashes, b: _Hashes) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
