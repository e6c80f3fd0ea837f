"""Questions on chunks, written by an LLM: one request a chunk, parsed into questions, stable ids."""

import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from embedtune.dataset import QADataset, corpus_of
from embedtune.dataset_checks import named
from embedtune.errors import BudgetExceededError, DatasetError, EmbedtuneError, GenerationError
from embedtune.prompts import fill_template
from embedtune.protocols import BaseLLM
from embedtune.texts import text_hash

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["parse_questions", "write_questions"]

logger = logging.getLogger(__name__)

# Up to the last closing tag (some servers cut the opening one off), or from an opening tag that is never closed.
_REASONING = re.compile(r"\A.*</think(?:ing)?>|<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_MARKER = re.compile(
    r"^\s*(?:[-*\u2022>#]+\s+|\**\(?\d{1,2}[.):](?!\d)\s*|\**\s*(?:Q|question|query|frage)\s*\d*\s*[:.)]\s*)+",
    re.IGNORECASE,
)
_QUOTES = "\"'`*\u201c\u201d\u201e\u00ab\u00bb"
_QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e")
_MIN_BYTES = 8
"""In UTF-8: "Why?" is too short to be searched for, and a question in Chinese of five characters is not."""


def parse_questions(answer: str, at_most: int) -> list[str]:
    r"""The questions in an answer: without numbering, bullets, quotes, preamble, fences or repeats.

    A line counts as a question if it ends in a question mark; where no line does, lines under a marker
    (``1.``, ``-``, ``Q1:``) do, for search queries that are no sentences.

    Args:
        answer: The model's message.
        at_most: How many are kept, in the order given.

    >>> parse_questions("Here are 2 questions:\n1. What is Lance?\n2) **How is it stored?**", 2)
    ['What is Lance?', 'How is it stored?']
    """
    lines = [line.strip() for line in _REASONING.sub("", answer).splitlines()]
    lines = [line for line in lines if line and not line.startswith("```")]
    cleaned = [(bool(_MARKER.match(line)), _MARKER.sub("", line).strip().strip(_QUOTES).strip()) for line in lines]
    asked = [text for _, text in cleaned if text.endswith(_QUESTION_MARKS)]
    marked = [text for is_marked, text in cleaned if is_marked and not text.endswith(":")]
    kept: dict[str, str] = {}
    for text in asked or marked:
        if len(text.encode("utf-8", "surrogatepass")) >= _MIN_BYTES:
            kept.setdefault(text.casefold(), text)
    return list(kept.values())[:at_most]


def write_questions(
    nodes: Iterable[object],
    llm: object,
    template: str,
    n_questions: int,
    *,
    progress: bool,
    plugins: "PluginManager | None",
) -> QADataset:
    """See `QADataset.from_llm`."""
    _check_request(template, n_questions)
    corpus, metadata = corpus_of(nodes, plugins)
    writable = {chunk: text for chunk, text in corpus.items() if text.strip()}
    if not writable:
        raise DatasetError(f"There is no chunk with text to write questions on ({len(corpus)} chunks given).")
    writer = _as_llm(llm, plugins)
    queries: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    failures: dict[str, str] = {}
    for chunk, text in tqdm(writable.items(), desc="writing questions", unit="chunk", disable=not progress):
        try:
            questions = parse_questions(writer.chat_completion(fill_template(template, text, n_questions)), n_questions)
        except BudgetExceededError as error:  # the others would fail alike
            failures[chunk] = str(error)
            break
        except Exception as error:  # a user's LLM may raise anything: what was answered before is paid for
            logger.debug("no answer for chunk %r", chunk, exc_info=error)
            failures[chunk] = str(error) if isinstance(error, EmbedtuneError) else f"{type(error).__name__}: {error}"
            continue
        if not questions:
            failures[chunk] = "the answer held no question"
        for question in questions:
            query = text_hash(f"{chunk}\0{question}")
            queries[query], relevant[query] = question, [chunk]
    _report_failures(failures, writable, queries)
    return QADataset(queries, writable, relevant, {c: m for c, m in metadata.items() if c in writable})


def _check_request(template: str, n_questions: int) -> None:
    if missing := [name for name in ("{context_str}", "{num_questions_per_chunk}") if name not in template]:
        raise DatasetError(
            f"The prompt template lacks {' and '.join(missing)}; it starts {template[:60]!r}. Put them where the "
            "chunk's text and the number of questions belong."
        )
    if n_questions < 1:
        raise DatasetError(f"num_questions_per_chunk must be at least 1; got {n_questions}.")


def _as_llm(llm: object, plugins: "PluginManager | None") -> BaseLLM:
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    manager = plugins or plugin_manager()
    writer = manager.llm(llm) if isinstance(llm, str) else manager.as_llm(llm)
    if writer is None:
        raise GenerationError(
            f"A {type(llm).__module__}.{type(llm).__name__} is no LLM that an installed plugin knows. Give a "
            'subclass of embedtune.BaseLLM, or a reference such as "openai:gpt-6-luna".'
        )
    return writer


def _report_failures(failures: dict[str, str], chunks: dict[str, str], queries: dict[str, str]) -> None:
    if not failures:
        return
    first = next(iter(failures.values()))
    if not queries:
        raise GenerationError(f"No question was written on any of {len(chunks)} chunks. The first reason: {first}")
    logger.warning(
        "no question on %d of %d chunks (%s); the first reason: %s", len(failures), len(chunks), named(failures), first
    )
