"""What frameworks' classes for tuned rerankers hold: a reranker by reference, loaded when it first scores."""

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embedtune.errors import EvaluationError
from embedtune.plugins.references import parse_reference
from embedtune.protocols import Reranker, Vectors
from embedtune.reranking import checked_scores
from embedtune.resolve import as_reranker

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["LazyReranker"]


class LazyReranker:
    """A reranker by reference that is loaded when it first scores. Threads take turns; it pickles as its reference.

    Args:
        model: A reference, as in `as_reranker`; a relative folder is made absolute. Or a `Reranker`, or what a plugin
            makes one of.
        options: Of the backend that loads the reference, such as ``device``; none for an object.
        plugins: Where the model is looked up.

    Raises:
        ModelNotFoundError: If it is a folder that does not exist; before any framework is imported.
        EvaluationError: If nothing knows it, or options are given with an object.

    >>> from embedtune.testing import WordReranker
    >>> LazyReranker(WordReranker()).ranked("red apples", ["blue sky", "apples are red"])
    [(1, 1.0), (0, 0.0)]
    """

    def __init__(
        self,
        model: object,
        options: Mapping[str, object] = MappingProxyType({}),
        *,
        plugins: "PluginManager | None" = None,
    ) -> None:
        from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

        self.options = {name: value for name, value in options.items() if value is not None}
        """What the backend is given, without None."""
        self.ref: str | None = None
        """The absolute folder, hub name or ``backend:ref``; None for an object."""
        self._plugins = plugins or plugin_manager()
        self._lock = threading.RLock()
        self._loaded: Reranker | None = None
        if isinstance(model, str):
            parsed = parse_reference(model, [row.name for row in self._plugins.rerankers()])
            self.ref = parsed.ref if parsed.backend is None else f"{parsed.backend}:{parsed.ref}"
        elif hasattr(model, "__fspath__"):
            self.ref = parse_reference(str(model), []).ref
        else:
            if self.options:
                raise EvaluationError(
                    f"The options {', '.join(map(repr, self.options))} are for a reranker given by reference; this one "
                    "is loaded."
                )
            self._loaded = as_reranker(model, plugins)

    def __repr__(self) -> str:
        return f"LazyReranker({self.ref or type(self._loaded).__name__!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyReranker":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (LazyReranker, (self._loaded if self.ref is None else self.ref, self.options))

    @property
    def reranker(self) -> Reranker:
        """The loaded model."""
        with self._lock:
            if self._loaded is None:
                assert self.ref is not None
                self._loaded = self._plugins.reranker(self.ref, **self.options)
            return self._loaded

    @property
    def fingerprint(self) -> str | None:
        """The reranker's own; loads it."""
        return self.reranker.fingerprint

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """As the reranker does; float32 (n,)."""
        with self._lock:  # tokenizers fail where two threads set how they pad
            return checked_scores(self.reranker.score(pairs), len(pairs), type(self.reranker).__name__)

    def ranked(self, query: str, texts: Sequence[str], n: int | None = None) -> list[tuple[int, float]]:
        """The places of the texts with their scores, best first; of equal scores the order given stays.

        Args:
            query: What is asked.
            texts: What was found.
            n: How many are wanted; all if None.
        """
        if not texts:
            return []
        scores = self.score([(query, text) for text in texts]).tolist()
        order = sorted(range(len(texts)), key=lambda place: -scores[place])
        return [(place, scores[place]) for place in order[:n]]
