"""Other people's searches: plain functions and TREC run files, read to the letter."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from embedtune import EvaluationError, QADataset, compare
from embedtune.evaluation import evaluate_search
from embedtune.foreign_searches import FunctionSearch, RunFile, is_search_function
from embedtune.resolve import as_search
from embedtune.testing import HashEmbedder, WordSearch, tiny_dataset

Rankings = Sequence[Sequence[str]]

QUERIES = {"q1": "apples?", "q 2": "drums?", "q%3": "apples?"}
CORPUS = {"a": "apples", "b b": "drums", "c%20": "clouds", "d": "doors"}
DATASET = QADataset(QUERIES, CORPUS, {"q1": ["a"], "q 2": ["b b"], "q%3": ["c%20"]})


def run_of(folder: Path, *lines: str) -> Path:
    path = folder / "run.trec"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def hit_ranks(thing: object) -> list[int | None]:
    search, _ = as_search(thing, CORPUS, queries=QUERIES)
    return [row["rank"] for row in evaluate_search(search, DATASET)]


# Functions


@pytest.mark.parametrize(
    "function",
    [
        lambda queries, k: [["d", "a"] for _ in queries],
        functools.partial(lambda found, queries, k: [found for _ in queries], ["d", "a"]),
        lambda questions, depth=10, verbose=False: [("d", "a") for _ in questions],
    ],
)
def test_a_function_of_queries_and_k_is_a_search(function: Callable[[list[str], int], Rankings]) -> None:
    assert hit_ranks(function) == [2, None, None]


def test_more_than_k_is_cut_and_no_query_is_not_asked() -> None:
    search = FunctionSearch(lambda queries, k: [["a", "d", "b b"] for _ in queries])
    assert search.search(["q"], 2) == [["a", "d"]]
    assert FunctionSearch(lambda queries, k: 1 / 0).search([], 2) == []  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            ["a", "d"],
            r"returned 'a' where the list of a query must be\. Return one list of chunk ids \(str\) per query",
        ),
        ([[1, 2], ["a"]], "returned 1 where a chunk's id must be"),
        ([[("a", 0.5)]], r"returned \('a', 0.5\) where a chunk's id must be"),
        (None, "returned NoneType"),
        ([None], "returned list: 'NoneType' object is not iterable"),
    ],
)
def test_what_is_no_ranking_is_refused_with_the_name_of_the_function(returned: object, message: str) -> None:
    def my_search(queries: list[str], k: int) -> object:
        return returned

    with pytest.raises(EvaluationError, match=f"The search function 'my_search' {message}"):
        FunctionSearch(my_search).search(["q", "r"], 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "thing", [len, print, lambda texts: texts, lambda a, b, c: a, "text", HashEmbedder, HashEmbedder()]
)
def test_other_callables_are_no_searches(thing: object) -> None:
    assert is_search_function(thing) is (thing is print)  # print takes any two arguments


# Run files


def test_ids_that_hold_white_space_are_percent_encoded(tmp_path: Path) -> None:
    path = run_of(
        tmp_path,
        "q1 Q0 d 1 3.5 tag",
        "q1 Q0 a 2 2.5 tag",
        "q%202 Q0 b%20b 1 1.0 tag",
        "q%3 Q0 c%20 1 1.0 tag",
    )
    assert hit_ranks(path) == [2, 1, 1]


def test_an_id_that_holds_a_percent_sign_itself_may_be_encoded_or_not(tmp_path: Path) -> None:
    assert hit_ranks(run_of(tmp_path, "q%253 Q0 c%2520 1 1.0 tag"))[2] == 1
    assert hit_ranks(run_of(tmp_path, "q%3 Q0 c%20 1 1.0 tag"))[2] == 1


def test_the_rank_column_is_the_order_not_the_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A distance is lower-is-better, and libraries break ties differently."""
    path = run_of(tmp_path, "q1 Q0 a 2 0.9 t", "q1 Q0 d 1 0.1 t", "q%202 Q0 b%20b 0 1 t", "q%3 Q0 c%20 1 1.0 t")
    assert RunFile(path, QUERIES, CORPUS).search(["apples?"], 5) == [["d", "a"]]
    (message,) = caplog.messages
    assert message.startswith("by rank and by score the order of 1 queries in")


