"""LanceDB's registry of embedding functions, with functions that finetune and evaluate."""

import logging
from types import TracebackType
from typing import Any, cast

from lancedb.embeddings import (
    EmbeddingFunction,
    EmbeddingFunctionRegistry,
    OpenAIEmbeddings,
    SentenceTransformerEmbeddings,
)
from lancedb.embeddings import get_registry as lancedb_registry

from embedtune import BackendNotFoundError
from embedtune_lancedb.embedder import IMAGE_ALIASES
from embedtune_lancedb.functions import TunableFunction, TunableOpenAI
from embedtune_lancedb.tuned_function import TunableSentenceTransformers

__all__ = ["Registration", "TunableRegistry", "get_registry", "register"]

logger = logging.getLogger(__name__)


class TunableRegistry(EmbeddingFunctionRegistry):
    """LanceDB's registry as users know it; `get` gives LanceDB's classes with `finetune` and `evaluate`.

    Everything else is LanceDB's global registry: variables and functions that are set or registered here are set
    there. LanceDB's own classes, and what its registry gives to others, stay as they are.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, type[EmbeddingFunction]], type[EmbeddingFunction]] = {}

    @classmethod
    def get_instance(cls) -> "TunableRegistry":
        """The one instance."""
        return _REGISTRY

    @property
    def _stock(self) -> EmbeddingFunctionRegistry:
        return lancedb_registry()

    def aliases(self) -> list[str]:
        """The names of all functions, sorted."""
        return sorted(vars(self._stock)["_functions"])

    def get(self, name: str) -> type[EmbeddingFunction]:
        """The class of an alias; equal calls give the same class.

        Raises:
            BackendNotFoundError: If there is none; the message names those that are.
        """
        if name not in self.aliases():
            raise BackendNotFoundError(
                f"LanceDB has no embedding function {name!r}. It has: {', '.join(self.aliases())}."
            )
        stock = self._stock.get(name)
        if issubclass(stock, TunableFunction):
            return stock
        if (name, stock) not in self._made:
            self._made[name, stock] = _tunable(stock)
        return self._made[name, stock]

    def register(self, alias: str | None = None) -> Any:
        """Decorator that registers a function with LanceDB."""
        return self._stock.register(alias)

    def reset(self) -> None:
        """Empty LanceDB's registry, as its own ``reset``."""
        stock: Any = self._stock
        stock.reset()

    def set_var(self, name: str, value: str) -> None:
        """Set a variable for ``$var:name`` in ``create``."""
        self._stock.set_var(name, value)

    def get_var(self, name: str) -> str:
        """The value of a variable; KeyError if it is not set."""
        return str(self._stock.get_var(name))


def _tunable(stock: type[EmbeddingFunction]) -> type[EmbeddingFunction]:
    """LanceDB's class with ours before it; it inherits the alias, so that LanceDB alone opens the tables."""
    ours: type = TunableFunction
    if issubclass(stock, SentenceTransformerEmbeddings):
        ours = TunableSentenceTransformers
    elif issubclass(stock, OpenAIEmbeddings):
        ours = TunableOpenAI
    metaclass: Any = type(stock)
    namespace = {"__doc__": stock.__doc__, "__module__": __name__}
    return cast("type[EmbeddingFunction]", metaclass(f"Tunable{stock.__name__}", (ours, stock), namespace))


class Registration:
    """What `register` changed; as a context manager it undoes that at the end."""

    def __init__(self, replaced: dict[str, type[EmbeddingFunction]]) -> None:
        self._replaced = replaced

    @property
    def aliases(self) -> list[str]:
        """The aliases that this call changed, sorted; none if an earlier one had."""
        return sorted(self._replaced)

    def undo(self) -> None:
        """Put LanceDB's own classes back under the aliases that this call changed."""
        stock = lancedb_registry()
        for alias, function_class in self._replaced.items():
            stock.register(alias)(function_class)
        self._replaced = {}

    def __enter__(self) -> "Registration":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def register() -> Registration:
    """Put our functions under LanceDB's aliases for the whole process.

    From then on every table that LanceDB opens embeds with them: with the model's prompts, and refused where the
    model is another than the table's. A second call changes nothing.

    Returns:
        The way back: ``register().undo()``, or ``with register(): ...``.
    """
    stock = lancedb_registry()
    replaced: dict[str, type[EmbeddingFunction]] = {}
    for alias in _REGISTRY.aliases():
        own = stock.get(alias)
        if alias not in IMAGE_ALIASES and not issubclass(own, TunableFunction):
            stock.register(alias)(_REGISTRY.get(alias))
            replaced[alias] = own
    return Registration(replaced)


def get_registry() -> TunableRegistry:
    """LanceDB's registry of embedding functions, whose functions finetune and evaluate.

    The functions are LanceDB's, under LanceDB's aliases. A table rebuilds its function through LanceDB's own
    registry, so what ours does beyond (prompts, fingerprints) reaches a table through `open_table` or `register`.
    """
    return _REGISTRY


_REGISTRY = TunableRegistry()
