"""How much of a question stands in its chunk word for word.

A question that repeats its chunk is easy for any search, so it neither trains nor measures much.
"""

import re
import unicodedata

from embedtune.texts import fold

__all__ = ["lexical_overlap", "words"]

_UNSPACED = re.compile(
    # Thai and Lao, Myanmar, Khmer, kana, Han: scripts that put no space between words.
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


class _LettersAlone(dict[int, str]):
    """What `str.translate` makes of a character: itself in a word, a space between words; filled as it is asked."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        # Vowel signs (M), as in Hindi, are part of a word; soft hyphens and joiners (Cf) stand inside one.
        in_word = character.isalnum() or category.startswith("M")
        kept = character if in_word else "" if category == "Cf" else " "
        self[code] = kept
        return kept


_LETTERS_ALONE = _LettersAlone()


def words(text: str) -> list[str]:
    """The words of a text, folded, in their order; letters and digits count, all else is between words.

    A run of a script without spaces gives its overlapping pairs of characters, as is usual in searching
    Chinese or Japanese text.

    >>> words("Use create_fts_index('text'), please!")
    ['use', 'create', 'fts', 'index', 'text', 'please']
    >>> words("LanceDBの索引")
    ['lancedb', 'の索', '索引']
    """
    found: list[str] = []
    for word in fold(text).translate(_LETTERS_ALONE).split():
        for part in _UNSPACED.split(word):
            if _UNSPACED.fullmatch(part):
                found += [part[i : i + 2] for i in range(max(len(part) - 1, 1))]
            elif part:
                found.append(part)
    return found


def lexical_overlap(question: str, chunk: str) -> float:
    """Share of the distinct words of a question that stand in its chunk.

    Words are those of `words`: no stemming, no stop words, so no language is favoured; ``how`` and ``the``
    count like any other.

    Args:
        question: The question.
        chunk: The text that answers it.

    Returns:
        A fraction in [0, 1]; 1.0 if every word of the question stands in the chunk, 0.0 also if the question
        has no word.

    >>> lexical_overlap("How do I delete rows?", "To delete rows, call table.delete(where).")
    0.4
    >>> lexical_overlap("Wie GROSS ist Zürich?", "Zürich ist groß.")
    0.75
    >>> lexical_overlap("???", "Anything.")
    0.0
    """
    asked = set(words(question))
    return len(asked & set(words(chunk))) / len(asked) if asked else 0.0
