"""A loss of the user's, first answers alone, and checkpoints by steps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

from embedtune import QADataset, TuningError, tune
from embedtune_sentence_transformers import SentenceTransformersTuner
from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.loss import chosen_loss
from embedtune_sentence_transformers.pairs import pairs_of

QUICK = {"device": "cpu", "progress": False, "precision": "fp32", "folds": 2}


def instance(folder: Path) -> torch.nn.Module:
    return MultipleNegativesRankingLoss(SentenceTransformer(str(folder), device="cpu"), scale=30)


def made_of_the_model(_: Path) -> Callable[[SentenceTransformer], torch.nn.Module]:
    def loss(model: SentenceTransformer) -> torch.nn.Module:
        return MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), [384, 64])

    return loss


@pytest.mark.slow
@pytest.mark.parametrize("given", [instance, made_of_the_model])
def test_a_loss_of_the_library_teaches(
    given: Callable[[Path], object], small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    options = QUICK | {"loss": given(small_model), "learning_rate": 1e-3, "batch_size": 16}
    result = tune(str(small_model), code_words, path=tmp_path / "m", epochs=3, **options)
    assert result.record.metrics_after["ndcg@10"] > result.record.metrics_before["ndcg@10"] + 0.1
    told = result.record.configuration["loss"]
    assert "made_of_the_model" in told or ("MultipleNegativesRankingLoss(" in told and "scale=30" in told)


def test_an_instance_is_copied_for_the_model_in_training(small_model: Path) -> None:
    model, theirs = (SentenceTransformer(str(small_model), device="cpu") for _ in range(2))
    given = MultipleNegativesRankingLoss(theirs)
    loss = chosen_loss(model, given, None)
    assert loss is not given
    assert loss.model is model
    assert given.model is theirs


def test_a_loss_of_the_library_gets_query_beside_chunk(small_model: Path) -> None:
    model = SentenceTransformer(str(small_model), device="cpu")
    queries = {f"q{n}": f"query {n}" for n in range(20)}
    dataset = QADataset(queries, {f"c{n}": f"chunk {n}" for n in range(20)}, {f"q{n}": [f"c{n}"] for n in range(20)})
    pairs = pairs_of(dataset)
    rows = [{"queries": [q], "chunk": c} for q, c in pairs.pairs]
    batch = RowCollator(model, pairs, row_by_row=True)(rows)
    assert [key for key in batch if key.endswith("input_ids")] == ["query0_input_ids", "document0_input_ids"]
    found = [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in batch["document0_input_ids"]]
    assert found == [f"chunk {row['chunk']}" for row in rows]


def test_first_answers_alone_are_trained_on_and_the_others_are_no_negatives() -> None:
    dataset = QADataset({"a": "A?", "b": "B?"}, {"1": "one", "2": "two"}, {"a": ["2", "1"], "b": ["1"]})
    pairs = pairs_of(dataset, all_answers=False)
    told = {pairs.queries[query]: pairs.chunks[chunk] for query, chunk in pairs.pairs}
    assert (len(pairs), told) == (2, {"A?": "two", "B?": "one"})
    assert {pairs.queries[query]: len(found) for query, found in pairs.answers.items()} == {"A?": 2, "B?": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mnrl"}, r"loss must be a loss, or a callable that makes one of the model; got 'mnrl'"),
        ({"loss": instance, "temperature": 0.1}, "loss with temperature must be without the other"),
        ({"loss": instance, "matryoshka_dims": (8,)}, r"matryoshka_dims with loss must be left out: set them there"),
        ({"loss": instance, "symmetric": True}, "symmetric with loss must be left out: set it there; got True"),
        ({"refresh_negatives": 1}, "refresh_negatives without hard_negatives must be left out, or given with"),
        ({"checkpoint_steps": 0}, "checkpoint_steps must be at least 1; got 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, object], message: str, code_words: QADataset, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=message):
        SentenceTransformersTuner("base", code_words, path=tmp_path / "m", **options)


def test_a_callable_that_makes_no_loss_is_refused(small_model: Path) -> None:
    with pytest.raises(TuningError, match=r"must return a torch.nn.Module; got 0.5"):
        chosen_loss(SentenceTransformer(str(small_model), device="cpu"), lambda model: 0.5, None)
