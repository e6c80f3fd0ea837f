"""An adapter's model with the map in it: plain sentence-transformers gives the vectors that embedtune gives."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import embedtune
import embedtune_sentence_transformers
from embedtune import (
    EmbeddingError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    as_embedder,
    compare,
    evaluate,
    read_record,
)
from embedtune.adapter.query_adapter import AdaptedEmbedder
from embedtune.fingerprints import folder_fingerprint
from embedtune.testing import EmbedderContract, HashEmbedder
from embedtune_sentence_transformers import SentenceTransformerEmbedder, export_adapter
from embedtune_sentence_transformers.tokens import TokenisedTexts
from query_adapters import adapter_over, directions_apart
from rooms import ROOT
from subprocesses import run_python

TEXTS = ["apple river tower", "Wo steht die Leiter?", "a " * 400]

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("embedtune"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter_over(str(tiny_model), tmp_path_factory.mktemp("adapters") / "adapter")


@pytest.fixture(scope="module")
def exported(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_adapter(adapter, tmp_path_factory.mktemp("models") / "exported")


def plain_vectors(folder: Path, sides: str = "encode_query, encode_document, encode") -> list[Any]:
    """Of a fresh process that can import sentence-transformers, and nothing of embedtune."""
    code = (
        f"{BLOCKED}\nimport json\nfrom sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(folder)!r}, device='cpu')\n"
        f"sides = [getattr(model, name.strip()) for name in {sides!r}.split(',')]\n"
        f"print(json.dumps([side({TEXTS!r}).tolist() for side in sides]))\n"
        "assert not any(name.partition('.')[0].startswith('embedtune') for name in sys.modules)"
    )
    return [np.array(vectors) for vectors in json.loads(run_python(code).splitlines()[-1])]


class TestExported(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, exported: Path) -> None:
        self.folder = exported

    def make(self) -> object:
        return as_embedder(str(self.folder))


@pytest.mark.slow
def test_the_real_model_gives_the_same_without_embedtune(minilm: Path, tmp_path: Path) -> None:
    folder = adapter_over(str(minilm), tmp_path / "adapter")
    adapted, base = AdaptedEmbedder(as_embedder(str(minilm)), folder), SentenceTransformer(str(minilm), device="cpu")
    exported = export_adapter(folder, tmp_path / "exported")
    queries, documents, others = plain_vectors(exported)
    assert np.abs(queries - adapted.embed_queries(TEXTS)).max() < 1e-5
    assert np.abs(queries - base.encode_query(TEXTS)).max() > 1e-3, "else the map would be none"
    assert np.abs(documents - base.encode_document(TEXTS)).max() < 1e-6
    assert np.abs(others - documents).max() < 1e-6
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    whole = sum((minilm / name).stat().st_size for name in ("model.safetensors", "tokenizer.json"))
    assert size < whole + 384 * 384 * 4 + 1_000_000, "the weights once, and the map"


def test_embedtunes_own_embedder_gives_the_same(exported: Path, adapter: Path, tiny_model: Path) -> None:
    """The tiny model's vectors have not length 1: the directions, which cosine compares, are the same."""
    adapted, ours = (
        AdaptedEmbedder(as_embedder(str(tiny_model)), adapter),
        SentenceTransformerEmbedder.load(str(exported)),
    )
    for one, other in zip(ours.embed_queries(TEXTS), adapted.embed_queries(TEXTS), strict=True):
        assert directions_apart(one, other) < 1e-6
    assert directions_apart(ours.embed_queries(TEXTS[:1])[0], adapted.embedder.embed_queries(TEXTS[:1])[0]) > 1e-4
    np.testing.assert_array_equal(ours.embed_documents(TEXTS), adapted.embed_documents(TEXTS))


def test_prompts_and_reading_are_kept_on_both_sides(prompted_model: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(prompted_model), device="cpu")
    model.max_seq_length = 20
    exported = export_adapter(adapter_over(model, tmp_path / "adapter"), tmp_path / "exported", model)
    loaded = SentenceTransformer(str(exported), device="cpu")
    assert (loaded.prompts, loaded.max_seq_length) == ({"query": "ask: ", "document": "read: "}, 20)
    adapted = AdaptedEmbedder(as_embedder(model), tmp_path / "adapter")
    assert np.abs(loaded.encode_query(TEXTS) - adapted.embed_queries(TEXTS)).max() < 1e-5
    np.testing.assert_allclose(loaded.encode_document(TEXTS), model.encode_document(TEXTS), atol=1e-6)
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "query_encode_kwargs={'prompt_name': 'query', 'task': 'query'}, encode_kwargs={'prompt_name'" in card
    assert "`encode` without a task gives the vectors of chunks." in card
    told = loaded.encode(TEXTS, task="query", prompt_name="query")
    np.testing.assert_allclose(told, loaded.encode_query(TEXTS), atol=1e-6, err_msg="as the card says")


