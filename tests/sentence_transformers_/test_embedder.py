"""The embedder: contract, prompts, fingerprints, loading."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedtune import (
    BackendNotFoundError,
    Embedder,
    EmbeddingError,
    ModelNotFoundError,
    as_embedder,
    evaluate,
    plugin_manager,
)
from embedtune.testing import EmbedderContract, tiny_dataset


class TestLoadedByReference(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _model(self, small_model: Path) -> None:
        self.folder = small_model

    def make(self) -> Embedder:
        return plugin_manager().embedder(str(self.folder), device="cpu")


class TestClaimedModel(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _model(self, small_model: Path) -> None:
        self.folder = small_model

    def make(self) -> Embedder:
        return as_embedder(SentenceTransformer(str(self.folder), device="cpu"))


def test_a_stranger_is_not_claimed() -> None:
    assert plugin_manager().as_embedder(object()) is None


def test_each_side_gets_its_own_prompt(prompted_model: Path) -> None:
    """Trap 21."""
    embedder = plugin_manager().embedder(str(prompted_model), device="cpu")
    model = SentenceTransformer(str(prompted_model), device="cpu")
    np.testing.assert_allclose(embedder.embed_queries(["how"])[0], model.encode("ask: how"), atol=1e-5)
    np.testing.assert_allclose(embedder.embed_documents(["how"])[0], model.encode("read: how"), atol=1e-5)


def test_prompts_and_length_change_the_fingerprint(small_model: Path, prompted_model: Path) -> None:
    def load(folder: Path, **options: object) -> str | None:
        return plugin_manager().embedder(str(folder), device="cpu", **options).fingerprint

    assert load(small_model) == load(small_model)
    assert len({load(small_model), load(prompted_model), load(small_model, max_seq_length=64)}) == 3


def test_a_model_in_memory_is_known_by_its_weights(small_model: Path) -> None:
    """It may have been trained since it was loaded, so its files say nothing."""
    model = SentenceTransformer(str(small_model), device="cpu")
    before = as_embedder(model).fingerprint
    assert before == as_embedder(SentenceTransformer(str(small_model), device="cpu")).fingerprint
    next(model.parameters()).data.add_(0.01)
    assert as_embedder(model).fingerprint != before


def test_half_precision_weights_are_loaded_as_float32(small_model: Path, tmp_path: Path) -> None:
    """Trap 20: transformers 5 keeps the stored precision."""
    SentenceTransformer(str(small_model), device="cpu").half().save(str(tmp_path / "half"), create_model_card=False)
    embedder = plugin_manager().embedder(str(tmp_path / "half"), device="cpu")
    dtypes = {parameter.dtype for parameter in embedder.model.parameters()}  # type: ignore[attr-defined]
    assert {str(dtype) for dtype in dtypes} == {"torch.float32"}


def test_a_missing_folder_fails_before_torch_is_imported(tmp_path: Path) -> None:
    """Trap 36: no retries, no seconds of imports."""
    code = (
        "import sys, embedtune, embedtune.testing as t\n"
        "try:\n    embedtune.evaluate(sys.argv[1], t.tiny_dataset())\n"
        "except embedtune.ModelNotFoundError as error:\n    print(error, 'torch' in sys.modules)\n"
    )
    missing = str(tmp_path / "missing")
    done = subprocess.run([sys.executable, "-c", code, missing], capture_output=True, text=True, check=False)
    assert missing in done.stdout, done.stderr
    assert done.stdout.strip().endswith("False")


def test_an_unknown_hub_name_without_network_says_so() -> None:
    with pytest.raises(ModelNotFoundError, match="Cannot load the model 'nobody/no-such-model'"):
        evaluate("nobody/no-such-model", tiny_dataset())


def test_texts_of_a_hundred_thousand_characters_are_embedded(small_model: Path) -> None:
    embedder = plugin_manager().embedder(str(small_model), device="cpu")
    assert embedder.embed_documents(["word " * 20_000]).shape == (1, 384)


@pytest.mark.parametrize("side", ["embed_queries", "embed_documents"])
@pytest.mark.parametrize(
    ("text", "message"),
    [("caf\ud83d", r"Text 1 of 2 holds half of a surrogate pair.*'caf"), (None, "Text 1 of 2 is a NoneType, None")],
)
def test_a_text_that_no_tokenizer_takes_is_named(small_model: Path, side: str, text: object, message: str) -> None:
    embedder = plugin_manager().embedder(str(small_model), device="cpu")
    with pytest.raises(EmbeddingError, match=message):
        getattr(embedder, side)(["fine", text])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 100_000}, "max_seq_length=100000 does not fit .*the model has 512 positions"),
        ({"max_seq_length": 1}, "max_seq_length=1 does not fit"),
        ({"device": "gpu"}, "device 'gpu' is none that PyTorch knows. Give 'cpu'"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_when_the_model_is_loaded(
    small_model: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(EmbeddingError, match=message):
        plugin_manager().embedder(str(small_model), **options)


def test_a_folder_without_a_model_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Mine.")
    with pytest.raises(BackendNotFoundError, match=r"holds no model that .* a model folder has a modules.json"):
        plugin_manager().embedder(str(tmp_path))
