"""``embedtune.json``, what a model has seen, and fingerprints of what changes a vector."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedtune import ModelFolderError, ModelRecord, QADataset, read_record
from embedtune.fingerprints import fingerprint_of_settings, folder_fingerprint
from embedtune.records import RECORD_FILE, SeenTexts, is_model_folder
from embedtune.testing import tiny_dataset


def record(**fields: Any) -> ModelRecord:
    required: dict[str, Any] = {
        "base_model": "org/base",
        "base_fingerprint": None,
        "fingerprint": "f" * 32,
        "tuner": "custom",
        "chosen_step": 12,
        "kept_base": False,
        "seen": SeenTexts(),
    }
    return ModelRecord(**{**required, **fields})


def test_a_record_comes_back_from_its_folder(tmp_path: Path) -> None:
    written = record(
        configuration={"epochs": 2, "learning_rate": 2e-5, "prompts": {"query": "q: "}},
        versions={"python": "3.11"},
        metrics_before={"ndcg@10": 0.5},
        metrics_after={"ndcg@10": 0.75},
        seen=SeenTexts.of([tiny_dataset()]),
    )
    written.write(tmp_path)
    assert read_record(tmp_path) == written
    assert is_model_folder(tmp_path)


def test_a_folder_without_a_record_is_a_plain_model(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert read_record(str(tmp_path / "gone")) is None
    assert not is_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("{", "the file: Invalid JSON"),
        ("[]", "the file: "),
        ("{}", "base_model: Field required"),
        (None, "seen.queries: "),
        (b"\xff\xfe", "the file: "),
    ],
)
def test_a_record_that_cannot_be_read_says_where_and_the_way_out(
    content: str | bytes | None, place: str, tmp_path: Path
) -> None:
    if content is None:
        content = json.dumps({**json.loads(record().model_dump_json()), "seen": {"queries": 5}})
    (tmp_path / RECORD_FILE).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(
        ModelFolderError, match=rf"cannot be read: {place}.* Tune again into this path, or remove the file"
    ):
        read_record(tmp_path)


def test_a_record_of_a_later_version_keeps_what_is_known(tmp_path: Path) -> None:
    content = {**json.loads(record().model_dump_json()), "a_later_field": 1}
    (tmp_path / RECORD_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert read_record(tmp_path) == record()


# Seen


def test_seen_knows_queries_and_chunks_in_any_spelling() -> None:
    seen = SeenTexts.of([QADataset({"q": "Where is Straße 1?"}, {"c": "The answer"}, {"q": ["c"]})])
    dataset = QADataset(
        {"a": " where is\nSTRASSE 1?", "b": "another", "c": "a third"},
        {"x": "THE  answer", "y": "else", "z": "more"},
        {"a": ["y"], "b": ["x"], "c": ["z"]},
    )
    assert seen.queries_in(dataset) == ["a", "b"]


def test_distractors_are_not_seen() -> None:
    seen = SeenTexts.of([QADataset({"q": "how?"}, {"c": "so", "d": "a distractor"}, {"q": ["c"]})])
    assert seen.queries_in(QADataset({"r": "why?"}, {"d": "a distractor"}, {"r": ["d"]})) == []


def test_one_of_several_relevant_chunks_is_enough() -> None:
    seen = SeenTexts.of([QADataset({"q": "how?"}, {"c": "so"}, {"q": ["c"]})])
    dataset = QADataset({"r": "why?"}, {"x": "new", "y": "So"}, {"r": ["x", "y"]})
    assert seen.queries_in(dataset) == ["r"]


def test_seen_is_of_all_data_sets_and_holds_no_text() -> None:
    seen = SeenTexts.of([tiny_dataset(2), tiny_dataset(4)])
    assert seen == SeenTexts.of([tiny_dataset(4)])
    assert (len(seen.queries), len(seen.chunks)) == (8, 4)
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in seen.queries | seen.chunks)
    assert SeenTexts.of([]) == SeenTexts()


# Fingerprints

FILES = {
    "config.json": '{"hidden_size": 384, "transformers_version": "5.1", "_name_or_path": "org/base"}',
    "config_sentence_transformers.json": '{"prompts": {"query": "q: "}, "__version__": {"torch": "2.1"}}',
    "modules.json": '[{"idx": 0, "type": "Transformer"}]',
    "1_Pooling/config.json": '{"pooling_mode": "mean"}',
    "tokenizer.json": '{"model": {"vocab": ["a", "b"]}}',
    "vocab.txt": "a\nb\n",
    "model.safetensors": "weights",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", "weightz"),
        ("config_sentence_transformers.json", '{"prompts": {"query": "Q: "}, "__version__": {"torch": "2.1"}}'),
        ("tokenizer.json", '{"model": {"vocab": ["b", "a"]}}'),
        ("vocab.txt", "b\na\n"),
        ("1_Pooling/config.json", '{"pooling_mode": "cls"}'),
        ("modules.json", "[]"),
        ("config.json", '{"hidden_size": 385}'),
        ("2_Dense/model.safetensors", "a further module"),
        ("config.json", "not JSON"),
    ],
)
def test_what_changes_a_vector_changes_the_fingerprint(name: str, content: str, model: Path) -> None:
    before = folder_fingerprint(model)
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text(content, encoding="utf-8")
    assert folder_fingerprint(model) != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", "a model card"),
        ("embedtune.json", "{}"),
        (".gitattributes", "x"),
        (".cache/huggingface/lock", "x"),
        ("onnx/model.onnx", "another backend"),
        ("openvino/model.bin", "another backend"),
        ("pytorch_model.bin", "the older copy of the weights"),
        ("plot.png", "x"),
        ("config.json", FILES["config.json"].replace("5.1", "5.2").replace("org/base", "/home/ann/base")),
        ("config_sentence_transformers.json", FILES["config_sentence_transformers.json"].replace("2.1", "2.9")),
        ("modules.json", FILES["modules.json"].replace(", ", ",\n  ")),
    ],
)
def test_what_changes_no_vector_leaves_the_fingerprint(name: str, content: str, model: Path) -> None:
    before = folder_fingerprint(model)
    (model / name).parent.mkdir(parents=True, exist_ok=True)
    (model / name).write_text(content, encoding="utf-8")
    assert folder_fingerprint(model) == before


def test_the_place_of_the_folder_does_not_matter(model: Path, tmp_path: Path) -> None:
    """Nothing is keyed by a path."""
    shutil.copytree(model, tmp_path / "elsewhere" / "copy")
    assert folder_fingerprint(tmp_path / "elsewhere" / "copy") == folder_fingerprint(model)


def test_a_file_that_moves_changes_the_fingerprint(model: Path) -> None:
    before = folder_fingerprint(model)
    (model / "1_Pooling").rename(model / "2_Pooling")
    assert folder_fingerprint(model) != before


def test_older_weights_count_where_there_are_no_others(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    before = folder_fingerprint(model)
    (model / "pytorch_model.bin").write_text("other", encoding="utf-8")
    assert folder_fingerprint(model) != before


def test_settings_at_load_time_count_and_none_does_not(model: Path) -> None:
    bare = folder_fingerprint(model)
    assert folder_fingerprint(model, truncate_dim=None) == bare
    names = {bare, folder_fingerprint(model, truncate_dim=128), folder_fingerprint(model, max_seq_length=128)}
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)


@pytest.mark.parametrize(
    "change", [{"model": "b"}, {"base_url": "http://localhost"}, {"dimensions": 256}, {"provider": "other"}]
)
def test_a_hosted_model_is_known_by_all_of_its_settings(change: dict[str, object]) -> None:
    settings: dict[str, object] = {"provider": "openai", "base_url": None, "model": "a", "dimensions": None}
    assert fingerprint_of_settings(**settings) != fingerprint_of_settings(**{**settings, **change})


def test_fingerprints_and_seen_hashes_are_the_same_in_another_process(
    run_python: Callable[..., Any], model: Path
) -> None:
    """Python's own hash() changes from process to process."""
    done = run_python(
        "import sys; from pathlib import Path\n"
        "from embedtune.fingerprints import folder_fingerprint\n"
        "from embedtune.records import SeenTexts\n"
        "from embedtune.testing import tiny_dataset\n"
        "print(folder_fingerprint(Path(sys.argv[1])), *sorted(SeenTexts.of([tiny_dataset(1)]).queries))",
        str(model),
    )
    assert done.stdout.split() == [folder_fingerprint(model), *sorted(SeenTexts.of([tiny_dataset(1)]).queries)]
