"""What can be measured of an embedder from outside: whether it reads a text to its end, and whether it has prompts."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from embedtune.protocols import Embedder, Vectors

__all__ = ["movement", "prompts_of", "reads_sides_alike", "sameness", "truncated"]

_ALIKE = 1e-4
"""Distance, over length, of vectors that count as the same: batches and padding change the last digits."""

_ENDING = " 7919 zebras, a quartz and the violin: 104729 zebras. 7919 zebras, a quartz and the violin: 104729 zebras."
"""Unlike any text, and long enough to move the mean over a long one."""


def prompts_of(embedder: Embedder) -> dict[str, str] | None:
    """The prompts by name, where the embedder, or the model that it holds, tells them; empty ones are none."""
    for holder in (embedder, getattr(embedder, "model", None)):
        prompts = getattr(holder, "prompts", None)
        if isinstance(prompts, Mapping):
            return {str(name): str(prompt) for name, prompt in prompts.items() if prompt}
    return None


def reads_sides_alike(embedder: Embedder, texts: Sequence[str]) -> bool:
    """Whether a text has the same vector as query and as document, as without prompts.

    Args:
        embedder: Any.
        texts: A few; at least one.
    """
    return bool((_distances(embedder.embed_queries(texts), embedder.embed_documents(texts)) < _ALIKE).all())


def truncated(embedder: Embedder, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which texts are longer than the embedder reads: an ending that is added to them changes nothing.

    Args:
        embedder: Any; it embeds each text twice.
        texts: Chunks; at least one.

    Returns:
        Shape (n_texts,).
    """
    ended = [text + _ENDING for text in texts]
    # One call for both, so that the same tokens go through the same arithmetic.
    vectors = embedder.embed_documents([*texts, *ended])
    return _distances(vectors[: len(texts)], vectors[len(texts) :]) < _ALIKE


def movement(one: Embedder, other: Embedder, texts: Sequence[str]) -> float | None:
    """Mean cosine between two models' vectors of the same chunks; None if their dimensions differ.

    Args:
        one: Any.
        other: Any.
        texts: Chunks; at least one.
    """
    first, second = one.embed_documents(texts), other.embed_documents(texts)
    if first.shape != second.shape:
        return None
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)).mean())


def sameness(embedder: Embedder, texts: Sequence[str]) -> float:
    """Mean cosine between an embedder's vectors of different texts; 1 where all vectors are zero.

    Args:
        embedder: Any.
        texts: Different chunks; at least two.
    """
    vectors = embedder.embed_documents(texts).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.any():
        return 1.0
    summed = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).sum(axis=0)
    n_texts, n_pointing = len(texts), int((lengths > 0).sum())
    return float((summed @ summed - n_pointing) / (n_texts * (n_texts - 1)))


def _distances(first: Vectors, second: Vectors) -> Vectors:
    """Distance of each pair of vectors over the length of the longer, shape (n,)."""
    longer = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    distances = np.linalg.norm(first - second, axis=1) / np.maximum(longer, np.finfo(np.float32).tiny)
    return np.asarray(distances, dtype=np.float32)
