"""A teacher: a reranker or an embedder whose scores are followed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from embedtune import QADataset, TuningError, read_record
from embedtune.plugins import plugin_manager
from embedtune.protocols import Vectors
from embedtune.search import EmbedOnce
from embedtune.testing import HashEmbedder
from embedtune_sentence_transformers.pairs import pairs_of
from embedtune_sentence_transformers.teaching import Teacher, find_teacher
from tuning_runs import CodeTeacher, cross_validated, interrupted, tuned, weights

TAUGHT = {"hard_negatives": 2, "negative_margin": 1.0, "epochs": 2}
"""Two epochs of five steps."""


class CountingEmbedder(HashEmbedder):
    """Counts how often it embeds each text."""

    def __init__(self) -> None:
        super().__init__(64)
        self.embedded: Counter[str] = Counter()

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.embedded.update(texts)
        return super().embed_documents(texts)


@pytest.mark.parametrize("fingerprint", ["knows-the-code", None])
def test_a_reranker_is_asked_once_for_each_pair(
    tiny_model: Path, code_words: QADataset, tmp_path: Path, fingerprint: str | None
) -> None:
    """Over all epochs, whether its scores can be kept on disk or not."""
    teacher = CodeTeacher(code_words, fingerprint)
    tuned(str(tiny_model), code_words, tmp_path / "m", teacher=teacher, **TAUGHT)
    assert teacher.asked
    assert len(teacher.asked) == len(set(teacher.asked))


def test_an_embedder_embeds_each_text_once(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    teacher = CountingEmbedder()
    tuned(str(tiny_model), code_words, tmp_path / "m", teacher=teacher, **TAUGHT)
    assert set(teacher.embedded.values()) == {1}


@pytest.mark.slow
def test_what_one_fold_asks_is_not_asked_by_the_next(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """Nor by the run on everything."""
    teacher = CodeTeacher(code_words, fingerprint=None)
    cross_validated(str(tiny_model), code_words, tmp_path / "m", teacher=teacher, folds=2, **TAUGHT)
    assert teacher.asked
    assert len(teacher.asked) == len(set(teacher.asked))


@pytest.mark.slow
def test_a_resumed_run_asks_nothing_again_and_ends_the_same(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    """In the next process the teacher is another object."""
    tuned(str(tiny_model), code_words, tmp_path / "whole", teacher=CodeTeacher(code_words), **TAUGHT)
    interrupted(str(tiny_model), code_words, tmp_path / "m", 3, teacher=CodeTeacher(code_words), **TAUGHT)
    again = CodeTeacher(code_words)
    tuned(str(tiny_model), code_words, tmp_path / "m", teacher=again, resume=True, checkpoint_steps=1, **TAUGHT)
    assert again.asked == []
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")


def test_the_record_names_the_teacher_the_same_way_each_time(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    """By its class and fingerprint, never by its place in memory."""
    tuned(str(tiny_model), code_words, tmp_path / "m", teacher=CodeTeacher(code_words), **TAUGHT)
    record = read_record(tmp_path / "m")
    assert record is not None
    told = str(record.configuration["teacher"])
    assert "CodeTeacher" in told
    assert "knows-the-code" in told
    assert " at 0x" not in told


@pytest.mark.slow
def test_a_perfect_teacher_alone_teaches(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """With all the weight on it, the labels say nothing."""
    result = tuned(
        *(str(tiny_model), code_words, tmp_path / "m"),
        **{**TAUGHT, "hard_negatives": 8, "epochs": 8},
        teacher=CodeTeacher(code_words),
        teacher_weight=1.0,
    )
    assert result.record.metrics_after["hit_rate@5"] > result.record.metrics_before["hit_rate@5"] + 0.2


def test_an_embedders_scores_are_similarities_over_the_temperature(code_words: QADataset, tmp_path: Path) -> None:
    pairs, embedder = pairs_of(code_words), HashEmbedder(64)
    asked = find_teacher(embedder, plugin_manager(), tmp_path)
    teacher = Teacher.of(asked, pairs, np.full((len(pairs.queries), 1), 7, dtype=np.int32))
    query, chunk = (embedder.embed_documents([text])[0] for text in (pairs.queries[3], pairs.chunks[7]))
    expected = float(query @ chunk / np.linalg.norm(query) / np.linalg.norm(chunk)) / 0.05
    assert teacher.matrix([3], [7]).item() == pytest.approx(expected, rel=1e-5)


def test_what_the_teacher_was_not_asked_is_nan(code_words: QADataset, tmp_path: Path) -> None:
    pairs = pairs_of(code_words)
    asked = find_teacher(CodeTeacher(code_words), plugin_manager(), tmp_path)
    teacher = Teacher.of(asked, pairs, np.full((len(pairs.queries), 1), 2, dtype=np.int32))
    assert teacher.matrix([0, 1], [0, 1, 2]).nan_to_num(nan=0).tolist() == [[10, 0, -10], [0, 10, -10]]


def test_a_folder_of_an_embedding_model_is_an_embedder(tiny_model: Path, tmp_path: Path) -> None:
    """It is no reranker, whose scores would be those of a random layer."""
    assert isinstance(find_teacher(str(tiny_model), plugin_manager(), tmp_path), EmbedOnce)


def test_a_thing_that_is_neither_is_refused(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"teacher=3\.5 is neither a reranker nor an embedder"):
        tuned(str(tiny_model), code_words, tmp_path / "m", teacher=3.5, **TAUGHT)
    assert not (tmp_path / "m").exists()


def test_a_teacher_without_hard_negatives_is_refused(code_words: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="teacher must be left out, or given with hard_negatives"):
        tuned("anything", code_words, tmp_path / "m", teacher=CodeTeacher(code_words))
