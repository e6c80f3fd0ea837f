"""The report as Markdown."""

import re
from pathlib import Path

import pytest

from embedtune.comparison import Finding, SliceRow
from embedtune.report import markdown, write_report
from reported import compared, dataset_of

RANKS = [(None, 1), (1, None), (2, 2)]


def test_verdict_comes_first_then_reason_then_figures() -> None:
    told = markdown(compared(RANKS, dataset_of(3), verdict="do not ship: worse", reason="it finds less"))
    assert told.startswith("# Do not ship: worse: base → tuned\n")
    assert told.index("it finds less") < told.index("| hit_rate@5 | 0.667 | 0.667 | +0.000 | -0.050 to +0.050 |")


def test_every_row_of_a_table_has_the_cells_of_its_head() -> None:
    told = markdown(compared(RANKS, dataset_of(3), ["vector", "fts"]))
    tables = [block for block in told.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_movement_of_each_query_type_is_a_table() -> None:
    told = markdown(compared(RANKS, dataset_of(3), ["vector", "fts"]))
    assert "### fts\n\n1 won, 1 lost, 1 same.\n\n| base ↓ tuned → | 1 | 2\u20133 |" in told
    assert "| 1 |  |  |  |  | 1 |" in told


@pytest.mark.parametrize(
    "evil", ["a|b", "a\nb", "<script>alert(1)</script>", "[x](https://example.com)", "`c` *d* # e"]
)
def test_names_and_texts_cannot_become_markup(evil: str) -> None:
    part = SliceRow(
        slice=evil, value=evil, query_type=evil, n_queries=7, base=0.1, tuned=0.3, difference=0.2, low=0.1, high=0.5
    )
    told = markdown(
        compared(
            RANKS, dataset_of(3), [evil], notes=(evil,), findings=(Finding(name=evil, told=evil),), slices=(part,)
        ),
        base_name=evil,
        tuned_name=evil,
    )
    assert "<script" not in told
    assert "](" not in told.replace("\\](", "")
    for line in told.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\| ", f"{line} "))
    rows = [line for line in told.splitlines() if line.startswith("|") and "hit_rate@5" in line]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}


def test_data_set_stands_in_the_reports_markdown(tmp_path: Path) -> None:
    dataset = dataset_of(3)
    page = write_report(compared(RANKS, dataset), dataset, tmp_path / "report")
    told = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "## Data set" in told
    assert "| chunks | 30 |" in told
    assert dataset.queries["q0"].replace("#", "\\#") in told


def test_seen_questions_are_told_before_the_reason() -> None:
    told = markdown(compared(RANKS, dataset_of(3), n_seen=2, reason="the reason"))
    assert told.index("2 of 3 questions were seen") < told.index("the reason")
