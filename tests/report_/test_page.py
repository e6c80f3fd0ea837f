"""The HTML page: what stands in it, how much, and what cannot."""

import base64
import dataclasses
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from embedtune import BackendNotFoundError, Comparison, EvaluationError, QADataset
from embedtune.comparison import Finding, SliceRow
from embedtune.report import write_page
from embedtune.report.contents import Contents
from embedtune.report.escaping import in_script
from embedtune.report.listing import list_questions
from reported import EVIL, Ranks, compared, dataset_of, evil_comparison

SIX = ("vector", "fts", "hybrid", "reranked_vector", "reranked_fts", "reranked_hybrid")


class Reader(HTMLParser):
    """The page as a browser takes it apart: text, scripts, and every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, text: str) -> None:
        if self._inside == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + text)
        elif self._inside != "style":
            self.text += text

    @property
    def words(self) -> str:
        """The visible text, white space as one space."""
        return " ".join(self.text.split())

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads."""
        found: dict[str, Any] = json.loads(next(text for given, text in self.scripts if given.get("id")))
        return found


def read(comparison: Comparison, dataset: QADataset, folder: Path, **names: str) -> Reader:
    return Reader(write_page(comparison, dataset, folder / "page.html", **names).read_text(encoding="utf-8"))


def page_of(ranks: Ranks, folder: Path, **fields: Any) -> Reader:
    dataset = dataset_of(len(ranks))
    return read(compared(ranks, dataset, **fields), dataset, folder)


# What is told


def test_verdict_and_reason_stand_before_all_figures(tmp_path: Path) -> None:
    words = page_of([(None, 1), (2, 2)], tmp_path, verdict="ship", reason="it finds more").words
    assert words.index("Ship") < words.index("it finds more") < words.index("0.500") < words.index("Metrics")


def test_seen_questions_are_told_before_the_reason(tmp_path: Path) -> None:
    words = page_of([(None, 1), (2, 2)], tmp_path, n_seen=1, reason="the reason").words
    assert words.index("1 of 2 questions were seen") < words.index("the reason")


def test_notes_findings_slices_and_settings_are_shown(tmp_path: Path) -> None:
    figures = {"base": 0.1, "tuned": 0.3, "difference": 0.2, "low": -0.1, "high": 0.5}
    part = SliceRow(slice="style", value="keyword", query_type="vector", n_queries=7, **figures)
    words = page_of(
        [(None, 1)],
        tmp_path,
        notes=("A model wrote these.",),
        findings=(Finding(name="leak", told="3 questions leak."),),
        slices=(part,),
        settings={"models": {"base": {"fingerprint": "abc123"}}, "reranker": None},
    ).words
    for told in ("A model wrote these.", "leak 3 questions leak.", "Slices exploratory", "-0.100 to +0.500"):
        assert told in words
    for told in ("models.base.fingerprint abc123", "reranker none"):
        assert told in words


def test_table_has_intervals_and_the_deciding_row_is_marked(tmp_path: Path) -> None:
    reader = page_of([(None, 1), (2, 2)], tmp_path)
    assert "hit_rate@5 0.500 1.000 +0.500 +0.450 to +0.550" in reader.words
    assert sum(given.get("class", "").split() == ["decides"] for tag, given in reader.tags if tag == "tr") == 2


