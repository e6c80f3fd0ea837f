"""Cleaning real queries: what is dropped, what is merged, and that nothing happens in silence."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest

from embedtune import DatasetError, QADataset, TextChunk
from embedtune.cleaning import Cleaned, clean_responses
from embedtune.disagreements import disagreeing_groups

CORPUS = {"x": "text x", "y": "text y", "z": "text z", "copy of x": "Text  X"}


def clean(queries: dict[str, str], relevant: Any, **options: Any) -> Cleaned:
    return clean_responses(queries, relevant, CORPUS, **options)


# The usual case


def test_clean_queries_stay_as_they_are() -> None:
    cleaned = clean({"a": "How?", "b": "Why?"}, {"a": ["x"], "b": ["y", "z"]})
    assert cleaned.queries == {"a": "How?", "b": "Why?"}
    assert cleaned.relevant_docs == {"a": ["x"], "b": ["y", "z"]}
    assert cleaned.grades == {}
    assert str(cleaned.report) == "kept 2 of 2 queries and 3 of 3 pairs"
    assert not cleaned.report.dropped


def test_every_query_and_every_pair_is_accounted_for() -> None:
    """Kept, merged and dropped add up to what was given, whatever the input."""
    draw = random.Random(0)
    texts = ["How?", "how ?", "HOW?", "why", "", "?", "Why", "where is it", "where is it?", "2018?", "2019?"]
    for _ in range(300):
        queries = {f"q{i}": draw.choice(texts) for i in range(draw.randrange(1, 12))}
        relevant = {query: {draw.choice("xyz?"): draw.choice([-1, 0, 1, 3]) for _ in range(3)} for query in queries}
        queries["fine"], relevant["fine"] = "always one that is left", {"z": 1}
        options = {"merge_duplicates": draw.random() < 0.5, "disagreeing": draw.choice(["best", "drop", "keep"])}
        cleaned = clean(queries, relevant, unknown_chunks="drop", similarity=draw.choice([1.0, 0.5]), **options)
        report = cleaned.report
        dropped_queries = sum(counted.count for counted in report.dropped_queries.values())
        assert report.queries_given == report.queries_kept + report.merged.count + dropped_queries == len(queries)
        dropped_pairs = sum(counted.count for counted in report.dropped_pairs.values())
        assert report.pairs_given == report.pairs_kept + dropped_pairs
        assert report.pairs_kept == sum(map(len, cleaned.relevant_docs.values()))


# Blank and short


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "blank"),
        (" \n\t", "blank"),
        ("?", "too short"),
        ("a", "too short"),
        ("?! ..", "too short"),
        ("🚀🚀", "too short"),
    ],
)
def test_blank_and_too_short_queries_are_dropped(text: str, reason: str) -> None:
    report = clean({"a": text, "b": "fine"}, {"a": ["x"], "b": ["y"]}).report
    assert {name: counted.examples for name, counted in report.dropped_queries.items()} == {reason: ("a",)}
    assert report.dropped_pairs["of a dropped query"].count == 1


@pytest.mark.parametrize("text", ["发票", "c++ 11", "go", "42"])
def test_two_letters_are_enough_in_every_script(text: str) -> None:
    assert clean({"a": text}, {"a": ["x"]}).queries == {"a": text}


def test_without_a_least_length_a_blank_query_is_refused_as_ever() -> None:
    with pytest.raises(DatasetError, match="1 queries have no text: 'a'"):
        from_responses({"a": " ", "b": "why"}, {"a": ["x"], "b": ["y"]}, min_characters=0)


# Equal texts


def test_queries_of_equal_text_become_the_first_with_the_answers_of_all() -> None:
    cleaned = clean({"a": "How?", "b": "why", "c": "  HOW? "}, {"a": ["x"], "b": ["y"], "c": ["z", "x"]})
    assert cleaned.queries == {"a": "How?", "b": "why"}
    assert cleaned.relevant_docs["a"] == ["x", "z"]
    assert cleaned.report.merged.examples == ("c",)
    assert cleaned.report.dropped_pairs["stood twice"].examples == ("c -> x",)


def test_of_two_grades_the_higher_one_stays() -> None:
    grades = {"a": {"x": 1, "y": 2}, "b": {"x": 3}}
    assert clean({"a": "How?", "b": "how?"}, grades).grades == {"a": {"x": 3.0, "y": 2.0}}


def test_clicks_are_added_before_few_of_them_count_as_none() -> None:
    clicks = {"a": {"x": 2, "y": 1}, "b": {"x": 2}, "c": {"z": 4}}
    cleaned = clean({"a": "How?", "b": "how?", "c": "why"}, clicks, min_clicks=4)
    assert cleaned.relevant_docs == {"a": ["x"], "c": ["z"]}
    assert cleaned.report.dropped_pairs["too few clicks"].examples == ("a -> y",)


def test_merging_can_be_turned_off() -> None:
    cleaned = clean({"a": "How?", "b": "how?"}, {"a": ["x"], "b": ["x"]}, merge_duplicates=False)
    assert list(cleaned.queries) == ["a", "b"]


# Numbers


def test_grades_are_kept_where_they_are_not_all_one() -> None:
    cleaned = clean({"a": "How?", "b": "why"}, {"a": {"x": 1, "y": 1.0}, "b": {"x": 0.5, "y": 2}})
    assert cleaned.grades == {"b": {"x": 0.5, "y": 2.0}}


def test_an_answer_judged_as_not_relevant_is_none() -> None:
    cleaned = clean({"a": "How?", "b": "why"}, {"a": {"x": 0, "y": 2}, "b": {"x": -1}})
    assert cleaned.relevant_docs == {"a": ["y"]}
    assert cleaned.report.dropped_pairs["judged not relevant"].examples == ("a -> x", "b -> x")
    assert cleaned.report.dropped_queries["no answer left"].examples == ("b",)


def test_clicks_are_no_grades() -> None:
    assert clean({"a": "How?"}, {"a": {"x": 100, "y": 1}}, min_clicks=1).grades == {}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None, "3", True, [1]])
def test_a_number_that_is_none_is_named(number: object) -> None:
    with pytest.raises(DatasetError, match="The grade of chunk 'x' for query 'a' must be a finite number; got"):
        clean({"a": "How?"}, {"a": {"x": number}})


def test_clicks_below_zero_are_refused() -> None:
    with pytest.raises(DatasetError, match="The clicks on chunk 'x' for query 'a' are below 0: -1"):
        clean({"a": "How?"}, {"a": {"x": -1}}, min_clicks=1)


def test_a_least_number_of_clicks_needs_clicks() -> None:
    with pytest.raises(DatasetError, match=r"min_clicks needs the clicks of each answer: .*got \['x'\] for query 'a'"):
        clean({"a": "How?"}, {"a": ["x"]}, min_clicks=2)


# Disagreement


def test_the_side_with_most_clicks_is_kept() -> None:
    clicks = {"a": {"x": 2}, "b": {"y": 5}, "c": {"z": 1}}
    cleaned = clean({"a": "How is it?", "b": "how is it", "c": "other"}, clicks, min_clicks=1)
    assert list(cleaned.queries) == ["b", "c"]
    assert cleaned.report.dropped_queries["disagreeing"].examples == ("a",)


def test_without_clicks_the_side_asked_most_often_is_kept() -> None:
    queries = {"a": "How is it?", "b": "how is it", "c": "HOW IS IT?"}
    assert list(clean(queries, {"a": ["x"], "b": ["y"], "c": ["x"]}).queries) == ["a"]


@pytest.mark.parametrize("disagreeing", ["best", "drop"])
def test_where_no_side_is_better_none_is_kept(disagreeing: str) -> None:
    queries = {"a": "How is it?", "b": "how is it", "c": "other"}
    cleaned = clean(queries, {"a": ["x"], "b": ["y"], "c": ["z"]}, disagreeing=disagreeing)
    assert list(cleaned.queries) == ["c"]
    assert cleaned.report.dropped_queries["disagreeing"].count == 2


def test_a_disagreement_may_stay() -> None:
    queries = {"a": "How is it?", "b": "how is it"}
    assert list(clean(queries, {"a": ["x"], "b": ["y"]}, disagreeing="keep").queries) == ["a", "b"]


@pytest.mark.parametrize("answers", [["x", "y"], ["copy of x"]])
def test_a_common_answer_or_one_of_equal_text_is_no_disagreement(answers: list[str]) -> None:
    assert len(clean({"a": "How is it?", "b": "how is it"}, {"a": ["x"], "b": answers}).queries) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What was revenue in 2018?", "What was revenue in 2019?"),
        ("Who is the newest user of the server?", "Who is the oldest user of the server?"),
        ("install C", "install C++"),
        ("install C#", "install C++"),
        ("delete a table", "do not delete a table"),
        ("如何创建索引", "如何删除索引"),
        ("1.5 GB", "15 GB!"),
        ("list .txt files", "list txt files"),
        ("the variable full_path", "the variable fullpath"),
    ],
)
def test_questions_that_look_alike_and_differ_are_both_kept(one: str, other: str) -> None:
    """Of groups that share 80% of their runs of characters, nearly all in a real set ask for different things."""
    assert len(clean({"a": one, "b": other}, {"a": ["x"], "b": ["y"]}).queries) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("E-mail is down!", "email is down"),
        ("what's a table?", "whats a table"),
        ("«Straße»", "STRASSE"),
        ("创建索引\uff1f", "创建 索引"),
    ],
)
def test_texts_that_differ_in_case_spaces_and_marks_are_nearly_equal(one: str, other: str) -> None:
    assert clean_sides({"a": one, "b": other}, similarity=1.0) == [[["a"], ["b"]]]


def clean_sides(queries: dict[str, str], similarity: float) -> list[list[list[str]]]:
    return disagreeing_groups(queries, dict(zip(queries, (["x"], ["y"], ["z"]), strict=False)), CORPUS, similarity)


def test_a_lower_similarity_takes_more_texts_for_one_but_never_other_numbers() -> None:
    queries = {
        "a": "what was the total revenue in 2018",
        "b": "what was total revenue in 2018",
        "c": "what was the total revenue in 2019",
    }
    assert clean_sides(queries, 1.0) == []
    assert clean_sides(queries, 0.6) == [[["a"], ["b"]]]


# Unknown chunks, and what is refused


def test_unknown_chunks_are_an_error_that_names_them() -> None:
    with pytest.raises(
        DatasetError, match=r"names 1 chunks that are not in the corpus: 'gone' \(the first at query 'b'\)"
    ):
        clean({"a": "How?", "b": "why"}, {"a": ["x"], "b": ["y", "gone"]})


def test_unknown_chunks_can_be_dropped_and_counted() -> None:
    cleaned = clean({"a": "How?", "b": "why"}, {"a": ["gone", "x"], "b": ["gone"]}, unknown_chunks="drop")
    assert cleaned.relevant_docs == {"a": ["x"]}
    assert cleaned.report.dropped_pairs["of an unknown chunk"].count == 2
    assert cleaned.report.dropped_queries["no answer left"].count == 1


@pytest.mark.parametrize(
    ("queries", "relevant", "options", "message"),
    [
        ({"a": "how"}, {"a": "x"}, {}, r"relevant_docs\['a'\] must be a list of chunk ids, or grades .*; got 'x'"),
        ({"a": "how"}, {"a": None}, {}, r"relevant_docs\['a'\] must be a list of chunk ids"),
        ({"a": "how"}, {"a": ["x"], "b": ["x"]}, {}, "relevant_docs names queries that do not exist: 'b'"),
        ({"a": 7}, {"a": ["x"]}, {}, r"The query 'a' must be a str; got 7 \(int\)"),
        (
            {"a": "how"},
            {"a": {"x": 0}},
            {},
            "Cleaning left no query: kept 0 of 1 query and 0 of 1 pair; .*no answer left",
        ),
        ({"a": "how"}, {"a": {"x": 1}}, {"min_clicks": "2"}, "min_clicks must be a number above 0; got '2'"),
        ({"a": "how"}, {"a": ["x"]}, {"min_characters": None}, "min_characters must be a whole number, 0 or more"),
        ({"a": "how"}, {"a": ["x"]}, {"similarity": 0}, r"similarity must lie in \(0, 1\]; got 0"),
        ({"a": "how"}, {"a": {"x": 1}}, {"min_clicks": 0}, "min_clicks must be a number above 0; got 0"),
        (
            {"a": "how"},
            {"a": ["x"]},
            {"disagreeing": "first"},
            "disagreeing must be 'best', 'drop' or 'keep'; got 'first'",
        ),
        (
            {"a": "how"},
            {"a": ["x"]},
            {"unknown_chunks": "keep"},
            "unknown_chunks must be 'error' or 'drop'; got 'keep'",
        ),
    ],
)
def test_what_cannot_be_cleaned_is_named(queries: Any, relevant: Any, options: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        clean(queries, relevant, **options)


# QADataset.from_responses


def from_responses(queries: Any, relevant: Any, **options: Any) -> QADataset:
    chunks = [TextChunk(text, chunk) for chunk, text in CORPUS.items()]
    return QADataset.from_responses(chunks, queries, relevant, **options)


def test_a_data_set_of_responses_is_cleaned_and_carries_the_report(caplog: pytest.LogCaptureFixture) -> None:
    dataset = from_responses({"a": "How?", "b": "how?", "c": "?"}, {"a": {"x": 2}, "b": ["y"], "c": ["z"]})
    assert dataset.relevant_docs == {"a": ["x", "y"]}
    assert dataset.grades == {"a": {"x": 2.0}}
    assert dataset.report is not None
    assert dataset.report.kind == "cleaning"
    assert str(dataset.report) in caplog.text


def test_what_needed_no_cleaning_is_logged_as_information(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        from_responses({"a": "How?"}, {"a": ["x"]})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "kept 1 of 1 query and 1 of 1 pair")
    ]


def test_a_query_that_came_without_an_answer_is_refused_as_ever() -> None:
    with pytest.raises(DatasetError, match="1 of 2 queries have no relevant chunk: 'b'"):
        from_responses({"a": "How?", "b": "why"}, {"a": ["x"]})


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="min_chars"):
        from_responses({"a": "How?"}, {"a": ["x"]}, min_chars=3)


def test_real_queries_are_cleaned_without_a_guess(test_data: Path) -> None:
    """8,652 questions on shell commands: most near duplicates ask for different things, and stay."""
    loaded = QADataset.load(test_data / "nl2bash", split="train")
    report = clean_responses(loaded.queries, loaded.relevant_docs, loaded.corpus).report
    dropped = report.dropped_queries.get("disagreeing")
    assert dropped is None or dropped.count < 0.01 * len(loaded)
