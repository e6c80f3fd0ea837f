"""What a cross-encoder is trained on: questions with their answers, and with what a search finds beside them."""

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedtune import QADataset, TuningError
from embedtune.near_duplicates import shared_runs
from embedtune.texts import fold
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of

__all__ = ["LabelledPairs", "labelled_pairs", "texts_known_wrong"]

logger = logging.getLogger(__name__)

_SAME = 0.8
"""A chunk that shares so many of its runs of five characters with an answer most likely answers too."""
_SPARE = 20
"""More random chunks than are wanted, since some may be answers."""


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of question and chunk, those of one question side by side."""

    queries: tuple[str, ...]
    """Question of each pair."""
    chunks: tuple[str, ...]
    """Chunk of each pair."""
    labels: tuple[float, ...]
    """1.0 where the chunk answers, else 0.0."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_answers(self) -> int:
        """Pairs whose chunk answers."""
        return int(sum(self.labels))

    def rows(self) -> dict[str, list[object]]:
        """Columns as the library's losses for labelled pairs take them."""
        return {"query": list(self.queries), "chunk": list(self.chunks), "label": list(self.labels)}


def labelled_pairs(
    dataset: QADataset,
    found: Mapping[str, Sequence[str]],
    known_wrong: Mapping[str, Sequence[str]],
    *,
    n_negatives: int,
    n_random: int = 0,
    seed: int,
) -> LabelledPairs:
    """Each question with all its answers, all chunks known to be wrong, and some of what is found for it.

    No chunk with the text of an answer is a negative, whatever its id, and none that is all but the text of one.
    Negatives are drawn evenly from the finds: the first alone would be the likeliest to be answers that nobody noted.

    Args:
        dataset: Is trained on.
        found: Texts that the search finds, by question text, best first.
        known_wrong: Texts that do not answer, by question text.
        n_negatives: Drawn for each question from what is found.
        n_random: Drawn for each question from all chunks.
        seed: Draws them.

    Raises:
        TuningError: If no question has a negative.
    """
    pairs = pairs_of(dataset)
    rows: list[tuple[str, str, float]] = []
    n_without = 0
    for query, text in enumerate(pairs.queries):
        answers = _answers(pairs, query)
        wrong = [chunk for chunk in known_wrong.get(text, ()) if chunk not in answers]
        finds = [chunk for chunk in found.get(text, ()) if chunk not in wrong]
        rng = random.Random(f"{seed} {text}")
        drawn = _drawn(finds, answers, n_negatives, rng)
        if n_random:
            others = rng.sample(pairs.chunks, min(len(pairs.chunks), n_random + _SPARE))
            drawn += _drawn([chunk for chunk in others if chunk not in drawn], answers, n_random, rng)
        negatives = list(dict.fromkeys([*wrong, *drawn]))
        n_without += not negatives
        rows += [(text, chunk, 1.0) for chunk in answers] + [(text, chunk, 0.0) for chunk in negatives]
    if n_without == len(pairs.queries):
        raise TuningError(
            f"No question has a wrong chunk to be told from its answers: of the {len(dataset.corpus)} chunks, all that "
            "are found are answers, or all but their texts. Give a larger corpus."
        )
    if n_without:
        logger.info("%d of %d questions have no negative: all that is found are answers", n_without, len(pairs.queries))
    queries, chunks, labels = zip(*rows, strict=True)
    return LabelledPairs(queries, chunks, labels)


def texts_known_wrong(
    known: Mapping[str, Sequence[str]] | None, datasets: Sequence[QADataset]
) -> dict[str, tuple[str, ...]]:
    """Ids that the user gave as texts: wrong chunks by question.

    Args:
        known: Chunk ids by query id.
        datasets: Where they stand; each query in one of them.

    Raises:
        TuningError: If an id is in none of them, or a chunk is said to answer and not to answer one question.
    """
    wrong: dict[str, tuple[str, ...]] = {}
    for query, chunks in (known or {}).items():
        dataset = next((dataset for dataset in datasets if query in dataset.queries), None)
        if dataset is None:
            raise TuningError(f"known_negatives names the query {query!r}, which is in no data set given.")
        if missing := [chunk for chunk in chunks if chunk not in dataset.corpus]:
            raise TuningError(f"known_negatives of the query {query!r} name the chunk {missing[0]!r}: no such chunk.")
        answers = {dataset.corpus[chunk] for chunk in dataset.relevant_docs[query]}
        if both := [chunk for chunk in chunks if dataset.corpus[chunk] in answers]:
            raise TuningError(
                f"The chunk {both[0]!r} is, by its text, a relevant one of the query {query!r} and one of its "
                "known_negatives. Take it out of one of the two."
            )
        text = dataset.queries[query]
        wrong[text] = tuple(dict.fromkeys([*wrong.get(text, ()), *(dataset.corpus[chunk] for chunk in chunks)]))
    return wrong


def _answers(pairs: TrainingPairs, query: int) -> list[str]:
    return [pairs.chunks[chunk] for chunk in sorted(pairs.answers[query])]


def _drawn(finds: Sequence[str], answers: Sequence[str], n: int, rng: random.Random) -> list[str]:
    """Some finds that are no answers; near copies are looked for among those drawn alone, which saves most of it."""
    folded = [fold(answer) for answer in answers]

    def wrong() -> Iterator[str]:
        for chunk in rng.sample(finds, len(finds)):
            if chunk not in answers and all(shared_runs(fold(chunk), answer) < _SAME for answer in folded):
                yield chunk

    return [chunk for chunk, _ in zip(wrong(), range(n), strict=False)]