def test_adjusted_p_and_wins_are_shown_where_they_are_known(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    found = compared([(None, 1)], dataset)
    assert "p (Holm)" not in read(found, dataset, tmp_path).words
    rows = tuple(dataclasses.replace(row, p_holm=0.25, wins=1) for row in found.rows)
    words = read(dataclasses.replace(found, rows=rows), dataset, tmp_path).words
    assert "p (Holm)" in words
    assert "0.2500 1 / 0 / 0" in words


def test_data_set_is_shown_with_samples(tmp_path: Path) -> None:
    dataset = dataset_of(3)
    words = read(compared([(1, 1)] * 3, dataset), dataset, tmp_path).words
    assert "questions 3 chunks 30" in words
    assert "chunk, characters" in words
    assert "Duplicates" in words
    assert dataset.queries["q1"] in words


def test_models_bear_the_names_that_were_given(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    reader = read(compared([(None, 1)], dataset), dataset, tmp_path, base_name="MiniLM", tuned_name="ours")
    assert reader.data["names"] == ["MiniLM", "ours"]
    assert reader.words.startswith("cannot tell: MiniLM → ours")


# The list of questions


def test_won_and_lost_come_before_those_that_merely_moved(tmp_path: Path) -> None:
    data = page_of([(1, 2), (1, 1), (5, 6), (None, 1)], tmp_path).data
    assert [question["id"] for question in data["questions"]] == ["q3", "q2", "q0"]


def test_results_of_both_models_refer_to_chunks_whose_text_stands_once(tmp_path: Path) -> None:
    dataset = dataset_of(4)
    reader = read(compared([(None, 1)] * 4, dataset, ["vector", "fts"]), dataset, tmp_path)
    base_rank, tuned_rank, base, tuned = reader.data["questions"][0]["found"]["fts"]
    assert (base_rank, tuned_rank) == (0, 1)
    assert [reader.data["chunks"][place][0] for place in tuned] == ["c0", "c1", "c2", "c3", "c4"]
    assert len(base) == 5
    ids = [chunk[0] for chunk in reader.data["chunks"]]
    assert len(ids) == len(set(ids))


def test_texts_are_cut_at_500_characters(tmp_path: Path) -> None:
    dataset = QADataset({"q": "w" * 501}, {"c": "x" * 900, "d": "y" * 500}, {"q": ["c"]})
    data = read(compared([(None, 1)], dataset), dataset, tmp_path).data
    assert [chunk[1] for chunk in data["chunks"]] == ["x" * 500 + "…", "y" * 500]
    assert data["questions"][0]["text"] == "w" * 500 + "…"


def test_at_most_2000_questions_are_listed_and_the_rest_is_counted(tmp_path: Path) -> None:
    reader = page_of([(None, 1)] * 2100, tmp_path)
    assert len(reader.data["questions"]) == 2000
    assert "100 changed questions are left out" in reader.words


def test_page_of_long_texts_stays_below_10_megabytes_and_keeps_the_won_and_lost(tmp_path: Path) -> None:
    """Three bytes a character: 6,000 chunks of 500 would be 9 MB beside the 5 MB of scripts."""
    corpus = {f"c{i}": f"{i} " + chr(0x4E00 + i) * 600 for i in range(6000)}
    queries = {f"q{i}": f"{i}?" for i in range(1000)}
    dataset = QADataset(queries, corpus, {f"q{i}": [f"c{6 * i}"] for i in range(1000)})
    page = write_page(compared([(None, 1)] * 1000, dataset), dataset, tmp_path / "page.html")
    assert page.stat().st_size < 10_000_000
    reader = Reader(page.read_text(encoding="utf-8"))
    assert len(reader.data["questions"]) == 1000
    assert "texts are cut at 200 characters" in reader.words


def test_where_room_is_short_those_that_merely_moved_are_left_out_first() -> None:
    dataset = dataset_of(20, 200)
    contents = Contents(compared([(1, 2)] * 10 + [(None, 1)] * 10, dataset), dataset=dataset)
    listing = list_questions(contents, dataset, 8000)
    assert 10 <= len(listing.questions) < 20
    assert {question["id"] for question in listing.questions} >= {f"q{i}" for i in range(10, 20)}
    assert listing.cut == 500
    assert len(in_script([listing.questions, listing.chunks]).encode()) <= 8000


def test_chunk_that_the_corpus_does_not_have_is_listed_without_text(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    comparison = compared([(None, 1)], dataset)
    comparison.evaluations["vector"][0].rows[0]["retrieved"] = ["stranger"]
    assert ["stranger", None, None] in read(comparison, dataset, tmp_path).data["chunks"]


# Sizes and shapes


@pytest.mark.parametrize("query_types", [("vector",), SIX])
def test_each_of_any_number_of_query_types_has_curve_and_movement(query_types: tuple[str, ...], tmp_path: Path) -> None:
    data = page_of([(None, 1), (3, 3)], tmp_path, query_types=query_types).data
    assert data["types"] == list(query_types)
    assert set(data["curves"]) == set(data["movements"]) == set(query_types)
    assert data["curves"]["vector"]["base_hit_rate"] == [0.0, 0.0, 0.5, *[0.5] * 7]


def test_one_question_that_did_not_change_makes_a_page(tmp_path: Path) -> None:
    reader = page_of([(1, 1)], tmp_path)
    assert reader.data["questions"] == []
    assert "0 of 1 questions" in reader.words


def test_the_same_comparison_makes_the_same_page(tmp_path: Path) -> None:
    dataset = dataset_of(3)
    found = compared([(None, 1), (1, 4), (2, 2)], dataset)
    first, second = (write_page(found, dataset, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


# Data stays data


def evil_page(folder: Path) -> tuple[Reader, QADataset]:
    comparison, dataset = evil_comparison()
    return read(comparison, dataset, folder, base_name=EVIL[0], tuned_name=EVIL[1]), dataset


def test_texts_of_a_data_set_add_no_element_and_no_attribute(tmp_path: Path) -> None:
    reader, _ = evil_page(tmp_path)
    assert not {tag for tag, _ in reader.tags} & {"img", "iframe", "link", "object", "embed"}
    assert len(reader.scripts) == 3
    names = {name for _, given in reader.tags for name in given}
    assert not {name for name in names if name.startswith("on") or name in {"src", "srcdoc", "action"}}
    assert [given["href"] for tag, given in reader.tags if tag == "a" and not str(given["href"]).startswith("#")] == []


def test_texts_of_a_data_set_arrive_unchanged(tmp_path: Path) -> None:
    reader, dataset = evil_page(tmp_path)
    assert {question["text"] for question in reader.data["questions"]} == set(dataset.queries.values())
    texts = {chunk[0]: chunk[1] for chunk in reader.data["chunks"]}
    assert all(texts[chunk] == text for chunk, text in dataset.corpus.items())


def test_page_runs_its_own_scripts_alone_and_asks_for_nothing(tmp_path: Path) -> None:
    reader, _ = evil_page(tmp_path)
    policy = next(given["content"] for tag, given in reader.tags if tag == "meta" and "http-equiv" in given)
    allowed = re.findall(r"'sha256-([^']+)'", str(policy))
    code = [text for given, text in reader.scripts if "type" not in given]
    assert allowed == [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    assert str(policy).startswith("default-src 'none'; script-src 'sha256-")


# Refusals


@pytest.mark.parametrize("missing", ["jinja2", "plotly"])
def test_without_the_extra_the_error_names_it(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendNotFoundError, match=rf'{missing}.* pip install "embedtune\[report\]"'):
        page_of([(1, 1)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="made on 2 questions, and the data set holds 3"):
        write_page(compared([(1, 1)] * 2, dataset_of(2)), dataset_of(3), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
