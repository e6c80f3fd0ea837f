"""The model card and the picture of the training in it."""

import doctest
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from sentence_transformers import SentenceTransformer

from browser import chromium, opened_page
from embedtune import ModelRecord, QADataset, TuneResult, tune
from embedtune.records import SeenTexts
from embedtune.tuner import ValidationPoint
from embedtune_sentence_transformers import card as card_module
from embedtune_sentence_transformers import drawing
from embedtune_sentence_transformers.card import write_card
from embedtune_sentence_transformers.curve import curve_svg
from embedtune_sentence_transformers.drawing import MOST_POINTS, Scale, scale_of, smoothed, thinned
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.reading import Reading
from reported import EVIL

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SVG = "{http://www.w3.org/2000/svg}"
WIDTH, HEIGHT = 760, 462
PAIRS = TrainingPairs(("q",) * 400, ("a chunk's text",) * 700, 350, ((0, 0),) * 1900, {})
READING = Reading(base=256, chosen=384, cut_by_base=0.125, cut=0.005, cost=1.2)
VALUES = (0.512, 0.598, 0.6312, 0.6255, 0.641)
"""Of base, three checkpoints, and the mean of base and last step."""


def falling(n_steps: int) -> tuple[float, ...]:
    return tuple(3.2 * math.exp(-3 * step / n_steps) + 0.5 + 0.2 * math.sin(7 * step) for step in range(n_steps))


def tuned(
    n_steps: int = 60,
    *,
    losses: Sequence[float] | None = None,
    values: Sequence[float] = VALUES,
    chosen: int = 4,
    configuration: dict[str, Any] | None = None,
    **fields: Any,
) -> TuneResult:
    """A result of two epochs with three checkpoints and one interpolation; ``chosen`` 0 keeps the base."""
    steps = (0, round(n_steps / 3), round(2 * n_steps / 3), n_steps, n_steps)
    history = tuple(
        ValidationPoint(step, 2 * step / n_steps, {"ndcg@10": value, "hit_rate@5": value / 2}, share)
        for step, value, share in zip(steps, values, (1.0, 1.0, 1.0, 1.0, 0.5), strict=True)
    )
    settings = {"metric": "ndcg@10", "validation_queries": 1312, "cross_validation_folds": 0, "epochs": 2}
    required: dict[str, Any] = {
        "base_model": "BAAI/bge-small-en-v1.5",
        "base_fingerprint": None,
        "fingerprint": "f" * 32,
        "tuner": "sentence-transformers",
        "configuration": settings | (configuration or {}),
        "versions": {"python": "3.11"},
        "metrics_before": history[0].metrics,
        "metrics_after": history[chosen].metrics,
        "chosen_step": history[chosen].step,
        "chosen_share": history[chosen].share,
        "kept_base": chosen == 0,
        "kept_base_reason": None
        if chosen
        else "the best candidate gained +0.0010 ndcg@10, within 1.64 standard errors",
        "seen": SeenTexts(),
    }
    return TuneResult(
        path=Path("/home/someone/tuned"),
        record=ModelRecord(**{**required, **fields}),
        history=history,
        n_pairs=1900,
        truncated_share=0.005,
        seconds=1.0,
        losses=tuple(losses) if losses is not None else falling(n_steps),
    )


RESULTS = {
    "usual": tuned(),
    "checkpoint kept": tuned(chosen=2),
    "base kept": tuned(values=(0.512, 0.508, 0.5, 0.49, 0.5125), chosen=0),
    "cross-validation": tuned(chosen=2, configuration={"cross_validation_folds": 3}),
    "one step": tuned(1, losses=[2.3], chosen=3),
    "no losses": tuned(losses=[]),
    "no finite loss": tuned(losses=[math.nan, math.inf]),
    "equal losses": tuned(losses=[2.0] * 60),
    "losses of 0": tuned(losses=[0.0] * 60),
    "vast losses": tuned(losses=[1e9 - step for step in range(60)]),
    "equal metrics": tuned(values=[1.0] * 5, chosen=0),
    "metrics of 0": tuned(values=[0.0] * 5, chosen=0),
    "nearly as the base": tuned(values=(0.6231, 0.6232, 0.6233, 0.6231, 0.6232), chosen=2),
    "10,000 steps": tuned(10_000, chosen=3),
    "name of a mile": tuned(base_model="W" * 500),
}
each_result = pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())


def picture(result: TuneResult, name: str = "org/base") -> ElementTree.Element:
    return ElementTree.fromstring(curve_svg(result, name))


