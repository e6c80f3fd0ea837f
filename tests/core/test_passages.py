"""Cutting texts: nothing lost, nothing empty, headings with their text, code whole where it fits."""

import random
from pathlib import Path

import pytest

from embedtune import DatasetError
from embedtune.passages import Passage, cut_text
from embedtune.text_blocks import Markup, blocks_of


def squeezed(text: str) -> str:
    """The text without white space."""
    return "".join(text.split())


def texts(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def headings(text: str, markup: Markup) -> list[tuple[int, str]]:
    return [(block.level, block.title) for block in blocks_of(text, markup) if block.level]


def test_real_guides_lose_nothing_and_keep_to_the_limit(test_data: Path) -> None:
    """123 guides with tabs, notes, tables and unclosed fences."""
    pages = sorted((test_data / "lancedb_docs" / "raw").glob("*.md"))
    assert len(pages) == 123
    for page in pages:
        text = page.read_text(encoding="utf-8")
        passages = cut_text(text, markup="markdown")
        assert all(0 < len(passage.text) <= 1200 for passage in passages)
        assert squeezed("".join(texts(passages))) == squeezed(text)


@pytest.mark.parametrize("markup", ["markdown", "rst", "plain"])
def test_random_texts_lose_nothing_and_keep_to_the_limit(markup: Markup) -> None:
    draw = random.Random(0)
    parts = [
        "# a",
        "##",
        "```",
        "~~~~",
        "word",
        "Two. ",
        "\n",
        "\n\n",
        "  ",
        "===",
        "---",
        "- x",
        "| a |",
        "雲。",
        "नी",
        "\t",
    ]
    for _ in range(300):
        # A letter first, since front matter is left out on purpose.
        text = "x" + "".join(draw.choice(parts) + draw.choice(["", "\n", " "]) for _ in range(draw.randrange(60)))
        limit = draw.randrange(1, 60)
        passages = cut_text(text, max_characters=limit, markup=markup)
        assert all(passage.text.strip() and len(passage.text) <= limit for passage in passages)
        assert squeezed("".join(texts(passages))) == squeezed(text)


@pytest.mark.parametrize("text", ["", " \n\t\n", "\n" * 5000, "---\ntitle: x\n---\n"])
@pytest.mark.parametrize("markup", ["markdown", "rst"])
def test_a_text_of_nothing_has_no_passage(text: str, markup: Markup) -> None:
    if markup == "markdown" or not text.startswith("-"):
        assert cut_text(text, markup=markup) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(DatasetError, match="max_characters must be at least 1; got 0"):
        cut_text("text", max_characters=0)


# Headings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n## Two ##\n#\n", [(1, "One"), (2, "Two"), (1, "")]),
        ("One\n===\n\nTwo\n---\n", [(1, "One"), (2, "Two")]),
        ("**Bold `code`** {#anchor}\n=====\n", [(1, "Bold `code")]),
        ("## ##\n", [(2, "##")]),
        ("# C#\n", [(1, "C#")]),
        ("#hashtag\n\n    # code\n", []),
        ("text\nover two lines\n---\n", []),
        ("- item\n---\n", []),
        ("```sh\n# a comment\n```\n", []),
        ("=== Tab\n    ~~~~\n    # a\n    ```\n    # b\n    ~~~~\n# Real\n", [(1, "Real")]),
        ("````\n```\n# a\n````\n# Real\n", [(1, "Real")]),
        ("text\n# Heading at once\ntext\n", [(1, "Heading at once")]),
        ("# Überschrift 雲\r\n", [(1, "Überschrift 雲")]),
    ],
)
def test_markdown_headings_are_found_and_comments_in_code_are_none(text: str, expected: list[tuple[int, str]]) -> None:
    assert headings(text.replace("\r\n", "\n"), "markdown") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "=====\nTitle\n=====\n\nPart\n----\n\nSub\n~~~\n\nPart 2\n------\n",
            [(1, "Title"), (2, "Part"), (3, "Sub"), (2, "Part 2")],
        ),
        ("Long title\n---\n", []),
        ("a\n\n-----\n\nb\n", []),
        ("# no heading here\n", []),
    ],
)
def test_rst_titles_get_their_level_by_first_use(text: str, expected: list[tuple[int, str]]) -> None:
    assert headings(text, "rst") == expected


def test_plain_text_has_no_headings() -> None:
    assert cut_text("# One\n\ntext") == [Passage("# One\n\ntext")]


def test_a_passage_knows_the_headings_above_it() -> None:
    page = f"# Guide\n\n## Install\n\n{'a ' * 40}\n\n### Linux\n\n{'b ' * 40}\n\n## Use\n\n{'c ' * 40}"
    found = [passage.headings for passage in cut_text(page, max_characters=120, markup="markdown")]
    assert found == [("Guide", "Install"), ("Guide", "Install", "Linux"), ("Guide", "Use")]


