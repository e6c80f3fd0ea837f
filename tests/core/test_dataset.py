"""`QADataset` and `TextChunk`: what is refused where data enters, and how real questions come in."""

import logging
import pickle
from typing import Any

import pytest

from embedtune import DatasetError, PluginManager, QADataset, TextChunk
from embedtune.chunks import chunk_id, converted_chunk, is_random_id
from embedtune.plugins import hookimpl
from embedtune.testing import tiny_dataset

QUERIES = {"q1": "how?", "q2": "why?"}
CORPUS = {"c1": "like this", "c2": "because"}
RELEVANT = {"q1": ["c1"], "q2": ["c2"]}


def with_fields(**fields: Any) -> QADataset:
    return QADataset(**{"queries": QUERIES, "corpus": CORPUS, "relevant_docs": RELEVANT, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"queries": {}, "relevant_docs": {}}, "The data set is empty: 0 queries, 2 chunks"),
        ({"corpus": {}}, "The data set is empty: 2 queries, 0 chunks"),
        ({"relevant_docs": {"q1": ["c1"], "q2": ["x", "y"]}}, r"2 chunks that are not in the corpus: 'x', 'y' .*'q2'"),
        ({"relevant_docs": {**RELEVANT, "ghost": ["c1"]}}, "queries that do not exist: 'ghost'"),
        ({"relevant_docs": {"q1": ["c1"]}}, "1 of 2 queries have no relevant chunk: 'q2'. Drop them"),
        ({"relevant_docs": {"q1": ["c1"], "q2": []}}, "1 of 2 queries have no relevant chunk: 'q2'"),
        ({"queries": {"q1": "how?", "q2": " \n"}}, "1 queries have no text: 'q2'"),
        ({"corpus": {"c1": "like this", "c2": "\t"}}, "1 relevant chunks have no text: 'c2'"),
        ({"queries": {"q1": "how?", "q2": 5}}, r"QADataset.queries must map non-empty str ids .*'q2': 5 \(str: int\)"),
        ({"queries": {"q1": "how?", 2: "why?"}}, r"got 2: 'why\?' \(int: str\)"),
        ({"corpus": {**CORPUS, "": "text"}}, "QADataset.corpus must map non-empty str ids"),
        ({"corpus": {**CORPUS, "c3": None}}, r"'c3': None \(str: NoneType\)"),
        ({"corpus": ["like this"]}, "QADataset.corpus must map ids to texts; got list"),
        ({"relevant_docs": {"q1": "c1", "q2": ["c2"]}}, r"relevant_docs\['q1'\] must be a list of chunk ids; got 'c1'"),
        ({"relevant_docs": {"q1": None, "q2": ["c2"]}}, r"relevant_docs\['q1'\] must be a list of chunk ids; got None"),
        ({"relevant_docs": {"q1": [1], "q2": ["c2"]}}, "1 chunks that are not in the corpus: 1"),
        ({"relevant_docs": None}, "relevant_docs must map query ids to chunk ids; got NoneType"),
        ({"relevant_docs": [["c1"]]}, "relevant_docs must map query ids to chunk ids; got list"),
        ({"grades": {"q1": {"c1": 0}}}, "The grade 0 of chunk 'c1' for query 'q1' must be above 0"),
        ({"grades": {"q1": {"c1": float("nan")}}}, "The grade nan of chunk 'c1'"),
        ({"grades": {"q1": {"c1": float("inf")}}}, "The grade inf of chunk 'c1'"),
        ({"grades": {"q1": {"c2": 1}}}, "chunk 'c2' for query 'q1' .* must stand in relevant_docs"),
        ({"grades": {"ghost": {"c2": 1}}}, "for query 'ghost'"),
    ],
)
def test_bad_input_is_refused_and_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        with_fields(**fields)


def test_many_bad_ids_are_counted_and_the_first_five_named() -> None:
    with pytest.raises(DatasetError, match=r"names 9 chunks .*: 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"):
        with_fields(relevant_docs={"q1": [f"x{i}" for i in range(9)], "q2": ["c2"]})


def test_a_blank_distractor_is_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    dataset = with_fields(corpus={**CORPUS, "c3": " ", "c4": ""}, metadata={"c3": {"page": 1}})
    assert dataset.corpus == CORPUS
    assert dataset.metadata == {}
    assert "dropped 2 chunks without text, such as 'c3', 'c4'" in caplog.text


def test_repeated_relevant_ids_stand_once() -> None:
    assert with_fields(relevant_docs={"q1": ["c1", "c2", "c1"], "q2": ["c2"]}).relevant_docs["q1"] == ["c1", "c2"]


