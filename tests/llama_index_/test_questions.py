"""Questions on nodes, under the parameters of the package that is no more."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import CustomLLM
from llama_index.core.schema import TextNode
from pydantic import Field

from embedtune import DatasetError, GenerationError
from embedtune.errors import LLMRequestError
from embedtune.testing import tiny_dataset
from llama_index.embeddings.embedtune import EmbeddingQAFinetuneDataset, generate_qa_embedding_pairs

NUMBER = re.compile(r"number (\d+)")


class Asker(CustomLLM):
    """Asks about the number in each chunk, behind a preamble; some chunks fail, always or once."""

    asked: list[str] = Field(default_factory=list)
    fails: set[str] = Field(default_factory=set)
    fails_once: set[str] = Field(default_factory=set)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:
        raise NotImplementedError

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        (number,) = NUMBER.findall(prompt)
        self.asked.append(number)
        if number in self.fails or (number in self.fails_once and self.asked.count(number) == 1):
            raise LLMRequestError("the server is busy", heals=True)
        questions = f"1. Which page has the code {number}?\n2) What is the price on sheet {number}?"
        return CompletionResponse(text=f"Here are 2 questions:\n{questions}")


def nodes_of(chunks: Sequence[str]) -> list[TextNode]:
    """With LlamaIndex's own random ids."""
    return [TextNode(text=text, metadata={"file_path": "/home/me/pages.md"}) for text in chunks]


TEXTS = list(tiny_dataset(8).corpus.values())
NUMBERS = [NUMBER.findall(text)[0] for text in TEXTS]


def test_the_nodes_ids_are_kept_and_the_texts_are_bare() -> None:
    nodes = nodes_of(TEXTS)
    dataset = generate_qa_embedding_pairs(nodes, Asker(), verbose=False)
    assert isinstance(dataset, EmbeddingQAFinetuneDataset)
    assert dataset.corpus == {node.node_id: node.text for node in nodes}
    assert len(dataset.queries) == 16


def test_trap_6_the_text_with_metadata_is_asked_for_by_name() -> None:
    dataset = generate_qa_embedding_pairs(nodes_of(TEXTS[:1]), Asker(), verbose=False, metadata_mode="embed")
    assert list(dataset.corpus.values()) == [f"file_path: /home/me/pages.md\n\n{TEXTS[0]}"]


def test_trap_1_train_then_val_gives_two_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train = generate_qa_embedding_pairs(nodes_of(TEXTS[:4]), Asker(), verbose=False)
    val = generate_qa_embedding_pairs(nodes_of(TEXTS[4:]), Asker(), verbose=False)
    assert not set(train.corpus.values()) & set(val.corpus.values())
    assert not set(train.queries.values()) & set(val.queries.values())
    assert list(tmp_path.iterdir()) == [], "nothing is written where nothing was asked to be"


def test_trap_1_a_file_of_other_nodes_is_neither_taken_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    generate_qa_embedding_pairs(nodes_of(TEXTS[:4]), Asker(), output_path=str(path), verbose=False)
    before, llm = path.read_bytes(), Asker()
    with pytest.raises(DatasetError, match=r"holds questions on 4 other chunks.*output_path of its own"):
        generate_qa_embedding_pairs(nodes_of(TEXTS[4:]), llm, output_path=str(path), verbose=False)
    assert (llm.asked, path.read_bytes()) == ([], before)


def test_trap_2_a_second_call_asks_about_what_failed_and_nothing_twice(tmp_path: Path) -> None:
    """Also where the nodes were parsed again, and so have other ids."""
    path = tmp_path / "pairs.json"
    llm = Asker(fails={NUMBERS[1]})
    first = generate_qa_embedding_pairs(nodes_of(TEXTS), llm, retry_limit=1, output_path=path, verbose=False)
    assert len(first.queries) == 14
    again = Asker()
    nodes = nodes_of(TEXTS)
    second = generate_qa_embedding_pairs(nodes, again, output_path=path, verbose=False)
    assert again.asked == [NUMBERS[1]]
    assert set(second.corpus) == {node.node_id for node in nodes}
    assert len(EmbeddingQAFinetuneDataset.from_json(path).queries) == 16


