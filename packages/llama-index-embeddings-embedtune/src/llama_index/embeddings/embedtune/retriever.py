"""LlamaIndex's retrievers, query engines and vector indexes as an `embedtune.Retriever`."""

import asyncio
import contextlib
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from embedtune import EvaluationError, Retrieved
from embedtune.framework_llm import frameworks_loop

if TYPE_CHECKING:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.schema import NodeWithScore

__all__ = ["LlamaIndexRetriever"]

_DEPTHS = ("similarity_top_k", "sparse_top_k", "hybrid_top_k", "max_top_k")
"""What LlamaIndex's retrievers call the number of nodes that they return, some with an underscore in front."""


class LlamaIndexRetriever:
    """Asks any retriever, or a query engine for its nodes, at the depth asked for where it can be told.

    The depth is set on a copy, also of retrievers within it; a larger one of the user's stays.

    Args:
        thing: A ``BaseRetriever``, or a ``BaseQueryEngine`` with its postprocessors.
    """

    embedded_hint = (
        "LlamaIndex embeds a node's metadata with its text. Make the data set so: "
        'TextChunk.from_llama_index_node(node, metadata_mode="embed"); or keep it out of the index: '
        "node.excluded_embed_metadata_keys = list(node.metadata)."
    )

    def __init__(self, thing: "BaseRetriever | BaseQueryEngine | object") -> None:
        self._thing = cast("BaseRetriever | BaseQueryEngine", thing)
        self._is_async_only = False

    def __repr__(self) -> str:
        return f"LlamaIndexRetriever({type(self._thing).__name__})"

    @property
    def record_folder(self) -> Path | None:
        """Where ``embedtune.json`` may say what the retriever's model has seen."""
        return _record_folder(self._thing)

    def retrieve(self, query: str, k: int) -> list[Retrieved]:
        """By ``retrieve``, or ``aretrieve`` where the retriever is asynchronous only."""
        deep = _with_depth(self._thing, k)
        if not self._is_async_only:
            with contextlib.suppress(NotImplementedError):  # then asked the other way
                return _retrieved(deep.retrieve(_bundle(query)))
        found = asyncio.run_coroutine_threadsafe(_asked(deep, query), frameworks_loop()).result()
        self._is_async_only = True  # known only now: what failed above may have been something else
        return _retrieved(found)


def _bundle(query: str) -> Any:
    from llama_index.core.schema import QueryBundle  # whoever has a retriever has it loaded

    return QueryBundle(query)


async def _asked(thing: Any, query: str) -> "list[NodeWithScore]":
    found: list[NodeWithScore] = await thing.aretrieve(_bundle(query))
    return found


def _is_asked(thing: object) -> bool:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever

    return isinstance(thing, BaseRetriever | BaseQueryEngine)


def _with_depth(thing: Any, k: int) -> Any:
    """A copy that is asked for ``k`` or more."""
    deep = copy.copy(thing)
    for name, value in vars(thing).items():
        if name.lstrip("_") in _DEPTHS and isinstance(value, int):
            vars(deep)[name] = max(k, value)
        elif _is_asked(value):
            vars(deep)[name] = _with_depth(value, k)
        elif isinstance(value, list) and any(map(_is_asked, value)):
            vars(deep)[name] = [_with_depth(item, k) if _is_asked(item) else item for item in value]
        elif isinstance(value, dict) and any(map(_is_asked, value.values())):
            vars(deep)[name] = {key: _with_depth(item, k) if _is_asked(item) else item for key, item in value.items()}
    return deep


def _record_folder(thing: Any) -> Path | None:
    """Of the first of our models that is found in a retriever, or in those within it."""
    for value in vars(thing).values():
        if isinstance(folder := getattr(getattr(value, "_lazy", None), "record_folder", None), Path):
            return folder
        within = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        for item in within:
            if _is_asked(item) and (found := _record_folder(item)) is not None:
                return found
    return None


def _retrieved(found: object) -> list[Retrieved]:
    from llama_index.core.schema import MetadataMode, NodeWithScore

    if not isinstance(found, Sequence) or not all(isinstance(hit, NodeWithScore) for hit in found):
        raise EvaluationError(f"A retriever must return a list of NodeWithScore; got {found!r:.80}.")
    nodes = [hit.node for hit in found]
    return [
        Retrieved(node.node_id, node.get_content(MetadataMode.NONE), node.get_content(MetadataMode.EMBED))
        for node in nodes
    ]