def test_equal_ranks_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = run_of(tmp_path, *(f"q1 Q0 {chunk} 0 1.0 t" for chunk in "dab"))
    assert RunFile(path, QUERIES, CORPUS).search(["apples?"], 5) == [["d", "a", "b"]]


def test_repeated_ids_count_once_and_before_the_cut(tmp_path: Path) -> None:
    path = run_of(tmp_path, *(f"q1 Q0 {chunk} {rank} 1 t" for rank, chunk in enumerate("dddda")))
    assert RunFile(path, QUERIES, CORPUS).search(["apples?"], 2) == [["d", "a"]]


def test_queries_with_one_text_keep_their_own_rankings(tmp_path: Path) -> None:
    path = run_of(tmp_path, "q1 Q0 a 1 1 t", "q%3 Q0 c%20 1 1 t")
    run = RunFile(path, QUERIES, CORPUS)
    assert run.search(list(QUERIES.values()), 5) == [["a"], [], ["c%20"]]
    assert run.search(["apples?"], 5) == [["a"]]


def test_queries_that_are_not_in_the_file_are_not_found_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert hit_ranks(run_of(tmp_path, "q1 Q0 a 1 1 t", "other Q0 a 1 1 t")) == [1, None, None]
    assert caplog.messages[0].startswith("2 of 3 queries are not in")
    assert "such as 'q 2': they count as not found" in caplog.messages[0]


def test_a_file_for_other_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"has none of the 3 queries: its first id is 'x1', the data set's 'q1'"):
        RunFile(run_of(tmp_path, "x1 Q0 a 1 1 t"), QUERIES, CORPUS)


@pytest.mark.parametrize(
    "line",
    [
        "q1 Q0 a 1 1.0",
        "q1 Q0 a b 1 1.0 tag",
        "q1 Q0 a first 1.0 tag",
        "q1 Q0 a 1 high tag",
        "q1 Q0 a 1.5 1.0 tag",
        '{"q1": ["a"]}',
    ],
)
def test_a_malformed_line_names_file_and_line(line: str, tmp_path: Path) -> None:
    path = run_of(tmp_path, "q1 Q0 a 1 1.0 tag", "", line)
    with pytest.raises(EvaluationError, match=r"run\.trec', line 3: .* is no line of a run, which has six columns"):
        RunFile(path, QUERIES, CORPUS)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "holds no line"), (b"\n \n", "holds no line"), (b"\xff\xfe\x00", "not UTF-8")]
)
def test_a_file_that_is_no_run_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_bytes(content)
    with pytest.raises(EvaluationError, match=message):
        as_search(path, CORPUS, queries=QUERIES)


def test_what_other_tools_write_is_read(tmp_path: Path) -> None:
    """A byte-order mark, tabs, Windows line ends, runs of blanks, no-break spaces inside an id."""
    path = tmp_path / "run.trec"
    path.write_bytes("\ufeffq1\tQ0\ta\t1\t1.0\ttag\r\n  q%202  Q0 x\u00a0y  1  -3e-2  my-tag  \r\n".encode())
    assert RunFile(path, QUERIES, CORPUS).search(["apples?", "drums?"], 5) == [["a"], ["x\u00a0y"]]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_missing_run_file_is_named(kind: type) -> None:
    with pytest.raises(EvaluationError, match=r"No run file at 'no/such\.trec' \(looked at '/.*no/such\.trec'\)"):
        as_search(kind("no/such.trec"), CORPUS, queries=QUERIES)


def test_without_the_queries_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"needs the queries' ids: give RunFile\(path, queries, corpus\)"):
        as_search(run_of(tmp_path, "q1 Q0 a 1 1 t"), CORPUS)


def test_a_run_file_is_compared_as_the_search_that_wrote_it(tmp_path: Path) -> None:
    dataset = tiny_dataset(8)
    found = WordSearch(dataset.corpus).search(list(dataset.queries.values()), 10)
    lines = [
        f"{query} Q0 {chunk} {rank} {-rank} words"
        for query, ids in zip(dataset.queries, found, strict=True)
        for rank, chunk in enumerate(ids, 1)
    ]
    base, tuned = compare(run_of(tmp_path, *lines), WordSearch(dataset.corpus), dataset).evaluations["search"]
    assert base.rows == tuned.rows
    assert base.hit_rate > 0
