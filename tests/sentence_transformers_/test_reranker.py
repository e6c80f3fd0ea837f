"""A CrossEncoder as a reranker: the contract, its scores, its fingerprint, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtune import EvaluationError, ModelFolderError, ModelNotFoundError, Reranker, compare
from embedtune.plugins import plugin_manager
from embedtune.resolve import as_reranker
from embedtune.testing import HashEmbedder, RerankerContract, tiny_dataset
from embedtune_sentence_transformers import CrossEncoderReranker
from small_models import trained_cross_encoder
from subprocesses import run_python

PAIRS = [("what is red?", "apples are red"), ("what is red?", "clouds drift"), ("", ""), ("雲は?", "雲は白い")]


@pytest.fixture(scope="session")
def cross_encoder(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer that has learned the tiny data set."""
    return trained_cross_encoder(small_model, tmp_path_factory.mktemp("models") / "cross", tiny_dataset())


class TestCrossEncoderReranker(RerankerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, cross_encoder: Path) -> None:
        self.folder = cross_encoder

    def make(self) -> Reranker:
        return CrossEncoderReranker.load(str(self.folder), device="cpu")


class TestClaimedCrossEncoder(RerankerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, cross_encoder: Path) -> None:
        self.folder = cross_encoder

    def make(self) -> Reranker:
        reranker = plugin_manager().as_reranker(CrossEncoder(str(self.folder), device="cpu"))
        assert isinstance(reranker, CrossEncoderReranker)
        return reranker


# Scores


def test_scores_are_those_of_predict_before_the_sigmoid(cross_encoder: Path) -> None:
    model = CrossEncoder(str(cross_encoder), device="cpu")
    scores = CrossEncoderReranker(model).score(PAIRS)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), model.predict(PAIRS), atol=1e-5)


def test_scores_that_a_sigmoid_makes_equal_stay_apart(cross_encoder: Path) -> None:
    import torch

    model = CrossEncoder(str(cross_encoder), device="cpu")
    with torch.no_grad():
        model.model.classifier.weight.mul_(1000)
    assert len(set(CrossEncoderReranker(model).score(PAIRS[:2]))) == 2


def test_an_activation_of_ones_own_is_used(cross_encoder: Path) -> None:
    import torch

    model = CrossEncoder(str(cross_encoder), device="cpu", activation_fn=torch.nn.Tanh())
    np.testing.assert_allclose(CrossEncoderReranker(model).score(PAIRS), model.predict(PAIRS), atol=1e-6)


def test_reranking_finds_what_the_cross_encoder_has_learned(cross_encoder: Path) -> None:
    types = ("vector", "reranked_vector")
    found = compare(HashEmbedder(2), HashEmbedder(3), tiny_dataset(), types, top_k=1, reranker=cross_encoder)
    vector, reranked = found.row("vector", "hit_rate", 1), found.row("reranked_vector", "hit_rate", 1)
    assert vector.base < reranked.base == reranked.tuned == 1.0
    assert found.settings["reranker"]["name"] == str(cross_encoder)
    assert len(found.settings["reranker"]["fingerprint"]) == 32


# Fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_place(cross_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(cross_encoder, tmp_path / "copy")
    one = as_reranker(str(cross_encoder)).fingerprint
    assert as_reranker(tmp_path / "copy").fingerprint == one
    assert CrossEncoderReranker.load(str(cross_encoder), max_length=16).fingerprint != one
    (tmp_path / "copy" / "special_tokens_map.json").write_text('{"unk_token": "[PAD]"}')
    assert as_reranker(tmp_path / "copy").fingerprint != one


def test_the_fingerprint_of_a_loaded_model_tells_changed_weights(cross_encoder: Path) -> None:
    import torch

    model = CrossEncoder(str(cross_encoder), device="cpu")
    before = CrossEncoderReranker(model).fingerprint
    assert CrossEncoderReranker(CrossEncoder(str(cross_encoder), device="cpu")).fingerprint == before
    with torch.no_grad():
        model.model.classifier.bias.add_(1)
    assert CrossEncoderReranker(model).fingerprint != before


# Refused


def test_a_missing_folder_is_refused_before_torch_is_imported() -> None:
    done = run_python(
        "import sys\n"
        "from embedtune.plugins import plugin_manager\n"
        "try:\n"
        "    plugin_manager().reranker('sentence-transformers:./no/such/reranker')\n"
        "except FileNotFoundError as error:\n"
        "    print(error, 'torch' in sys.modules)\n"
    )
    assert "No model folder at './no/such/reranker'" in done
    assert done.strip().endswith("False")


@pytest.mark.parametrize("model", ["minilm", "small_model"])
def test_an_embedding_model_is_refused(model: str, request: pytest.FixtureRequest) -> None:
    """sentence-transformers would put a random layer on top, and every ranking would be chance."""
    with pytest.raises(EvaluationError, match=r"is no cross-encoder but a .*: its scores would be random"):
        as_reranker(str(request.getfixturevalue(model)))


def test_a_model_of_several_labels_is_refused(small_model: Path) -> None:
    model = CrossEncoder(str(small_model), num_labels=3, device="cpu")
    with pytest.raises(EvaluationError, match="gives 3 numbers for a pair; a reranker gives one"):
        as_reranker(model)


def test_weights_in_a_pickle_are_not_read(cross_encoder: Path, tmp_path: Path) -> None:
    import torch

    shutil.copytree(cross_encoder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(CrossEncoder(str(cross_encoder)).model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises((ModelNotFoundError, ModelFolderError), match="safetensors"):
        as_reranker(tmp_path / "pickled")


def test_code_of_the_model_is_not_run(cross_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with-code"
    shutil.copytree(cross_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelFolderError, match="brings Python code of its own, which is not run"):
        as_reranker(folder)
    assert not (tmp_path / "ran").exists()


def test_a_name_that_cannot_be_had_is_not_found() -> None:
    with pytest.raises(ModelNotFoundError, match="Cannot load the model 'cross-encoder/no-such-model-at-all'"):
        as_reranker("cross-encoder/no-such-model-at-all")


def test_an_embedding_model_is_no_loaded_reranker(small_model: Path) -> None:
    with pytest.raises(EvaluationError, match="SentenceTransformer is no reranker that an installed plugin knows"):
        as_reranker(SentenceTransformer(str(small_model), device="cpu"))


def test_a_cross_encoder_is_claimed_by_this_package_alone(cross_encoder: Path) -> None:
    model = CrossEncoder(str(cross_encoder), device="cpu")
    assert plugin_manager().claim("embedtune_as_embedder", model) is None
    assert plugin_manager().claim("embedtune_as_reranker", object()) is None
