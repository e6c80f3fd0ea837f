"""Which share of a question's words stands in its chunk, in any script."""

import pytest

from embedtune.overlap import lexical_overlap, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n?!…", []),
        ("create_fts_index", ["create", "fts", "index"]),
        ("v0.38", ["v0", "38"]),
        ("naïve CAFÉ", ["naïve", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("索引", ["索引"]),
        ("の", ["の"]),
        ("Lance的索引", ["lance", "的索", "索引"]),
        ("Donau\u00addampf", ["donaudampf"]),
        ("{a} [b] $c", ["a", "b", "c"]),
    ],
)
def test_words_are_runs_of_letters_and_digits_and_pairs_where_no_spaces_are(text: str, expected: list[str]) -> None:
    """Vowel signs and soft hyphens stand inside a word: cutting there would make words of half a letter."""
    assert words(text) == expected


@pytest.mark.parametrize(
    ("question", "chunk", "expected"),
    [
        ("How are rows deleted?", "how are ROWS deleted", 1.0),
        ("How are rows deleted?", "Something else.", 0.0),
        ("rows rows rows gone", "rows", 0.5),
        ("如何创建索引", "创建索引的方法", 0.6),
        ("", "text", 0.0),
        ("text", "", 0.0),
    ],
)
def test_overlap_is_the_share_of_distinct_words_of_the_question(question: str, chunk: str, expected: float) -> None:
    assert lexical_overlap(question, chunk) == expected


def test_a_word_inside_a_longer_word_is_not_found() -> None:
    assert lexical_overlap("cat", "concatenate") == 0.0


def test_both_unicode_forms_of_a_letter_are_one() -> None:
    assert lexical_overlap("Zu\u0308rich", "Z\u00fcrich") == 1.0
