"""`generate_qa_embedding_pairs`: an LLM's questions on nodes, under the parameters of ``llama-index-finetuning``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from embedtune import DatasetError, GenerationError, QADataset, TextChunk
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from llama_index.embeddings.embedtune.nodes import MetadataModeName, text_chunk_of_node
from llama_index.embeddings.embedtune.qa_dataset import EmbeddingQAFinetuneDataset

if TYPE_CHECKING:
    from llama_index.core.llms import LLM
    from llama_index.core.schema import BaseNode, TextNode

__all__ = ["DEFAULT_QA_GENERATE_PROMPT_TMPL", "generate_qa_embedding_pairs"]

DEFAULT_QA_GENERATE_PROMPT_TMPL = DEFAULT_PROMPT_TMPL
"""embedtune's own: it asks for search questions, not for an examination."""


def generate_qa_embedding_pairs(
    nodes: "Sequence[TextNode | BaseNode]",
    llm: "LLM | object",
    qa_generate_prompt_tmpl: str = DEFAULT_QA_GENERATE_PROMPT_TMPL,
    num_questions_per_chunk: int = 2,
    retry_limit: int = 3,
    on_failure: str = "continue",
    save_every: int = 500,
    output_path: str | Path | None = None,
    verbose: bool = True,
    *,
    metadata_mode: MetadataModeName = "none",
) -> EmbeddingQAFinetuneDataset:
    """Have an LLM write questions on each node; `QADataset.from_llm` does the same with more to set.

    The chunks have the nodes' own ids, so the result fits LlamaIndex's ``RetrieverEvaluator`` on these nodes.

    Args:
        nodes: Nodes with text.
        llm: LlamaIndex's, an `embedtune.BaseLLM`, or a reference such as ``"openai:gpt-6-luna"``.
        qa_generate_prompt_tmpl: Must hold ``{context_str}`` and ``{num_questions_per_chunk}``.
        num_questions_per_chunk: Questions asked for, at least 1.
        retry_limit: Requests for one chunk that fail in a way that can heal, at least 1.
        on_failure: ``"continue"`` leaves a chunk without questions; ``"fail"`` stops.
        save_every: At least 1. With ``output_path`` every answer is saved as it comes, so no more is lost.
        output_path: The JSON file to write; None writes none. Questions that it has on these nodes stay as they are,
            and only nodes without one are asked about. The answers are kept beside it in ``NAME.answers.jsonl``: the
            same call goes on where it stopped, and asks for nothing twice. What is taken from either is known by the
            nodes' text: another call, on other nodes, takes nothing.
        verbose: Whether a bar is shown.
        metadata_mode: As in `text_chunk_of_node`: ``"embed"`` for nodes whose metadata an index will embed.

    Raises:
        DatasetError: If there is no node with text, a parameter is out of range, or ``output_path`` holds the
            questions on other nodes.
        GenerationError: If no chunk got a question, or one failed and ``on_failure`` is ``"fail"``.
    """
    if retry_limit < 1 or save_every < 1:
        raise DatasetError(f"retry_limit and save_every must be at least 1; got {retry_limit!r} and {save_every!r}.")
    if on_failure not in ("continue", "fail"):
        raise GenerationError(f"on_failure must be 'continue' or 'fail'; got {on_failure!r}.")
    chunks = [_chunk_with_node_id(node, metadata_mode) for node in nodes]
    target = None if output_path is None else Path(output_path).expanduser().absolute()
    kept = None if target is None else _kept(target, chunks)
    without = [chunk for chunk in chunks if kept is None or chunk.id not in _answered(kept)]
    dataset = kept
    if without or kept is None:
        written = QADataset.from_llm(
            *(without, llm, qa_generate_prompt_tmpl, num_questions_per_chunk),
            retries=retry_limit - 1,
            journal=None if target is None else target.with_name(f"{target.name}.answers.jsonl"),
            on_failure="raise" if on_failure == "fail" else "continue",
            progress=verbose,
        )
        dataset = written if kept is None else _joined(kept, written)
    assert dataset is not None
    result = EmbeddingQAFinetuneDataset.from_qa_dataset(dataset)
    if target is not None:
        result.save_json(target)
    return result


def _chunk_with_node_id(node: "BaseNode | object", metadata_mode: MetadataModeName) -> TextChunk:
    chunk = text_chunk_of_node(node, metadata_mode)
    return TextChunk(chunk.text, cast("BaseNode", node).node_id, chunk.metadata)


def _kept(target: Path, chunks: Sequence[TextChunk]) -> QADataset | None:
    """The questions that a file has on these chunks already, under the chunks' ids of now; None if there are none.

    Train's file must not be taken for val's, nor overwritten by it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        return None
    there = EmbeddingQAFinetuneDataset.from_json(target)
    ids: dict[str, str] = {}
    for chunk in chunks:
        ids.setdefault(chunk.text, chunk.id)
    if others := set(there.corpus.values()) - set(ids):
        raise DatasetError(
            f"{str(target)!r} holds questions on {len(others)} other chunks, such as {min(others)[:60]!r}. Give each "
            "set of nodes an output_path of its own, or remove the file."
        )
    if not there.queries:
        return None
    now = {chunk: ids[text] for chunk, text in there.corpus.items()}
    dataset = there.to_qa_dataset()
    return QADataset(
        dataset.queries,
        {now[chunk]: text for chunk, text in dataset.corpus.items()},
        {query: [now[chunk] for chunk in found] for query, found in dataset.relevant_docs.items()},
        {now[chunk]: known for chunk, known in dataset.metadata.items()},
        dataset.styles,
        {query: {now[chunk]: grade for chunk, grade in found.items()} for query, found in dataset.grades.items()},
    )


def _answered(dataset: QADataset) -> set[str]:
    return {chunk for found in dataset.relevant_docs.values() for chunk in found}


def _joined(kept: QADataset, written: QADataset) -> QADataset:
    """The questions of both; one that both have is one question with the chunks of both."""
    relevant = {query: list(found) for query, found in kept.relevant_docs.items()}
    for query, found in written.relevant_docs.items():
        relevant[query] = list(dict.fromkeys([*relevant.get(query, ()), *found]))
    return QADataset(
        {**kept.queries, **written.queries},
        {**kept.corpus, **written.corpus},
        relevant,
        {**kept.metadata, **written.metadata},
        {**kept.styles, **written.styles},
        {**kept.grades, **written.grades},
        written.report,
    )
