"""What llama-index-finetuning 0.4.2 promised its users, pinned as data."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedtune import DatasetError, QADataset
from embedtune.testing import tiny_dataset
from llama_index.embeddings.embedtune import (
    DEFAULT_QA_GENERATE_PROMPT_TMPL,
    BaseEmbeddingFinetuneEngine,
    EmbeddingQAFinetuneDataset,
    SentenceTransformersFinetuneEngine,
    as_qa_dataset,
    generate_qa_embedding_pairs,
)

REQUIRED = inspect.Parameter.empty

# llama_index/finetuning/embeddings/sentence_transformer.py of llama-index-finetuning 0.4.2
ENGINE = {
    "dataset": REQUIRED,
    "model_id": "BAAI/bge-small-en",
    "model_output_path": "exp_finetune",
    "batch_size": 10,
    "val_dataset": None,
    "loss": None,
    "epochs": 2,
    "show_progress_bar": True,
    "evaluation_steps": 50,
    "use_all_docs": False,
    "trust_remote_code": False,
    "device": None,
    "save_checkpoints": False,
    "resume_from_checkpoint": False,
    "checkpoint_save_steps": 500,
    "checkpoint_save_total_limit": 0,
}
# llama_index/finetuning/embeddings/common.py of the same; output_path was "qa_finetune_dataset.json", and the template
# another one
GENERATE = {
    "nodes": REQUIRED,
    "llm": REQUIRED,
    "qa_generate_prompt_tmpl": DEFAULT_QA_GENERATE_PROMPT_TMPL,
    "num_questions_per_chunk": 2,
    "retry_limit": 3,
    "on_failure": "continue",
    "save_every": 500,
    "output_path": None,
    "verbose": True,
}
# As its save_json writes it: json.dump with an indent of 4 and nothing else said
FILE = """{
    "queries": {
        "6a4c1d0e-7b7e-4d1c-9c66-0d6e3f0f5a11": "Wo liegt Z\\u00fcrich?"
    },
    "corpus": {
        "node-1": "Z\\u00fcrich liegt am See."
    },
    "relevant_docs": {
        "6a4c1d0e-7b7e-4d1c-9c66-0d6e3f0f5a11": [
            "node-1"
        ]
    },
    "mode": "text"
}"""


def parameters(function: object) -> dict[str, object]:
    found = inspect.signature(function).parameters  # type: ignore[arg-type]
    return {name: p.default for name, p in found.items() if name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD}


def test_the_engine_has_its_parameters_in_its_order_with_its_defaults() -> None:
    assert list(parameters(SentenceTransformersFinetuneEngine.__init__).items()) == list(ENGINE.items())
    assert issubclass(SentenceTransformersFinetuneEngine, BaseEmbeddingFinetuneEngine)


def test_so_has_the_generator_but_for_the_path_that_made_train_and_val_one_set() -> None:
    assert list(parameters(generate_qa_embedding_pairs).items()) == list(GENERATE.items())


def test_its_file_is_read_and_written_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "theirs.json").write_text(FILE)
    dataset = EmbeddingQAFinetuneDataset.from_json(tmp_path / "theirs.json")
    assert dataset.query_docid_pairs == [("Wo liegt Zürich?", ["node-1"])]
    dataset.save_json(str(tmp_path / "ours.json"))
    assert (tmp_path / "ours.json").read_text() == FILE


def test_metadata_goes_with_the_file_where_their_class_does_not_look(tmp_path: Path) -> None:
    EmbeddingQAFinetuneDataset.from_qa_dataset(tiny_dataset()).save_json(tmp_path / "data.json")
    assert set(json.loads((tmp_path / "data.json").read_text())) == {
        *EmbeddingQAFinetuneDataset.model_fields,
        "embedtune",
    }
    assert EmbeddingQAFinetuneDataset.from_json(tmp_path / "data.json").to_qa_dataset() == tiny_dataset()
    assert QADataset.load(tmp_path / "data.json") == tiny_dataset()


def test_a_file_of_embedtune_is_read(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "data.json")
    assert EmbeddingQAFinetuneDataset.from_json(tmp_path / "data.json").to_qa_dataset() == tiny_dataset()


@pytest.mark.parametrize("kind", [SimpleNamespace, dict, EmbeddingQAFinetuneDataset])
def test_whatever_has_the_shape_is_a_data_set(kind: type) -> None:
    known = tiny_dataset()
    given = kind(queries=known.queries, corpus=known.corpus, relevant_docs=known.relevant_docs)
    assert as_qa_dataset(given) == QADataset(known.queries, known.corpus, known.relevant_docs)


def test_what_has_not_the_shape_is_named() -> None:
    with pytest.raises(DatasetError, match=r"val_dataset must have the mappings .* corpus, relevant_docs is none in"):
        as_qa_dataset(SimpleNamespace(queries={}, corpus=[]), "val_dataset")


def test_trap_4_a_dangling_id_is_named_before_any_training() -> None:
    dataset = EmbeddingQAFinetuneDataset(queries={"q": "How?"}, corpus={"c": "So."}, relevant_docs={"q": ["gone"]})
    with pytest.raises(DatasetError, match="gone"):
        SentenceTransformersFinetuneEngine(dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1", "is not a data set in JSON"),
        ('{"queries": {}}', "is no data set of questions: corpus"),
        ("[]", "no data set"),
    ],
)
def test_a_file_that_is_no_data_set_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(DatasetError, match=f"other.json.*{message}"):
        EmbeddingQAFinetuneDataset.from_json(tmp_path / "other.json")
