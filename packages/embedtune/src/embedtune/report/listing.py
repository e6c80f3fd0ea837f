"""The changed questions that a page can hold, with the texts of what both models retrieved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedtune.comparison import Comparison
from embedtune.dataset import QADataset
from embedtune.judging import Judge
from embedtune.report.contents import Contents
from embedtune.report.escaping import in_script, shortened

__all__ = ["MOST_CHARACTERS", "MOST_LISTED", "Listing", "list_questions"]

MOST_LISTED = 2_000
"""Changed questions on a page, at most."""
MOST_CHARACTERS = 500
"""Of a text on a page, at most."""
_CUTS = (MOST_CHARACTERS, 400, 300, 200, 125)


@dataclass
class Listing:
    """Questions as the page's script reads them; a text stands once, however often it was retrieved."""

    cut: int
    """Texts are this long, in characters, and end in an ellipsis where they are longer."""
    questions: list[dict[str, Any]] = field(default_factory=list)
    """``id``, ``text``, ``seen``, ``expected`` (places in `chunks`), and by query type ``found``: the base model's
    rank (0 for not found), the tuned model's, and places of what the base and the tuned model retrieved."""
    chunks: list[list[str | None]] = field(default_factory=list)
    """Id, text (None if the corpus has no such chunk) and document of each chunk."""
    places: dict[str, int] = field(default_factory=dict)
    """Where a chunk stands in `chunks`, by its id."""
    n_bytes: int = 0
    """Of all this as JSON, in UTF-8."""


def list_questions(contents: Contents, dataset: QADataset, n_bytes: int) -> Listing:
    """The first of the changed questions, as many as there is room for.

    Questions that merely moved are left out before any text is cut below 500 characters; only where the won and
    lost ones alone need more room, all texts are cut shorter.

    Args:
        contents: The comparison, and which questions it changed.
        dataset: Their texts.
        n_bytes: Room on the page.
    """
    places, n_decided = contents.changed
    answers = Judge(dataset, contents.comparison.top_k, ()).grades
    listing = Listing(_CUTS[0])
    for cut in _CUTS:
        listing = Listing(cut)
        for place in places[:MOST_LISTED]:
            if not _add(listing, contents.comparison, dataset, place, answers[place], n_bytes):
                break
        if len(listing.questions) >= min(n_decided, MOST_LISTED):
            break
    return listing


def _add(
    listing: Listing,
    comparison: Comparison,
    dataset: QADataset,
    place: int,
    answers: Iterable[str],
    n_bytes: int,
) -> bool:
    """Add a question and the chunks that are not there yet; False, and nothing added, if there is no room."""
    both = {query_type: (base[place], tuned[place]) for query_type, (base, tuned) in comparison.evaluations.items()}
    row = both[comparison.primary][0]
    rows = [row for pair in both.values() for row in pair]
    ids = dict.fromkeys([*answers, *(chunk for row in rows for chunk in row["retrieved"])])
    new = [chunk for chunk in ids if chunk not in listing.places]
    chunks = [_chunk(dataset, chunk, listing.cut) for chunk in new]
    next_place = len(listing.chunks)
    where = {chunk: listing.places[chunk] for chunk in ids if chunk in listing.places}
    where |= {chunk: next_place + n for n, chunk in enumerate(new)}
    question = {
        "id": row["query_id"],
        "text": shortened(row["query"], listing.cut),
        "seen": any(row["seen"] for row in rows),
        "expected": [where[chunk] for chunk in answers],
        "found": {query_type: _found(*pair, where) for query_type, pair in both.items()},
    }
    added = sum(len(in_script(value).encode()) + 1 for value in (question, *chunks))
    if listing.n_bytes + added > n_bytes:
        return False
    listing.questions.append(question)
    listing.chunks += chunks
    listing.places |= where
    listing.n_bytes += added
    return True


def _found(before: Mapping[str, Any], after: Mapping[str, Any], where: Mapping[str, int]) -> list[Any]:
    retrieved = ([where[chunk] for chunk in row["retrieved"]] for row in (before, after))
    return [before["rank"] or 0, after["rank"] or 0, *retrieved]


def _chunk(dataset: QADataset, chunk: str, cut: int) -> list[str | None]:
    text = dataset.corpus.get(chunk)
    return [chunk, None if text is None else shortened(text, cut), dataset.documents.get(chunk)]
