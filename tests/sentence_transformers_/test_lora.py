"""Low-rank additions in training, plain weights in the folder."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from embedtune import QADataset, TuningError, evaluate
from embedtune_sentence_transformers.preparing import add_lora, freeze_layers, plain_state
from tuning_runs import resumed_weights, same_tensors, tuned, weights

LORA = {"lora_rank": 4, "learning_rate": 2e-2, "epochs": 6, "interpolations": ()}


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def lora(tiny_model: Path, code_words: QADataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder tuned with it."""
    folder = tmp_path_factory.mktemp("lora") / "m"
    result = tuned(str(tiny_model), code_words, folder, **LORA)
    assert not result.kept_base
    return folder


def test_the_additions_alone_are_trained(model: SentenceTransformer) -> None:
    add_lora(model, 4)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)


def test_frozen_layers_get_no_additions(model: SentenceTransformer) -> None:
    freeze_layers(model, 1)
    add_lora(model, 4)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any("layer.1." in name for name in trained)
    assert not [name for name in trained if "layer.0." in name]


def test_a_seed_gives_the_same_additions_whatever_was_drawn_before(tiny_model: Path) -> None:
    """They are drawn at random; and the other random numbers of the process stay as they are."""
    drawn, after = [], []
    for before in (1, 2):
        model = SentenceTransformer(str(tiny_model), device="cpu")
        torch.manual_seed(before)
        expected = torch.rand(3)
        torch.manual_seed(before)
        add_lora(model, 4, seed=7)
        after.append(torch.equal(torch.rand(3), expected))
        drawn.append(next(tensor for name, tensor in model.named_parameters() if ".lora_A." in name))
    assert torch.equal(drawn[0], drawn[1])
    assert after == [True, True]


def test_merged_weights_give_the_vectors_of_the_model_in_training(model: SentenceTransformer, tiny_model: Path) -> None:
    add_lora(model, 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    merged = SentenceTransformer(str(tiny_model), device="cpu")
    before = merged.encode("apple river tower")
    merged.load_state_dict(plain_state(model))
    after = merged.encode("apple river tower")
    assert after == pytest.approx(model.encode("apple river tower"), abs=1e-4)
    assert after != pytest.approx(before, abs=1e-2)


def test_the_folder_is_a_plain_model(lora: Path, tiny_model: Path) -> None:
    def names(folder: Path) -> set[str]:
        with safe_open(folder / "model.safetensors", "pt") as file:
            return set(file.keys())

    assert names(lora) == names(tiny_model)
    assert not [path for path in lora.rglob("*") if "adapter" in path.name]
    configs = [
        path.read_text() for path in lora.rglob("*.json") if path.name not in ("tokenizer.json", "embedtune.json")
    ]
    assert not [text for text in configs if "lora" in text.lower() or "peft" in text.lower()]


def test_the_folder_has_the_metrics_of_the_chosen_candidate(lora: Path, code_words: QADataset) -> None:
    told = json.loads((lora / "embedtune.json").read_text())["metrics_after"]
    assert told["hit_rate@5"] > 0.4
    measured = evaluate(str(lora), code_words.split(val=0.3, test=0).val).metrics
    assert measured["ndcg@10"] == pytest.approx(told["ndcg@10"], abs=1e-6)


def test_what_is_not_linear_stays_as_it_is(lora: Path, tiny_model: Path) -> None:
    same = same_tensors(lora, tiny_model)
    assert all(equal for name, equal in same.items() if "LayerNorm" in name or "embeddings" in name)
    assert not [name for name in same if name.endswith("query.weight") and same[name]]


def test_a_loaded_base_gets_no_additions(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    base = SentenceTransformer(str(tiny_model), device="cpu")
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    tuned(base, code_words, tmp_path / "m", **{**LORA, "epochs": 1})
    after = base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.slow
def test_one_seed_gives_the_same_weights_interrupted_or_not(
    lora: Path, tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    tuned(str(tiny_model), code_words, tmp_path / "again", **LORA)
    assert weights(tmp_path / "again") == weights(lora)
    assert resumed_weights(str(tiny_model), code_words, tmp_path / "m", 7, **LORA) == weights(lora)


def test_without_peft_the_way_to_get_it_is_told(
    tiny_model: Path, code_words: QADataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TuningError, match=r'pip install "embedtune-sentence-transformers\[lora\]"'):
        tuned(str(tiny_model), code_words, tmp_path / "m", lora_rank=4)
    assert not (tmp_path / "m").exists()


def test_a_model_without_a_transformer_is_refused() -> None:
    with pytest.raises(TuningError, match="lora_rank needs a transformer: this model has none"):
        add_lora(SentenceTransformer(modules=[torch.nn.Linear(2, 2)], device="cpu"), 4)
