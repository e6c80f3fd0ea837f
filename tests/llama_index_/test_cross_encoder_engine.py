"""The engine for rerankers: every argument reaches the tuner or is refused, and the result is LlamaIndex's to use."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from embedtune import DatasetError, EvaluationError, ModelNotFoundError, QADataset, TuningError
from embedtune.resolve import as_reranker
from embedtune.testing import HashEmbedder, WordReranker
from llama_index.embeddings.embedtune import (
    CrossEncoderFinetuneEngine,
    CrossEncoderFinetuningDatasetSample,
    EmbedtuneRerank,
)
from small_models import tiny_model
from tuning_runs import manuals, one_thread

REQUIRED = inspect.Parameter.empty

# llama_index/finetuning/cross_encoders/cross_encoder.py of llama-index-finetuning 0.4.2
ENGINE = {
    "dataset": REQUIRED,
    "model_id": "cross-encoder/ms-marco-MiniLM-L-12-v2",
    "model_output_path": "exp_finetune",
    "batch_size": 10,
    "val_dataset": None,
    "loss": None,
    "epochs": 2,
    "show_progress_bar": True,
    "evaluation_steps": 50,
}
QUICK: dict[str, Any] = {"device": "cpu", "show_progress_bar": False, "epochs": 1, "batch_size": 16}
TUNER: dict[str, Any] = {"learning_rate": 1e-3, "negatives": 2, "random_negatives": 0, "precision": "fp32"}
SHALLOW: dict[str, Any] = {"depth": 3, "metric": "ndcg@3"}


def samples_of(dataset: QADataset) -> list[CrossEncoderFinetuningDatasetSample]:
    """Each question with its manual and its two rumours."""
    sample = CrossEncoderFinetuningDatasetSample
    return [
        sample(text, dataset.corpus[f"{kind}{query[1:]}"], int(kind == "manual"))
        for query, text in dataset.queries.items()
        for kind in ("manual", "rumour", "gossip")
    ]


@pytest.fixture(scope="module")
def halves() -> tuple[QADataset, QADataset]:
    split = manuals().split(val=0.3, test=0)
    assert split.val is not None
    return split.train, split.val


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    known = manuals()
    words = " ".join([*known.queries.values(), *known.corpus.values()]).replace("?", "").split()
    return tiny_model(tmp_path_factory.mktemp("models") / "body", words)


@pytest.fixture(scope="module")
def tuned(
    body: Path, halves: tuple[QADataset, QADataset], tmp_path_factory: pytest.TempPathFactory
) -> CrossEncoderFinetuneEngine:
    """An engine that has put a score layer on a body, with negatives that an embedder finds."""
    path = str(tmp_path_factory.mktemp("models") / "tuned")
    engine = CrossEncoderFinetuneEngine(
        halves[0], str(body), path, val_dataset=halves[1], embed_model=HashEmbedder(256), seed=3, **QUICK
    )
    with one_thread():
        engine.finetune(**TUNER, **SHALLOW)
    return engine


def configuration(engine: CrossEncoderFinetuneEngine) -> dict[str, Any]:
    assert engine.result is not None
    return dict(engine.result.record.configuration)


# What upstream promised


def test_the_constructor_is_upstreams_with_keywords_of_ours() -> None:
    parameters = inspect.signature(CrossEncoderFinetuneEngine).parameters.values()
    assert {p.name: p.default for p in parameters if p.kind is not p.KEYWORD_ONLY} == ENGINE


def test_arguments_reach_the_tuner(tuned: CrossEncoderFinetuneEngine) -> None:
    told = configuration(tuned)
    assert (told["epochs"], told["batch_size"], told["seed"], told["learning_rate"]) == (1, 16, 3, 1e-3)
    assert not tuned.result.kept_base  # type: ignore[union-attr]
    assert type(tuned.model).__name__ == "CrossEncoder"


def test_samples_labelled_by_hand_tune_without_an_embedding_model(
    tuned: CrossEncoderFinetuneEngine, halves: tuple[QADataset, QADataset], tmp_path: Path
) -> None:
    """A cross-encoder goes on learning from them; each is a pair of the training."""
    train, val = (samples_of(half) for half in halves)
    engine = CrossEncoderFinetuneEngine(
        train, tuned.model_output_path, str(tmp_path / "m"), val_dataset=val, evaluation_steps=4, **QUICK
    )
    with one_thread():
        engine.finetune(precision="fp32")
    assert engine.result is not None
    assert engine.result.n_pairs == len(train)
    assert [point.step for point in engine.result.history] == [0, 4, 8], "evaluation_steps"


def test_a_loss_is_used(tuned: CrossEncoderFinetuneEngine, halves: tuple[QADataset, QADataset], tmp_path: Path) -> None:
    used = []

    def loss(model: CrossEncoder) -> BinaryCrossEntropyLoss:
        used.append(model)
        return BinaryCrossEntropyLoss(model)

    engine = CrossEncoderFinetuneEngine(
        samples_of(halves[0]), tuned.model_output_path, str(tmp_path / "m"), loss=loss, **QUICK
    )
    with one_thread():
        engine.finetune(precision="fp32")
    assert len(used) == 1


# What it gives


def test_it_gives_a_postprocessor_that_ranks_manuals_first(tuned: CrossEncoderFinetuneEngine) -> None:
    reranker = tuned.get_finetuned_model(top_n=1)
    assert isinstance(reranker, BaseNodePostprocessor)
    nodes = [TextNode(text=f"apple river tower {kind}") for kind in ("gossip", "from the manual", "rumour")]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))
    found = index.as_retriever(similarity_top_k=3).retrieve("apple river tower?")
    (best,) = reranker.postprocess_nodes(found, query_str="apple river tower?")
    assert best.node.get_content() == "apple river tower from the manual"


def test_a_name_or_folder_may_be_given_for_it(tuned: CrossEncoderFinetuneEngine) -> None:
    reranker = tuned.get_finetuned_model(tuned.model_output_path, top_n=2)
    assert (reranker.model, reranker.top_n) == (tuned.model_output_path, 2)
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './none'"):
        tuned.get_finetuned_model("./none")


def test_before_tuning_there_is_none(halves: tuple[QADataset, QADataset], body: Path, tmp_path: Path) -> None:
    engine = CrossEncoderFinetuneEngine(halves[0], str(body), str(tmp_path / "m"), embed_model=HashEmbedder())
    with pytest.raises(ModelNotFoundError, match=r"There is no tuned model at .* yet: call finetune\(\) first"):
        engine.get_finetuned_model()
    with pytest.raises(ModelNotFoundError, match="There is no tuned model"):
        engine.push_to_hub("me/mine")


def test_the_tuned_model_is_what_goes_to_the_hub(
    tuned: CrossEncoderFinetuneEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[float, str]] = []

    def push(model: CrossEncoder, repo_id: str) -> None:
        pushed.append((float(model.predict([("apple?", "apple")])[0]), repo_id))

    monkeypatch.setattr(CrossEncoder, "push_to_hub", push)
    tuned.push_to_hub("me/mine")
    assert pushed == [(float(tuned.model.predict([("apple?", "apple")])[0]), "me/mine")]
    with pytest.raises(ValueError, match=r"push_to_hub needs repo_id=\.\.\.: the name on the hub"):
        tuned.push_to_hub()


# Refused


def sample(score: Any = 1, query: Any = "q?", context: Any = "c") -> CrossEncoderFinetuningDatasetSample:
    return CrossEncoderFinetuningDatasetSample(query, context, score)


REFUSED = {
    "score": ([sample(), sample(0.5)], r"The score of dataset\[1\] must be 1, .* or 0; got 0.5"),
    "shape": (["text"], r"dataset\[0\] must have the texts query and context, and a score; got a str, 'text'"),
    "no-answer": ([sample(0)], "No sample of dataset has score 1"),
    "else": (3, r"dataset must have the mappings .* Or give samples with query, context and score"),
}


@pytest.mark.parametrize(("dataset", "told"), REFUSED.values(), ids=REFUSED)
def test_data_of_another_shape_are_told(dataset: Any, told: str, body: Path) -> None:
    with pytest.raises(DatasetError, match=told):
        CrossEncoderFinetuneEngine(dataset, str(body))


def test_answers_alone_need_an_embedding_model(halves: tuple[QADataset, QADataset], body: Path) -> None:
    for dataset in (halves[0], [sample(), sample(1, "r?", "d")]):
        with pytest.raises(TuningError, match=r"not what does not: give embed_model=\.\.\."):
            CrossEncoderFinetuneEngine(dataset, str(body))


def test_a_question_without_an_answer_is_left_out_with_a_warning(body: Path, caplog: pytest.LogCaptureFixture) -> None:
    CrossEncoderFinetuneEngine([sample(), sample(0, context="d"), sample(0, "r?")], str(body))
    assert "dataset: 1 of 2 questions have no context of score 1 and are left out" in caplog.text


def test_a_context_cannot_answer_and_not_answer(body: Path, tmp_path: Path) -> None:
    samples = [sample(), sample(0), sample(1, "r?", "d")]
    engine = CrossEncoderFinetuneEngine(samples, str(body), str(tmp_path / "m"))
    with pytest.raises(TuningError, match="is, by its text, a relevant one of the query 'q-"):
        engine.finetune()


@pytest.mark.parametrize("given", [{"batch_size": 1}, {"evaluation_steps": -1}, {"epochs": 0}])
def test_numbers_out_of_range_are_refused(given: dict[str, int], body: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=f"{next(iter(given))} must be a whole number of at least"):
        CrossEncoderFinetuneEngine(
            [sample(), sample(0, context="d")], str(body), str(tmp_path / "m"), **given
        ).finetune()


def test_unknown_arguments_are_refused(body: Path, tmp_path: Path) -> None:
    samples = [sample(), sample(0, context="d"), sample(1, "r?", "e")]
    engine = CrossEncoderFinetuneEngine(samples, str(body), str(tmp_path / "m"))
    with pytest.raises(TuningError, match=r"has no option 'lr'"):
        engine.finetune(lr=1e-3)
    with pytest.raises(TuningError, match=r"'trainset' is set in the constructor of the engine"):
        engine.finetune(trainset=None)


# The postprocessor by itself


def scored(*texts: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, metadata={"about": "apples"}), score=0.5) for text in texts]


def test_nodes_come_best_first_and_those_given_stay_as_they_are() -> None:
    nodes = scored("blue sky", "red apples", "red")
    found = EmbedtuneRerank(WordReranker(), top_n=2).postprocess_nodes(nodes, query_str="red apples?")
    assert [(node.get_content(), node.score) for node in found] == [("red apples", 1.0), ("red", 0.5)]
    assert {node.score for node in nodes} == {0.5}


def test_metadata_are_read_where_asked_for() -> None:
    nodes = scored("blue sky", "old apples")
    for mode, expected in (("none", 0.0), ("embed", 1.0)):
        found = EmbedtuneRerank(WordReranker(), metadata_mode=mode).postprocess_nodes(nodes[:1], query_str="apples")  # type: ignore[arg-type]
        assert found[0].score == expected


def test_no_nodes_are_no_error_and_no_query_is() -> None:
    reranker = EmbedtuneRerank(WordReranker())
    assert reranker.postprocess_nodes([], query_str="apples") == []
    with pytest.raises(EvaluationError, match="EmbedtuneRerank needs the query"):
        reranker.postprocess_nodes(scored("red"))


@pytest.mark.parametrize(("settings", "told"), [({"top_n": 0}, "top_n must be"), ({"k": 3}, "has no setting 'k'")])
def test_wrong_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        EmbedtuneRerank(WordReranker(), **settings)


def test_embedtune_takes_it_back_as_a_reranker() -> None:
    own = WordReranker()
    assert as_reranker(EmbedtuneRerank(own)) is own
