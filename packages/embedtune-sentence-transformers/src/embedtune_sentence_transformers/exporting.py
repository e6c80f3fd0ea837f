"""`export_adapter`: a query adapter as a part of its sentence-transformers model, in a folder that any user loads."""

from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedtune import EmbeddingError, ModelFolderError, ModelRecord, as_embedder, read_record
from embedtune.adapter.loading import load_adapted
from embedtune.adapter.query_adapter import PROBE, AdaptedEmbedder, QueryAdapter
from embedtune.fingerprints import folder_fingerprint
from embedtune.folders import replace_folder
from embedtune.protocols import Vectors
from embedtune.records import is_model_folder
from embedtune.search import normalised
from embedtune_sentence_transformers.card import write_export_card
from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder
from embedtune_sentence_transformers.plugin import NAME

try:
    from sentence_transformers.base.modules import Dense, Normalize, Router
except ImportError:  # sentence-transformers 5
    from sentence_transformers.models import Dense, Normalize, Router  # type: ignore[no-redef,import-not-found]

__all__ = ["export_adapter"]

_SAME = 1e-3
"""Most that a number of a vector of length 1 may differ: half precision stays below, another vector far above."""


def export_adapter(adapter: str | Path, path: str | Path, model: object | None = None) -> Path:
    """Write an adapter's model with the map in it: a plain folder, for users who have no embedtune.

    ``encode_query`` gives the mapped vectors, ``encode_document`` and ``encode`` those of the model. After the
    model's last module come two routes, one of which has the map as a ``Dense``; the weights are stored once.

    Args:
        adapter: The folder that ``tune(..., tuner="adapter")`` wrote.
        path: The model folder to write: new, empty, or one of ours, which is replaced in one rename.
        model: The model that the adapter was trained on: a loaded ``SentenceTransformer``, or a reference. None where
            the adapter's folder names it.

    Returns:
        The absolute folder.

    Raises:
        ModelNotFoundError: If there is no such adapter, or its model is gone.
        ModelFolderError: If there is no adapter in the folder, it names no model and none is given, or ``path`` holds
            something that is not ours, or what is exported.
        EmbeddingError: If the model is another, or none of sentence-transformers, or a ``Dense`` cannot say what the
            map does.
    """
    source = Path(adapter).expanduser().absolute()
    adapted = load_adapted(source) if model is None else AdaptedEmbedder(as_embedder(model), source)
    embedder = adapted.embedder
    if not isinstance(embedder, SentenceTransformerEmbedder):
        raise EmbeddingError(
            f"The adapter {str(source)!r} is over {embedder!r}, which is no model of sentence-transformers: no folder "
            "could hold both. Use it by embedtune, over its model."
        )
    _check_map_fits(embedder, adapted.adapter)
    target = Path(path).expanduser().absolute()
    if target in (source, embedder.folder and embedder.folder.absolute()):
        raise ModelFolderError(f"{str(target)!r} is what would be exported; give another path.")
    exported = _with_map(embedder.model, adapted.adapter)
    _check_same(SentenceTransformerEmbedder(exported), adapted)
    with replace_folder(target, is_model_folder) as folder:
        exported.save(str(folder), create_model_card=False, safe_serialization=True)
        record = _record(source, folder, embedder)
        write_export_card(folder, exported, record)
        record.write(folder)
    return target


def _check_map_fits(embedder: SentenceTransformerEmbedder, adapter: QueryAdapter) -> None:
    model = embedder.model
    if model.truncate_dim is not None:
        raise EmbeddingError(
            f"The model's vectors are cut to {model.truncate_dim} numbers after all of its modules, and a map comes "
            "before that. Tune an adapter on whole vectors."
        )
    if embedder.similarity == "dot" and not isinstance(model[-1], Normalize):
        raise EmbeddingError(
            "The model compares by dot product vectors that are not of length 1. The adapter keeps a query's length, "
            "and a Dense of sentence-transformers cannot: its scores would be others. Use the adapter by embedtune."
        )
    adapter.check_probe(embedder.embed_queries([PROBE])[0])


def _with_map(model: SentenceTransformer, adapter: QueryAdapter) -> SentenceTransformer:
    """The same modules, the last of them in both routes, and the map after it in that of queries."""
    modules: OrderedDict[str, Any] = OrderedDict(model.named_children())
    name, last = modules.popitem()
    change = adapter.factors.up.astype(np.float64) @ adapter.factors.down
    weight = torch.from_numpy((np.eye(adapter.dim) + change).astype(np.float32))
    dense = Dense(adapter.dim, adapter.dim, bias=False, activation_function=torch.nn.Identity(), init_weight=weight)
    after = [dense, Normalize()] if isinstance(last, Normalize) else [dense]
    modules[name] = Router.for_query_document([last, *after], [last])
    exported = SentenceTransformer(
        modules=modules,  # type: ignore[arg-type]  # with their names, which is undocumented, and never a list here
        device=str(model.device),
        prompts={side: prompt for side, prompt in model.prompts.items() if prompt},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=model.similarity_fn_name,
    )
    exported.module_kwargs = model.module_kwargs
    return exported.eval()


def _check_same(exported: SentenceTransformerEmbedder, adapted: AdaptedEmbedder) -> None:
    """Modules of a model's own may make of a route what they like."""
    for side in ("embed_queries", "embed_documents"):
        vectors: list[Vectors] = [normalised(getattr(embedder, side)([PROBE])) for embedder in (exported, adapted)]
        apart = float(np.abs(vectors[0] - vectors[1]).max())
        if not apart < _SAME:
            raise EmbeddingError(
                f"With the map among its modules the model gives another vector by {side} (a number differs by "
                f"{apart:.2g}; at most {_SAME} is rounding), so nothing is written. Use the adapter by embedtune."
            )


def _record(source: Path, folder: Path, embedder: SentenceTransformerEmbedder) -> ModelRecord:
    record = read_record(source)
    assert record is not None  # the adapter was loaded
    libraries = ("sentence-transformers", "transformers", "torch")
    return record.model_copy(
        update={
            "base_model": record.base_model.removeprefix(f"{NAME}:"),  # as the hub knows it
            "base_fingerprint": record.base_fingerprint or embedder.fingerprint,
            "fingerprint": folder_fingerprint(folder),
            "versions": {**record.versions, **{name: version(name) for name in libraries}},
        }
    )
