"""Which questions are worth keeping: checks of one question against its chunk, and of all against each other."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from embedtune.generation.options import QuestionQuality
from embedtune.near_duplicates import near_duplicate_groups, shared_runs
from embedtune.overlap import words
from embedtune.texts import fold, text_hash

__all__ = ["asks_the_same", "copied_share", "equal_questions", "leans_on_passage", "why_dropped"]

_EN = "(?:given |above |provided |following )?(?:text|passage|excerpt|document|article|snippet|context)"
_DE = "(?:text|abschnitt|textabschnitt|passage|dokument|auszug|textauszug|artikel)s?"
_NO = "(?:teksten|avsnittet|utdraget|dokumentet|artikkelen|passasjen|texten|stycket|artikeln)"
_LEANING_PHRASES = (
    rf"(?:according to|based on|(?:stated|described|mentioned) in|from|in) (?:the|this) {_EN}",
    rf"(?:this|the (?:given|above|provided|following)) {_EN}",
    "the text (?:say|state|mention|describe|discuss|explain|suggest|provide)s?",
    "the (?:passage|excerpt|snippet)",
    "the author(?:['\u2019]?s)?",
    "as (?:mentioned|stated|described) above",
    rf"(?:laut|gemäß|im|in diesem|nach dem|aus dem)(?: dem| diesem)? {_DE}",
    "(?:selon|d['\u2019]après|dans) (?:le |la |ce |cet |l['\u2019])(?:texte|passage|extrait|document|article)",
    "(?:según|en|de acuerdo con) (?:el|este) (?:texto|pasaje|fragmento|documento|artículo)",
    "(?:secondo il|nel|in questo) (?:testo|brano|passaggio|documento)",
    "(?:segundo o|no|neste|de acordo com o) (?:texto|trecho|documento|artigo)",
    "(?:volgens|in|uit) (?:de|het|deze|dit) (?:tekst|passage|fragment|document|artikel)",
    rf"(?:ifølge|i følge|i|enligt|fra) (?:denne |dette |den här |det här )?{_NO}",
)
"""English, German, French, Spanish, Italian, Portuguese, Dutch, Norwegian, Danish and Swedish."""

_LEANING = re.compile("|".join(rf"\b{phrase}\b" for phrase in _LEANING_PHRASES), re.IGNORECASE)
"""What only somebody with the passage before their eyes would say."""

_PLACEHOLDER = re.compile(
    r"^(?:(?:search )?(?:question|query|keyword)s?|term)\W*\d*\W*$"
    r"|(?<!\w)(?:\[[a-z][a-z_ ]{2,}\]|<[a-z][a-z_ ]{2,}>|\{[a-z_]{3,}\})",
    re.IGNORECASE,
)
"""What stands where a question should: "Question 1", "[tool_name]"."""

_RUN_WORDS = 5
"""A shorter run of words shared with the chunk is a name or a term."""


def why_dropped(question: str, kind: str, chunk: str, quality: QuestionQuality) -> str | None:
    """Why a question is not kept; None if it is.

    Args:
        question: Its text.
        kind: ``question`` or ``keyword``.
        chunk: The text that it was asked for.
        quality: Which filters are on.
    """
    if len(question.encode("utf-8")) < quality.min_bytes or not words(question):
        return "too short"
    if len(question) > quality.max_characters:
        return "too long"
    is_placeholder = any(fold(match[0]) not in fold(chunk) for match in _PLACEHOLDER.finditer(question))
    if is_placeholder or text_hash(chunk) in question:  # the mark around the passage in the prompt
        return "a placeholder"
    if kind == "question" and quality.drop_leaning and leans_on_passage(question, chunk):
        return "leaning on the passage"
    if kind == "question" and quality.max_copied is not None and copied_share(question, chunk) > quality.max_copied:
        return "copied from the chunk"
    return None


def leans_on_passage(question: str, chunk: str) -> bool:
    """Whether a question speaks of the passage, which a searcher has not seen; not if the chunk itself does.

    >>> leans_on_passage("What does the author recommend according to the text?", "Use an index.")
    True
    >>> leans_on_passage("How long may the text of a post be in this document?", "In this document a post has text.")
    False
    """
    folded = fold(chunk)
    return any(fold(match[0]) not in folded for match in _LEANING.finditer(question))


def copied_share(question: str, chunk: str) -> float:
    """Share of a question's words in its longest run of words that the chunk has too; 0 for runs under five words.

    >>> copied_share("Is the index built in the background by a worker?", "It is built in the background by a worker.")
    0.7
    """
    asked = words(question)
    if len(asked) < _RUN_WORDS:
        return 0.0
    there, starts = _runs_of(chunk)
    longest = 0
    for begin in range(len(asked) - _RUN_WORDS + 1):
        for place in starts.get(tuple(asked[begin : begin + _RUN_WORDS]), ()):
            length = _RUN_WORDS
            while (
                begin + length < len(asked)
                and asked[begin + length : begin + length + 1] == there[place + length : place + length + 1]
            ):
                length += 1
            longest = max(longest, length)
    return longest / len(asked)


def asks_the_same(one: str, other: str, threshold: float | None) -> bool:
    """Whether two questions on one chunk are equal but for case and punctuation, or nearly so.

    >>> asks_the_same("How is the index built?", "how is the index built", None)
    True
    """
    a, b = " ".join(words(one)), " ".join(words(other))
    if a == b or threshold is None:
        return a == b
    return shared_runs(a, b) >= threshold and tuple(_telling(one)) == tuple(_telling(other))


def equal_questions(texts: Mapping[str, str], threshold: float | None) -> list[list[str]]:
    """Groups of ids whose texts ask the same: equal but for case and punctuation, or nearly so.

    Nearly equal texts that differ in a number, an identifier or a capital letter standing alone ("vitamin A")
    ask for different things.

    Args:
        texts: Question by id.
        threshold: As for `near_duplicate_groups`; None finds equal ones only.

    Returns:
        Groups of two and more ids, in the order of ``texts``.
    """
    if threshold is None:
        return _grouped({key: tuple(words(text)) for key, text in texts.items()})
    groups = near_duplicate_groups({key: " ".join(words(text)) for key, text in texts.items()}, threshold)
    return [part for group in groups for part in _grouped({key: tuple(_telling(texts[key])) for key in group})]


def _grouped(keys: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    by_key: dict[tuple[str, ...], list[str]] = {}
    for identifier, key in keys.items():
        by_key.setdefault(key, []).append(identifier)
    return [group for group in by_key.values() if len(group) > 1]


def _telling(text: str) -> Iterator[str]:
    """Words of which one character matters: with digits, marks or capitals inside, or of a single letter."""
    for raw in text.split():
        word = raw.strip("?!.,;:\"'()[]{}\u201c\u201d\u00bf\u00a1\uff1f")
        inner = word[1:]
        if len(word) == 1 or any(c.isdigit() for c in word) or any(c.isupper() or c in "_./\\-:@#" for c in inner):
            yield word.casefold()


@lru_cache(maxsize=64)  # all questions on a chunk are checked one after the other
def _runs_of(chunk: str) -> tuple[list[str], dict[tuple[str, ...], list[int]]]:
    """A chunk's words, and where each run of them begins."""
    there = words(chunk)
    places: dict[tuple[str, ...], list[int]] = {}
    for begin in range(len(there) - _RUN_WORDS + 1):
        places.setdefault(tuple(there[begin : begin + _RUN_WORDS]), []).append(begin)
    return there, places
