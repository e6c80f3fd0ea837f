"""Tables of LanceDB that embed with our functions, in this process and without changing LanceDB."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.db import DBConnection
from lancedb.embeddings import EmbeddingFunction, EmbeddingFunctionConfig
from lancedb.merge import LanceMergeInsertBuilder
from lancedb.pydantic import LanceModel
from lancedb.table import LanceTable
from tqdm.auto import tqdm

from embedtune import DatasetError, EmbeddingError
from embedtune.adapter.query_adapter import QueryAdapter
from embedtune.search import normalised
from embedtune_lancedb.adapters import RECORDED, adapter_for, columns_of, has_record, record_of, recorded_adapter
from embedtune_lancedb.embedder import TEXTS_AT_ONCE, alias_of
from embedtune_lancedb.functions import TunableFunction
from embedtune_lancedb.registry import get_registry
from embedtune_lancedb.tuned_function import TunableSentenceTransformers

__all__ = ["TunedTable", "check_vectors", "open_table", "use_adapter"]

logger = logging.getLogger(__name__)

_SAME_DIRECTION = 0.999
"""Cosine of a stored vector and the same text embedded now: rounding stays above, a prompt more or less below."""

_CALLS_WORTH_A_BAR = 4


class TunedTable(LanceTable):
    """A LanceDB table whose ``search``, ``add`` and ``merge_insert`` embed text with our functions.

    All else is LanceDB's. Made by `open_table`.
    """

    def add(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """As LanceDB's ``add``; rows without a vector get one, with the model's document prompt."""
        return super().add(self._with_vectors(data, self.schema), *args, **kwargs)

    def merge_insert(self, on: str | Iterable[str]) -> LanceMergeInsertBuilder:
        """As LanceDB's ``merge_insert``; rows without a vector get one, with the model's document prompt."""
        keys = [on] if isinstance(on, str) else list(on)
        return _MergeInsert(self, keys)

    def _with_vectors(self, data: Any, schema: pa.Schema) -> Any:
        """The same rows with vectors, in a form that LanceDB takes.

        LanceDB reads an iterator on its event loop, where asking the table for anything, its schema too, would
        wait for that loop for ever; so the schema is given.
        """
        if isinstance(data, list) and all(isinstance(row, dict | LanceModel) for row in data):
            rows = [row.model_dump() if isinstance(row, LanceModel) else dict(row) for row in data]
            return self._rows_with_vectors(rows, schema)
        if isinstance(data, dict | LanceModel):
            return data  # LanceDB refuses a single row with a message of its own
        reader = _reader(data)
        if reader is not None:
            return self._reader_with_vectors(reader, schema)
        if isinstance(data, Iterable) and not isinstance(data, str | bytes):
            return (self._with_vectors(batch, schema) for batch in data)
        raise EmbeddingError(
            f"Cannot embed rows given as {type(data).__module__}.{type(data).__name__}. Give a list of dicts, a "
            "DataFrame, an Arrow table or reader, or an iterator of those."
        )

    def _rows_with_vectors(self, rows: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
        for column, config in self.embedding_functions.items():
            missing = [row for row in rows if row.get(column) is None]
            texts = [row.get(config.source_column) for row in missing]
            vectors = _embed(config.function, texts, schema.field(column).type)
            for row, vector in zip(missing, vectors, strict=True):
                row[column] = vector
        return rows

    def _reader_with_vectors(self, reader: pa.RecordBatchReader, own: pa.Schema) -> pa.RecordBatchReader:
        fields = {field.name: field for field in reader.schema}
        fields |= {column: own.field(column) for column in self.embedding_functions}
        schema = pa.schema(list(fields.values()))

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in reader:
                arrays = {name: batch.column(name) for name in batch.schema.names}
                for column, config in self.embedding_functions.items():
                    texts = arrays[config.source_column].to_pylist()
                    arrays[column] = _filled(arrays.get(column), texts, config.function, schema.field(column).type)
                yield pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())


class _MergeInsert(LanceMergeInsertBuilder):
    """LanceDB's builder, whose new rows get their vectors from our functions."""

    def execute(self, new_data: Any, *args: Any, **kwargs: Any) -> Any:
        """As LanceDB's."""
        table = cast(TunedTable, self._table)
        return super().execute(table._with_vectors(new_data, table.schema), *args, **kwargs)


