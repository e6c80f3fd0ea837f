"""Adapters at LanceDB's tables: whose queries one maps, and which one a table says it is searched through."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from lancedb.embeddings import EmbeddingFunction, EmbeddingFunctionConfig

from embedtune import EmbeddingError, EmbedtuneError, ModelNotFoundError
from embedtune.adapter.query_adapter import PROBE, QueryAdapter
from embedtune.errors import ModelFolderError
from embedtune.records import read_record
from embedtune_lancedb.embedder import as_text_embedder
from embedtune_lancedb.tuned_function import TunableSentenceTransformers

__all__ = ["RECORDED", "adapter_for", "columns_of", "has_record", "record_of", "recorded_adapter"]

RECORDED = "embedtune:query_adapter"
"""Key in the metadata of a vector column; its value is JSON, ``{"folder": ..., "fingerprint": ...}``."""

Functions = Mapping[str, EmbeddingFunctionConfig]
"""A table's functions by vector column."""


def adapter_for(
    table: str, schema: pa.Schema, functions: Functions, folder: str | Path, column: str | None = None
) -> tuple[str, QueryAdapter]:
    """The vector column that an adapter was trained for, and the adapter.

    Args:
        table: The table's name.
        schema: The table's.
        functions: The table's.
        folder: The adapter's.
        column: The vector column; the one whose function the adapter was trained on if None.

    Raises:
        ModelNotFoundError: If there is no such folder.
        ModelFolderError: If there is no adapter in it.
        EmbeddingError: If it was trained on no function of the table, or on that of several columns.
    """
    adapter = QueryAdapter.load(folder)
    asked = columns_of(table, functions, column)
    refused = {name: why for name in asked if (why := _why_not(adapter, schema.field(name), functions[name].function))}
    fitting = [name for name in asked if name not in refused]
    if len(fitting) == 1:
        return fitting[0], adapter
    start = f"The table {table!r} cannot be searched through the adapter in {str(folder)!r}: "
    if fitting:
        raise EmbeddingError(
            f"{start}it fits the columns {', '.join(fitting)}, which have one function. Name the one whose chunks it "
            f"was trained on: column={fitting[0]!r}."
        )
    record = read_record(Path(folder).expanduser().absolute())
    trained_on = "" if record is None else f" It was trained on {record.base_model}."
    reasons = " ".join(f"Column {name!r}, {_told(functions[name].function)}: {why}" for name, why in refused.items())
    raise EmbeddingError(f"{start}{reasons}{trained_on}")


def columns_of(table: str, functions: Functions, column: str | None) -> list[str]:
    """The named vector column, or all that a table embeds.

    Raises:
        EmbeddingError: If the table embeds no such column.
    """
    if column is not None and column not in functions:
        raise EmbeddingError(
            f"The table {table!r} embeds no column {column!r}. Columns that it embeds: {', '.join(functions)}."
        )
    return list(functions) if column is None else [column]


def _why_not(adapter: QueryAdapter, field: pa.Field, function: EmbeddingFunction) -> str | None:
    """Why an adapter does not fit a column; None if it does."""
    if pa.types.is_fixed_size_list(field.type) and field.type.list_size != adapter.dim:
        return (
            f"the adapter maps vectors of {adapter.dim} dimensions; this column has {field.type.list_size}. Tune an "
            "adapter for this column's function."
        )
    try:
        _check_fits(adapter, function)
    except EmbedtuneError as error:
        return str(error)
    return None


def _check_fits(adapter: QueryAdapter, function: EmbeddingFunction) -> None:
    # tune("a folder", ..., tuner="adapter") knows the model beneath the function, whose vectors point the same way.
    if isinstance(function, TunableSentenceTransformers):
        beneath = function.embedder().fingerprint
        if beneath is not None and beneath == adapter.embedder_fingerprint:
            return
    embedder = as_text_embedder(function)
    if not adapter.check_fits(embedder):
        adapter.check_probe(embedder.embed_queries([PROBE])[0])


def _told(function: EmbeddingFunction) -> str:
    try:
        return as_text_embedder(function).name
    except EmbedtuneError:
        return type(function).__name__


def record_of(folder: str | Path, adapter: QueryAdapter) -> str:
    """What a table keeps of an adapter: where it is, from any working folder, and its fingerprint."""
    return json.dumps({"folder": str(Path(folder).expanduser().absolute()), "fingerprint": adapter.fingerprint})


def has_record(field: pa.Field) -> bool:
    """Whether a vector column names an adapter."""
    return RECORDED.encode() in (field.metadata or {})


def recorded_adapter(table: str, schema: pa.Schema, functions: Functions, column: str) -> QueryAdapter:
    """The adapter that a vector column names.

    Raises:
        ModelNotFoundError: If its folder is gone; the message says how to go on without it.
        ModelFolderError: If there is no adapter in it any more.
        EmbeddingError: If the folder holds another one by now, or the column's function is another.
    """
    kept = json.loads(schema.field(column).metadata[RECORDED.encode()])
    way_out = (
        f"Record the one to use: use_adapter(db, {table!r}, folder), or None as folder to search without; "
        "open_table(..., adapter=folder) takes another for once."
    )
    try:
        _, adapter = adapter_for(table, schema, functions, kept["folder"], column)
    except (ModelNotFoundError, ModelFolderError, EmbeddingError) as error:
        raise type(error)(f"{error} The column {column!r} of the table {table!r} names it. {way_out}") from error
    if adapter.fingerprint != kept["fingerprint"]:
        raise EmbeddingError(
            f"The adapter in {kept['folder']!r} has the fingerprint {adapter.fingerprint}; the table {table!r} is "
            f"searched through {kept['fingerprint']}: it was tuned again since. {way_out}"
        )
    return adapter
