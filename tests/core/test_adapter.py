"""The query adapter: what it learns, what it refuses, and what its folder holds."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapter_worlds import DIM, TurnedEmbedder, words_dataset
from embedtune import (
    EmbeddingError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    TuneResult,
    TuningError,
    compare,
    evaluate,
    tune,
)
from embedtune.adapter.loading import load_adapted
from embedtune.adapter.query_adapter import ADAPTER_FILE, PROBE, AdaptedEmbedder, QueryAdapter
from embedtune.protocols import Embedder, Vectors
from embedtune.records import ModelRecord, read_record
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset


def tuned(
    path: Path, embedder: object | None = None, trainset: QADataset | None = None, **options: object
) -> TuneResult:
    """A tuning in the turned world."""
    return tune(
        embedder or TurnedEmbedder(), trainset or words_dataset(), path=path, tuner="adapter", progress=False, **options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that helps."""
    return tuned(tmp_path_factory.mktemp("adapter") / "tuned").path


# What it learns


def test_queries_that_are_turned_away_find_their_chunks_again(folder: Path) -> None:
    test = words_dataset(seed=1)
    comparison = compare(TurnedEmbedder(), AdaptedEmbedder(TurnedEmbedder(), folder), test, progress=False)
    row = next(row for row in comparison.rows if (row.metric, row.k) == ("hit_rate", 5))
    assert row.base < 0.65
    assert row.low > 0.05
    assert comparison.verdict == "ship"


def test_chunks_keep_their_vectors_and_queries_their_lengths(folder: Path) -> None:
    base, adapted = TurnedEmbedder(), AdaptedEmbedder(TurnedEmbedder(), folder)
    texts = list(words_dataset(20).corpus.values())
    np.testing.assert_array_equal(adapted.embed_documents(texts), base.embed_documents(texts))
    before, after = base.embed_queries(texts), adapted.embed_queries(texts)
    assert not np.allclose(before, after, atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-5)


def test_shuffled_answers_leave_the_identity(tmp_path: Path) -> None:
    """The rule is one of 95%: over many seeds one in twenty passes, and of these twelve no more than one."""
    results = [
        tuned(tmp_path / f"{seed}", trainset=words_dataset(120, seed=seed, shuffled=True), seed=seed)
        for seed in range(12)
    ]
    kept = [result for result in results if result.kept_base]
    assert len(kept) >= 11
    assert kept[0].record.chosen_step == 0
    assert "within 1.64 standard errors of" in str(kept[0].record.kept_base_reason)
    adapted = AdaptedEmbedder(TurnedEmbedder(), kept[0].path)
    np.testing.assert_array_equal(adapted.embed_queries(["word1?"]), TurnedEmbedder().embed_queries(["word1?"]))
    assert adapted.fingerprint == TurnedEmbedder().fingerprint


def test_a_model_that_finds_everything_is_left_as_it_is(tmp_path: Path) -> None:
    result = tuned(tmp_path / "tuned", HashEmbedder(), tiny_dataset(8))
    assert result.kept_base
    assert result.record.metrics_before == result.record.metrics_after


def test_twenty_pairs_give_an_adapter_or_the_identity_and_never_less(tmp_path: Path) -> None:
    result = tuned(tmp_path / "tuned", trainset=words_dataset(20))
    record = result.record
    assert record.metrics_after["ndcg@10"] >= record.metrics_before["ndcg@10"]
    assert record.configuration["validation_queries"] == 20


