"""LlamaIndex's nodes as chunks: ids that stay, documents that hold together, and the text that is indexed."""

import uuid
from pathlib import Path

import pytest
from llama_index.core import SimpleDirectoryReader
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, ImageNode, MetadataMode, NodeRelationship, NodeWithScore, TextNode

from embedtune import DatasetError, PluginManager, QADataset, TextChunk
from embedtune.chunks import is_random_id
from embedtune.testing import TextChunkContract
from llama_index.embeddings.embedtune import text_chunk_of_node


def parsed(text: str, chunk_size: int = 64, **document: object) -> list[TextNode]:
    """Fresh nodes of one document."""
    splitter = SentenceSplitter(chunk_size=chunk_size, chunk_overlap=0)
    return splitter.get_nodes_from_documents([Document(text=text, **document)])


LONG = " ".join(f"Sentence number {n} says something about tables and vectors." for n in range(20))


class TestNodeContract(TextChunkContract):
    def make(self, text: str, source: str) -> object:
        return parsed(text, metadata={"file_name": source})[0]


class TestScoredNodeContract(TextChunkContract):
    def make(self, text: str, source: str) -> object:
        return NodeWithScore(node=parsed(text, metadata={"file_path": f"/docs/{source}"})[0], score=0.5)


def test_trap_3_a_random_node_id_stays_out_of_the_chunk_id() -> None:
    nodes = parsed(LONG, metadata={"file_name": "a.md"})
    assert len(nodes) > 2
    chunks = [TextChunk.from_llama_index_node(node) for node in nodes]
    again = [TextChunk.from_llama_index_node(node) for node in parsed(LONG, metadata={"file_name": "a.md"})]
    assert [chunk.id for chunk in chunks] == [chunk.id for chunk in again]
    assert not any(is_random_id(chunk.id) for chunk in chunks)
    assert [chunk.metadata["source_id"] for chunk in chunks] == [node.node_id for node in nodes]
    assert [chunk.metadata["source_id"] for chunk in chunks] != [chunk.metadata["source_id"] for chunk in again]


def test_a_stable_node_id_is_kept() -> None:
    chunk = TextChunk.from_llama_index_node(TextNode(text="A text.", id_="manual-7"))
    assert chunk.id == "manual-7"
    assert "source_id" not in chunk.metadata


def test_the_form_of_unicode_does_not_change_the_id() -> None:
    composed, decomposed = (TextChunk.from_llama_index_node(TextNode(text=text)) for text in ("Zürich", "Zu\u0308rich"))
    assert composed.id == decomposed.id


@pytest.mark.parametrize("key", ["file_path", "file_name", "source", "url"])
def test_chunks_of_one_file_share_a_document_that_stays(key: str) -> None:
    found = {
        text_chunk_of_node(node).metadata["document_id"]
        for _ in range(2)
        for node in parsed(LONG, metadata={key: "https://docs.example/a.md"})
    }
    assert found == {"https://docs.example/a.md"}


def test_files_of_one_name_in_two_folders_are_two_documents(tmp_path: Path) -> None:
    """Folders of ``index.md`` would else be one document, which no split can divide."""
    for folder in ("search", "storage"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "index.md").write_text(f"All about {folder}.")
    documents = SimpleDirectoryReader(tmp_path, recursive=True).load_data()
    chunks = [text_chunk_of_node(node) for node in SentenceSplitter().get_nodes_from_documents(documents)]
    assert len({chunk.metadata["document_id"] for chunk in chunks}) == 2


def test_a_stable_document_id_is_kept_and_tells_equal_texts_apart() -> None:
    one, other = (text_chunk_of_node(parsed("A text.", id_=name)[0]) for name in ("manual", "guide"))
    assert (one.metadata["document_id"], other.metadata["document_id"]) == ("manual", "guide")
    assert one.id != other.id
    assert one.id == text_chunk_of_node(parsed("A text.", id_="manual")[0]).id


