"""LanceDB's sentence-transformers function with the model's prompts, a fingerprint, and `finetune`."""

import json
import logging
import os
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from lancedb.embeddings import EmbeddingFunction, SentenceTransformerEmbeddings, get_registry

import embedtune
from embedtune import Embedder, EmbeddingError, QADataset, TuneResult, plugin_manager
from embedtune.fingerprints import folder_fingerprint
from embedtune.plugins.references import parse_reference
from embedtune.protocols import Similarity, Vectors
from embedtune.search import normalised
from embedtune_lancedb.functions import TUNABLE_ALIAS, TunableFunction

__all__ = ["TunableSentenceTransformers"]

logger = logging.getLogger(__name__)

_KEPT_MODELS = 2
"""Loaded models kept in a process: a base model and its tuned one."""


class TunableSentenceTransformers(TunableFunction, SentenceTransformerEmbeddings):
    """Embeds queries and texts with the model's own prompts, which LanceDB's class never uses.

    A table keeps ``name`` (a folder as an absolute path), ``trust_remote_code`` and ``fingerprint``. LanceDB's own
    class opens such a table, and gives the same vectors where the model has no prompts.
    """

    trust_remote_code: bool = False
    """Whether code from the model's folder may run; LanceDB's default is True."""
    fingerprint: str | None = None
    """Content hash of the model that made a table's vectors; set by `create` for a folder."""

    batches_by_itself: ClassVar[bool] = True

    @classmethod
    def create(cls, **kwargs: Any) -> EmbeddingFunction:
        """Make a function.

        Args:
            kwargs: ``name`` (hub name or folder; ``~`` is expanded), ``device="cpu"``, ``normalize=True``,
                ``trust_remote_code=False``, ``max_retries``; ``fingerprint`` is what the model must have.

        Raises:
            ModelNotFoundError: If the folder is not there; before torch is imported, and without retries.
            EmbeddingError: If a keyword is no field, or the model in the folder is another than ``fingerprint`` says.
        """
        if isinstance(kwargs.get("name"), os.PathLike):
            kwargs["name"] = os.fspath(kwargs["name"])
        made = cast("TunableSentenceTransformers", super().create(**kwargs))
        made.name = parse_reference(made.name, backends=()).ref
        kept = {**kwargs, "trust_remote_code": made.trust_remote_code}
        if not str(kwargs.get("name", "")).startswith("$var:"):  # a variable stays one in the table's metadata
            kept["name"] = made.name
        if Path(made.name).is_dir():
            made._hold_to(made.content_fingerprint())
            kept["fingerprint"] = made.fingerprint
        made._original_args = kept
        return made

    def content_fingerprint(self) -> str | None:
        """Fingerprint of the model as it is now; of a hub model it needs the model loaded."""
        folder = Path(self.name)
        if folder.is_dir():
            return _folder_fingerprint(folder, _stamp(folder))
        return self.embedder().fingerprint

    def _hold_to(self, found: str | None) -> None:
        if self.fingerprint is not None and found is not None and self.fingerprint != found:
            raise EmbeddingError(
                f"The model at {self.name!r} has the fingerprint {found}; the vectors were made with "
                f"{self.fingerprint}. Searched with another model they are noise. Give the model that made them, or "
                "re-embed: create a new table of the same schema without data, with the function made anew by "
                f"get_registry().get({TUNABLE_ALIAS!r}).create(name=...), and give the rows without their vectors to "
                "open_table(db, new_name).add(rows)."
            )
        self.fingerprint = found

    def embedder(self) -> Embedder:
        """The loaded model as an embedtune `Embedder`; equal functions share one.

        Raises:
            BackendNotFoundError: If embedtune-sentence-transformers is not installed.
            EmbeddingError: If the model is another than ``fingerprint`` says.
        """
        is_folder = Path(self.name).is_dir()
        current = self.content_fingerprint() if is_folder else None
        loaded = _load(self.name, self.device, self.trust_remote_code, current)
        self._hold_to(current if is_folder else loaded.fingerprint)
        return loaded

    def similarity(self) -> Similarity:
        """How the vectors are compared: of vectors of length 1 both ways agree."""
        return "cosine" if self.normalize else self.embedder().similarity

    def ndims(self) -> int:
        """Dimensions of the vectors; loads the model."""
        if self._ndims is None:
            self._ndims = self.embedder().embed_documents(["dimensions"]).shape[1]
        return int(self._ndims)

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Vectors of one query, or of several, with the query prompt."""
        return self._rows(query, self.embedder().embed_queries)

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Vectors of texts with the document prompt; None for a text that is None."""
        return self._rows(texts, self.embedder().embed_documents)

    def generate_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """As `compute_source_embeddings`."""
        return self.compute_source_embeddings(texts)

    def _rows(self, texts: Any, embed: Any) -> list[Any]:
        given: Sequence[str | None] = list(self.sanitize_input(texts))
        vectors: Vectors = embed([text for text in given if text is not None])
        rows = iter(normalised(vectors) if self.normalize else vectors)
        return [None if text is None else np.asarray(next(rows)) for text in given]

    def get_embedding_model(self) -> Any:
        """The loaded ``SentenceTransformer``, which other functions may share: do not train it."""
        return getattr(self.embedder(), "model")  # noqa: B009 - not in the protocol

    def safe_model_dump(self) -> dict[str, Any]:
        """What a table keeps of the function; of a hub model the fingerprint is asked for now."""
        lancedb: Any = super()
        kept: dict[str, Any] = lancedb.safe_model_dump()
        registered = get_registry().get(TUNABLE_ALIAS)
        if not issubclass(registered, TunableFunction):
            _warn_of_prompts(Path(self.name))
        return kept if "fingerprint" in kept else {**kept, "fingerprint": self.embedder().fingerprint}

    def finetune(
        self,
        trainset: QADataset,
        valset: QADataset | None = None,
        path: str | Path | None = None,
        epochs: int | None = None,
        **options: Any,
    ) -> TuneResult:
        """Tune a fresh copy of the model; see `TunableFunction.finetune`.

        ``device`` and ``trust_remote_code`` are the function's, where they were given to `create`.
        """
        if options.get("tuner", TUNABLE_ALIAS) == TUNABLE_ALIAS:
            given = {"device": self.device, "trust_remote_code": self.trust_remote_code}
            options = {key: value for key, value in given.items() if key in self._original_args} | options
        return embedtune.tune(self.name, trainset, valset, path, epochs=epochs, **options)


@lru_cache(maxsize=_KEPT_MODELS)
def _load(name: str, device: str, trust_remote_code: bool, fingerprint: str | None) -> Embedder:
    """Load once; the fingerprint is in the key, so that a folder that was replaced is loaded anew."""
    reference = f"{TUNABLE_ALIAS}:{name}"
    return plugin_manager().embedder(reference, device=device, trust_remote_code=trust_remote_code)


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of all files: as long as they stay, the content is not hashed again."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=32)
def _folder_fingerprint(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    return folder_fingerprint(folder)


@cache
def _warn_of_prompts(folder: Path) -> None:
    """Say once for each model what a table of LanceDB's own makes of it."""
    try:
        configuration = json.loads((folder / "config_sentence_transformers.json").read_bytes())
    except (OSError, ValueError):
        return
    if any((configuration.get("prompts") or {}).values()):
        logger.warning(
            "the model %r has prompts, and LanceDB's own class leaves them out: create the table without data, add "
            "and search through embedtune_lancedb.open_table, or call embedtune_lancedb.register() first",
            str(folder),
        )