def test_headings_alone_go_with_the_text_that_follows() -> None:
    assert texts(cut_text("# A\n\n## B\n\n### C\n\ntext", max_characters=30, markup="markdown")) == [
        "# A\n\n## B\n\n### C\n\ntext"
    ]


def test_a_heading_at_the_end_is_not_lost() -> None:
    passages = cut_text(f"# A\n\n{'a' * 50}\n\n# B", max_characters=60, markup="markdown")
    assert passages[-1] == Passage("# B", ("B",))


def test_a_heading_stays_with_the_first_sentence_of_a_paragraph_that_is_cut() -> None:
    page = "# Heading\n\n" + "A sentence of some words. " * 8
    assert all(len(passage.text) > 40 for passage in cut_text(page, max_characters=80, markup="markdown"))


def test_small_sections_that_belong_together_are_one_passage_under_what_they_share() -> None:
    page = f"# A\n\n## B\n\nb\n\n## C\n\nc\n\n# D\n\n{'d' * 50}"
    passages = cut_text(page, max_characters=100, markup="markdown")
    assert [passage.headings for passage in passages] == [("A",), ("D",)]


# Long blocks


def test_code_in_a_fence_is_whole_where_it_fits() -> None:
    code = "```python\n" + "x = 1\n\n" * 10 + "```"
    passages = texts(
        cut_text(f"# A\n\n{'text. ' * 12}\n\n{code}\n\nend", max_characters=len(code) + 10, markup="markdown")
    )
    assert any(code in text for text in passages)


def test_longer_code_is_cut_at_line_ends_and_keeps_its_indent() -> None:
    code = "```\n" + "".join(f"    line_{i:03}\n" for i in range(40)) + "```"
    lines = "\n".join(texts(cut_text(code, max_characters=100, markup="markdown"))).split("\n")
    assert lines == code.split("\n")


def test_a_long_paragraph_is_cut_at_sentence_ends_into_like_lengths() -> None:
    lengths = [len(text) for text in texts(cut_text("One sentence here. " * 80, max_characters=500))]
    assert all(text.endswith(".") for text in texts(cut_text("One sentence here. " * 80, max_characters=500)))
    assert min(lengths) > 200


def test_a_long_sentence_is_cut_between_words() -> None:
    found = texts(cut_text("word " * 100, max_characters=52))
    assert set(" ".join(found).split()) == {"word"}


def test_a_word_of_100_000_letters_is_cut_where_it_must() -> None:
    found = texts(cut_text("a" * 100_000, max_characters=1200))
    assert "".join(found) == "a" * 100_000


def test_chinese_is_cut_after_its_full_stop_and_hindi_never_before_a_vowel_sign() -> None:
    assert all(text.endswith("。") for text in texts(cut_text("这是一个句子。" * 50, max_characters=50)))
    assert not any(text[0] in "\u093f\u0940\u0902" for text in texts(cut_text("हिन्दीमें" * 50, max_characters=37)))


def test_a_long_list_is_cut_before_an_item() -> None:
    found = texts(cut_text("\n".join(f"- item {i}. With more words." for i in range(30)), max_characters=200))
    assert len(found) > 1
    assert all(text.startswith("- item") for text in found)


# Front matter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\ntitle: x\ntags:\n  - a\n---\nbody", "body"),
        ("---\n---\nbody", "body"),
        ("---\n# comment\na: b\n...\nbody", "body"),
        ("---\n\nA rule above.\n\n---\n\nbody", "---\n\nA rule above.\n\n---\n\nbody"),
        ("---\nno yaml\n---\nbody", "---\nno yaml\n---\nbody"),
        ("---\ntitle: never closed\nbody", "---\ntitle: never closed\nbody"),
    ],
)
def test_front_matter_is_dropped_and_a_rule_is_not(text: str, expected: str) -> None:
    assert squeezed("".join(texts(cut_text(text, markup="markdown")))) == squeezed(expected)


def test_windows_line_ends_are_read_as_others() -> None:
    page = "# A\n\ntext\n\n```\ncode\n```\n"
    assert cut_text(page.replace("\n", "\r\n"), markup="markdown") == cut_text(page, markup="markdown")


@pytest.mark.parametrize(
    "line", ["# " + " " * 50_000 + "x", "#" * 50_000, "`" * 50_000, "x\n" + "-" * 50_000 + "x", "> " * 50_000]
)
def test_a_line_made_to_be_slow_is_read_at_once(line: str) -> None:
    assert squeezed("".join(texts(cut_text(line, markup="markdown")))) == squeezed(line)