def test_traps_9_and_10_failures_cost_no_other_chunk_its_questions() -> None:
    """One chunk fails once, another always."""
    llm = Asker(fails_once={NUMBERS[0]}, fails={NUMBERS[1]})
    dataset = generate_qa_embedding_pairs(nodes_of(TEXTS), llm, retry_limit=2, verbose=False)
    for question, (chunk,) in dataset.query_docid_pairs:
        assert NUMBER.findall(dataset.corpus[chunk])[0] in question
    assert len(dataset.queries) == 14
    assert llm.asked.count(NUMBERS[1]) == 2, "retry_limit is the number of requests"


def test_trap_11_a_preamble_and_numbering_are_no_questions() -> None:
    dataset = generate_qa_embedding_pairs(nodes_of(TEXTS[:1]), Asker(), verbose=False)
    number = NUMBERS[0]
    expected = {f"Which page has the code {number}?", f"What is the price on sheet {number}?"}
    assert set(dataset.queries.values()) == expected


def test_trap_12_prose_instead_of_questions_is_a_reason_in_the_report() -> None:
    class Prose(Asker):
        def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
            if NUMBERS[1] in prompt:
                return CompletionResponse(text="I cannot help with that.")
            return super().complete(prompt)

    dataset = generate_qa_embedding_pairs(nodes_of(TEXTS), Prose(), verbose=False)
    assert len(dataset.queries) == 14
    assert dataset.report is not None


def test_failing_is_asked_for_by_its_old_name() -> None:
    with pytest.raises(GenerationError):
        generate_qa_embedding_pairs(
            nodes_of(TEXTS), Asker(fails={NUMBERS[1]}), retry_limit=1, on_failure="fail", verbose=False
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_failure": "raise"}, r"on_failure must be 'continue' or 'fail'; got 'raise'"),
        ({"retry_limit": 0}, r"must be at least 1; got 0 and 500"),
        ({"save_every": 0}, r"must be at least 1; got 3 and 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_llm_is_asked(options: dict[str, Any], message: str) -> None:
    llm = Asker()
    with pytest.raises((DatasetError, GenerationError), match=message):
        generate_qa_embedding_pairs(nodes_of(TEXTS), llm, verbose=False, **options)
    assert llm.asked == []


def test_llama_indexs_own_evaluator_works_on_the_result() -> None:
    nodes = nodes_of(TEXTS)
    dataset = generate_qa_embedding_pairs(nodes, Asker(), verbose=False)
    retriever = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4)).as_retriever(similarity_top_k=8)
    evaluator = RetrieverEvaluator.from_metric_names(["hit_rate"], retriever=retriever)
    found = [evaluator.evaluate(query=text, expected_ids=ids) for text, ids in dataset.query_docid_pairs]
    assert [row.metric_dict["hit_rate"].score for row in found] == [1.0] * 16


def test_questions_that_a_file_has_stay_and_only_nodes_without_one_are_asked_about(tmp_path: Path) -> None:
    """Somebody has paid for them, or corrected them by hand."""
    path = tmp_path / "pairs.json"
    generate_qa_embedding_pairs(nodes_of(TEXTS[:4]), Asker(), output_path=path, verbose=False)
    content = json.loads(path.read_text())
    first, *others = content["queries"]
    dropped = [query for query in others if content["relevant_docs"][query] == content["relevant_docs"][others[-1]]]
    content["queries"] = {query: content["queries"][query] for query in (first, *others) if query not in dropped}
    content["queries"][first] = "In my own words?"
    content["relevant_docs"] = {query: content["relevant_docs"][query] for query in content["queries"]}
    path.write_text(json.dumps({name: content[name] for name in ("queries", "corpus", "relevant_docs", "mode")}))
    path.with_name("pairs.json.answers.jsonl").unlink()
    llm, nodes = Asker(), nodes_of(TEXTS)
    dataset = generate_qa_embedding_pairs(nodes, llm, output_path=path, verbose=False)
    assert sorted(llm.asked) == sorted(NUMBERS[3:])
    assert dataset.queries[first] == "In my own words?"
    assert dataset.relevant_docs[first] == [nodes[0].node_id]
    assert len(dataset.queries) == 16
    assert EmbeddingQAFinetuneDataset.from_json(path) == dataset


def test_two_llms_of_one_class_do_not_share_answers(tmp_path: Path) -> None:
    class Named(Asker):
        model_name: str = "a"

    path = tmp_path / "pairs.json"
    generate_qa_embedding_pairs(nodes_of(TEXTS[:1]), Named(), output_path=path, verbose=False)
    path.unlink()
    other = Named(model_name="b")
    generate_qa_embedding_pairs(nodes_of(TEXTS[:1]), other, output_path=path, verbose=False)
    assert other.asked == NUMBERS[:1]
