"""One job of writing questions: what is asked about, of whom, and how; checked before anything is paid for."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedtune.corpora import corpus_of
from embedtune.dataset_checks import checked_texts, named
from embedtune.errors import DatasetError, GenerationError
from embedtune.generation.options import Delivery, QuestionQuality, check_count
from embedtune.generation.prompting import QuestionAsk, styles_of
from embedtune.protocols import BaseLLM, BatchLLM

if TYPE_CHECKING:
    from embedtune.generation.harvest import Kept
    from embedtune.plugins import PluginManager

__all__ = ["Task", "as_llm", "check_deliverable", "make_task", "name_of"]

logger = logging.getLogger(__name__)

_LONG_CHUNK = 32_000
"""Characters, some 8,000 tokens: many local servers cut what is longer, without a word."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that one run needs to know."""

    corpus: Mapping[str, str]
    """Chunks with text, by id."""
    metadata: Mapping[str, Mapping[str, Any]] = field(repr=False)
    llm: BaseLLM
    judge: BaseLLM | None
    template: str
    n_questions: int
    delivery: Delivery
    quality: QuestionQuality

    @cached_property
    def ids_by_text(self) -> dict[str, list[str]]:
        """The chunks of each text: equal ones are asked about once."""
        ids: dict[str, list[str]] = {}
        for chunk, text in self.corpus.items():
            ids.setdefault(text, []).append(chunk)
        return ids

    @property
    def chunks(self) -> Iterator[str]:
        """The first chunk of each text."""
        return (ids[0] for ids in self.ids_by_text.values())

    def styles(self, chunk: str) -> list[str]:
        """The styles that are wanted on a chunk, one per question."""
        return styles_of(self.corpus[chunk], self.quality.styles, self.n_questions, self.delivery.seed)

    def ask(self, chunk: str, kept: "Kept", round_number: int) -> QuestionAsk:
        """What is asked of the LLM on a chunk, on which some questions may be there already."""
        n_keywords = self.styles(chunk).count("keyword")
        return QuestionAsk(
            chunk=chunk,
            text=self.corpus[chunk],
            template=self.template,
            n_questions=self.n_questions - n_keywords - len(kept.questions),
            n_keywords=n_keywords - len(kept.keywords),
            avoid=tuple(kept.questions + kept.keywords),
            language=self.quality.language,
            max_tokens=self.max_answer_tokens(self.llm),
            temperature=self.quality.temperature,
            round_number=round_number,
            seed=self.delivery.seed,
            llm=self.llm.fingerprint,
        )

    def max_answer_tokens(self, llm: BaseLLM) -> int:
        """Upper bound on the tokens of an answer."""
        return llm.max_tokens or self.quality.max_answer_tokens


def make_task(
    nodes: Iterable[object],
    llm: object,
    template: str,
    n_questions: int,
    delivery: Delivery,
    quality: QuestionQuality,
    plugins: "PluginManager | None",
) -> Task:
    """Check everything that can be checked without a request.

    Raises:
        DatasetError: If there is no chunk with text, or the template lacks a field.
        GenerationError: If there is no such LLM, or it cannot do what is asked.
    """
    _check_template(template)
    check_count(n_questions)
    corpus, metadata = _writable_corpus(nodes, plugins)
    writer = as_llm(llm, plugins)
    return Task(
        corpus=corpus,
        metadata=metadata,
        llm=writer,
        judge=None if quality.judge is None else as_llm(quality.judge, plugins),
        template=template,
        n_questions=n_questions,
        delivery=delivery,
        quality=quality,
    )


def check_deliverable(task: Task) -> None:
    """Refuse what the LLM cannot do, which an estimate need not mind.

    Raises:
        GenerationError: If batches are wanted without a journal, or of an LLM without them.
    """
    if task.delivery.batch and task.delivery.journal is None:
        raise GenerationError("batch=True needs journal=..., a file that remembers what was submitted.")
    if task.delivery.batch and not isinstance(task.llm, BatchLLM):
        raise GenerationError(f"batch=True needs an LLM whose server takes batches; {name_of(task.llm)} has none.")
    if task.delivery.max_cost is not None and not task.llm.takes_max_tokens and task.llm.max_tokens is None:
        logger.warning(
            "max_cost reckons with %d tokens an answer, but nothing bounds those of %s: set max_tokens on it",
            *(task.quality.max_answer_tokens, name_of(task.llm)),
        )


def as_llm(llm: object, plugins: "PluginManager | None") -> BaseLLM:
    """Any object or reference as an LLM.

    Raises:
        GenerationError: If no installed plugin knows it.
    """
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    manager = plugins or plugin_manager()
    writer = manager.llm(llm) if isinstance(llm, str) else manager.as_llm(llm)
    if writer is None:
        raise GenerationError(
            f"A {type(llm).__module__}.{type(llm).__name__} is no LLM that an installed plugin knows. Give a "
            'subclass of embedtune.BaseLLM, or a reference such as "openai:gpt-6-luna".'
        )
    return writer


def name_of(llm: BaseLLM) -> str:
    """Class and model of an LLM, for messages and reports; nothing else of it, which may be secret."""
    model = getattr(llm, "model", None)
    return f"{type(llm).__name__} {model}" if isinstance(model, str) else type(llm).__name__


def _check_template(template: str) -> None:
    if not isinstance(template, str):
        raise DatasetError(f"The prompt template must be a str; got {type(template).__name__}.")
    if missing := [name for name in ("{context_str}", "{num_questions_per_chunk}") if name not in template]:
        raise DatasetError(
            f"The prompt template lacks {' and '.join(missing)}; it starts {template[:60]!r}. Put them where the "
            "chunk's text and the number of questions belong."
        )


def _writable_corpus(
    nodes: Iterable[object], plugins: "PluginManager | None"
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    corpus, metadata = corpus_of(nodes, plugins)
    # What could not be saved at the end is refused before it is paid for.
    checked_texts("corpus", corpus)
    checked_texts(
        "metadata", {chunk: json.dumps(found, ensure_ascii=False, default=str) for chunk, found in metadata.items()}
    )
    writable = {chunk: text for chunk, text in corpus.items() if text.strip()}
    if not writable:
        raise DatasetError(f"There is no chunk with text to write questions on ({len(corpus)} chunks given).")
    if len(writable) < len(corpus):
        blank = [chunk for chunk in corpus if chunk not in writable]
        logger.warning("%d chunks have no text and are left out: %s", len(blank), named(blank))
    if long := [chunk for chunk, text in writable.items() if len(text) > _LONG_CHUNK]:
        logger.warning(
            "%d chunks are longer than %d characters, such as %s with %d: servers may refuse or cut them, and no "
            "embedding model reads so far; split them smaller",
            *(len(long), _LONG_CHUNK, repr(long[0]), len(writable[long[0]])),
        )
    return writable, {chunk: found for chunk, found in metadata.items() if chunk in writable}
