"""The checks of a data set where it enters, so that no id dangles deep in a training run."""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from embedtune.errors import DatasetError

if TYPE_CHECKING:
    from embedtune.dataset import QADataset

__all__ = ["checked_fields", "checked_texts", "named"]

logger = logging.getLogger(__name__)


def checked_fields(dataset: "QADataset") -> dict[str, Any]:
    """The fields of a data set, checked and copied."""
    queries = checked_texts("queries", dataset.queries)
    corpus = checked_texts("corpus", dataset.corpus)
    if not isinstance(dataset.relevant_docs, Mapping):
        raise DatasetError(
            f"QADataset.relevant_docs must map query ids to chunk ids; got {type(dataset.relevant_docs).__name__}."
        )
    relevant = {query: _id_list(query, chunks) for query, chunks in dataset.relevant_docs.items()}
    _check_ids(queries, corpus, relevant)
    _check_blank(queries, corpus, relevant)
    blank = [chunk for chunk, text in corpus.items() if not text.strip()]
    if blank:
        logger.warning("dropped %d chunks without text, such as %s", len(blank), named(blank))
        corpus = {chunk: text for chunk, text in corpus.items() if text.strip()}
    return {
        "queries": queries,
        "corpus": corpus,
        "relevant_docs": {query: relevant[query] for query in queries},
        "metadata": {chunk: dict(value) for chunk, value in dataset.metadata.items() if chunk in corpus},
        "styles": {query: style for query, style in dataset.styles.items() if query in queries},
        "grades": _grades(dataset.grades, relevant),
    }


def named(ids: Iterable[str], most: int = 5) -> str:
    """The first ids, quoted, and how many more there are."""
    ids = list(ids)
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(map(repr, ids[:most])) + more


def checked_texts(name: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Texts by id, each of them Unicode."""
    if not isinstance(texts, Mapping):
        raise DatasetError(f"QADataset.{name} must map ids to texts; got {type(texts).__name__}.")
    for key, text in texts.items():
        if not isinstance(key, str) or not key or not isinstance(text, str):
            raise DatasetError(
                f"QADataset.{name} must map non-empty str ids to str texts; got {key!r}: {text!r:.80} "
                f"({type(key).__name__}: {type(text).__name__})."
            )
        _check_unicode(name, key, text)
    return dict(texts)


def _check_unicode(name: str, key: str, text: str) -> None:
    """Half of a surrogate pair, as a faulty decoder leaves it, cannot be written to any file."""
    try:
        key.encode("utf-8")
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"QADataset.{name}[{key!r}] holds {error.object[error.start]!r} at character {error.start}, which is no "
            "Unicode text. Decode its source with errors='replace'."
        ) from error


def _id_list(query: str, chunks: object) -> list[str]:
    if isinstance(chunks, str) or not isinstance(chunks, Iterable):
        raise DatasetError(f"relevant_docs[{query!r}] must be a list of chunk ids; got {chunks!r:.80}.")
    return list(dict.fromkeys(chunks))


def _check_ids(queries: dict[str, str], corpus: dict[str, str], relevant: dict[str, list[str]]) -> None:
    if not queries or not corpus:
        raise DatasetError(
            f"The data set is empty: {len(queries)} queries, {len(corpus)} chunks. It needs at least one of each."
        )
    if unknown := [query for query in relevant if query not in queries]:
        raise DatasetError(
            f"relevant_docs names queries that do not exist: {named(unknown)}. Remove them, or add the queries."
        )
    if unanswered := [query for query in queries if not relevant.get(query)]:
        raise DatasetError(
            f"{len(unanswered)} of {len(queries)} queries have no relevant chunk: {named(unanswered)}. "
            "Drop them, or add their chunks to relevant_docs."
        )
    if dangling := list(dict.fromkeys(c for chunks in relevant.values() for c in chunks if c not in corpus)):
        query = next(query for query, chunks in relevant.items() if dangling[0] in chunks)
        raise DatasetError(
            f"relevant_docs names {len(dangling)} chunks that are not in the corpus: {named(dangling)} "
            f"(the first at query {query!r}). Add them to the corpus, or remove them from relevant_docs."
        )


def _check_blank(queries: dict[str, str], corpus: dict[str, str], relevant: dict[str, list[str]]) -> None:
    if blank := [query for query, text in queries.items() if not text.strip()]:
        raise DatasetError(f"{len(blank)} queries have no text: {named(blank)}. Drop them.")
    answers = dict.fromkeys(chunk for chunks in relevant.values() for chunk in chunks)
    if blank := [chunk for chunk in answers if not corpus[chunk].strip()]:
        raise DatasetError(f"{len(blank)} relevant chunks have no text: {named(blank)}. Drop them and their queries.")


def _grades(grades: Mapping[str, Mapping[str, float]], relevant: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    checked: dict[str, dict[str, float]] = {}
    for query, by_chunk in grades.items():
        for chunk, grade in by_chunk.items():
            if chunk not in relevant.get(query, ()) or not 0 < grade < math.inf:
                raise DatasetError(
                    f"The grade {grade!r} of chunk {chunk!r} for query {query!r} must be above 0, and the chunk must "
                    "stand in relevant_docs; leave out what is not relevant."
                )
        checked[query] = {chunk: float(grade) for chunk, grade in by_chunk.items()}
    return checked
