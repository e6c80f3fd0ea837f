"""What this package offers to embedtune; imports neither torch nor sentence-transformers by itself."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune import BaseEmbeddingTuner, Embedder, Reranker, hookimpl
from embedtune.plugins import EmbedderBackend, RerankerBackend, TunerBackend

if TYPE_CHECKING:
    from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder
    from embedtune_sentence_transformers.reranker import CrossEncoderReranker

__all__ = [
    "embedtune_as_embedder",
    "embedtune_as_reranker",
    "embedtune_embedders",
    "embedtune_rerankers",
    "embedtune_tuners",
]

NAME = "sentence-transformers"


def _load_tuner() -> type[BaseEmbeddingTuner]:
    from embedtune_sentence_transformers.tuner import SentenceTransformersTuner  # torch: seconds

    return SentenceTransformersTuner


def _load_reranker_tuner() -> type[BaseEmbeddingTuner]:
    from embedtune_sentence_transformers.reranking.tuner import RerankerTuner  # torch: seconds

    return RerankerTuner


def _load_embedder(ref: str, **options: object) -> "SentenceTransformerEmbedder":
    from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder  # torch: seconds

    return SentenceTransformerEmbedder.load(ref, **options)  # type: ignore[arg-type]


def _load_reranker(ref: str, **options: object) -> "CrossEncoderReranker":
    from embedtune_sentence_transformers.reranker import CrossEncoderReranker  # torch: seconds

    return CrossEncoderReranker.load(ref, **options)  # type: ignore[arg-type]


def _matches(ref: str) -> bool:
    """A folder with a model in it, or anything that can be a hub name."""
    folder = Path(ref)
    if folder.is_dir():
        return (folder / "modules.json").is_file() or (folder / "config.json").is_file()
    return ref.count("/") <= 1 and ":" not in ref and bool(ref.strip("/"))


@hookimpl
def embedtune_tuners() -> Iterable[TunerBackend]:
    """The contrastive tuner, and the one of rerankers."""
    yield TunerBackend(name=NAME, load=_load_tuner, summary="contrastive, all weights, on torch")
    yield TunerBackend(name="reranker", load=_load_reranker_tuner, summary="cross-encoders that rerank, on torch")


@hookimpl
def embedtune_embedders() -> Iterable[EmbedderBackend]:
    """Model folders and hub names."""
    yield EmbedderBackend(name=NAME, load=_load_embedder, matches=_matches, summary="model folders and hub names")


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """Claim a loaded ``SentenceTransformer``."""
    library = sys.modules.get("sentence_transformers")
    if library is None or not isinstance(thing, library.SentenceTransformer):
        return None
    from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder  # torch is loaded already

    return SentenceTransformerEmbedder.claim(thing)


@hookimpl
def embedtune_rerankers() -> Iterable[RerankerBackend]:
    """Folders and hub names of cross-encoders."""
    yield RerankerBackend(
        name=NAME, load=_load_reranker, matches=_matches, summary="folders and hub names of cross-encoders"
    )


@hookimpl
def embedtune_as_reranker(thing: object) -> Reranker | None:
    """Claim a loaded ``CrossEncoder``."""
    library = sys.modules.get("sentence_transformers")
    if library is None or not isinstance(thing, library.CrossEncoder):
        return None
    from embedtune_sentence_transformers.reranker import CrossEncoderReranker  # torch is loaded already

    return CrossEncoderReranker(thing)