def test_a_random_document_id_groups_this_run_and_stays_out_of_the_chunk_id() -> None:
    """Without a file there is nothing else to split by."""
    runs = [[text_chunk_of_node(node) for node in parsed(LONG)] for _ in range(2)]
    assert [chunk.id for chunk in runs[0]] == [chunk.id for chunk in runs[1]]
    documents = [{chunk.metadata["document_id"] for chunk in run} for run in runs]
    assert [len(found) for found in documents] == [1, 1]
    assert documents[0] != documents[1]


def test_a_random_document_id_gives_way_to_the_file() -> None:
    (node,) = parsed("A text.", id_=str(uuid.uuid4()), metadata={"file_name": "a.md"})
    assert text_chunk_of_node(node).metadata["document_id"] == "a.md"


def test_the_users_own_document_id_comes_first() -> None:
    (node,) = parsed("A text.", id_="d-1", metadata={"document_id": "mine", "file_name": "a.md"})
    assert text_chunk_of_node(node).metadata["document_id"] == "mine"


def test_metadata_is_kept() -> None:
    (node,) = parsed("A text.", metadata={"file_name": "a.md", "page": 3})
    assert text_chunk_of_node(node).metadata["page"] == 3


def test_a_node_without_document_or_metadata_converts() -> None:
    chunk = text_chunk_of_node(TextNode(text="A text."))
    assert chunk.id == TextChunk.from_chunk("A text.").id
    assert "document_id" not in chunk.metadata


@pytest.mark.parametrize("mode", ["none", "embed", "llm", "all"])
def test_trap_6_the_text_is_what_llama_index_embeds_in_that_mode(mode: str) -> None:
    node = TextNode(
        text="A {text}.",
        metadata={"file_name": "a.md", "secret": "x"},
        excluded_embed_metadata_keys=["secret"],
        excluded_llm_metadata_keys=["file_name"],
    )
    chunk = TextChunk.from_llama_index_node(node, metadata_mode=mode)  # type: ignore[arg-type]
    assert chunk.text == node.get_content(metadata_mode=MetadataMode(mode))
    assert ("file_name: a.md" in chunk.text) == (mode in ("embed", "all"))


def test_trap_6_the_mode_is_the_bare_text_unless_it_is_said() -> None:
    node = TextNode(text="A text.", metadata={"file_path": "/home/me/a.md"})
    assert TextChunk.from_llama_index_node(node).text == "A text."
    assert PluginManager().as_text_chunk(node).text == "A text."


def test_texts_of_two_modes_have_two_ids() -> None:
    node = TextNode(text="A text.", metadata={"file_name": "a.md"})
    assert text_chunk_of_node(node, "embed").id != text_chunk_of_node(node, "none").id


def test_an_unknown_mode_is_refused_with_the_modes_there_are() -> None:
    with pytest.raises(DatasetError, match=r"one of \('none', 'embed', 'llm', 'all'\); got 'embedding'"):
        TextChunk.from_llama_index_node(TextNode(text="A text."), metadata_mode="embedding")  # type: ignore[arg-type]


def test_nodes_go_straight_into_a_data_set() -> None:
    node = TextNode(text="Lance is a columnar format.", id_="n1")
    dataset = QADataset.from_responses([node], {"q": "What is Lance?"}, {"q": ["n1"]})
    assert dataset.corpus == {"n1": "Lance is a columnar format."}


def test_a_node_of_an_image_without_text_is_a_blank_chunk() -> None:
    assert TextChunk.from_llama_index_node(ImageNode(image_url="https://a.example/b.png")).text == ""


def test_a_relation_to_the_document_is_enough() -> None:
    node = TextNode(
        text="A text.", relationships={NodeRelationship.SOURCE: Document(text="", id_="d").as_related_node_info()}
    )
    assert text_chunk_of_node(node).metadata["document_id"] == "d"
