"""LanceDB for embedtune: functions that finetune and evaluate, tables that use the model's prompts, search.

Nothing here imports lancedb until a name is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune_lancedb.embedder import FunctionEmbedder
    from embedtune_lancedb.engine import LanceEngine
    from embedtune_lancedb.plugin import lancedb_engine
    from embedtune_lancedb.registry import Registration, TunableRegistry, get_registry, register
    from embedtune_lancedb.reranker import LanceReranker
    from embedtune_lancedb.table_vectors import keep_vectors
    from embedtune_lancedb.tables import TunedTable, open_table, use_adapter
    from embedtune_lancedb.tuned_reranker import TunedReranker

__all__ = [
    "FunctionEmbedder",
    "LanceEngine",
    "LanceReranker",
    "Registration",
    "TunableRegistry",
    "TunedReranker",
    "TunedTable",
    "get_registry",
    "keep_vectors",
    "lancedb_engine",
    "open_table",
    "register",
    "use_adapter",
]

_MODULES = {
    "FunctionEmbedder": "embedder",
    "LanceEngine": "engine",
    "LanceReranker": "reranker",
    "Registration": "registry",
    "TunableRegistry": "registry",
    "TunedReranker": "tuned_reranker",
    "TunedTable": "tables",
    "get_registry": "registry",
    "keep_vectors": "table_vectors",
    "lancedb_engine": "plugin",
    "open_table": "tables",
    "register": "registry",
    "use_adapter": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
