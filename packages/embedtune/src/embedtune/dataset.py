"""`QADataset`: queries, chunks, and which chunks answer which query."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from embedtune.chunks import TextChunk
from embedtune.dataset_checks import checked_fields
from embedtune.prompts import DEFAULT_PROMPT_TMPL

if TYPE_CHECKING:
    from embedtune.cleaning import CleaningOptions
    from embedtune.generation.options import OnFailure, Prices, QuestionQuality
    from embedtune.plugins import PluginManager
    from embedtune.reports import Report
    from embedtune.splitting import Split

__all__ = ["QADataset"]


@dataclass(frozen=True, repr=False)
class QADataset:
    """Queries with their relevant chunks, in a corpus.

    Checked once, here; afterwards every id in ``relevant_docs`` exists. Chunks with blank text that answer
    nothing are dropped with a warning.

    Args:
        queries: Query text by query id.
        corpus: Chunk text by chunk id; chunks that answer no query are distractors.
        relevant_docs: Ids of the relevant chunks by query id, at least one each.
        metadata: What is known of a chunk, by chunk id; ``document_id`` names its document.
        styles: How a query was written (``natural``, ``keyword``, ...), by query id.
        grades: Relevance above 0 by query id and chunk id, where it is graded; 1 elsewhere.
        report: How the questions were written or cleaned; saved beside the data set.

    Raises:
        DatasetError: If it is empty, an id dangles, a text is blank, or a query has no relevant chunk;
            the message names the ids.

    >>> dataset = QADataset({"q1": "How?"}, {"c1": "Like this."}, {"q1": ["c1"]})
    >>> len(dataset), dataset.documents["c1"]
    (1, None)
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant_docs: dict[str, list[str]]
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    styles: Mapping[str, str] = field(default_factory=dict)
    grades: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    report: "Report | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, value in checked_fields(self).items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.queries)

    def __repr__(self) -> str:
        pairs = sum(map(len, self.relevant_docs.values()))
        return f"QADataset({len(self.queries)} queries, {len(self.corpus)} chunks, {pairs} pairs)"

    @cached_property
    def documents(self) -> dict[str, str | None]:
        """The document of each chunk, None where it is not known."""
        named = {chunk: self.metadata.get(chunk, {}).get("document_id") for chunk in self.corpus}
        return {chunk: None if document is None else str(document) for chunk, document in named.items()}

    @property
    def chunks(self) -> list[TextChunk]:
        """The corpus as chunks."""
        return [TextChunk(text, chunk, self.metadata.get(chunk, {})) for chunk, text in self.corpus.items()]

    @classmethod
    def from_responses(
        cls,
        docs: Iterable[object] | None = None,
        queries: Mapping[str, str] | None = None,
        relevant_docs: Mapping[str, Iterable[str] | Mapping[str, float]] | None = None,
        *,
        nodes: Iterable[object] | None = None,
        plugins: "PluginManager | None" = None,
        **cleaning: "Unpack[CleaningOptions]",
    ) -> "QADataset":
        """A data set of real queries whose answers are known: a search log, or a larger model's answers.

        Args:
            docs: Chunks: `TextChunk`, or LlamaIndex nodes or LangChain documents.
            queries: Query text by query id.
            relevant_docs: Chunk ids by query id; or grades by chunk id, clicks if ``min_clicks`` is given.
            nodes: The older name of ``docs``.
            plugins: Where converters of foreign chunks are looked up.
            **cleaning: What `embedtune.cleaning.clean_responses` takes; the `report` tells what it did.

        Raises:
            DatasetError: As the class, or if two chunks share an id and differ in text.

        >>> chunk = TextChunk.from_chunk("Use create_fts_index.")
        >>> QADataset.from_responses([chunk], {"q": "How to index text?"}, {"q": [chunk.id]})
        QADataset(1 queries, 1 chunks, 1 pairs)
        """
        from embedtune.responses import dataset_of_responses  # it builds a QADataset

        return dataset_of_responses(docs, nodes, queries, relevant_docs, plugins, **cleaning)

    @classmethod
    def from_table(
        cls,
        docs: Iterable[object],
        table: object,
        *,
        query: str = "query",
        chunk: str = "chunk_id",
        clicks: str | None = None,
        grade: str | None = None,
        query_id: str | None = None,
        plugins: "PluginManager | None" = None,
        **cleaning: "Unpack[CleaningOptions]",
    ) -> "QADataset":
        """As `from_responses`, of a table with one query and one chunk that answers it in each row.

        Args:
            docs: Chunks, as in `from_responses`.
            table: Path of a ``.csv``, ``.tsv``, ``.parquet`` or ``.lance`` table, a data frame, or columns by name.
            query: Column of the query's text. A row without it, or without a chunk, is dropped and counted.
            chunk: Column of the chunk's id.
            clicks: Column of clicks; if None, and there are no grades, each row is one.
            grade: Column of relevance, 0 for not relevant.
            query_id: Column of the query's id; if None the id is a hash of its text.
            plugins: Where converters, and readers of files, are looked up.
            **cleaning: As in `from_responses`.

        Raises:
            DatasetError: If a column is missing, or a number is none (its row is named), or as `from_responses`.
        """
        from embedtune.responses import Columns, dataset_of_table  # it builds a QADataset

        return dataset_of_table(docs, table, Columns(query, chunk, clicks, grade, query_id), plugins, **cleaning)

    @classmethod
    def from_llm(
        cls,
        nodes: Iterable[object],
        llm: object,
        qa_generate_prompt_tmpl: str = DEFAULT_PROMPT_TMPL,
        num_questions_per_chunk: int = 2,
        *,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retries: int = 6,
        journal: str | Path | None = None,
        prices: "Prices | None" = None,
        max_cost: float | None = None,
        max_requests: int | None = None,
        batch: bool = False,
        on_failure: "OnFailure" = "continue",
        seed: int = 0,
        progress: bool = True,
        quality: "QuestionQuality | None" = None,
        plugins: "PluginManager | None" = None,
    ) -> "QADataset":
        """Have an LLM write questions on each chunk; `estimate` tells before what that costs.

        One request asks for all questions on a chunk; equal chunks are asked about once. A chunk that gets no
        question stays in the corpus as a distractor, and stands with its reason in the `report`.

        Args:
            nodes: Chunks, or what converts to them.
            llm: A `BaseLLM`, a reference such as ``"openai:gpt-6-luna"``, or a framework's LLM.
            qa_generate_prompt_tmpl: Must hold ``{context_str}`` and ``{num_questions_per_chunk}``; other
                braces stay as they are.
            num_questions_per_chunk: Questions asked for, at least 1.
            concurrency: Requests in flight at once.
            requests_per_minute: Limit on requests, kept evenly; the server's own rate headers are obeyed as well.
            tokens_per_minute: Limit on tokens, read and written.
            retries: Repeats of a request that failed in a way that can heal.
            journal: File that keeps every answer as it arrives; the same call with the same file goes on where it
                stopped, and asks for nothing twice.
            prices: What tokens cost; the report then tells the cost.
            max_cost: Limit on the cost of the job, what the journal holds included; needs ``prices``.
            max_requests: Limit on requests, likewise.
            batch: Whether to use the server's batches: cheaper, and done within a day; waits. Needs ``journal``.
            on_failure: ``"continue"`` goes on where a chunk fails and ends early at a limit; ``"raise"`` stops.
            seed: Same seed and same answers, same data set.
            progress: Whether a bar is shown.
            quality: Styles, language and filters; the defaults of `QuestionQuality` if None.
            plugins: Where converters and LLMs are looked up.

        Raises:
            DatasetError: If there is no chunk with text, or the template lacks a field.
            BudgetExceededError: If a limit is reached and ``on_failure`` is ``"raise"``, or nothing was written.
            GenerationError: If no chunk got a question, or the server refuses for good: a wrong key, no quota. What
                was written before is in the error's ``partial``.
        """
        from embedtune.generation.options import Delivery, QuestionQuality
        from embedtune.generation.task import make_task
        from embedtune.generation.writing import write_questions  # it builds a QADataset

        delivery = Delivery(
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            retries=retries,
            journal=None if journal is None else Path(journal),
            prices=prices,
            max_cost=max_cost,
            max_requests=max_requests,
            batch=batch,
            on_failure=on_failure,
            seed=seed,
            progress=progress,
        )
        asked = (nodes, llm, qa_generate_prompt_tmpl, num_questions_per_chunk)
        return write_questions(make_task(*asked, delivery, quality or QuestionQuality(), plugins))

    def save(self, path: str | Path, format: str | None = None, *, plugins: "PluginManager | None" = None) -> None:
        """Write to a file or folder; a crash leaves the old one whole, or the new one whole.

        Args:
            path: ``.json`` is LlamaIndex's layout, ``.csv`` and ``.parquet`` a table of pairs; without a suffix a
                Lance folder, which needs ``embedtune[lancedb]``, as Parquet does.
            format: ``"lance"``, ``"json"``, ``"beir"``, ``"csv"``, ``"parquet"``, or a plugin's; by the path if None.
            plugins: Where formats are looked up.

        Raises:
            ModelFolderError: If a folder at ``path`` holds something else.
            BackendNotFoundError: If no installed format fits.
        """
        from embedtune.formats import save_dataset  # the formats import this module

        save_dataset(self, Path(path), format, plugins)

    @classmethod
    def load(
        cls,
        path: str | Path,
        format: str | None = None,
        split: str | None = None,
        *,
        plugins: "PluginManager | None" = None,
    ) -> "QADataset":
        """Read what `save` wrote, a BEIR folder, or LlamaIndex's JSON of either kind (also ``labelled_rag``).

        Args:
            path: File or folder.
            format: As for `save`; by what stands at ``path`` if None.
            split: Which judgments, where the layout has several (BEIR: ``"test"`` if None).
            plugins: Where formats are looked up.

        Raises:
            DatasetError: If nothing is there, or it cannot be read; the message names file and line.
        """
        from embedtune.formats import load_dataset  # the formats import this module

        return load_dataset(Path(path), format, split, plugins)

    def split(self, val: float = 0.1, test: float = 0.2, seed: int = 0, *, by: str = "document") -> "Split":
        """Divide into train, validation and test so that nothing is shared between them.

        Chunks of one document, near-duplicate chunks, chunks that answer one query, and queries of one
        text stay together. ``train.corpus`` holds train's chunks alone; the others keep the whole corpus.

        Args:
            val: Share of queries that choose a checkpoint, in [0, 1).
            test: Share of queries that report the gain, in [0, 1).
            seed: Same seed, same split, whatever the order of the queries.
            by: ``"document"``, or ``"chunk"`` to let chunks of one document stand on several sides.

        Raises:
            DatasetError: If the shares do not fit, or the groups are too large to fill every side.
        """
        from embedtune.splitting import split_dataset  # it builds QADatasets

        return split_dataset(self, val=val, test=test, seed=seed, by=by)

    def subset(self, query_ids: Iterable[str], chunk_ids: Iterable[str] | None = None) -> "QADataset":
        """The same data set with some of its queries, and all or some of its chunks."""
        queries = {query: self.queries[query] for query in query_ids}
        corpus = self.corpus if chunk_ids is None else {chunk: self.corpus[chunk] for chunk in chunk_ids}
        return QADataset(
            queries,
            dict(corpus),
            {query: self.relevant_docs[query] for query in queries},
            {chunk: self.metadata[chunk] for chunk in corpus if chunk in self.metadata},
            {query: self.styles[query] for query in queries if query in self.styles},
            {query: self.grades[query] for query in queries if query in self.grades},
            self.report,
        )