def _reader(data: Any) -> pa.RecordBatchReader | None:
    """A table, frame or reader of any library as a stream of batches; None for anything else."""
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if isinstance(data, list) and data and all(isinstance(batch, pa.RecordBatch) for batch in data):
        return pa.RecordBatchReader.from_batches(data[0].schema, data)
    if type(data).__module__.partition(".")[0] == "pandas":  # its own stream would carry the index along
        return pa.Table.from_pandas(data, preserve_index=False).to_reader()
    if isinstance(data, pa.RecordBatchReader):
        return data
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    scanner: Callable[[], Any] | None = getattr(data, "scanner", None)  # a dataset of pyarrow or Lance
    return scanner().to_reader() if scanner is not None else None


def _filled(
    vectors: pa.Array | None, texts: Sequence[str | None], function: EmbeddingFunction, type_: pa.DataType
) -> pa.Array:
    given = [None] * len(texts) if vectors is None else vectors.to_pylist()
    missing = [place for place, vector in enumerate(given) if vector is None]
    for place, vector in zip(missing, _embed(function, [texts[place] for place in missing], type_), strict=True):
        given[place] = vector
    return pa.array(given, pa.list_(pa.float32())).cast(type_)


def _embed(function: EmbeddingFunction, texts: Sequence[str | None], type_: pa.DataType) -> list[list[float]]:
    """Vectors of rows; NaN where there is no text, or the function has no vector for it.

    NaN leaves the row to ``on_bad_vectors``. A null would have LanceDB embed it once more with its own class.
    """
    kept = [text for text in texts if text is not None]
    batch_size = max(len(kept), 1) if getattr(function, "batches_by_itself", False) else TEXTS_AT_ONCE
    starts = range(0, len(kept), batch_size)
    found: list[Any] = []
    for start in tqdm(starts, desc="embedding rows", unit="batch", disable=len(starts) < _CALLS_WORTH_A_BAR):
        found += function.compute_source_embeddings_with_retry(kept[start : start + batch_size])
    vectors = iter(found)
    rows = [None if text is None else next(vectors) for text in texts]
    bad = [math.nan] * (type_.list_size if pa.types.is_fixed_size_list(type_) else 1)
    return [bad if row is None else np.asarray(row, dtype=np.float32).tolist() for row in rows]


def open_table(
    db: DBConnection | str | Path, name: str, *, adapter: str | Path | None = None, column: str | None = None
) -> TunedTable:
    """Open a table that embeds with our functions: with the model's prompts, with no other model, and adapted.

    Args:
        db: A connection of LanceDB, or a database's folder or URI.
        name: The table's name.
        adapter: Folder of an adapter that texts are searched through, as ``finetune`` of a hosted function writes it;
            the one that the table names, if it names one (see `use_adapter`), if None.
        column: The vector column of the adapter; the one whose function it was trained on if None.

    Returns:
        LanceDB's table; ``search("text")``, ``add([{"text": ...}])`` and ``merge_insert`` embed with our functions. An
        adapter maps the query of vector and hybrid search; chunks, and vectors that are searched by, it leaves alone.

    Raises:
        DatasetError: If the folder or the table is not there.
        EmbeddingError: If the table has no embedding function, or its vectors are another model's, or the same
            model's without its prompts; the message says how to re-embed. Or if the adapter is another function's,
            or another than the table names.
        ModelNotFoundError: If the model's or the adapter's folder is gone.
    """
    table = _opened(db, name)
    for place, found in _adapters(table, adapter, column).items():
        # The function was rebuilt for this table alone: nobody else's queries change.
        cast(TunableFunction, table.embedding_functions[place].function)._query_adapter = found
    for place, config in table.embedding_functions.items():
        if isinstance(config.function, TunableSentenceTransformers):
            check_vectors(table, place, config)
    return table


