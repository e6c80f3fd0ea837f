"""A framework's retriever as a `Search`: asked on threads, its finds matched to the corpus by id, then by text."""

import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from embedtune.protocols import Retrieved, Retriever
from embedtune.texts import fold

__all__ = ["RetrieverSearch"]

logger = logging.getLogger(__name__)

_THREADS = 8

_ABSOLUTE_PATH = re.compile(r"(?:^|[\s:=\"'(])(/(?:[\w.@+-]+/)+[\w.@+-]+|[A-Za-z]:\\[^\s\"']+|~/[\w./@+-]+)")


class RetrieverSearch:
    """Searches through a retriever.

    A find counts as the chunk whose id it has, if that chunk has its text too; else as the first chunk with its bare
    or its embedded text, up to case and white space; else it keeps its own id, and is no answer. What is amiss
    with the depth or with the embedded texts is said once.

    Args:
        retriever: Asked for one query at a time, from several threads.
        corpus: Text by chunk id.
    """

    def __init__(self, retriever: Retriever, corpus: Mapping[str, str]) -> None:
        self._retriever = retriever
        self._corpus = corpus
        self._has_warned = False
        self._ids_by_text: dict[str, str] = {}
        for chunk, text in corpus.items():
            self._ids_by_text.setdefault(fold(text), chunk)

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The chunks found for each query, best first, at most ``k``."""
        if not queries:
            return []
        with ThreadPoolExecutor(min(_THREADS, len(queries)), thread_name_prefix="embedtune-retriever") as threads:
            found = list(threads.map(lambda query: self._retriever.retrieve(query, k), queries))
        if not self._has_warned:
            self._has_warned = self._warn_of_depth(found, k)
            self._has_warned |= self._warn_of_embedded_texts([hit for hits in found for hit in hits])
        return [list(dict.fromkeys(self._matched(hit) for hit in hits))[:k] for hits in found]

    def _matched(self, hit: Retrieved) -> str:
        if hit.id in self._corpus and fold(self._corpus[hit.id]) in self._texts(hit):
            return hit.id
        return next((self._ids_by_text[text] for text in self._texts(hit) if text in self._ids_by_text), hit.id)

    def _texts(self, hit: Retrieved) -> list[str]:
        return [fold(text) for text in (hit.text, hit.embedded) if text is not None]

    def _warn_of_depth(self, found: Sequence[Sequence[Retrieved]], k: int) -> bool:
        deepest = max(map(len, found))
        if deepest >= min(k, len(self._corpus)):
            return False
        logger.warning(
            "the retriever returns %d chunks at most: figures at larger cut-offs, up to %d, are those at %d",
            *(deepest, k, deepest),
        )
        return True

    def _warn_of_embedded_texts(self, hits: Sequence[Retrieved]) -> bool:
        """Say where the index embeds other texts than those that the data set holds, and so a tuned model reads."""
        other = {hit.embedded: hit for hit in hits if hit.embedded is not None and self._differs(hit)}
        if not other:
            return False
        paths = list(dict.fromkeys(path for text in other for path in _ABSOLUTE_PATH.findall(text)))
        told = f" Absolute paths stand in the embedded texts, such as {paths[0]!r}." if paths else ""
        logger.warning(
            "%d of %d chunks found are embedded with another text than the data set has, as %r.%s %s",
            *(len(other), len({hit.text for hit in hits}), next(iter(other))[:80], told, self._retriever.embedded_hint),
        )
        return True

    def _differs(self, hit: Retrieved) -> bool:
        chunk = self._corpus.get(self._matched(hit))
        return chunk is not None and fold(hit.embedded or "") != fold(chunk)
