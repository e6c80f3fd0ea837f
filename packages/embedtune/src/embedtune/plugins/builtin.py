"""What core itself offers, through the same hooks as everybody else."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from embedtune.adapter.query_adapter import is_adapter_folder
from embedtune.formats.beir import is_beir, is_our_beir, load_beir, save_beir
from embedtune.formats.labelled_rag import is_labelled_rag, load_labelled_rag, refuse_labelled_rag
from embedtune.formats.llama_index_json import load_json, save_json
from embedtune.formats.pairs_csv import load_csv, read_csv_columns, save_csv
from embedtune.plugins.backends import DatasetFormat, EmbedderBackend, TunerBackend
from embedtune.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from embedtune.adapter.query_adapter import AdaptedEmbedder
    from embedtune.tuner import BaseEmbeddingTuner

__all__ = ["embedtune_dataset_formats", "embedtune_embedders", "embedtune_tuners"]


def _load_tuner() -> "type[BaseEmbeddingTuner]":
    from embedtune.adapter.tuner import AdapterTuner  # the tuners' base imports this package

    return AdapterTuner


def _load_adapted(ref: str, **options: object) -> "AdaptedEmbedder":
    from embedtune.adapter.loading import load_adapted  # as above

    return load_adapted(ref, **options)


@hookimpl
def embedtune_tuners() -> Iterable[TunerBackend]:
    """The query adapter."""
    yield TunerBackend(name="adapter", load=_load_tuner, summary="a map of the queries' vectors, for any embedder")


@hookimpl
def embedtune_embedders() -> Iterable[EmbedderBackend]:
    """Folders of query adapters."""
    yield EmbedderBackend(
        name="adapter", load=_load_adapted, matches=is_adapter_folder, summary="a query adapter over its embedder"
    )


@hookimpl
def embedtune_dataset_formats() -> Iterable[DatasetFormat]:
    """JSON, BEIR, CSV, and LlamaIndex's labelled sets."""
    yield DatasetFormat(
        name="json",
        matches=lambda path: path.suffix == ".json" and not is_labelled_rag(path),
        save=save_json,
        load=load_json,
        summary="LlamaIndex's EmbeddingQAFinetuneDataset, one file",
    )
    yield DatasetFormat(
        name="beir",
        matches=is_beir,
        save=save_beir,
        load=load_beir,
        is_folder=True,
        owns=is_our_beir,
        summary="corpus.jsonl, queries.jsonl, qrels/",
    )
    yield DatasetFormat(
        name="csv",
        matches=lambda path: path.suffix == ".csv",
        save=save_csv,
        load=load_csv,
        read_columns=read_csv_columns,
        summary="one pair of query and chunk a line",
    )
    yield DatasetFormat(
        name="labelled_rag",
        matches=is_labelled_rag,
        save=refuse_labelled_rag,
        load=load_labelled_rag,
        summary="LlamaIndex's rag_dataset.json, to be read",
    )
