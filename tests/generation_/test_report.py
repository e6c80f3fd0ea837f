"""The report: what became of every request and question, beside the data set, wherever that goes."""

import json
import pickle
from pathlib import Path

import pytest

from embedtune import GenerationReport, Prices, QADataset, QuestionQuality
from fault_server import Faults, fault_server
from question_runs import KEY, openai_at, write

FORMATS = {"data.json": None, "data.csv": None, "beir": "beir"}


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


@pytest.fixture(scope="module")
def dataset() -> QADataset:
    """Of a bad day, with every style."""
    faults = Faults(prose=0.1, cut=0.1, refused=0.1, rate_limited=0.1, retry_after=0.01)
    quality = QuestionQuality(styles={"natural": 0.6, "keyword": 0.2, "misspelt": 0.2})
    with fault_server(faults) as server:
        return write(server, 40, prices=Prices(prompt=1, completion=4), quality=quality)


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_saved_beside_the_data_set_and_loaded_with_it(dataset: QADataset, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    dataset.save(path, format=FORMATS[name])
    assert QADataset.load(path).report == dataset.report
    told = json.loads((tmp_path / f"{name}.report.json").read_text(encoding="utf-8"))
    assert (told["kind"], told["written"]) == ("generation", len(dataset))


def test_it_knows_no_key(dataset: QADataset) -> None:
    assert KEY not in report_of(dataset).model_dump_json()
    assert report_of(dataset).llm == "Openai m"


def test_the_counts_add_up(dataset: QADataset) -> None:
    report = report_of(dataset)
    assert report.written == len(dataset) == sum(report.styles.values())
    assert report.chunks == len(dataset.corpus) == 40
    assert report.asked == 80
    answering = {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}
    assert len(answering) + len(report.failures) == 40
    assert report.cost == pytest.approx(sum(spend.cost or 0 for spend in report.stages.values()))
    spend = report.stages["questions"]
    assert spend.answers <= spend.requests - spend.repeats
    assert spend.cut > 0 < spend.refused


def test_it_tells_how_much_of_the_questions_stands_in_their_chunks(dataset: QADataset) -> None:
    overlap = report_of(dataset).overlap
    assert overlap is not None
    assert 0 < overlap < 0.5


def test_it_prints_on_a_few_lines(dataset: QADataset) -> None:
    lines = str(report_of(dataset)).splitlines()
    assert lines[0] == f"{len(dataset)} questions on 40 chunks (80 asked for) by Openai m"
    assert len(lines) <= 8
    assert any(line.startswith("questions: ") and "refused" in line and "cost 0.0" in line for line in lines)


def test_it_is_no_part_of_what_makes_two_data_sets_equal(dataset: QADataset) -> None:
    with fault_server() as server:
        one, other = write(server, 3), write(server, 3)
    assert one == other
    assert report_of(one).seconds != report_of(other).seconds


def test_a_subset_and_a_pickle_keep_it(dataset: QADataset) -> None:
    assert dataset.subset(list(dataset.queries)[:3]).report == dataset.report
    assert pickle.loads(pickle.dumps(dataset)).report == dataset.report


def test_saving_another_data_set_there_takes_the_old_report_away(dataset: QADataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "d.json")
    QADataset({"q": "Why?"}, {"c": "So."}, {"q": ["c"]}).save(tmp_path / "d.json")
    assert QADataset.load(tmp_path / "d.json").report is None
    assert not (tmp_path / "d.json.report.json").exists()


def test_a_strangers_file_of_that_name_stays(
    dataset: QADataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = tmp_path / "d.json.report.json"
    stranger.write_text('{"mine": 1}')
    dataset.save(tmp_path / "d.json")
    assert stranger.read_text() == '{"mine": 1}'
    assert "is no report of embedtune; it is left as it is" in caplog.text


def test_a_data_set_that_was_stopped_says_so_first(tmp_path: Path) -> None:
    with fault_server() as server:
        stopped = write(server, 20, max_requests=5)
    stopped.save(tmp_path / "d.json")
    report = report_of(QADataset.load(tmp_path / "d.json"))
    assert str(report).splitlines()[1].startswith("stopped: max_requests=5 is reached")


def test_an_llm_of_ones_own_is_told_by_class_and_model() -> None:
    with fault_server() as server:
        assert report_of(write(server, 1, openai_at(server.url, model="org/model-7b"))).llm == "Openai org/model-7b"
