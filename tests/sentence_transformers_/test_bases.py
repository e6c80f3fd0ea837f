"""Base models that are stored in half precision, lack a part, or bring code."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from embedtune import ModelFolderError, QADataset
from tuning_runs import tuned


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    shutil.copytree(tiny_model, tmp_path / "base")
    return tmp_path / "base"


def changed(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_base_in_half_precision_is_trained_and_written_in_float32(
    tiny_model: Path, code_words: QADataset, tmp_path: Path, dtype: torch.dtype
) -> None:
    half = SentenceTransformer(str(tiny_model), device="cpu").to(dtype)
    half.save(str(tmp_path / "half"), create_model_card=False)
    assert {tensor.dtype for tensor in load_file(tmp_path / "half" / "model.safetensors").values()} == {dtype}
    result = tuned(str(tmp_path / "half"), code_words, tmp_path / "m", epochs=4, interpolations=())
    assert not result.kept_base
    assert {tensor.dtype for tensor in load_file(tmp_path / "m" / "model.safetensors").values()} == {torch.float32}
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == "float32"


def test_a_loaded_base_in_half_precision_stays_in_it(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    half = SentenceTransformer(str(tiny_model), device="cpu").half()
    tuned(half, code_words, tmp_path / "m")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
    assert {tensor.dtype for tensor in load_file(tmp_path / "m" / "model.safetensors").values()} == {torch.float32}


def test_a_base_without_pooling_is_refused(base: Path, code_words: QADataset, tmp_path: Path) -> None:
    """It gives a vector for each token, and none for the text."""
    modules = json.loads((base / "modules.json").read_text())
    (base / "modules.json").write_text(json.dumps(modules[:1]))
    with pytest.raises(ModelFolderError, match=r"gives no vector for a text.* modules.json\s+names no pooling"):
        tuned(str(base), code_words, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("classes", [["AutoConfig"], ["AutoConfig", "AutoModel"]])
def test_code_of_the_base_is_not_run(base: Path, code_words: QADataset, tmp_path: Path, classes: list[str]) -> None:
    changed(base / "config.json", model_type="mine", auto_map=dict.fromkeys(classes, "mine.Own"))
    (base / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelFolderError, match=r"brings Python code .* which is not run.* trust_remote_code=True"):
        tuned(str(base), code_words, tmp_path / "m")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "m").exists()


def test_code_that_the_modules_of_the_base_name_is_not_run(base: Path, code_words: QADataset, tmp_path: Path) -> None:
    """modules.json may name a class in the folder."""
    modules = json.loads((base / "modules.json").read_text())
    modules[0]["type"] = "mine.Own"
    (base / "modules.json").write_text(json.dumps(modules))
    (base / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelFolderError, match=r"model '.*base'"):
        tuned(str(base), code_words, tmp_path / "m")
    assert not (tmp_path / "ran").exists()
