"""The model card: what was trained on what, what it gained, and how to use it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from sentence_transformers import SentenceTransformer

from embedtune import ModelRecord, TuneResult
from embedtune.report.escaping import in_markdown, shortened
from embedtune_sentence_transformers.curve import CURVE_FILE, write_curve
from embedtune_sentence_transformers.embedder import embedding_dimension
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.reading import Reading

__all__ = [
    "base_name",
    "before_and_after",
    "candidates_of",
    "chosen_among",
    "front_matter",
    "settings_of",
    "table",
    "write_card",
    "write_export_card",
]

_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "embedtune")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FOLDERS = re.compile(r"(^|[\s:='\"(\[,])(?:~|[A-Za-z]:)?(?:/(?!/)|\\).*[/\\]", re.DOTALL)
"""The folders of an absolute path in an option's value; an address such as https://... has none."""
_PROMPTED = {"prompt_name": "query"}
"""What `encode` is told to embed a query."""
_VALUE_CHARACTERS = 200
"""A teacher that is an object may print as pages."""


def write_card(
    folder: Path, model: SentenceTransformer, result: TuneResult, pairs: TrainingPairs, reading: Reading
) -> None:
    """Write ``README.md`` and the picture in it into the model folder.

    No text of a query or chunk is in them, and of a path only the last part.

    Args:
        folder: The model folder.
        model: The model in it.
        result: Of the run that made it.
        pairs: What it was trained on.
        reading: How much of a text base and tuned model read.
    """
    record = result.record
    write_curve(folder, result, base_name(record))
    sections = [
        front_matter(record, "sentence-similarity", _TAGS),
        _head(model, record),
        f"![Training loss and {in_markdown(str(record.configuration['metric']))} on validation]({CURVE_FILE})",
        _use(model),
        _training_data(record, pairs, reading),
        before_and_after(record, chosen_among(result)),
        candidates_of(result),
        _general_text(record),
        settings_of(record),
    ]
    card = "\n\n".join(section for section in sections if section) + "\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def write_export_card(folder: Path, model: SentenceTransformer, record: ModelRecord) -> None:
    """Write ``README.md`` into the folder of a model that has a query adapter among its modules.

    Args:
        folder: The model folder.
        model: The model in it.
        record: Of the folder.
    """
    base = in_markdown(base_name(record))
    head = f"# {base}, with an adapter for queries by embedtune\n\n{_size(model)}\n\n"
    if record.kept_base:
        head += f"The adapter changes nothing: {in_markdown(record.kept_base_reason or 'no candidate was better')}."
    else:
        head += "A linear map moves the vectors of queries; those of chunks are the base model's, as in its indexes."
    prompts = any(model.prompts.values())
    told = {**(_PROMPTED if prompts else {}), "task": "query"}
    unmapped = "`encode` without a task gives the vectors of chunks"
    if not prompts:
        unmapped += f": a class that calls it must be told, as in `HuggingFaceEmbeddings(query_encode_kwargs={told})`"
    sections = [
        front_matter(record, "sentence-similarity", _TAGS),
        head,
        _use(model, told),
        f"{unmapped}.",
        before_and_after(record, "The adapter was chosen by them"),
        settings_of(record),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def base_name(record: ModelRecord) -> str:
    """The base's name on the hub, or the last part of its folder: the rest of a path is its user's own."""
    if _is_on_hub(record):
        return record.base_model
    return re.split(r"[/\\]", record.base_model.rstrip("/\\"))[-1] or "a model"


def _is_on_hub(record: ModelRecord) -> bool:
    return _HUB_NAME.fullmatch(record.base_model) is not None and not Path(record.base_model).exists()


def front_matter(record: ModelRecord, pipeline: str, tags: Sequence[str]) -> str:
    """What the hub reads: the library, what the model is for, and the base if it is on the hub."""
    lines = ["library_name: sentence-transformers", f"pipeline_tag: {pipeline}", f"tags: [{', '.join(tags)}]"]
    if _is_on_hub(record):
        lines.append(f"base_model: {json.dumps(record.base_model)}")  # a JSON string is one of YAML
    return "\n".join(["---", *lines, "---"])


def _head(model: SentenceTransformer, record: ModelRecord) -> str:
    base, what = in_markdown(base_name(record)), _size(model)
    if record.kept_base:
        reason = in_markdown(record.kept_base_reason or "no candidate was better")
        return f"# {base}, as it was\n\n{what}\n\nThis folder holds the base model's weights: {reason}."
    return (
        f"# {base}, tuned with embedtune\n\nFinds the chunks of a corpus that answer a query: {base}, trained on "
        f"queries with their chunks. {what}\n\nKept: {_chosen(record)}."
    )


def _size(model: SentenceTransformer) -> str:
    limit, compared = model.max_seq_length, model.similarity_fn_name or "cosine"
    # A model of embeddings alone tells infinity.
    reads = "texts of any length" if limit is None or math.isinf(limit) else f"{limit:,} tokens"
    return f"{embedding_dimension(model):,} dimensions, compared by {compared}; reads {reads}."


def _chosen(record: ModelRecord) -> str:
    if record.chosen_share == 1:
        return f"step {record.chosen_step:,}"
    return f"weights {record.chosen_share:.0%} of the way from the base's to those of step {record.chosen_step:,}"


def _use(model: SentenceTransformer, query_options: Mapping[str, str] = MappingProxyType(_PROMPTED)) -> str:
    code = """## Use

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
chunks = model.encode_document(["..."])
scores = model.similarity(queries, chunks)
```"""
    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    if not prompts:
        return code
    return (
        f"{code}\n\nThe model is used with prompts:\n\n```json\n{json.dumps(prompts)}\n```\n\n"
        "`encode_query` and `encode_document` put them in front. A class that does not must be told, as in "
        f"`HuggingFaceEmbeddings(query_encode_kwargs={dict(query_options)}, "
        "encode_kwargs={'prompt_name': 'document'})`."
    )


def _training_data(record: ModelRecord, pairs: TrainingPairs, reading: Reading) -> str:
    configuration = record.configuration
    n_queries, folds = configuration["validation_queries"], configuration.get("cross_validation_folds")
    validation = f"{n_queries:,} queries" + (f", each held back once in {folds} folds" if folds else " held back")
    base = (reading.base, reading.cut_by_base)
    tuned = base if record.kept_base else (reading.chosen, reading.cut)
    rows = [
        ("pairs of query and chunk in an epoch", f"{len(pairs):,}"),
        ("distinct queries", f"{len(pairs.queries):,}"),
        ("distinct chunks that answer them", f"{pairs.n_answer_chunks:,}"),
        ("distinct chunks in all", f"{len(pairs.chunks):,}"),
        ("validation", validation),
        *_reading_rows("the base model", *base),
        *_reading_rows("this model", *tuned),
    ]
    return "## Training data\n\n" + table(["", ""], rows)


def _reading_rows(whose: str, tokens: int | None, cut: float) -> list[tuple[str, str]]:
    if tokens is None:
        return [(f"tokens of a text that {whose} reads", "not told by its tokenizer")]
    return [
        (f"tokens of a text that {whose} reads", f"{tokens:,}"),
        (f"answering chunks that are longer than {whose} reads", f"{cut:.1%}"),
    ]


def chosen_among(result: TuneResult) -> str:
    """How many candidates the validation queries chose among."""
    return f"They chose among {len(result.history):,} candidates, the base model among them"


def before_and_after(record: ModelRecord, chosen_by_them: str) -> str:
    """The section of validation metrics, and why they flatter."""
    before, after = record.metrics_before, record.metrics_after
    rows = [(name, f"{before[name]:.4f}", f"{after[name]:.4f}", f"{after[name] - before[name]:+.4f}") for name in after]
    told = (
        f"On the {record.configuration['validation_queries']:,} validation queries. {chosen_by_them}, **so these "
        "figures flatter this model**: compare it with the base on questions that neither has seen, by "
        "`embedtune.compare`."
    )
    if record.configuration.get("cross_validation_folds") and not record.kept_base:
        told += (
            " They are of the models of the folds, each on queries held back from it; this model was then trained on "
            "all pairs in the same way."
        )
    return f"## Before and after on validation\n\n{told}\n\n" + table(["metric", "base", "kept", "difference"], rows)


def candidates_of(result: TuneResult, first: str = "the base model") -> str:
    """The section of all candidates; ``first`` is what step 0 is."""
    names = list(result.history[0].metrics)
    rows = [
        (
            f"{point.step:,}",
            f"{point.epoch:.2f}",
            f"{point.share:.0%}",
            *(f"{point.metrics[name]:.4f}" for name in names),
        )
        for point in result.history
    ]
    told = f"Share: of the way from the base model's weights to those of the step. Step 0 is {first}."
    return f"## All candidates\n\n{told}\n\n" + table(["step", "epoch", "share", *names], rows, n_names=0)


def _general_text(record: ModelRecord) -> str:
    if record.neighbours_kept is None:
        return ""
    return (
        "## General text\n\nOf the base model's ten nearest neighbours of general sentences, "
        f"{record.neighbours_kept:.0%} are still among the ten."
    )


def settings_of(record: ModelRecord) -> str:
    """The sections of options and versions."""
    settings = [(name, _without_folders(str(value))) for name, value in sorted(record.configuration.items())]
    return (
        f"## Settings\n\n{table(['option', 'value'], settings, n_names=2)}\n\n"
        f"## Versions\n\n{table(['', 'version'], record.versions.items(), n_names=2)}"
    )


def _without_folders(value: str) -> str:
    """An option's value with the last part of a path alone.

    >>> _without_folders("sentence-transformers:/home/me/rerankers/best")
    'sentence-transformers:best'
    """
    return shortened(_FOLDERS.sub(r"\1", value), _VALUE_CHARACTERS)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], n_names: int = 1) -> str:
    """A table of GitHub's Markdown; the columns after the first ``n_names`` are of numbers."""
    rules = ["---" if place < n_names else "---:" for place in range(len(columns))]
    lines = [list(map(in_markdown, columns)), rules, *(list(map(in_markdown, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