def words(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def lines(svg: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Loss, smoothed loss, metric."""
    return [
        [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]  # type: ignore[misc]
        for line in svg.iter(f"{SVG}polyline")
    ]


@each_result
def test_a_picture_stands_for_itself(result: TuneResult) -> None:
    """No script, no style sheet, no address but the name space; every number a number, within the picture."""
    svg = picture(result)
    assert {element.tag.removeprefix(SVG) for element in svg.iter()} <= {
        *("svg", "title", "desc", "rect", "text", "line", "polyline", "circle")
    }
    assert curve_svg(result, "org/base").count("://") == 1
    for element in svg.iter():
        for name, most in (("x", WIDTH), ("cx", WIDTH), ("x1", WIDTH), ("y", HEIGHT), ("cy", HEIGHT), ("y2", HEIGHT)):
            assert 0 <= float(element.get(name, 0)) <= most
    for points in lines(svg):
        assert len(points) <= MOST_POINTS
        assert all(64 <= x <= 626 and 90 < y < 410 for x, y in points)
        assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert svg.findtext(f"{SVG}title") == "Training of org/base"
    assert "Candidates: " in svg.findtext(f"{SVG}desc", "")


def test_base_candidates_and_the_kept_one_are_told_apart() -> None:
    svg = picture(RESULTS["usual"])
    candidates = {title: mark for mark in svg.iter(f"{SVG}circle") if (title := mark.findtext(f"{SVG}title"))}
    assert list(candidates) == [
        "base model: ndcg@10 0.5120",
        "step 20: ndcg@10 0.5980",
        "step 40: ndcg@10 0.6312",
        "step 60: ndcg@10 0.6255",
        "step 60, 50% of the way: ndcg@10 0.6410",
    ]
    assert [mark.get("fill") for mark in candidates.values()] == ["#0a6590"] * 4 + ["#ffffff"]
    kept = candidates["step 60, 50% of the way: ndcg@10 0.6410"]
    rings = [mark for mark in svg.iter(f"{SVG}circle") if mark.get("r") == "7.5"]
    assert [(ring.get("cx"), ring.get("cy")) for ring in rings] == [(kept.get("cx"), kept.get("cy"))]
    assert {"base 0.512", "kept 0.641", "optimiser step", "0.55", "0.60", "30"} <= set(words(svg))
    dashed = next(line for line in svg.iter(f"{SVG}line") if line.get("stroke-dasharray") == "5 4")
    assert dashed.get("y1") == dashed.get("y2") == candidates["base model: ndcg@10 0.5120"].get("cy")


def test_a_kept_base_is_marked_as_such() -> None:
    svg = picture(RESULTS["base kept"])
    ring = next(mark for mark in svg.iter(f"{SVG}circle") if mark.get("r") == "7.5")
    assert ring.get("cx") == "64"
    assert "base, kept 0.512" in words(svg)
    assert "ndcg@10 on 1,312 validation queries: base 0.512, kept: no gain beyond chance" in words(svg)


def test_folds_and_the_last_run_share_an_axis_of_passes() -> None:
    """Their steps are not comparable; the last run ends where the checkpoint was chosen, after 4/3 of 2 passes."""
    svg = picture(RESULTS["cross-validation"])
    assert {"passes over the training pairs", "1.5", "2.0", "Training loss, last run on all pairs"} <= set(words(svg))
    raw, _, metric = lines(svg)
    kept = metric[2]
    assert raw[-1][0] == kept[0] == pytest.approx(64 + 562 * 2 / 3, abs=0.1)


def test_ten_thousand_steps_keep_their_spikes() -> None:
    losses = [*falling(5000), 9.0, *falling(4999)]
    raw, _, _ = lines(picture(tuned(10_000, losses=losses, chosen=3)))
    assert len(raw) <= MOST_POINTS
    low, high = (min(y for _, y in raw), max(y for _, y in raw))
    scale = scale_of(losses, 226, 96)
    assert (low, high) == (pytest.approx(scale(9.0), abs=0.1), pytest.approx(scale(min(losses)), abs=0.1))
    assert len(curve_svg(tuned(10_000, chosen=3), "b")) < 30_000


def test_no_losses_are_said_to_be_none() -> None:
    for name in ("no losses", "no finite loss"):
        svg = picture(RESULTS[name])
        assert "no losses recorded" in words(svg)
        assert len(lines(svg)) == 1


@pytest.mark.parametrize("name", [*EVIL, "half \ud800", ""])
def test_any_name_gives_well_formed_xml(name: str) -> None:
    svg = picture(RESULTS["usual"], name)
    curve_svg(RESULTS["usual"], name).encode()
    assert {element.tag for element in svg.iter()} == {element.tag for element in picture(RESULTS["usual"]).iter()}


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 12_000, ["0", "5,000", "10,000"]),
        (0.30001, 0.30009, ["0.30002", "0.30004", "0.30006", "0.30008"]),
        (-1, 1, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        (0, 3e9, ["0", "1e+09", "2e+09", "3e+09"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert list(Scale(low, high, 0, 100).ticks(5).values()) == labels


def test_whole_steps_have_whole_ticks() -> None:
    assert list(Scale(0, 1, 0, 100).ticks(8, least_step=1).values()) == ["0", "1"]


def test_means_at_the_ends_are_of_what_is_there() -> None:
    assert smoothed([1, 3, 5, 7, 9], 5) == [3, 4, 5, 6, 7]
    assert smoothed([4.0], 3) == [4.0]


def test_few_points_are_not_thinned() -> None:
    points = [(float(x), float(x % 3)) for x in range(MOST_POINTS)]
    assert thinned(points) == points


def test_examples_in_docstrings_are_true() -> None:
    results = [doctest.testmod(module) for module in (card_module, drawing)]
    assert [result.failed for result in results] == [0, 0]
    assert all(result.attempted for result in results)


@pytest.fixture(scope="module")
def model(small_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(small_model), device="cpu")


def card_of(result: TuneResult, model: SentenceTransformer, folder: Path) -> str:
    write_card(folder, model, result, PAIRS, READING)
    assert (folder / "training.svg").is_file()
    return (folder / "README.md").read_text(encoding="utf-8")


def section(card: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", card, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


def cells(table: str) -> list[list[str]]:
    """Of the rows below the head, as a reader of Markdown finds them."""
    html = MarkdownIt().enable("table").render(table)
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)[1:]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]


def test_a_card_says_what_was_trained_on_what(model: SentenceTransformer, tmp_path: Path) -> None:
    card = card_of(RESULTS["usual"], model, tmp_path)
    assert "# BAAI/bge-small-en-v1.5, tuned with embedtune\n" in card
    assert "Kept: weights 50% of the way from the base's to those of step 60." in card
    assert re.search(r"^!\[.*\]\(training\.svg\)$", card, re.MULTILINE)
    assert dict(cells(section(card, "Training data"))) == {
        "pairs of query and chunk in an epoch": "1,900",
        "distinct queries": "400",
        "distinct chunks that answer them": "350",
        "distinct chunks in all": "700",
        "validation": "1,312 queries held back",
        "tokens of a text that the base model reads": "256",
        "answering chunks that are longer than the base model reads": "12.5%",
        "tokens of a text that this model reads": "384",
        "answering chunks that are longer than this model reads": "0.5%",
    }
    assert "a chunk's text" not in card


def test_a_card_warns_of_its_own_figures(model: SentenceTransformer, tmp_path: Path) -> None:
    before_and_after = section(card_of(RESULTS["usual"], model, tmp_path), "Before and after on validation")
    assert "They chose among 5 candidates" in before_and_after
    assert "these figures flatter this model" in before_and_after
    assert cells(before_and_after) == [
        ["ndcg@10", "0.5120", "0.6410", "+0.1290"],
        ["hit_rate@5", "0.2560", "0.3205", "+0.0645"],
    ]


def test_a_card_lists_all_candidates(model: SentenceTransformer, tmp_path: Path) -> None:
    rows = cells(section(card_of(RESULTS["usual"], model, tmp_path), "All candidates"))
    assert rows[0] == ["0", "0.00", "100%", "0.5120", "0.2560"]
    assert rows[4] == ["60", "2.00", "50%", "0.6410", "0.3205"]
    assert len(rows) == 5


def test_a_kept_base_is_not_called_tuned(model: SentenceTransformer, tmp_path: Path) -> None:
    card = card_of(RESULTS["base kept"], model, tmp_path)
    assert "# BAAI/bge-small-en-v1.5, as it was\n" in card
    assert "holds the base model's weights: the best candidate gained +0.0010 ndcg@10, within 1.64" in card
    assert "tuned with embedtune" not in card
    assert "384" not in section(card, "Training data"), "the base reads no more than it did"


def test_a_card_tells_whose_figures_a_cross_validation_gives(model: SentenceTransformer, tmp_path: Path) -> None:
    card = card_of(RESULTS["cross-validation"], model, tmp_path)
    assert "1,312 queries, each held back once in 3 folds" in card
    assert "They are of the models of the folds" in card


def test_what_is_left_of_the_base_is_told_where_it_was_measured(model: SentenceTransformer, tmp_path: Path) -> None:
    told = "ten nearest neighbours of general sentences, 83% are still among the ten."
    assert told in card_of(tuned(neighbours_kept=0.834), model, tmp_path)
    assert "neighbours" not in card_of(tuned(), model, tmp_path)


@pytest.mark.parametrize(
    ("base", "named"),
    [
        ("BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
        ("/home/someone/models/my base", None),
        ("C:\\Users\\someone\\models\\my base\\", None),
        ("a SentenceTransformer in memory", None),
        ("org/name/../../someone", None),
        ("/", None),
    ],
)
def test_front_matter_names_a_base_of_the_hub_alone(
    base: str, named: str | None, model: SentenceTransformer, tmp_path: Path
) -> None:
    card = card_of(tuned(base_model=base), model, tmp_path)
    data = ModelCard(card).data
    assert data.base_model == named
    assert data.library_name == "sentence-transformers"
    assert data.tags == ["sentence-transformers", "sentence-similarity", "feature-extraction", "embedtune"]
    for written in (card, (tmp_path / "training.svg").read_text(encoding="utf-8")):
        assert "/home" not in written
        assert "Users" not in written


def test_a_folder_that_looks_like_a_hub_name_is_none(
    model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    card = card_of(tuned(base_model="models/base"), model, tmp_path)
    assert ModelCard(card).data.base_model is None
    assert "# base, tuned" in card


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("sentence-transformers:/home/someone/my models/teacher", "sentence-transformers:teacher"),
        ("C:\\Users\\someone\\teacher", "teacher"),
        ("~/models/teacher", "teacher"),
        ("Net(path='/home/someone/x/teacher')", "Net(path='teacher')"),
        ("cross-encoder/ms-marco-MiniLM-L6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("openai:http://127.0.0.1:8000/v1", "openai:http://127.0.0.1:8000/v1"),
        ("Net(\n" + "(layer)\n" * 500 + ")", None),
        ("a|b\\|c *d* [e](http://f) <g> `h` # i", None),
        *((text, None) for text in EVIL),
    ],
)
def test_no_option_breaks_the_table_or_tells_a_folder(
    value: str, shown: str | None, model: SentenceTransformer, tmp_path: Path
) -> None:
    card = card_of(tuned(configuration={"teacher": value}), model, tmp_path)
    rows = cells(section(card, "Settings"))
    assert [len(row) for row in rows] == [2] * 5
    told = next(row[1] for row in rows if row[0] == "teacher")
    assert "someone" not in told
    assert "<" not in told
    assert len(told) < 500
    if shown is not None:
        assert told == shown


def test_prompts_stand_in_the_card_as_they_are(prompted_model: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(prompted_model), device="cpu")
    model.prompts["query"] = "Instruct: find\n```\nQuery: "
    use = section(card_of(tuned(), model, tmp_path), "Use")
    fence = [token.content for token in MarkdownIt().parse(use) if token.type == "fence"][1]
    assert json.loads(fence) == model.prompts
    assert "'prompt_name': 'query'" in use


def test_a_real_tuning_tells_no_text_and_no_folder(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    split = code_words.split(val=0.3, test=0)
    options: dict[str, Any] = {"device": "cpu", "progress": False, "precision": "fp32", "batch_size": 8}
    options |= {"epochs": 2, "validations_per_epoch": 1, "learning_rate": 1e-3}
    result = tune(str(small_model), split.train, split.val, tmp_path / "m", **options)
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    written = card + (tmp_path / "m" / "training.svg").read_text(encoding="utf-8")
    assert not [text for text in (*code_words.queries.values(), *code_words.corpus.values()) if text in written]
    assert str(tmp_path) not in written
    assert str(small_model.parent) not in written
    assert "# small, tuned with embedtune" in card
    assert ["distinct queries", str(len(split.train))] in cells(section(card, "Training data"))
    raw, _, metric = lines(ElementTree.parse(tmp_path / "m" / "training.svg").getroot())
    assert len(raw) == len(result.losses)
    assert len(metric) == 3


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


_BOXES = """() => [...document.querySelectorAll("text")].map(text => {
    const { x, y, width, height } = text.getBBox();
    return [text.textContent, x, y, x + width, y + height];
})"""


def test_no_text_leaves_the_picture_or_meets_another(browser: "Browser", tmp_path: Path) -> None:
    for name, result in RESULTS.items():
        path = tmp_path / "training.svg"
        path.write_text(curve_svg(result, result.record.base_model), encoding="utf-8")
        with opened_page(browser, path) as opened:
            boxes = opened.page.evaluate(_BOXES)
            assert opened.complaints == []
            assert opened.requests == [path.as_uri()]
        assert len(boxes) > 10
        for words, left, top, right, bottom in boxes:
            assert 0 <= left < right <= WIDTH, (name, words)
            assert 0 <= top < bottom <= HEIGHT, (name, words)
        meeting = [
            (one[0], other[0])
            for place, one in enumerate(boxes)
            for other in boxes[:place]
            if one[1] < other[3] and other[1] < one[3] and one[2] + 1 < other[4] - 1 and other[2] + 1 < one[4] - 1
        ]
        assert meeting == [], name