def test_two_runs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tuned(tmp_path / "tuned").path
    assert (again / ADAPTER_FILE).read_bytes() == (folder / ADAPTER_FILE).read_bytes()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_embedder_that_tells_nothing_apart_leaves_the_identity(value: float, tmp_path: Path) -> None:
    class Same(TurnedEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.full((len(texts), DIM), value, dtype=np.float32)

        embed_queries = embed_documents

    result = tuned(tmp_path / "tuned", Same(None), words_dataset(60))
    assert result.kept_base
    assert AdaptedEmbedder(Same(None), result.path).embed_queries(["word1?"]).tolist() == [[value] * DIM]


def test_a_map_to_what_is_asked_for_often_is_no_gain(tmp_path: Path) -> None:
    """Popular chunks that look alike are found more often by a map to them, whatever was asked."""
    base = words_dataset(300)
    popular = [chunk for number, chunk in enumerate(base.corpus) if number % 10 == 0]
    corpus = {chunk: f"{text} star star star" if chunk in popular else text for chunk, text in base.corpus.items()}
    answers = [popular[i % 30] for i in random.Random(0).sample(range(300), 300)]
    relevant = {query: [answer] for query, answer in zip(base.queries, answers, strict=True)}
    result = tuned(tmp_path / "tuned", trainset=QADataset(base.queries, corpus, relevant))
    assert result.kept_base
    assert "more than on answers of other queries, on the 300 validation queries" in str(result.record.kept_base_reason)


def test_a_valset_chooses_and_takes_no_part_in_training(tmp_path: Path) -> None:
    result = tune(
        TurnedEmbedder(), words_dataset(), words_dataset(60, seed=7), tmp_path / "a", tuner="adapter", progress=False
    )
    assert result.record.configuration["validation_queries"] == 60
    assert result.record.configuration["cross_validation_folds"] == 0
    assert not result.kept_base
    with pytest.raises(TuningError, match="not independent of the training set"):
        tune(TurnedEmbedder(), words_dataset(), words_dataset(), tmp_path / "b", tuner="adapter", progress=False)


def test_epochs_are_the_longest_training_and_shorter_ones_are_tried(tmp_path: Path) -> None:
    result = tuned(tmp_path / "tuned", epochs=1)
    assert [point.epoch for point in result.history] == [0.0, 1.0]
    assert result.record.configuration["epochs"] in (0, 1)


# What it refuses


def test_one_chunk_is_nothing_to_tell_apart(tmp_path: Path) -> None:
    one = QADataset({"a": "what?", "b": "who?"}, {"c": "text"}, {"a": ["c"], "b": ["c"]})
    with pytest.raises(TuningError, match=r"2 queries on 1 chunks form one connected group: nothing can be held back"):
        tuned(tmp_path / "tuned", trainset=one)
    assert not (tmp_path / "tuned").exists()


def test_the_embedders_own_folder_is_no_target(folder: Path, tmp_path: Path) -> None:
    """Or the adapter would replace the only copy of what it is over."""
    target = tmp_path / "adapter"
    shutil.copytree(folder, target)
    before = (target / ADAPTER_FILE).read_bytes()
    (tmp_path / "link").symlink_to(target)
    for base in (target, tmp_path / "link"):
        with pytest.raises(TuningError, match="holds the embedder that the adapter would be trained on"):
            tuned(target, AdaptedEmbedder(TurnedEmbedder(), base))
    assert (target / ADAPTER_FILE).read_bytes() == before


def test_a_folder_that_names_itself_is_an_error(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    record = json.loads((tmp_path / "a" / "embedtune.json").read_text())
    record["configuration"]["embedder_reference"] = str(tmp_path / "a")
    (tmp_path / "a" / "embedtune.json").write_text(json.dumps(record))
    with pytest.raises(ModelFolderError, match="names itself as the embedder that it was trained on"):
        load_adapted(tmp_path / "a")


def test_a_record_of_a_later_format_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    record = json.loads((tmp_path / "a" / "embedtune.json").read_text()) | {"format_version": 99}
    (tmp_path / "a" / "embedtune.json").write_text(json.dumps(record))
    with pytest.raises(ModelFolderError, match=r"has format 99; this version reads 1\. Update embedtune"):
        QueryAdapter.load(tmp_path / "a")


@pytest.mark.parametrize(("embedder", "adapter"), [(None, "a"), (TurnedEmbedder(), None), (object(), "a")])
def test_what_is_no_embedder_or_no_adapter_is_named(embedder: Any, adapter: Any) -> None:
    with pytest.raises(EmbeddingError, match=f"got a {type(embedder).__name__} as embedder and a "):
        AdaptedEmbedder(embedder, adapter)


def test_vectors_of_any_size_are_learned_from(tmp_path: Path) -> None:
    class Tiny(TurnedEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.asarray(super().embed_documents(texts) * np.float32(1e-30), dtype=np.float32)

        def embed_queries(self, texts: Sequence[str]) -> Vectors:
            return np.asarray(super().embed_queries(texts) * np.float32(1e-30), dtype=np.float32)

    tiny, usual = (tuned(tmp_path / kind.__name__, kind()) for kind in (Tiny, TurnedEmbedder))
    assert tiny.record.metrics_after["ndcg@10"] == pytest.approx(usual.record.metrics_after["ndcg@10"], abs=0.01)


def test_a_comparison_does_not_take_the_adapter_for_a_missing_prompt(folder: Path) -> None:
    factors, probe = QueryAdapter.load(folder).factors, HashEmbedder(DIM).embed_queries([PROBE])[0]
    adapted = AdaptedEmbedder(HashEmbedder(DIM), QueryAdapter(factors, None, probe))
    comparison = compare(HashEmbedder(DIM), adapted, words_dataset(40, seed=2), progress=False)
    assert comparison.verdict != "ship"
    assert "prompt" not in {finding.name for finding in comparison.findings}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"folds": -1}, r"folds must lie in \[0, 20\]; got -1"),
        ({"folds": 1000}, r"folds must lie in \[0, 20\]; got 1000"),
        ({"metric": "speed@3"}, "metric: .*speed"),
        ({"learning_rate": 1e-3}, "AdapterTuner has no option 'learning_rate'. Options: metric, folds, cache"),
    ],
)
def test_options_are_checked_before_anything_is_embedded(
    option: dict[str, object], message: str, tmp_path: Path
) -> None:
    embedder = TurnedEmbedder()
    with pytest.raises(TuningError, match=message):
        tuned(tmp_path / "tuned", embedder, **option)
    assert embedder.asked == {"query": [], "document": []}


