"""The model card of a tuned reranker."""

from pathlib import Path

from embedtune import ModelRecord, TuneResult
from embedtune.report.escaping import in_markdown
from embedtune_sentence_transformers.card import (
    base_name,
    before_and_after,
    candidates_of,
    chosen_among,
    front_matter,
    settings_of,
    table,
)
from embedtune_sentence_transformers.reranking.pairs import LabelledPairs

__all__ = ["write_reranker_card"]

_TAGS = ("sentence-transformers", "cross-encoder", "reranker", "embedtune")

_USE = """## Use

```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/this/folder")
scores = model.predict([("question", "chunk"), ("question", "another chunk")])
```

Rerank more than you keep: of the first k finds no reranker can change which they are."""


def write_reranker_card(folder: Path, result: TuneResult, pairs: LabelledPairs) -> None:
    """Write ``README.md`` into the model folder; no text of a question or chunk is in it, and of a path the last part.

    Args:
        folder: The model folder.
        result: Of the run that made it.
        pairs: What it was trained on.
    """
    record = result.record
    is_new = bool(record.configuration["new_score_layer"])
    sections = [
        front_matter(record, "text-ranking", _TAGS),
        _head(record),
        _USE,
        _training_data(record, result, pairs),
        before_and_after(record, chosen_among(result)),
        _search(record, is_new=is_new),
        candidates_of(result, "the search's own order, without reranking" if is_new else "the base model"),
        settings_of(record),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def _head(record: ModelRecord) -> str:
    base = in_markdown(base_name(record))
    reads = f"It reads {record.configuration['max_length']:,} tokens of question and chunk together."
    if record.kept_base:
        reason = in_markdown(record.kept_base_reason or "no candidate was better")
        return f"# {base}, as it was\n\n{reads}\n\nThis folder holds the base model's weights: {reason}."
    return (
        f"# {base}, tuned with embedtune to rerank\n\nPuts what a search finds in the order of how well it answers. "
        f"{reads}\n\nKept: step {record.chosen_step:,}."
    )


def _training_data(record: ModelRecord, result: TuneResult, pairs: LabelledPairs) -> str:
    configuration = record.configuration
    rows = [
        ("pairs of question and chunk in an epoch", f"{len(pairs):,}"),
        ("of them answers", f"{pairs.n_answers:,}"),
        ("distinct questions", f"{len(set(pairs.queries)):,}"),
        ("validation questions", f"{configuration['validation_queries']:,}"),
        ("questions with their answer longer than the model reads", f"{result.truncated_share:.1%}"),
    ]
    return "## Training data\n\n" + table(["", ""], rows)


def _search(record: ModelRecord, *, is_new: bool) -> str:
    before = record.configuration["without_reranking"]
    told = (
        "The base has no score layer, so it has no order of its own: what stands under base is the search's."
        if is_new
        else "The base is the reranker as it was."
    )
    rows = [(name, f"{value:.4f}", f"{record.metrics_after[name]:.4f}") for name, value in before.items()]
    return f"## Against no reranking\n\n{told}\n\n" + table(["metric", "the search's own order", "reranked"], rows)
