"""`finetune`: from documents or a data set to tuned embeddings, in one call."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embedtune import QADataset, TextChunk, TuningError, as_embedder, plugin_manager, tune
from embedtune.adapter.query_adapter import is_adapter_folder
from embedtune.framework_embedder import LazyEmbedder
from langchain_embedtune.embeddings import EmbedtuneEmbeddings

if TYPE_CHECKING:
    from langchain_core.documents import Document

__all__ = ["finetune"]

logger = logging.getLogger(__name__)

BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_ADAPTER = "adapter"

_TWO_PAIRS = QADataset({"1": "One?", "2": "Two?"}, {"a": "One.", "b": "Two."}, {"1": ["a"], "2": ["b"]})
"""Shows a tuner its options and its target before the questions are paid for."""


def finetune(
    documents: "QADataset | Iterable[Document | TextChunk]",
    base: object = BASE_MODEL,
    *,
    path: str | Path,
    llm: object | None = None,
    llm_options: Mapping[str, Any] = MappingProxyType({}),
    test: float = 0.2,
    valset: QADataset | None = None,
    tuner: str = "sentence-transformers",
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    **options: object,
) -> EmbedtuneEmbeddings:
    """Tune a model on questions about documents, and give it as LangChain's ``Embeddings``.

    A data set trains as it is. On documents ``llm`` writes questions; ``test`` of them, by document, are held out of
    training. Beside the model folder ``NAME`` are then written ``NAME.answers.jsonl``, from which the same call goes on
    where it stopped and asks for nothing twice, and ``NAME.test.json``, the held-out questions, with their report:

    .. code-block:: python

        tuned = finetune(documents, llm=chat_model, path="tuned_model")
        compare(base, tuned, QADataset.load("tuned_model.test.json")).verdict

    Args:
        documents: Documents as a splitter returns them, or a data set; best one without the questions that are to
            report the gain.
        base: Folder or hub name of the model to tune, a loaded ``SentenceTransformer``, or `EmbedtuneEmbeddings`; with
            ``tuner="adapter"`` any ``Embeddings``. It stays as it is.
        path: The model folder to write.
        llm: Writes the questions: a chat model of LangChain's, or a reference such as ``"openai:gpt-6-luna"``.
        llm_options: More for `QADataset.from_llm`, such as ``num_questions_per_chunk`` and ``max_cost``.
        test: Share of the LLM's questions that are held out, in [0, 1).
        valset: Chooses the checkpoint; if None, the tuner takes a part of the training questions, or all in turn.
        tuner: Which way of tuning; ``"adapter"`` learns a map of the queries' vectors over any model.
        epochs: Passes over the pairs; by their number if None.
        seed: Same seed, same questions held out, same weights on the same machine.
        resume: Go on from where an interrupted training stopped.
        options: Of the tuner, such as ``learning_rate`` and ``device``.

    Returns:
        The tuned model, or the base with the adapter over it; its ``record`` tells what it was trained on, and what its
        validation gained.

    Raises:
        TuningError: If an option is unknown or out of range, or documents come without an LLM; before it is asked.
        ModelFolderError: If ``path`` holds something that is not ours; before the LLM is asked.
        GenerationError: If the LLM writes nothing; see `QADataset.from_llm`.
        DatasetError: If too few documents have questions to hold some out.
    """
    target = Path(path).expanduser().absolute()
    model = _model_to_tune(base, tuner)
    training: dict[str, Any] = {"epochs": epochs, "seed": seed, "resume": resume, **options}
    plugin_manager().tuner(tuner).load()(model, _TWO_PAIRS, None, target, **training)
    if valset is not None and not isinstance(valset, QADataset):
        raise TuningError(f"valset must be a QADataset, or None; got a {type(valset).__name__}.")
    if isinstance(documents, QADataset):
        _check_unused(llm, llm_options)
        trainset = documents
    else:
        _check_before_paying(documents, llm, test)
        chunks = [plugin_manager().as_text_chunk(document) for document in documents]
        _check_apart(chunks, valset)
        _check_embeds(model, tuner, training)
        trainset = _questions(chunks, llm, llm_options, target, test, seed)
    result = tune(model, trainset, valset, target, tuner=tuner, **training)
    if is_adapter_folder(result.path):
        over = base if isinstance(base, EmbedtuneEmbeddings) else EmbedtuneEmbeddings(model=base)
        return over.model_copy(update={"adapter": str(result.path)})
    return EmbedtuneEmbeddings(model=result.path, device=training.get("device"))


def _model_to_tune(base: object, tuner: str) -> object:
    """A reference that is looked up before the questions are paid for, or what the tuner knows."""
    if isinstance(base, str | Path):
        base = EmbedtuneEmbeddings(model=base)
    if not isinstance(base, EmbedtuneEmbeddings):
        return base
    if base.adapter is not None:
        raise TuningError(
            f"base has an adapter, {base.adapter!r}, which fits its model as it is and no other. Tune the model: "
            f"base={base.model!r}."
        )
    # An adapter is learned on the vectors as they are set to be; other tuners are told their settings themselves.
    return base._referred if tuner == _ADAPTER and isinstance(base.model, str) else base.model


def _check_before_paying(documents: object, llm: object | None, test: float) -> None:
    if isinstance(documents, str) or not isinstance(documents, Iterable):
        raise TuningError(f"Give a list of documents, or a QADataset; got {documents!r:.80}.")
    if llm is None:
        raise TuningError(
            "Documents alone do not tell what is asked of them. Give llm=..., which writes questions, or a QADataset, "
            "as QADataset.from_responses() makes one of real questions."
        )
    if isinstance(test, bool) or not isinstance(test, int | float) or not 0 <= test < 1:
        raise TuningError(f"test must lie in [0, 1): the share of questions held out; got {test!r}.")


def _check_apart(chunks: "Sequence[TextChunk]", valset: QADataset | None) -> None:
    """Questions on the same chunks would train and choose."""
    if valset is None:
        return
    answers = {valset.corpus[chunk] for found in valset.relevant_docs.values() for chunk in found}
    if shared := [chunk.text for chunk in chunks if chunk.text in answers]:
        raise TuningError(
            f"{len(shared)} of the documents answer questions of the valset, such as {shared[0][:60]!r}: it would "
            "choose the checkpoint that remembers best. Leave these documents out, or leave valset out."
        )


def _questions(
    chunks: "Sequence[TextChunk]",
    llm: object | None,
    llm_options: Mapping[str, Any],
    target: Path,
    test: float,
    seed: int,
) -> QADataset:
    """The LLM's questions but those held out, which are written beside the target."""
    journal = target.with_name(f"{target.name}.answers.jsonl")
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset = QADataset.from_llm(chunks, llm, **{"journal": journal, "seed": seed, **llm_options})
    failures = getattr(dataset.report, "failures", {})
    if len(failures) > len(chunks) / 2:
        raise TuningError(
            f"The LLM wrote no question on {len(failures)} of {len(chunks)} documents; the first reason: "
            f"{next(iter(failures.values()))}. The answers so far are in {str(journal)!r}: the same call goes on from "
            "there. To tune on what there is, make the data set by QADataset.from_llm and give that."
        )
    if not test:
        return dataset
    split = dataset.split(val=0, test=test, seed=seed)
    assert split.test is not None
    held_out = target.with_name(f"{target.name}.test.json")
    split.test.save(held_out)
    logger.info("%d questions train, %d are held out in %s", len(split.train), len(split.test), held_out)
    return split.train


def _check_unused(llm: object | None, llm_options: Mapping[str, Any]) -> None:
    if llm is not None or llm_options:
        raise TuningError("A QADataset has its questions: llm and llm_options are for documents. Leave them out.")


def _check_embeds(model: object, tuner: str, training: Mapping[str, Any]) -> None:
    """Embed one text for its errors alone: a misspelt name, or a wrong key, must cost no questions."""
    if isinstance(model, str):
        loading = {name: training.get(name) for name in ("device", "trust_remote_code", "max_seq_length")}
        LazyEmbedder(model, loading).embed_queries(["?"])
    elif tuner == _ADAPTER:
        as_embedder(model).embed_queries(["?"])