def test_texts_of_100_000_characters_are_data() -> None:
    dataset = with_fields(corpus={"c1": "a" * 100_000, "c2": "because"}, queries={"q1": "b" * 100_000, "q2": "why?"})
    assert len(dataset.corpus["c1"]) == len(dataset.queries["q1"]) == 100_000


def test_the_callers_dicts_are_copied() -> None:
    queries, relevant = dict(QUERIES), {query: list(chunks) for query, chunks in RELEVANT.items()}
    dataset = with_fields(queries=queries, relevant_docs=relevant)
    queries.clear()
    relevant["q1"].clear()
    assert dataset == with_fields()


def test_relevant_docs_follow_the_order_of_the_queries() -> None:
    assert list(with_fields(relevant_docs={"q2": ["c2"], "q1": ["c1"]}).relevant_docs) == ["q1", "q2"]


def test_documents_are_none_where_they_are_not_known() -> None:
    assert with_fields(metadata={"c1": {"document_id": 7}}).documents == {"c1": "7", "c2": None}


def test_length_and_repr_count_queries_chunks_and_pairs() -> None:
    dataset = tiny_dataset()
    assert len(dataset) == 8
    assert repr(dataset) == "QADataset(8 queries, 4 chunks, 8 pairs)"


def test_subset_keeps_what_belongs_to_its_queries() -> None:
    dataset = with_fields(styles={"q1": "keyword", "q2": "natural"}, grades={"q2": {"c2": 3}})
    part = dataset.subset(["q2"], ["c2"])
    assert (part.queries, part.corpus, part.styles) == ({"q2": "why?"}, {"c2": "because"}, {"q2": "natural"})
    assert part.grades == {"q2": {"c2": 3.0}}


def test_chunks_come_back_as_text_chunks() -> None:
    dataset = tiny_dataset(2)
    assert {chunk.id: chunk.text for chunk in dataset.chunks} == dataset.corpus
    assert dataset.chunks[0].metadata == {"document_id": "dc0"}


# from_responses


@pytest.mark.parametrize("keyword", ["docs", "nodes"])
def test_from_responses_takes_chunks_under_both_names(keyword: str) -> None:
    chunk = TextChunk("because", "c2", {"document_id": "d"})
    dataset = QADataset.from_responses(**{keyword: [chunk]}, queries={"q": "why?"}, relevant_docs={"q": ["c2"]})
    assert (dataset.corpus, dataset.documents) == ({"c2": "because"}, {"c2": "d"})


@pytest.mark.parametrize("chunks", [{}, {"docs": [], "nodes": []}])
def test_from_responses_needs_exactly_one_of_docs_and_nodes(chunks: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"docs=\.\.\., or by their older name nodes=\.\.\., not both"):
        QADataset.from_responses(**chunks, queries={"q": "why?"}, relevant_docs={"q": ["c"]})


def test_from_responses_names_what_is_missing() -> None:
    with pytest.raises(DatasetError, match="from_responses needs queries="):
        QADataset.from_responses([TextChunk("text", "c")])


def test_from_responses_of_no_chunks_is_an_empty_data_set() -> None:
    with pytest.raises(DatasetError, match="The data set is empty"):
        QADataset.from_responses([], {"q": "why?"}, {"q": ["c"]})


def test_one_id_with_two_texts_is_refused() -> None:
    with pytest.raises(DatasetError, match="Two chunks share the id 'c' and differ in text: 'one' and 'two'"):
        QADataset.from_responses([TextChunk("one", "c"), TextChunk("two", "c")], {"q": "why?"}, {"q": ["c"]})


def test_one_chunk_twice_is_one_chunk() -> None:
    chunk = TextChunk.from_chunk("a text")
    assert len(QADataset.from_responses([chunk, chunk], {"q": "why?"}, {"q": [chunk.id]}).corpus) == 1


def test_a_string_is_no_chunk(plugins: PluginManager) -> None:
    with pytest.raises(DatasetError, match=r"Cannot make a TextChunk of builtins.str.* TextChunk.from_chunk"):
        QADataset.from_responses(["a text"], {"q": "why?"}, {"q": ["c"]}, plugins=plugins)


def test_foreign_chunks_are_converted_by_a_plugin(plugins: PluginManager) -> None:
    class Converter:
        @hookimpl
        def embedtune_as_text_chunk(self, thing: object) -> TextChunk | None:
            return TextChunk(thing[1], thing[0]) if isinstance(thing, tuple) else None

    plugins.register(Converter(), "tuples", "tuples 1.0")
    dataset = QADataset.from_responses([("c", "because")], {"q": "why?"}, {"q": ["c"]}, plugins=plugins)
    assert dataset.corpus == {"c": "because"}