def test_the_adapter_of_another_embedder_is_refused_by_its_fingerprint(folder: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"this one has fingerprint other; expected fingerprint turned\."):
        AdaptedEmbedder(TurnedEmbedder("other"), folder)


def test_embedders_without_fingerprint_are_told_apart_by_a_probe(tmp_path: Path) -> None:
    path = tuned(tmp_path / "tuned", TurnedEmbedder(None)).path
    same = TurnedEmbedder(None)
    AdaptedEmbedder(same, path).embed_queries(["word1?"])
    assert same.asked["query"] == ["word1?", PROBE]
    other = AdaptedEmbedder(TurnedEmbedder(None, turn=5), path)
    with pytest.raises(EmbeddingError, match=r"a vector whose cosine with that of training is .*; expected a cosine"):
        other.embed_queries(["word1?"])
    with pytest.raises(EmbeddingError, match=r"gives vectors of 8 dimensions; expected 32 dimensions"):
        AdaptedEmbedder(_without_fingerprint(8), path).embed_queries(["word1?"])


def test_the_probe_is_asked_once(tmp_path: Path) -> None:
    path = tuned(tmp_path / "tuned", TurnedEmbedder(None)).path
    embedder = TurnedEmbedder(None)
    adapted = AdaptedEmbedder(embedder, path)
    for _ in range(3):
        assert adapted.embed_queries(["word1?"]).shape == (1, DIM)
    assert embedder.asked["query"].count(PROBE) == 1


def _without_fingerprint(dim: int) -> Embedder:
    class Unknown(HashEmbedder):
        fingerprint = None  # type: ignore[assignment]

    return Unknown(dim)  # type: ignore[return-value]


def test_vectors_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"maps query vectors of 32 dimensions; got shape \(1, 8\)"):
        QueryAdapter.load(folder)(np.ones((1, 8), dtype=np.float32))


class Broken(TurnedEmbedder):
    """Answers a few calls, then no more."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As long as it can."""
        self.left -= 1
        if self.left < 0:
            raise EmbeddingError("the server is gone")
        return super().embed_documents(texts)


def test_what_was_embedded_before_a_failure_is_not_paid_for_twice(tmp_path: Path) -> None:
    trainset = words_dataset(700)
    first = Broken(1)
    with pytest.raises(EmbeddingError, match="the server is gone"):
        tuned(tmp_path / "tuned", first, trainset)
    second = TurnedEmbedder()
    result = tuned(tmp_path / "tuned", second, trainset, resume=True)
    sent = Counter(first.asked["document"] + second.asked["document"])
    assert set(sent) == set(trainset.corpus.values())
    assert set(sent.values()) == {1}
    assert set(Counter(first.asked["query"] + second.asked["query"]).values()) == {1}
    assert {entry.name for entry in tmp_path.iterdir()} == {"tuned"}
    assert not result.kept_base


