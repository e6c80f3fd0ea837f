"""Parts that stay as they are, and ways of training that the options switch on."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset, TuningError
from embedtune_sentence_transformers.preparing import freeze_word_embeddings, interpolated, set_dropout
from tuning_runs import same_tensors, tuned

TAUGHT = {"epochs": 6, "interpolations": ()}


def parts(same: dict[str, bool], part: str) -> set[bool]:
    """Whether the tensors of a part are equal; the pooler is no part of a sentence's vector."""
    found = {equal for name, equal in same.items() if part in name and not name.startswith("pooler.")}
    assert found
    return found


def test_word_embeddings_stay_as_they_are(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    result = tuned(str(tiny_model), code_words, tmp_path / "m", **TAUGHT)
    assert not result.kept_base
    same = same_tensors(tmp_path / "m", tiny_model)
    assert parts(same, "word_embeddings") == {True}
    assert parts(same, "position_embeddings") == {False}
    assert parts(same, "layer.0.attention.self.query.weight") == {False}


def test_word_embeddings_are_trained_where_asked_for(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    result = tuned(str(tiny_model), code_words, tmp_path / "m", freeze_embeddings=False, **TAUGHT)
    assert not result.kept_base
    assert parts(same_tensors(tmp_path / "m", tiny_model), "word_embeddings") == {False}


def test_frozen_layers_stay_as_they_are_and_the_others_change(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    result = tuned(str(tiny_model), code_words, tmp_path / "m", freeze_layers=1, **TAUGHT)
    assert not result.kept_base
    same = same_tensors(tmp_path / "m", tiny_model)
    assert parts(same, "layer.0.") == parts(same, "embeddings") == {True}
    assert parts(same, "layer.1.output.dense.weight") == {False}


def test_more_frozen_layers_than_there_are_are_refused(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"freeze_layers=2 leaves nothing to train: the model has 2 layers"):
        tuned(str(tiny_model), code_words, tmp_path / "m", freeze_layers=2)
    assert not (tmp_path / "m").exists()


def test_a_model_of_embeddings_alone_is_trained_whole(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """Frozen, nothing would be left."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = SentenceTransformer(str(tiny_model), device="cpu").tokenizer.backend_tokenizer
    torch.manual_seed(0)
    base = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=32)], device="cpu")
    base.save(str(tmp_path / "static"), create_model_card=False)
    result = tuned(str(tmp_path / "static"), code_words, tmp_path / "m", **(TAUGHT | {"learning_rate": 0.1}))
    assert not result.kept_base
    assert result.record.metrics_after["hit_rate@5"] > 0.4
    assert SentenceTransformer(str(tmp_path / "m"), device="cpu").encode("apple").shape == (32,)


def test_leading_dimensions_learn_to_serve_alone(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    from embedtune import evaluate
    from embedtune_sentence_transformers import SentenceTransformerEmbedder

    val = code_words.split(val=0.3, test=0).val
    result = tuned(str(tiny_model), code_words, tmp_path / "m", matryoshka_dims=(8,), **TAUGHT)
    assert result.record.configuration["matryoshka_dims"] == (8,)
    cut = [SentenceTransformerEmbedder.load(str(f), truncate_dim=8) for f in (tiny_model, tmp_path / "m")]
    base, after = (evaluate(embedder, val).metrics["ndcg@10"] for embedder in cut)
    assert after > base + 0.2


def test_a_dimension_larger_than_the_models_is_refused(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"matryoshka_dims=\(64,\) must be leading .*: 64 are more than its 48"):
        tuned(str(tiny_model), code_words, tmp_path / "m", matryoshka_dims=(64,))


def test_a_symmetric_loss_teaches(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    result = tuned(str(tiny_model), code_words, tmp_path / "m", symmetric=True, **TAUGHT)
    assert result.record.metrics_after["hit_rate@5"] > result.record.metrics_before["hit_rate@5"] + 0.2


def test_the_saved_model_keeps_its_own_dropout(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    tuned(str(tiny_model), code_words, tmp_path / "m", dropout=0.0)
    model = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}


def test_dropout_is_set_in_all_layers(tiny_model: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    set_dropout(model, 0.3)
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.3}


def test_a_model_without_a_transformer_has_nothing_to_freeze() -> None:
    layer = torch.nn.Linear(2, 2)
    freeze_word_embeddings(SentenceTransformer(modules=[layer], device="cpu"))
    assert layer.weight.requires_grad


def test_weights_between_are_on_the_line_and_its_ends_are_exact() -> None:
    base, tuned = ({"w": torch.randn(5), "n": torch.tensor([3])} for _ in range(2))
    assert torch.equal(interpolated(base, tuned, 1.0)["w"], tuned["w"])
    assert torch.equal(interpolated(base, tuned, 0.0)["w"], base["w"])
    torch.testing.assert_close(interpolated(base, tuned, 0.25)["w"], base["w"] * 0.75 + tuned["w"] * 0.25)
    assert interpolated(base, tuned, 0.5)["n"].item() == 3
