"""`EmbeddingQAFinetuneDataset`: the data set of ``llama-index-finetuning`` and of LlamaIndex's own evaluation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, PrivateAttr, ValidationError

from embedtune import DatasetError, QADataset
from embedtune.folders import replace_file

if TYPE_CHECKING:
    from embedtune.reports import Report

__all__ = ["EmbeddingQAFinetuneDataset", "as_qa_dataset"]

_FIELDS = ("queries", "corpus", "relevant_docs")


class EmbeddingQAFinetuneDataset(BaseModel):
    """Queries, chunks, and which chunks answer which query; taken by LlamaIndex's ``RetrieverEvaluator``.

    >>> dataset = EmbeddingQAFinetuneDataset(queries={"q": "How?"}, corpus={"c": "So."}, relevant_docs={"q": ["c"]})
    >>> dataset.query_docid_pairs
    [('How?', ['c'])]
    """

    queries: dict[str, str]
    """Query text by query id."""
    corpus: dict[str, str]
    """Chunk text by chunk id."""
    relevant_docs: dict[str, list[str]]
    """Ids of the chunks that answer, by query id."""
    mode: str = "text"
    """As LlamaIndex has it; nothing else than ``"text"`` is tuned here."""

    _more: dict[str, Any] = PrivateAttr(default_factory=dict)
    """What a `QADataset` knows besides: metadata, styles, grades."""
    _report: Any = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        """Whether queries, corpus and relevance are equal; how they came about does not count."""
        if not isinstance(other, EmbeddingQAFinetuneDataset):
            return NotImplemented
        return self.model_dump() == other.model_dump()

    @property
    def query_docid_pairs(self) -> list[tuple[str, list[str]]]:
        """Each query's text with the ids of the chunks that answer it."""
        return [(text, self.relevant_docs[query]) for query, text in self.queries.items()]

    @property
    def report(self) -> "Report | None":
        """How the questions were written, if they were here; see `embedtune.QADataset`."""
        found: Report | None = self._report
        return found

    def save_json(self, path: str | Path) -> None:
        """Write a file that ``llama-index-finetuning`` reads too; a crash leaves the old one whole."""
        more = {"embedtune": self._more} if self._more else {}
        # In ASCII, since it is read elsewhere in whatever encoding the system has.
        content = json.dumps({**self.model_dump(), **more}, indent=4, default=str)
        with replace_file(Path(path)) as partial:
            partial.write_text(content, encoding="ascii")

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """Read a file of `save_json`, of ``llama-index-finetuning``, or of ``QADataset.save("name.json")``.

        Raises:
            FileNotFoundError: If there is none.
            DatasetError: If it is no such file.
        """
        try:
            content = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
            dataset = cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise DatasetError(f"{str(path)!r} is no data set of questions: {place}: {first['msg']}.") from error
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{str(path)!r} is not a data set in JSON: {error}") from error
        more = content.get("embedtune")
        dataset._more = more if isinstance(more, dict) else {}
        return dataset

    @classmethod
    def from_qa_dataset(cls, dataset: QADataset) -> Self:
        """The same for LlamaIndex."""
        made = cls(queries=dataset.queries, corpus=dataset.corpus, relevant_docs=dataset.relevant_docs)
        more = {"metadata": dataset.metadata, "styles": dataset.styles, "grades": dataset.grades}
        made._more = {
            name: {key: _plain(value) for key, value in found.items()} for name, found in more.items() if found
        }
        made._report = dataset.report
        return made

    def to_qa_dataset(self) -> QADataset:
        """The same for embedtune, checked.

        Raises:
            DatasetError: If it is empty, an id dangles, a text is blank, or a query has no relevant chunk.
        """
        more = {name: self._more.get(name) or {} for name in ("metadata", "styles", "grades")}
        return QADataset(
            dict(self.queries),
            dict(self.corpus),
            {query: list(found) for query, found in self.relevant_docs.items()},
            {chunk: known for chunk, known in more["metadata"].items() if chunk in self.corpus},
            {query: style for query, style in more["styles"].items() if query in self.queries},
            {query: grades for query, grades in more["grades"].items() if query in self.queries},
            self._report,
        )


def as_qa_dataset(dataset: object, name: str = "dataset") -> QADataset:
    """Anything with ``queries``, ``corpus`` and ``relevant_docs``, as attributes or keys, as a checked `QADataset`.

    Args:
        dataset: A `QADataset`, an `EmbeddingQAFinetuneDataset` of this or of LlamaIndex's packages, or of its shape.
        name: What messages call it.

    Raises:
        DatasetError: If a field is missing, or as `QADataset`.
    """
    if isinstance(dataset, QADataset):
        return dataset
    if isinstance(dataset, EmbeddingQAFinetuneDataset):
        return dataset.to_qa_dataset()
    known: Mapping[str, Any] = dataset if isinstance(dataset, Mapping) else {}
    fields = {field: known.get(field, getattr(dataset, field, None)) for field in _FIELDS}
    if missing := [field for field, value in fields.items() if not isinstance(value, Mapping)]:
        raise DatasetError(
            f"{name} must have the mappings queries, corpus and relevant_docs; {', '.join(missing)} is none in "
            f"a {type(dataset).__name__}. Give an EmbeddingQAFinetuneDataset or a QADataset."
        )
    relevant = {query: list(found) for query, found in fields["relevant_docs"].items()}
    return QADataset(dict(fields["queries"]), dict(fields["corpus"]), relevant)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