def use_adapter(
    db: DBConnection | str | Path, name: str, adapter: str | Path | None, *, column: str | None = None
) -> TunedTable:
    """Name at a table the adapter that every `open_table` searches it through from now on, in any process.

    The adapter's absolute folder and its fingerprint are kept in the metadata of the vector column, as a new version
    of the table: no vector is written, indexes stay, and LanceDB without embedtune opens the table and searches it
    without an adapter. Tables that are open already stay as they are.

    Args:
        db: As for `open_table`.
        name: The table's name.
        adapter: The adapter's folder; None for none.
        column: As for `open_table`.

    Returns:
        The table, opened anew.

    Raises:
        DatasetError: As for `open_table`; so the other errors.
    """
    table = _opened(db, name)
    schema = table.schema
    if adapter is not None:
        place, found = adapter_for(name, schema, table.embedding_functions, adapter, column)
        table.update_field_metadata({"path": place, "metadata": {RECORDED: record_of(adapter, found)}})
    else:
        for place in columns_of(name, table.embedding_functions, column):
            if has_record(schema.field(place)):
                table.update_field_metadata({"path": place, "metadata": {RECORDED: None}})
    return open_table(db, name)


def _opened(db: DBConnection | str | Path, name: str) -> TunedTable:
    opened = _open(_connection(db), name)
    if not isinstance(opened, LanceTable):
        raise EmbeddingError(
            f"{name!r} is a {type(opened).__name__}, which embeds on the server's side; open_table needs an embedded "
            "LanceDB (a folder, or object storage)."
        )
    functions = get_registry().parse_functions(opened.schema.metadata)
    if not functions:
        raise EmbeddingError(
            f"The table {name!r} has no embedding function: it was made with ready vectors. Open it with "
            "db.open_table, and search it with vectors."
        )
    table = TunedTable.__new__(TunedTable)
    table.__dict__.update(opened.__dict__)
    # LanceDB keeps here what it rebuilds through its global registry.
    table.__dict__["embedding_functions"] = functions
    return table


def _adapters(table: TunedTable, folder: str | Path | None, column: str | None) -> dict[str, QueryAdapter]:
    """By vector column: the given one, and of the other columns those that the table names."""
    schema, functions = table.schema, table.embedding_functions
    given = dict([adapter_for(table.name, schema, functions, folder, column)] if folder is not None else [])
    named = [place for place in functions if place not in given and has_record(schema.field(place))]
    return given | {place: recorded_adapter(table.name, schema, functions, place) for place in named}


def _connection(db: DBConnection | str | Path) -> DBConnection:
    if not isinstance(db, str | Path):
        return db
    address = str(db)
    if "://" not in address:
        folder = Path(db).expanduser().absolute()
        if not folder.is_dir():  # connecting would make it
            raise DatasetError(f"There is no LanceDB folder at {str(folder)!r}. Give the path that was connected to.")
        address = str(folder)
    return lancedb.connect(address)


def _open(connection: DBConnection, name: str) -> Any:
    try:
        return connection.open_table(name)
    except (FileNotFoundError, ValueError) as error:
        if "not found" not in str(error).lower() and not isinstance(error, FileNotFoundError):
            raise
        raise DatasetError(f"There is no table {name!r} in this LanceDB: {error}") from error


def check_vectors(table: TunedTable, column: str, config: EmbeddingFunctionConfig) -> None:
    """Embed the first and the last text again: a fingerprint cannot tell whether the prompts were used.

    Raises:
        EmbeddingError: If another model made the stored vectors.
    """
    n_rows = table.count_rows()
    if n_rows == 0:
        return
    places = sorted({0, n_rows - 1})
    rows = table.take_offsets(places).select([config.source_column, column]).to_arrow().to_pylist()
    rows = [row for row in rows if row[column] is not None and isinstance(row[config.source_column], str)]
    if not rows:
        return
    now = np.array(config.function.compute_source_embeddings([row[config.source_column] for row in rows]), np.float32)
    stored = np.array([row[column] for row in rows], np.float32)
    cosines = (normalised(now) * normalised(stored)).sum(axis=1) if now.shape == stored.shape else np.array([-1.0])
    if cosines.min() < _SAME_DIRECTION:
        raise EmbeddingError(
            f"The vectors in {column!r} of the table {table.name!r} are not those that {alias_of(config.function)!r} "
            f"makes of their texts now (cosine {cosines.min():.3f}; the same would be 1.000): another model made them, "
            "or the same one without its prompts, as LanceDB's own class does. To re-embed: create a new table of the "
            "same schema without data, and give the rows without their vectors to open_table(db, new_name).add(rows)."
        )