# TextChunk


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": None, "id": "c"}, "TextChunk.text must be a str; got NoneType for id 'c'"),
        ({"text": "text", "id": ""}, "TextChunk.id must be a non-empty str; got ''"),
        ({"text": "text", "id": 7}, "TextChunk.id must be a non-empty str; got 7"),
    ],
)
def test_text_chunk_refuses_what_is_no_text(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        TextChunk(**arguments)


def test_text_chunk_can_be_hashed_pickled_and_not_changed() -> None:
    chunk = TextChunk("text", "c", {"document_id": "d"})
    assert pickle.loads(pickle.dumps(chunk)) == chunk
    assert {chunk, TextChunk("text", "c")}
    with pytest.raises(TypeError, match="does not support item assignment"):
        chunk.metadata["document_id"] = "e"  # type: ignore[index]


def test_chunk_ids_are_hashes_of_text_and_stable_source() -> None:
    """The same file in another folder is the same source; the same sentence in another file is not."""
    here = TextChunk.from_chunk("text", {"source": "/home/ann/manual.pdf"})
    there = TextChunk.from_chunk("text", {"source": "C:\\Users\\ann\\manual.pdf"})
    other = TextChunk.from_chunk("text", {"source": "/home/ann/other.pdf"})
    later = TextChunk.from_chunk("text", {"source": "/home/ann/manual.pdf", "start_index": 800})
    assert here.id == there.id
    assert len({here.id, other.id, later.id, TextChunk.from_chunk("text").id}) == 4


def test_chunk_ids_do_not_depend_on_the_unicode_form() -> None:
    assert chunk_id("Zu\u0308rich") == chunk_id("Z\u00fcrich")


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        (None, True),
        ("", True),
        ("6f1c2f0e-3a54-4a1e-9d3b-0a3c1b2d4e5f", True),
        ("6F1C2F0E3A544A1E9D3B0A3C1B2D4E5F", True),
        ("6f1c2f0e-3a54-5a1e-9d3b-0a3c1b2d4e5f", False),
        ("manual.pdf-12", False),
    ],
)
def test_only_random_uuids_count_as_no_id(identifier: str | None, expected: bool) -> None:
    """A UUID of version 5 is made of a name and is the same in the next run."""
    assert is_random_id(identifier) is expected


@pytest.mark.parametrize(
    ("method", "extra"), [("from_llama_index_node", "llama-index"), ("from_langchain_node", "langchain")]
)
def test_a_node_without_its_adapter_names_the_extra(method: str, extra: str, plugins: PluginManager) -> None:
    with pytest.raises(LookupError, match=rf'Install it with: pip install "embedtune\[{extra}\]"'):
        getattr(TextChunk, method)(object(), plugins=plugins)


def test_nothing_is_logged_about_a_good_data_set(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        tiny_dataset()
    assert not caplog.records


# What converters make


def test_a_converter_keeps_stable_ids_and_drops_random_ones() -> None:
    random_id = "6f1c2f0e-3a54-4a1e-9d3b-0a3c1b2d4e5f"
    assert converted_chunk("text", source_id="manual-12").id == "manual-12"
    made = converted_chunk("text", source_id=random_id, metadata={"file_path": "/home/ann/manual.md"})
    assert made.id == converted_chunk("text", metadata={"file_path": "/home/bob/manual.md"}).id
    assert made.metadata["source_id"] == random_id


def test_a_converter_knows_the_document_by_its_stable_name_first() -> None:
    """A random document id still keeps the chunks of one document together, in this run."""
    random_id = "6f1c2f0e-3a54-4a1e-9d3b-0a3c1b2d4e5f"
    assert converted_chunk("t", document_id="d1", metadata={"source": "a.md"}).metadata["document_id"] == "d1"
    assert converted_chunk("t", document_id=random_id, metadata={"source": "a.md"}).metadata["document_id"] == "a.md"
    assert converted_chunk("t", document_id=random_id).metadata["document_id"] == random_id
    assert "document_id" not in converted_chunk("t").metadata


def test_half_a_surrogate_pair_is_refused_where_it_enters() -> None:
    """It would fail in ``save``, after the questions were paid for."""
    with pytest.raises(DatasetError, match=r"QADataset.corpus\['c'\] holds '\\ud83d' at character 3"):
        QADataset({"q": "how?"}, {"c": "a: \ud83d"}, {"q": ["c"]})
