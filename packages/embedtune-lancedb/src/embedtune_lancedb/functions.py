"""What embedtune adds to LanceDB's embedding functions: `finetune`, `evaluate`, and errors that come early."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from lancedb.embeddings import EmbeddingFunction, OpenAIEmbeddings
from pydantic import PrivateAttr

import embedtune
from embedtune import EmbeddingError, Evaluation, EvaluationError, QADataset, TuneResult, TuningError
from embedtune.adapter.query_adapter import QueryAdapter
from embedtune.evaluation import DEFAULT_CUT_OFFS
from embedtune_lancedb.embedder import alias_of, as_text_embedder, reason_for_none, with_retries

if TYPE_CHECKING:
    from embedtune import PluginManager

__all__ = ["TUNABLE_ALIAS", "TunableFunction", "TunableOpenAI"]

TUNABLE_ALIAS = "sentence-transformers"
"""The alias whose functions have weights that can be tuned; the queries of all others get an adapter."""


class TunableFunction(EmbeddingFunction):
    """Mixed into LanceDB's own class of an alias; fields, alias and vectors stay LanceDB's."""

    _query_adapter: QueryAdapter | None = PrivateAttr(default=None)
    """What a table's queries go through; `open_table` sets it on the function that belongs to one table alone."""

    @classmethod
    def create(cls, **kwargs: Any) -> EmbeddingFunction:
        """Make a function, as LanceDB's ``create``, which takes any keyword and drops those it does not know.

        Args:
            kwargs: Fields of the function, such as ``name``.

        Raises:
            EmbeddingError: If a keyword is no field; the message names the fields.
        """
        fields = sorted(cls.model_fields)
        if unknown := [name for name in kwargs if name not in cls.model_fields]:
            raise EmbeddingError(
                f"The embedding function {_alias(cls)!r} has no field {', '.join(map(repr, unknown))}. "
                f"Fields: {', '.join(fields)}."
            )
        lancedb: Any = super()  # which leaves the types of its methods open
        return cast(EmbeddingFunction, lancedb.create(**kwargs))

    def finetune(
        self,
        trainset: QADataset,
        valset: QADataset | None = None,
        path: str | Path | None = None,
        epochs: int | None = None,
        **options: Any,
    ) -> TuneResult:
        """Tune what questions find; this function, its vectors and the tables made with it stay as they are.

        Its weights are on a server, or make vectors in a way of their own, so a map of its query vectors is learned:
        an adapter, for `use_adapter` or ``open_table(..., adapter=path)``. Every text is embedded once.

        Args:
            trainset: Pairs to train on.
            valset: Chooses the adapter; carved from ``trainset``, or replaced by cross-validation, if None.
            path: The folder to write.
            epochs: As for `embedtune.tune`.
            options: As for `embedtune.tune` with ``tuner="adapter"``: ``seed``, ``resume``, ``cache`` and others.

        Raises:
            TuningError: If the function embeds images, or as for `embedtune.tune`.
            EmbeddingError: If it gives no vector for a text. What was embedded is kept beside ``path``:
                ``resume=True`` goes on from there.
        """
        try:
            embedder = as_text_embedder(self)
        except EvaluationError as error:
            raise TuningError(str(error)) from error
        return embedtune.tune(embedder, trainset, valset, path, epochs=epochs, **{"tuner": "adapter", **options})

    def evaluate(
        self,
        dataset: QADataset,
        top_k: int = 5,
        *,
        cut_offs: Sequence[int] = DEFAULT_CUT_OFFS,
        plugins: "PluginManager | None" = None,
    ) -> Evaluation:
        """Search every query exactly over the corpus, with the vectors that this function makes.

        Args:
            dataset: Queries, chunks and relevance.
            top_k: Cut-off of ``is_hit``.
            cut_offs: Further cut-offs for the metrics.
            plugins: As for `embedtune.evaluate`.

        Raises:
            EmbeddingError: If the function gives no vector for a chunk.
            EvaluationError: If it embeds images, or as for `embedtune.evaluate`.
        """
        return embedtune.evaluate(as_text_embedder(self), dataset, top_k, cut_offs=cut_offs, plugins=plugins)

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[Any]:
        """What a table calls for a query: tried again only where that can help, never None, and adapted.

        Raises:
            EmbeddingError: If there is no vector for it, with the server's reason; or its adapter does not fit.
        """
        vectors: list[Any] = with_retries(self.compute_query_embeddings, self)(*args, **kwargs)
        if args and isinstance(args[0], str) and (not len(vectors) or vectors[0] is None):
            reason = reason_for_none(self, args[0])
            raise EmbeddingError(f"The embedding function {alias_of(self)!r} gave no vector for the query: {reason}")
        if self._query_adapter is None:
            return vectors
        return list(self._query_adapter(np.array(vectors, dtype=np.float32)))

    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> list[Any]:
        """What a table calls for its texts; None for a text is left to the table's ``on_bad_vectors``."""
        vectors: list[Any] = with_retries(self.compute_source_embeddings, self)(*args, **kwargs)
        return vectors


class TunableOpenAI(TunableFunction, OpenAIEmbeddings):
    """LanceDB's OpenAI function; it knows the dimensions of three models, and a table needs them.

    Any other name can be evaluated, but is refused where a table would be made with it.
    """

    def ndims(self) -> int:
        """Dimensions of the vectors.

        Raises:
            EmbeddingError: If LanceDB does not know the model's.
        """
        self._check_known()
        lancedb: Any = super()
        return int(lancedb.ndims())

    def SourceField(self, **kwargs: Any) -> Any:
        """As LanceDB's; raises as `ndims`."""
        self._check_known()
        lancedb: Any = super()
        return lancedb.SourceField(**kwargs)

    def VectorField(self, **kwargs: Any) -> Any:
        """As LanceDB's; raises as `ndims`."""
        self._check_known()
        lancedb: Any = super()
        return lancedb.VectorField(**kwargs)

    def safe_model_dump(self) -> dict[str, Any]:
        """What a table keeps of the function; raises as `ndims`, before the table is made."""
        self._check_known()
        lancedb: Any = super()
        return dict(lancedb.safe_model_dump())

    def _check_known(self) -> None:
        lancedb: Any = self
        known: list[str] = lancedb.model_names()
        if self.name not in known:
            raise EmbeddingError(
                f"LanceDB's 'openai' function cannot make a table for the model {self.name!r}: it knows the dimensions "
                f"of {', '.join(known)} only (dim=... sets the size of the newer two, the 3-large and "
                "3-small). evaluate() works with any model. For a table, embed the texts yourself, with embedtune's "
                "'openai:' embedder for instance, and give LanceDB the vectors."
            )


def _alias(function_class: type[EmbeddingFunction]) -> str:
    return str(getattr(function_class, "__embedding_function_registry_alias__", None) or function_class.__name__)
