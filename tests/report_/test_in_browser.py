"""The page in a real Chromium, opened from disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import OpenPage, chromium, opened_page
from embedtune.report import write_page
from reported import EVIL, compared, dataset_of, evil_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RANKS = [(1, None), (None, 1), (2, 7), (6, 3), (1, 3), (4, 2), (2, 2)] * 12
"""Of every seven questions two are lost, two won, one goes down, one up, one stays."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = dataset_of(len(RANKS), n_chunks=len(RANKS))
    path = tmp_path_factory.mktemp("report") / "page.html"
    return write_page(compared(RANKS, dataset, ["vector", "fts"]), dataset, path)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser: "Browser", page: Path) -> Iterator[OpenPage]:
    with opened_page(browser, page) as found:
        yield found
        assert found.complaints == []
        assert found.requests == [page.as_uri()]


def count(opened: OpenPage) -> str:
    return opened.page.locator("#count").inner_text()


def test_a_lost_question_is_found_and_opened(opened: OpenPage) -> None:
    page = opened.page
    assert count(opened) == "72 of 72 questions"
    page.get_by_label("Show").select_option("lost")
    assert count(opened) == "24 of 72 questions"
    page.get_by_label("Find").fill("number 35?")
    assert count(opened) == "1 of 72 questions"
    question = page.locator("#list > li")
    assert question.locator("summary").inner_text().split("\n")[0] == "lost"
    question.locator("summary").click()
    answers = question.locator(".answers")
    assert "base retrieved" in answers.inner_text()
    assert answers.locator("li").count() == 10
    assert answers.locator("li.relevant").count() == 1
    assert "Chunk 35 on" in answers.locator(".expected").inner_text()


def test_the_plot_switches_metric_and_query_type(opened: OpenPage) -> None:
    page = opened.page
    plot, controls = page.locator("#curve-plot"), page.locator("#curve-controls")
    assert plot.get_attribute("data-shows") == "hit_rate vector"
    lines = plot.locator(".scatterlayer .js-line")
    assert lines.count() == 2
    before = lines.first.get_attribute("d")
    controls.get_by_role("button", name="mean reciprocal rank").click()
    assert plot.locator(".ytitle").text_content() == "mean reciprocal rank"
    assert lines.first.get_attribute("d") != before
    controls.get_by_role("button", name="all").click()
    assert lines.count() == 4
    controls.get_by_role("button", name="difference in hit rate").click()
    assert plot.locator(".errorbar").count() == 6


def test_a_cell_of_the_movement_filters_the_list(opened: OpenPage) -> None:
    page = opened.page
    page.get_by_role("button", name="12 questions from 1 to not found").click()
    assert count(opened) == "12 of 72 questions"
    assert {item.get_attribute("data-outcome") for item in page.locator("#list > li").all()} == {"lost"}
    page.locator("#clear-ranks").click()
    assert count(opened) == "72 of 72 questions"


def test_another_query_type_brings_its_own_movement(opened: OpenPage) -> None:
    page = opened.page
    page.locator("#type-controls").get_by_role("button", name="fts").click()
    shown = [table.get_attribute("data-type") for table in page.locator(".movement").all() if table.is_visible()]
    assert set(shown) == {"fts"}


def test_all_of_it_works_with_the_keyboard(opened: OpenPage) -> None:
    page = opened.page
    page.get_by_label("Find").focus()
    page.keyboard.type("number 35?")
    page.keyboard.press("Tab")
    page.keyboard.press("l")  # lost
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#list details[open]").count() == 1


def test_more_questions_are_shown_when_asked_for(opened: OpenPage) -> None:
    assert opened.page.locator("#list > li").count() == 50
    opened.page.get_by_role("button", name="Show more").click()
    assert opened.page.locator("#list > li").count() == 72
    assert opened.page.locator("#more").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone(browser: "Browser", page: Path, scheme: str) -> None:
    with opened_page(browser, page, viewport={"width": 390, "height": 844}, color_scheme=scheme) as opened:
        for summary in opened.page.locator("summary").all()[:8]:
            summary.click()
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_the_paper(browser: "Browser", page: Path, scheme: str) -> None:
    """The contrast that WCAG 2 asks of text is 4.5 : 1, for what stands in plots too."""
    with opened_page(browser, page, color_scheme=scheme) as opened:
        paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        for place in ("h1", ".models", "#count", ".outcome.good", ".outcome.bad", "nav a", ".source"):
            colour = opened.page.locator(place).first.evaluate("element => getComputedStyle(element).color")
            assert contrast(colour, paper) >= 4.5, place
        axis = opened.page.locator("#curve-plot .xtick text").first.evaluate("element => element.style.fill")
        assert contrast(axis, paper) >= 4.5


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it, of two colours such as ``rgb(0, 0, 0)``."""
    lights = sorted(map(luminance, (one, other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_evil_texts_are_shown_and_do_nothing(browser: "Browser", tmp_path: Path) -> None:
    comparison, dataset = evil_comparison()
    path = write_page(comparison, dataset, tmp_path / "page.html", base_name=EVIL[0], tuned_name=EVIL[6])
    with opened_page(browser, path) as opened:
        for summary in opened.page.locator("#list summary").all():
            summary.click()
        shown = opened.page.locator("#list .asked").all_inner_texts()
        assert any("</script><script>alert(1)</script> question" in text for text in shown)
        assert opened.page.locator("#list img, #list svg, #list script").count() == 0
        assert opened.page.locator("#curve-plot .legendtext").all_text_contents() == [EVIL[0], EVIL[6]]
        assert opened.page.locator("#curve-plot a").count() == 0
        assert opened.complaints == []
        assert opened.requests == [path.as_uri()]
    assert len(shown) == len(dataset)