def test_each_unique_text_is_embedded_once(tmp_path: Path) -> None:
    base = words_dataset(100)
    doubled = QADataset(
        base.queries | {f"again-{query}": text for query, text in base.queries.items()},
        base.corpus | {f"again-{chunk}": text for chunk, text in base.corpus.items()},
        base.relevant_docs | {f"again-{query}": chunks for query, chunks in base.relevant_docs.items()},
    )
    embedder = TurnedEmbedder()
    tuned(tmp_path / "tuned", embedder, doubled)
    assert Counter(embedder.asked["document"]) == Counter(set(base.corpus.values()))
    assert Counter(embedder.asked["query"]) == Counter({PROBE, *base.queries.values()})


def test_a_cache_serves_tuning_and_comparing(tmp_path: Path) -> None:
    cache, test = tmp_path / "cache", words_dataset(seed=3)
    tuned(tmp_path / "tuned", cache=cache)
    embedder = TurnedEmbedder()
    tuned(tmp_path / "again", embedder, cache=cache)
    assert embedder.asked == {"query": [], "document": []}
    compare(embedder, AdaptedEmbedder(embedder, tmp_path / "tuned"), test, cache=cache, progress=False)
    assert set(Counter(embedder.asked["document"]).values()) == {1}
    assert set(Counter(embedder.asked["query"]).values()) == {1}


# The folder


def test_the_record_tells_embedder_choice_and_what_was_seen(folder: Path) -> None:
    record = read_record(folder)
    assert isinstance(record, ModelRecord)
    assert (record.tuner, record.base_fingerprint, record.kept_base) == ("adapter", "turned", False)
    assert record.base_model == "a TurnedEmbedder"
    assert record.fingerprint == AdaptedEmbedder(TurnedEmbedder(), folder).fingerprint
    assert record.metrics_after["ndcg@10"] > record.metrics_before["ndcg@10"] + 0.03
    assert set(record.configuration) >= {"dim", "rank", "strength", "epochs", "validation_queries"}


def test_questions_that_trained_it_are_marked_as_seen(folder: Path) -> None:
    evaluation = evaluate(AdaptedEmbedder(TurnedEmbedder(), folder), words_dataset())
    assert evaluation.n_seen == 300


def test_a_folder_whose_embedder_was_an_object_says_to_give_it(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="trained on a TurnedEmbedder, an object that no reference leads to"):
        load_adapted(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No adapter folder at .*missing"):
        QueryAdapter.load(tmp_path / "missing")
    with pytest.raises(ModelFolderError, match=r"No adapter in .* it needs embedtune.json and adapter.safetensors"):
        QueryAdapter.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"up": np.ones((DIM, 2)), "down": np.ones((3, DIM))}, r"parts that do not fit: up \(32, 2\), down \(3, 32\)"),
        ({"up": np.full((DIM, 1), np.nan), "down": np.ones((1, DIM))}, "holds NaN or infinity"),
        ({"up": np.ones((DIM, 1))}, r"cannot be read: 'down'. Tune again into this folder"),
    ],
)
def test_a_damaged_file_is_named(damage: dict[str, np.ndarray], message: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "embedtune.json").write_bytes((folder / "embedtune.json").read_bytes())
    probe = {"probe": np.ones(DIM, dtype=np.float32)}
    save_file({name: part.astype(np.float32) for name, part in damage.items()} | probe, tmp_path / ADAPTER_FILE)
    with pytest.raises(ModelFolderError, match=message):
        QueryAdapter.load(tmp_path)
    (tmp_path / ADAPTER_FILE).write_bytes(b"no safetensors")
    with pytest.raises(ModelFolderError, match=r"adapter.safetensors' cannot be read"):
        QueryAdapter.load(tmp_path)


def test_the_file_is_plain_safetensors_of_float32(folder: Path) -> None:
    tensors = load_file(folder / ADAPTER_FILE)
    assert {name: tensor.dtype.name for name, tensor in tensors.items()} == dict.fromkeys(
        ("up", "down", "probe"), "float32"
    )
    assert tensors["up"].shape == tensors["down"].T.shape


class TestAdapted(EmbedderContract):
    """An adapter over an embedder is an embedder."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> Embedder:
        """Loaded anew."""
        return AdaptedEmbedder(TurnedEmbedder(), self.folder)
