"""The model card: what was trained on what, what it gained, and how to use it."""

from pathlib import Path

from sentence_transformers import SentenceTransformer

from embedtune import ModelRecord, TuneResult
from embedtune_sentence_transformers.embedder import embedding_dimension

__all__ = ["write_card"]


def write_card(folder: Path, model: SentenceTransformer, result: TuneResult) -> None:
    """Write ``README.md`` into the model folder.

    Args:
        folder: The model folder.
        model: The model in it.
        result: Of the run that made it.
    """
    record = result.record
    base = record.base_model if not Path(record.base_model).is_absolute() else Path(record.base_model).name
    kept = f"\nThis folder holds the base's weights: {record.kept_base_reason}.\n"
    card = f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, sentence-similarity, feature-extraction, embedtune]
---

# {base}, tuned with embedtune
{kept if record.kept_base else ""}
{embedding_dimension(model)} dimensions, compared by {model.similarity_fn_name or "cosine"}; \
reads {model.max_seq_length} tokens.

## Use

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
chunks = model.encode_document(["..."])
```
{_prompt_lines(model)}
## Validation

On {record.configuration["validation_queries"]} queries that chose the checkpoint, so these figures flatter it; \
`embedtune` compares base and tuned on questions that neither has seen.

{_history_table(result)}

Kept: {_chosen(record)}. Pairs in an epoch: {result.n_pairs}. Chunks longer than the model reads: \
{result.truncated_share:.1%}.

## Settings

{_list(record.configuration)}

Versions: {", ".join(f"{name} {number}" for name, number in record.versions.items())}.
"""
    (folder / "README.md").write_text(card, encoding="utf-8")


def _prompt_lines(model: SentenceTransformer) -> str:
    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    if not prompts:
        return ""
    return (
        f"\nThe model was trained with prompts: {prompts}. `encode_query` and `encode_document` put them in front. "
        "A class that does not must be told, as in `HuggingFaceEmbeddings("
        "query_encode_kwargs={'prompt_name': 'query'}, encode_kwargs={'prompt_name': 'document'})`.\n"
    )


def _chosen(record: ModelRecord) -> str:
    if record.chosen_share == 1:
        return f"step {record.chosen_step}"
    return f"weights {record.chosen_share:.0%} of the way from the base's to those of step {record.chosen_step}"


def _history_table(result: TuneResult) -> str:
    names = list(result.history[0].metrics)
    lines = ["| step | epoch | share | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 3)]
    for point in result.history:
        values = " | ".join(f"{point.metrics[name]:.4f}" for name in names)
        lines.append(f"| {point.step} | {point.epoch:.2f} | {point.share:.0%} | {values} |")
    return "\n".join(lines)


def _list(configuration: object) -> str:
    assert isinstance(configuration, dict)
    return "\n".join(f"- {name}: {value}" for name, value in sorted(configuration.items()))
