"""Typing errors as people make them, by rule and seed: a model that is asked for errors makes few, and odd ones."""

import random
import re

from embedtune.texts import text_hash

__all__ = ["misspelt"]

# Not a part of create_index, table.add, a/path, mail@host, well-known or f().
_WORD = re.compile(r"(?<![\w./@:\\-])[^\W\d_]{4,}(?![\w/@\\(]|[.:-]\w)")
_WORDS_PER_ERROR = 6


def misspelt(question: str, seed: int) -> str:
    """The question with typing errors: letters swapped, dropped or doubled, one in about six words.

    Only words of four letters and more are touched, never their first letter, nor words with capitals inside or
    joined to others (names in code), nor scripts without case, where such errors do not happen.

    Args:
        question: Its text.
        seed: Same seed and question, same errors.

    >>> misspelt("how are vectors stored on disk", seed=0) != "how are vectors stored on disk"
    True
    """
    rng = random.Random(f"{seed}{text_hash(question)}")
    words = [match for match in _WORD.finditer(question) if _is_plain(match[0])]
    n_errors = min(len(words), max(1, len(question.split()) // _WORDS_PER_ERROR))
    for match in sorted(rng.sample(words, n_errors), key=lambda match: -match.start()):
        question = question[: match.start()] + _with_error(match[0], rng) + question[match.end() :]
    return question


def _is_plain(word: str) -> bool:
    return word.lower() != word.upper() and word[1:] == word[1:].lower()


def _with_error(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    swapped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    dropped = word[:place] + word[place + 1 :]
    doubled = word[: place + 1] + word[place:]
    return next(error for error in rng.sample([swapped, dropped, doubled], 3) if error != word)
