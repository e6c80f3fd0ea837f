"""What this package offers to embedtune; imports neither lancedb nor pyarrow by itself."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from embedtune import Embedder, QADataset, Reranker, hookimpl
from embedtune.plugins import DatasetFormat, SearchBackend, SearchEngine

__all__ = [
    "embedtune_as_embedder",
    "embedtune_as_reranker",
    "embedtune_dataset_formats",
    "embedtune_search_engines",
    "lancedb_engine",
]

TABLES = frozenset({"queries.lance", "corpus.lance", "relevant_docs.lance"})
"""Folders of the three tables of a data set."""

INDEXED = "vector_indexed"
"""The query type that searches through an approximate index."""

QUERY_TYPES = ("vector", INDEXED, "fts", "hybrid")
"""The ways in which LanceDB searches."""

DEFAULT_INDEX = "IVF_HNSW_SQ"
"""Keeps nearly all of the exact ranking: 8 bits for each number of a vector."""


def _has_our_tables(path: Path) -> bool:
    return any((path / table).is_dir() for table in TABLES)


def _matches(path: Path) -> bool:
    """A folder with a table of ours, or a new (or empty) one whose name has no suffix."""
    if path.is_dir() and any(path.iterdir()):
        return _has_our_tables(path)
    return not path.suffix and not path.is_file()


def _owns(path: Path) -> bool:
    """Whether a folder holds a data set and nothing else: a database with further tables is never replaced."""
    visible = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")} if path.is_dir() else set()
    return bool(visible) and visible <= TABLES


def _save(dataset: QADataset, folder: Path) -> None:
    from embedtune_lancedb.datasets import save_lance  # lancedb: most of a second

    save_lance(dataset, folder)


def _load(folder: Path, split: str | None) -> QADataset:
    from embedtune_lancedb.datasets import load_lance  # as above

    return load_lance(folder, split)


def _read_lance(folder: Path, columns: Sequence[str] | None) -> Mapping[str, list[object]]:
    from embedtune_lancedb.columns import read_lance_columns  # as above

    return read_lance_columns(folder, columns)


def _save_parquet(dataset: QADataset, path: Path) -> None:
    from embedtune_lancedb.parquet import save_parquet  # pyarrow: a third of a second

    save_parquet(dataset, path)


def _load_parquet(path: Path, split: str | None) -> QADataset:
    from embedtune_lancedb.parquet import load_parquet  # as above

    return load_parquet(path, split)


def _read_parquet(path: Path, columns: Sequence[str] | None) -> Mapping[str, list[object]]:
    from embedtune_lancedb.columns import read_parquet_columns  # as above

    return read_parquet_columns(path, columns)


def lancedb_engine(
    *,
    index: object = DEFAULT_INDEX,
    nprobes: int | None = None,
    refine_factor: int | None = None,
    fusion: object = None,
) -> SearchBackend:
    """LanceDB as ``compare(..., engine=...)`` takes it, with settings of one's own; arguments as for `LanceEngine`.

    >>> lancedb_engine(index="IVF_PQ", refine_factor=10).query_types
    ('vector', 'vector_indexed', 'fts', 'hybrid')
    """
    options = {"index": index, "nprobes": nprobes, "refine_factor": refine_factor, "fusion": fusion}

    def load(corpus: Mapping[str, str], embedder: Embedder | None) -> SearchEngine:
        from embedtune_lancedb.engine import LanceEngine  # as above

        return LanceEngine(
            corpus,
            embedder,
            index=index,
            nprobes=nprobes,
            refine_factor=refine_factor,
            fusion=fusion,  # type: ignore[arg-type]  # its class is LanceDB's, which is not imported here
        )

    return SearchBackend(
        name="lancedb",
        query_types=QUERY_TYPES,
        load=load,
        options={name: value if isinstance(value, int | None) else str(value) for name, value in options.items()},
        summary="exact and indexed vectors, full text, and both by reciprocal rank fusion, in a temporary LanceDB",
    )


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """Claim an embedding function of LanceDB that takes text."""
    base = sys.modules.get("lancedb.embeddings.base")
    if base is None or not isinstance(thing, base.EmbeddingFunction):
        return None
    from embedtune_lancedb.embedder import as_text_embedder  # lancedb is loaded already

    return as_text_embedder(thing)


@hookimpl
def embedtune_as_reranker(thing: object) -> Reranker | None:
    """Claim a reranker of LanceDB."""
    base = sys.modules.get("lancedb.rerankers.base")
    if base is None or not isinstance(thing, base.Reranker):
        return None
    from embedtune_lancedb.reranker import LanceReranker  # lancedb is loaded already
    from embedtune_lancedb.tuned_reranker import TunedReranker

    return thing.reranker if isinstance(thing, TunedReranker) else LanceReranker(thing)


@hookimpl
def embedtune_dataset_formats() -> Iterable[DatasetFormat]:
    """The Lance folder, and the Parquet file."""
    yield DatasetFormat(
        name="lance",
        matches=_matches,
        save=_save,
        load=_load,
        is_folder=True,
        owns=_owns,
        read_columns=_read_lance,
        summary="a folder of three LanceDB tables: queries, corpus, relevant_docs",
    )
    yield DatasetFormat(
        name="parquet",
        matches=lambda path: path.suffix == ".parquet",
        save=_save_parquet,
        load=_load_parquet,
        read_columns=_read_parquet,
        summary="one pair of query and chunk a row",
    )


@hookimpl
def embedtune_search_engines() -> Iterable[SearchBackend]:
    """LanceDB, embedded."""
    yield lancedb_engine()