def test_the_model_that_is_given_stays_as_it_is(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    names, before = [name for name, _ in model.named_modules()], model.encode_query(TEXTS)
    export_adapter(adapter_over(model, tmp_path / "adapter"), tmp_path / "exported", model)
    assert [name for name, _ in model.named_modules()] == names
    np.testing.assert_array_equal(model.encode_query(TEXTS), before)


def test_what_the_adapter_has_seen_is_marked(
    exported: Path, adapter: Path, tiny_model: Path, code_words: QADataset
) -> None:
    record, trained = read_record(exported), read_record(adapter)
    assert record is not None
    assert trained is not None
    assert record.seen == trained.seen
    assert record.fingerprint == folder_fingerprint(exported) == as_embedder(str(exported)).fingerprint
    comparison = compare(str(tiny_model), str(exported), code_words)
    assert comparison.n_seen == len(code_words)
    assert comparison.verdict != "ship"


def test_it_ranks_as_the_adapter_does(exported: Path, adapter: Path, code_words: QADataset) -> None:
    assert evaluate(str(exported), code_words).metrics == evaluate(str(adapter), code_words).metrics


def test_the_card_says_how_it_is_used_and_names_no_folder(exported: Path, adapter: Path, tmp_path: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "# tiny, with an adapter for queries by embedtune\n" in card
    assert "The adapter was chosen by them, **so these figures flatter this model**" in card
    assert "`HuggingFaceEmbeddings(query_encode_kwargs={'task': 'query'})`" in card
    assert re.search(r"\| ndcg@10 \| 0\.\d{4} \| 0\.\d{4} \| \+0\.\d{4} \|", card)
    assert str(exported.parent) not in card
    assert str(adapter.parent) not in card


def test_the_card_names_a_base_of_the_hub(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    there = shutil.copytree(adapter, tmp_path / "adapter") / "embedtune.json"
    told = json.loads(there.read_text(encoding="utf-8"))
    there.write_text(json.dumps({**told, "base_model": "sentence-transformers:BAAI/bge-small-en-v1.5"}))
    card = (export_adapter(there.parent, tmp_path / "m", str(tiny_model)) / "README.md").read_text(encoding="utf-8")
    assert '\nbase_model: "BAAI/bge-small-en-v1.5"\n' in card
    assert "# BAAI/bge-small-en-v1.5, with an adapter" in card


def test_a_folder_of_ours_is_replaced_and_another_left_alone(adapter: Path, exported: Path, tmp_path: Path) -> None:
    again = shutil.copytree(exported, tmp_path / "again")
    (again / "old.txt").write_text("old")
    assert export_adapter(adapter, again) == again
    assert not (again / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelFolderError, match="was not written by embedtune"):
        export_adapter(adapter, tmp_path / "mine")


def test_the_adapter_itself_is_not_written_over(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(adapter.parent)
    with pytest.raises(ModelFolderError, match="is what would be exported; give another path"):
        export_adapter(adapter, adapter.name)
    assert (adapter / "adapter.safetensors").is_file()


def test_what_is_no_adapter_is_told(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No adapter folder at"):
        export_adapter(tmp_path / "none", tmp_path / "m")
    with pytest.raises(ModelFolderError, match="No adapter in"):
        export_adapter(tiny_model, tmp_path / "m")


def test_another_models_adapter_is_refused(adapter: Path, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="The adapter was trained on another embedder"):
        export_adapter(adapter, tmp_path / "m", str(small_model))
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = adapter_over(HashEmbedder(), tmp_path / "a")
    with pytest.raises(EmbeddingError, match=r"is over .*HashEmbedder.*, which is no model of sentence-transformers"):
        export_adapter(folder, tmp_path / "m", HashEmbedder())
    with pytest.raises(ModelFolderError, match="an object that no reference leads to"):
        export_adapter(folder, tmp_path / "m")


def test_what_a_dense_cannot_say_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """By dot product the length of a query counts, and a Dense changes it."""
    by_dot = SentenceTransformer(str(tiny_model), device="cpu", similarity_fn_name="dot")
    with pytest.raises(EmbeddingError, match="compares by dot product vectors that are not of length 1"):
        export_adapter(adapter_over(by_dot, tmp_path / "a"), tmp_path / "m", by_dot)
    cut = SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=24)
    with pytest.raises(EmbeddingError, match="cut to 24 numbers after all of its modules"):
        export_adapter(adapter_over(cut, tmp_path / "b"), tmp_path / "m", cut)


def test_modules_that_make_something_else_of_the_map_are_found_out(
    adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check on vectors, since nobody knows what a model's own module does."""
    from embedtune_sentence_transformers import exporting

    monkeypatch.setattr(exporting, "_with_map", lambda model, _: model)
    with pytest.raises(EmbeddingError, match=r"gives another vector by embed_queries .*so nothing is written"):
        export_adapter(adapter, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_in_training_too_queries_go_through_the_map(exported: Path) -> None:
    """A router behind the transformer is told the side by nobody but us."""
    model = SentenceTransformer(str(exported), device="cpu")
    for task, encode in (("query", model.encode_query), ("document", model.encode_document)):
        features = TokenisedTexts(model, task, TEXTS[:1]).features([0])
        found = model(features)["sentence_embedding"][0].detach().numpy()
        np.testing.assert_allclose(found, encode(TEXTS[0]), atol=1e-5)


def test_torch_is_not_loaded_before_it_is_asked_for() -> None:
    assert "export_adapter" in embedtune_sentence_transformers.__all__
    code = "import sys, embedtune_sentence_transformers as room\ndir(room)\nprint('torch' in sys.modules)"
    assert run_python(code) == "False"


def test_the_code_of_the_readme_runs(
    tiny_model: Path, code_words: QADataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's name becomes a folder, and the questions are there."""
    readme = (ROOT / "packages" / "embedtune-sentence-transformers" / "README.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "export_adapter" in block]
    monkeypatch.chdir(tmp_path)
    local = code.replace("sentence-transformers:BAAI/bge-small-en-v1.5", str(tiny_model))
    exec(compile(local, "README.md", "exec"), {"embedtune": embedtune, "dataset": code_words})
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "adapted_model"}
