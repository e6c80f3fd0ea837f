"""How many tokens the tuned model reads."""

import logging
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedtune import EmbeddingError, QADataset, read_record
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from embedtune_sentence_transformers.reading import Reading, chosen_reading
from small_models import tiny_model as make_tiny_model
from tuning_runs import tuned


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    """It reads 64 tokens and has 600 positions."""
    return SentenceTransformer(str(tiny_model), device="cpu")


def of_lengths(*lengths: int) -> TrainingPairs:
    """Chunks of so many tokens, the two special ones among them: a letter is a token."""
    corpus = {f"c{i}": " ".join(f"{chr(97 + i % 26)}" * (n - 2)) for i, n in enumerate(lengths)}
    queries = {f"q{i}": f"query {i}" for i in range(len(lengths))}
    return pairs_of(QADataset(queries, corpus, {f"q{i}": [f"c{i}"] for i in range(len(lengths))}))


def test_the_bases_length_is_kept_where_all_fits(model: SentenceTransformer) -> None:
    assert chosen_reading(model, of_lengths(10, 63, 64), None) == Reading(64, 64, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("n_long", "chosen"), [(10, 64), (11, 128)])
def test_the_bases_length_is_kept_where_a_tenth_is_cut(model: SentenceTransformer, n_long: int, chosen: int) -> None:
    texts = ["apple " * (1 + i % 50) + str(i) for i in range(100 - n_long)] + ["a " * (90 + i) for i in range(n_long)]
    corpus = {f"c{i}": text for i, text in enumerate(texts)}
    pairs = pairs_of(QADataset({"q": "how?"}, corpus, {"q": list(corpus)}))
    reading = chosen_reading(model, pairs, None)
    assert reading.cut_by_base == pytest.approx(n_long / 100)
    assert reading.chosen == chosen


@pytest.mark.parametrize(("longest", "chosen"), [(65, 128), (128, 128), (129, 192), (400, 448)])
def test_a_longer_one_is_the_next_multiple_of_64(model: SentenceTransformer, longest: int, chosen: int) -> None:
    assert chosen_reading(model, of_lengths(longest, longest), None).chosen == chosen


def test_no_more_than_512_are_chosen_unasked(model: SentenceTransformer) -> None:
    reading = chosen_reading(model, of_lengths(590, 2000), None)
    assert (reading.chosen, reading.cut) == (512, 1.0)


def test_no_more_are_chosen_than_the_model_has_positions(model: SentenceTransformer, tmp_path: Path) -> None:
    short = SentenceTransformer(str(make_tiny_model(tmp_path / "short", [], positions=100)), device="cpu")
    assert chosen_reading(short, of_lengths(300, 300), None).chosen == 100


def test_cost_and_shares_are_those_of_the_texts(model: SentenceTransformer) -> None:
    """By hand: of 20, 100 and 200 tokens the base reads 20 + 64 + 64, and 20 + 100 + 200 are needed."""
    reading = chosen_reading(model, of_lengths(20, 100, 200), None)
    assert reading.chosen == 256
    assert reading.cut_by_base == pytest.approx(2 / 3)
    assert reading.cut == 0.0
    assert reading.cost == pytest.approx((20 + 100 + 200) / (20 + 64 + 64))


def test_a_shorter_one_that_is_asked_for_costs_less(model: SentenceTransformer) -> None:
    reading = chosen_reading(model, of_lengths(20, 64), 32)
    assert (reading.chosen, reading.cut, reading.cut_by_base) == (32, 0.5, 0.0)
    assert reading.cost == pytest.approx((20 + 32) / (20 + 64))


def test_what_is_cut_is_counted_at_a_length_far_above_the_bases(tmp_path: Path) -> None:
    """Texts are counted as far as they are read."""
    long = SentenceTransformer(str(make_tiny_model(tmp_path / "long", ["apples"], positions=3000)), device="cpu")
    corpus = {"1": "apples " * 2900, "2": "apples " * 2000, "3": "apples"}
    pairs = pairs_of(QADataset({"q": "how?"}, corpus, {"q": list(corpus)}))
    reading = chosen_reading(long, pairs, 2500)
    assert reading.cut == pytest.approx(1 / 3)
    assert reading.cost == pytest.approx((2500 + 2002 + 3) / (64 + 64 + 3))


def test_the_prompt_counts(tmp_path: Path) -> None:
    """It is read with each chunk, and takes its place."""
    prompted = make_tiny_model(tmp_path / "p", [], document="a b c d e f g h : ")
    reading = chosen_reading(SentenceTransformer(str(prompted), device="cpu"), of_lengths(60, 60), None)
    assert (reading.cut_by_base, reading.chosen) == (1.0, 128)


def test_what_changes_is_told(model: SentenceTransformer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        chosen_reading(model, of_lengths(20, 100, 200), None)
    assert "the tuned model reads 256 tokens, the base 64: 66.7% of the training chunks were cut" in caplog.text
    assert "embedding them costs 2.16 times as much" in caplog.text


def long_code(code_words: QADataset) -> QADataset:
    """The code words behind 90 letters, which the base does not read past."""
    corpus = {chunk: "a " * 90 + text for chunk, text in code_words.corpus.items()}
    return QADataset(code_words.queries, corpus, code_words.relevant_docs)


def test_the_tuned_folder_reads_what_was_chosen(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """The words that tell the chunks apart are past what the base reads: it cannot be trained without."""
    result = tuned(str(tiny_model), long_code(code_words), tmp_path / "m", epochs=10)
    assert not result.kept_base
    assert SentenceTransformer(str(tmp_path / "m"), device="cpu").max_seq_length == 128
    record = read_record(tmp_path / "m")
    assert record is not None
    assert (record.configuration["max_seq_length"], result.truncated_share) == (128, 0.0)


def test_a_kept_base_reads_its_own(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    result = tuned(str(tiny_model), long_code(code_words), tmp_path / "m", learning_rate=1e-9)
    assert result.kept_base
    assert SentenceTransformer(str(tmp_path / "m"), device="cpu").max_seq_length == 64
    assert result.record.configuration["max_seq_length"] == 64


def test_more_than_the_model_has_positions_is_refused_before_training(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    with pytest.raises(EmbeddingError, match=r"max_seq_length=601 does not fit .*: .* the model has 600 positions"):
        tuned(str(tiny_model), code_words, tmp_path / "m", max_seq_length=601)
    assert not list(tmp_path.iterdir())
