"""The reranker tuner: what it learns from, what it keeps, what it writes, and what it refuses."""

import json
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from embedtune import EmbeddingError, ModelNotFoundError, QADataset, TuneResult, TuningError, compare, read_record, tune
from embedtune.folders import partial_of
from embedtune.protocols import Vectors
from embedtune.resolve import as_reranker
from embedtune.testing import HashEmbedder
from embedtune_sentence_transformers import CrossEncoderReranker
from embedtune_sentence_transformers.reranking.pairs import LabelledPairs, labelled_pairs
from small_models import tiny_model
from tuning_runs import QUICK_RERANKER, manuals, one_thread, stopping_at, tune_a_reranker_on_a_file, weights

PAIRS = [
    ("apple river tower?", "apple river tower from the manual"),
    ("apple river tower?", "apple river tower gossip"),
]


@pytest.fixture(scope="module")
def dataset() -> QADataset:
    return manuals()


@pytest.fixture(scope="module")
def body(dataset: QADataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = " ".join([*dataset.queries.values(), *dataset.corpus.values()]).replace("?", "").split()
    return tiny_model(tmp_path_factory.mktemp("models") / "body", words)


def reranker_of(model: object, dataset: QADataset, path: Path, **options: Any) -> TuneResult:
    """A run on 70% of a data set that is validated on the rest."""
    split = dataset.split(val=0.3, test=0)
    with one_thread():
        return tune(model, split.train, split.val, path, **(QUICK_RERANKER | {"embedder": HashEmbedder(256)} | options))


@pytest.fixture(scope="module")
def tuned(body: Path, dataset: QADataset, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    return reranker_of(str(body), dataset, tmp_path_factory.mktemp("tuned") / "m")


@pytest.fixture(scope="module")
def folder(tuned: TuneResult) -> str:
    return str(tuned.path)


# What it writes


def test_a_body_learns_to_rerank_better_than_its_search(tuned: TuneResult) -> None:
    before, after = tuned.record.metrics_before["ndcg@3"], tuned.record.metrics_after["ndcg@3"]
    assert before < 0.8 < 0.95 < after
    assert tuned.record.configuration["without_reranking"]["ndcg@3"] == before
    assert not tuned.kept_base
    assert tuned.history[0].step == 0


def test_plain_sentence_transformers_gives_equal_scores(folder: str) -> None:
    """Through the sigmoid that the folder itself names; ours are the logits."""
    plain = CrossEncoder(folder, device="cpu").predict(PAIRS)
    ours = CrossEncoderReranker.load(folder, device="cpu").score(PAIRS)
    np.testing.assert_allclose(plain, 1 / (1 + np.exp(-ours)), atol=1e-6)
    assert plain[0] > plain[1]


def test_weights_are_float32_in_safetensors_alone(tuned: TuneResult) -> None:
    from safetensors.torch import load_file

    assert {tensor.dtype for tensor in load_file(tuned.path / "model.safetensors").values()} == {torch.float32}
    assert not [*tuned.path.glob("*.bin"), *tuned.path.glob("*.pt")]
    assert not partial_of(tuned.path).exists()


def test_compare_takes_it_as_a_reranker(folder: str, dataset: QADataset) -> None:
    found = compare(
        *(HashEmbedder(256), HashEmbedder(200), dataset, ("vector", "reranked_vector")),
        top_k=1,
        reranker=folder,
        depth=10,
    )
    assert found.row("reranked_vector", "hit_rate", 1).base > found.row("vector", "hit_rate", 1).base
    seen = {name: base.n_seen for name, (base, _) in found.evaluations.items()}
    assert seen == {"vector": 0, "reranked_vector": len(dataset)}, "the questions have trained the reranker"


def test_the_record_names_base_options_and_what_was_seen(tuned: TuneResult, body: Path, dataset: QADataset) -> None:
    record = read_record(tuned.path)
    assert record is not None
    assert (record.tuner, record.base_model) == ("reranker", str(body))
    assert record.configuration["new_score_layer"] is True
    assert record.configuration["loss"] is None
    assert record.configuration["embedder"].startswith("embedtune.testing.fakes.HashEmbedder(")
    assert set(record.seen.queries_in(dataset)) == set(dataset.queries)
    assert record.fingerprint == as_reranker(str(tuned.path)).fingerprint


def test_the_card_tells_figures_and_no_text(tuned: TuneResult, body: Path) -> None:
    card = (tuned.path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-ranking" in card
    assert "Step 0 is the search's own order, without reranking." in card
    assert f"{tuned.record.metrics_after['ndcg@3']:.4f}" in card
    assert "apple river" not in card
    assert str(body.parent) not in card


# What it learns from


def pairs_in(dataset: QADataset, found: Sequence[str], n_negatives: int = 10, **known: Sequence[str]) -> LabelledPairs:
    by_query = {text: list(found) for text in dataset.queries.values()}
    return labelled_pairs(dataset, by_query, known, n_negatives=n_negatives, seed=0)


def negatives(pairs: LabelledPairs) -> set[str]:
    return {chunk for chunk, label in zip(pairs.chunks, pairs.labels, strict=True) if not label}


@pytest.fixture
def few() -> QADataset:
    corpus = {"1": "red apples grow here", "2": "red apples grow here", "3": "RED  apples grow here", "4": "blue sky"}
    return QADataset({"q": "red apples?", "r": "red apples?"}, corpus | {"5": "old"}, {"q": ["1"], "r": ["5"]})


def test_no_known_answer_nor_its_text_nor_all_but_its_text_is_a_negative(few: QADataset) -> None:
    """Neither another id of the answer, nor the answer of an equal question, nor another spelling."""
    assert negatives(pairs_in(few, list(few.corpus.values()))) == {"blue sky"}


def test_every_answer_of_a_question_is_learned(few: QADataset) -> None:
    pairs = pairs_in(few, ["blue sky"])
    assert [chunk for chunk, label in zip(pairs.chunks, pairs.labels, strict=True) if label] == [few.corpus["1"], "old"]


def test_so_many_negatives_are_drawn_as_asked_for_and_the_same_again(dataset: QADataset) -> None:
    finds = [f"word {i}" for i in range(20)]
    pairs = pairs_in(dataset, finds, n_negatives=3)
    assert len(pairs) == 4 * len(dataset)
    assert pairs == pairs_in(dataset, finds, n_negatives=3)
    assert len(negatives(pairs)) > 10


def test_random_negatives_are_no_answers_either(few: QADataset) -> None:
    by_query = {text: [] for text in few.queries.values()}
    pairs = labelled_pairs(few, by_query, {}, n_negatives=3, n_random=5, seed=0)
    assert negatives(pairs) == {"blue sky"}


def test_a_corpus_of_answers_alone_is_refused() -> None:
    alone = QADataset({"q": "red?"}, {"1": "red apples"}, {"q": ["1"]})
    with pytest.raises(TuningError, match="No question has a wrong chunk to be told from its answers: of the 1 chunks"):
        pairs_in(alone, ["red apples"])


def test_known_negatives_do_without_an_embedder(tuned: TuneResult, dataset: QADataset, tmp_path: Path) -> None:
    known = {query: [f"rumour{query[1:]}", f"gossip{query[1:]}"] for query in dataset.queries}
    result = reranker_of(str(tuned.path), dataset, tmp_path / "m", embedder=None, known_negatives=known)
    assert result.n_pairs == 3 * len(dataset.split(val=0.3, test=0).train)
    assert result.record.configuration["known_negatives"].startswith("112 (")


def test_the_embedder_in_use_is_asked_for_each_text_once(dataset: QADataset, body: Path, tmp_path: Path) -> None:
    class Counting(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            asked.extend(text for text in texts if "?" not in text)  # its queries come through here too
            return super().embed_documents(texts)

    asked: list[str] = []
    reranker_of(str(body), dataset, tmp_path / "m", embedder=Counting(256))
    assert sorted(asked) == sorted(dataset.corpus.values())


# What it keeps


def shuffled(dataset: QADataset) -> QADataset:
    answers = list(dataset.corpus)
    random.Random(0).shuffle(answers)
    return replace(dataset, relevant_docs={q: [a] for q, a in zip(dataset.queries, answers, strict=False)})


def test_labels_that_mean_nothing_leave_the_base(tuned: TuneResult, dataset: QADataset, tmp_path: Path) -> None:
    result = reranker_of(str(tuned.path), shuffled(dataset), tmp_path / "m")
    assert result.kept_base
    assert result.record.chosen_step == 0
    np.testing.assert_array_equal(
        CrossEncoderReranker.load(str(result.path)).score(PAIRS),
        CrossEncoderReranker.load(str(tuned.path)).score(PAIRS),
    )


def test_a_body_that_learns_nothing_is_not_written(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"No candidate reranks better than .*ndcg@3 0\.\d+.* do not rerank"):
        reranker_of(str(body), shuffled(dataset), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_few_pairs_are_trained_and_judged_without_an_error(tuned: TuneResult, tmp_path: Path) -> None:
    few = manuals().subset(["q0", "q9", "q20", "q30"])
    options = QUICK_RERANKER | {"embedder": HashEmbedder(256), "folds": 2}
    with one_thread():
        result = tune(str(tuned.path), few, path=tmp_path / "m", **options)
    assert result.kept_base
    assert result.record.configuration["cross_validation_folds"] == 2
    assert result.record.configuration["validation_queries"] == 4


def test_folds_choose_and_a_run_on_all_is_kept(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    options = QUICK_RERANKER | {"embedder": HashEmbedder(256), "folds": 2, "epochs": 4}
    with one_thread():
        result = tune(str(body), dataset, path=tmp_path / "m", **options)
    assert not result.kept_base
    assert result.n_pairs == 3 * len(dataset)
    scores = CrossEncoderReranker.load(str(result.path)).score(PAIRS)
    assert scores[0] > scores[1]


def test_a_loaded_model_stays_as_it_is(folder: str, dataset: QADataset, tmp_path: Path) -> None:
    model = CrossEncoder(folder, device="cpu")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    reranker_of(model, dataset, tmp_path / "m", learning_rate=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_loss_of_ones_own_is_used(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    calls = []

    def loss(model: CrossEncoder) -> torch.nn.Module:
        calls.append(model)
        return BinaryCrossEntropyLoss(model)

    result = reranker_of(str(body), dataset, tmp_path / "m", loss=loss, epochs=4)
    assert len(calls) == 1
    assert "loss" in str(result.record.configuration["loss"])


# Interruption


@pytest.mark.parametrize("step", [3, 8, 11])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    tuned: TuneResult, body: Path, dataset: QADataset, tmp_path: Path, step: int
) -> None:
    """Before, at and after the first validation."""
    path = tmp_path / "m"
    with pytest.raises(KeyboardInterrupt):
        reranker_of(str(body), dataset, path, plugins=stopping_at(step), checkpoint_steps=1)
    assert not path.exists()
    assert list(partial_of(path).glob("run-0/checkpoint-*"))
    reranker_of(str(body), dataset, path, resume=True, checkpoint_steps=1)
    assert weights(path) == weights(tuned.path)
    assert read_record(path).fingerprint == tuned.record.fingerprint  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_run_killed_after_a_checkpoint_goes_on_to_the_same_weights(
    tuned: TuneResult, body: Path, dataset: QADataset, tmp_path: Path
) -> None:
    dataset.save(tmp_path / "manuals.json")
    arguments = (body, tmp_path / "manuals.json", tmp_path / "m")
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(
        target=tune_a_reranker_on_a_file, args=arguments, kwargs={"checkpoint_steps": 1, "epochs": 40}
    )
    process.start()
    while not list(partial_of(tmp_path / "m").glob("run-0/checkpoint-*/trainer_state.json")):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (tmp_path / "m").exists()
    assert partial_of(tmp_path / "m").is_dir()
    with one_thread():
        tune_a_reranker_on_a_file(*arguments, checkpoint_steps=1, epochs=40, resume=True)
        tune_a_reranker_on_a_file(*arguments[:2], tmp_path / "whole", epochs=40)
    assert weights(tmp_path / "m") == weights(tmp_path / "whole") != weights(tuned.path)


def test_another_seed_gives_another_score_layer(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    results = [reranker_of(str(body), dataset, tmp_path / str(seed), seed=seed, epochs=1) for seed in (1, 2)]
    assert weights(results[0].path) != weights(results[1].path)


def test_resuming_with_another_embedder_is_refused(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        reranker_of(str(body), dataset, tmp_path / "m", plugins=stopping_at(3), checkpoint_steps=1)
    with pytest.raises(TuningError, match="the interrupted run differs in embedder, embedder_fingerprint"):
        reranker_of(str(body), dataset, tmp_path / "m", resume=True, embedder=HashEmbedder(128))


# Refused


REFUSED = {
    "embedder": ({"embedder": None}, r"needs embedder=\.\.\.: the embedding model in use"),
    "not-an-embedder": ({"embedder": 3}, r"embedder=3 is no embedder: A builtins.int is no model"),
    "depth": ({"metric": "ndcg@10"}, r"metric='ndcg@10' looks at 10 finds, and only depth=3 are reranked"),
    "metric": ({"metric": "bleu@3"}, r"metric: No metric 'bleu@3'"),
    "negatives": ({"negatives": 4}, r"negatives must be at least 1 and at most depth=3; got 4"),
    "rate": ({"learning_rate": 2.0}, r"learning_rate must be above 0 and below 1; got 2.0"),
    "length": ({"max_length": 3}, r"max_length must be at least 8; got 3"),
    "unknown": ({"temperature": 1}, r"RerankerTuner has no option 'temperature'\. Options: embedder, "),
    "type": ({"depth": "many"}, r"depth must be a whole number; got 'many'"),
    "known": ({"known_negatives": {"nobody": ["x"]}}, r"names the query 'nobody', which is in no data set given"),
    "no-chunk": ({"known_negatives": {"q0": ["x"]}}, r"of the query 'q0' name the chunk 'x': no such chunk"),
    "both": ({"known_negatives": {"q0": ["manual0"]}}, r"'manual0' is, by its text, a relevant one of the query 'q0'"),
}


@pytest.mark.parametrize(("options", "told"), REFUSED.values(), ids=REFUSED)
def test_wrong_options_are_told_before_anything_is_done(
    body: Path, dataset: QADataset, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(TuningError, match=told):
        reranker_of(str(body), dataset, tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './nowhere'"):
        reranker_of("./nowhere", dataset, tmp_path / "m")


def test_a_loaded_embedding_model_is_told_what_to_give(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"or the folder of a model to put a score layer on; got a SentenceTransf"):
        reranker_of(SentenceTransformer(str(body), device="cpu"), dataset, tmp_path / "m")


def test_a_body_needs_a_search_to_be_held_against(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"has no score layer, and without embedder=\.\.\. there is no search"):
        reranker_of(str(body), dataset, tmp_path / "m", embedder=None, known_negatives={"q0": ["rumour0"]})


def test_more_tokens_than_positions_are_refused(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="max_length=5000 does not fit: the model has 600 positions"):
        reranker_of(str(body), dataset, tmp_path / "m", max_length=5000)


def test_a_loss_that_is_no_number_stops_the_run(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    class Lost(BinaryCrossEntropyLoss):
        def forward(self, *arguments: Any, **more: Any) -> torch.Tensor:
            loss: torch.Tensor = super().forward(*arguments, **more)
            return loss * float("nan")

    with pytest.raises(TuningError, match=r"The loss is nan at step 1: the weights are lost"):
        reranker_of(str(body), dataset, tmp_path / "m", loss=Lost)
    assert not (tmp_path / "m").exists()


def test_no_memory_names_what_to_make_smaller(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    class Greedy(BinaryCrossEntropyLoss):
        def forward(self, *arguments: Any, **more: Any) -> torch.Tensor:
            raise MemoryError

    with pytest.raises(TuningError, match=r"batch_size=16 pairs of up to 64 tokens\. .*, or a smaller max_length\."):
        reranker_of(str(body), dataset, tmp_path / "m", loss=Greedy)


def test_a_folder_of_another_kind_is_left(body: Path, dataset: QADataset, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.json").write_text(json.dumps("precious"))
    with pytest.raises(ValueError, match="is not empty and was not written by embedtune"):
        reranker_of(str(body), dataset, tmp_path / "mine")
