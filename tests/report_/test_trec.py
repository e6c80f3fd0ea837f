"""Run and qrels files, read by another implementation."""

from pathlib import Path
from urllib.parse import unquote

import ir_measures
import pytest
from ir_measures import MRR, R, Success, nDCG

from embedtune import QADataset, compare
from embedtune.report import write_trec
from embedtune.testing import HashEmbedder, tiny_dataset
from reported import compared, dataset_of

STRANGE = ("a b", "100%", "tab\there", "new\nline", "zürich", "日本", "a\u00a0b", "#1", "100%25")


def test_ir_measures_reads_the_files_and_gives_our_figures(tmp_path: Path) -> None:
    dataset = tiny_dataset(40)
    comparison = compare(HashEmbedder(2), HashEmbedder(64), dataset, top_k=3)
    write_trec(comparison, dataset, tmp_path)
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt")))
    for name, evaluation in zip(("base", "tuned"), comparison.evaluations["vector"], strict=True):
        run = ir_measures.read_trec_run(str(tmp_path / "runs" / f"vector.{name}.run"))
        # Also beyond top_k, at every cut-off that the report gives.
        ours = {
            Success @ 3: "hit_rate@3",
            nDCG @ 3: "ndcg@3",
            MRR @ 3: "mrr@3",
            nDCG @ 10: "ndcg@10",
            R @ 10: "recall@10",
        }
        theirs = ir_measures.calc_aggregate(list(ours), qrels, run)
        assert theirs == pytest.approx({measure: evaluation.metrics[name] for measure, name in ours.items()})


def test_questions_without_results_count_as_not_found(tmp_path: Path) -> None:
    dataset = dataset_of(2)
    comparison = compared([(1, 1), (None, 1)], dataset)
    comparison.evaluations["vector"][0].rankings[1].clear()
    write_trec(comparison, dataset, tmp_path)
    qrels = ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt"))
    run = ir_measures.read_trec_run(str(tmp_path / "runs" / "vector.base.run"))
    assert ir_measures.calc_aggregate([Success @ 5], qrels, run) == {Success @ 5: 0.5}


def test_ids_are_percent_encoded_and_come_back(tmp_path: Path) -> None:
    corpus = {name: f"text of {i}" for i, name in enumerate(STRANGE)}
    queries = {name: f"question {i}" for i, name in enumerate(STRANGE)}
    dataset = QADataset(queries, corpus, {name: [name] for name in STRANGE})
    write_trec(compared([(None, 1)] * len(STRANGE), dataset), dataset, tmp_path)
    lines = (tmp_path / "qrels.txt").read_text(encoding="ascii").splitlines()
    assert [unquote(line.split(" ")[0]) for line in lines] == list(STRANGE)
    run = (tmp_path / "runs" / "vector.tuned.run").read_text(encoding="ascii").splitlines()
    assert {len(line.split()) for line in run} == {6}
    assert {unquote(line.split()[2]) for line in run} == set(STRANGE)


def test_scores_fall_strictly(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    write_trec(compared([(None, 3)], dataset), dataset, tmp_path)
    lines = (tmp_path / "runs" / "vector.tuned.run").read_text(encoding="ascii").splitlines()
    assert lines[:3] == ["q0 Q0 c1 1 5 tuned", "q0 Q0 c2 2 4 tuned", "q0 Q0 c0 3 3 tuned"]


def test_grades_are_whole_numbers_where_they_can_be(tmp_path: Path) -> None:
    corpus = {"c": "one", "d": "two", "e": "three"}
    dataset = QADataset({"q": "?"}, corpus, {"q": list(corpus)}, grades={"q": {"c": 2.0, "d": 0.5}})
    write_trec(compared([(None, 1)], dataset), dataset, tmp_path)
    assert (tmp_path / "qrels.txt").read_text(encoding="ascii") == "q 0 c 2\nq 0 d 0.5\nq 0 e 1\n"


def test_chunks_of_equal_text_are_one_judgment_as_in_an_evaluation(tmp_path: Path) -> None:
    """An evaluation names the first of them, whichever is relevant: else a hit would be a miss to other tools."""
    corpus = {"copy": "where apples come from", "original": "where apples come from", "other": "drums"}
    dataset = QADataset({"q": "apples"}, corpus, {"q": ["original"]})
    comparison = compare(HashEmbedder(), HashEmbedder(), dataset, top_k=1)
    write_trec(comparison, dataset, tmp_path)
    qrels = ir_measures.read_trec_qrels(str(tmp_path / "qrels.txt"))
    run = ir_measures.read_trec_run(str(tmp_path / "runs" / "vector.base.run"))
    ours = comparison.evaluations["vector"][0].hit_rate
    assert ir_measures.calc_aggregate([Success @ 1], qrels, run) == {Success @ 1: ours}
