"""Tables of a hosted function that are searched through an adapter: what changes, what stays, and what is refused."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.index import FTS
from lancedb.pydantic import LanceModel, Vector

import embedtune
from embedtune import EmbeddingError, ModelNotFoundError, QADataset
from embedtune.adapter.query_adapter import AdaptedEmbedder
from embedtune.errors import ModelFolderError
from embedtune_lancedb import get_registry, open_table, use_adapter
from hosted_tables import DIM, KEY, hashed, hit_rate, hosted, questions, table_of, texts_of
from lance_tables import run_script
from servers import ScriptedServer, scripted_server

WHOLE = questions(500)
SPLIT = WHOLE.split(val=0.3, test=0.2, seed=0)
QUERY = next(iter(SPLIT.test.queries.values()))


@dataclass(frozen=True)
class World:
    """A server, a function that asks it, and an adapter that was tuned for it."""

    server: ScriptedServer
    function: Any
    adapter: Path

    def vector(self, query: str) -> Any:
        """What the function makes of a query, through the adapter; shape (d,)."""
        adapted = AdaptedEmbedder(embedtune.as_embedder(self.function), self.adapter)
        return adapted.embed_queries([query])[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with scripted_server(hashed) as server:
        function = hosted(server.base_url)
        result = function.finetune(
            SPLIT.train, SPLIT.val, path=tmp_path_factory.mktemp("tuned") / "adapter", progress=False
        )
        assert not result.kept_base, "an adapter that changes nothing would make every test here pass"
        yield World(server, function, result.path)


def fingerprints(folder: Path) -> dict[str, str]:
    """Hash of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def small() -> QADataset:
    return SPLIT.test.subset(list(SPLIT.test.queries)[:8], list(SPLIT.test.corpus)[:40] + answers(8))


def answers(n: int) -> list[str]:
    return [chunk for query in list(SPLIT.test.queries)[:n] for chunk in SPLIT.test.relevant_docs[query]]


@pytest.fixture
def database(world: World, tmp_path: Path) -> Path:
    """A database with the small table ``t``."""
    table_of(world.function, tmp_path / "db", small())
    return tmp_path / "db"


def test_a_table_finds_through_the_adapter_what_it_missed(world: World, tmp_path: Path) -> None:
    stock = table_of(world.function, tmp_path / "db", SPLIT.test)
    vectors, asked = stock.to_arrow()["vector"], len(world.server.requests)
    adapted = open_table(tmp_path / "db", "t", adapter=world.adapter)
    asked_for = SPLIT.test.subset(list(SPLIT.test.queries)[:50])
    before, after = hit_rate(stock, asked_for), hit_rate(adapted, asked_for)
    assert after > before + 0.1
    assert adapted.to_arrow()["vector"].equals(vectors)
    sent = texts_of(world.server.requests[asked:])
    assert sent == dict.fromkeys(asked_for.queries.values(), 2), "queries alone, once for each search"


def test_vector_and_hybrid_search_are_mapped_and_words_and_vectors_are_not(world: World, database: Path) -> None:
    lancedb.connect(str(database)).open_table("t").create_index("text", config=FTS())
    stock, adapted = open_table(database, "t"), open_table(database, "t", adapter=world.adapter)
    by_hand = stock.search(world.vector(QUERY)).limit(5).to_list()
    for query_type in ("auto", "vector"):
        assert adapted.search(QUERY, query_type=query_type).limit(5).to_list() == by_hand
    hybrid = stock.search(query_type="hybrid").vector(world.vector(QUERY)).text(QUERY).limit(5).to_list()
    assert adapted.search(QUERY, query_type="hybrid").limit(5).to_list() == hybrid
    assert stock.search(QUERY, query_type="hybrid").limit(5).to_list() != hybrid
    words = [table.search(QUERY, query_type="fts").limit(5).to_list() for table in (stock, adapted)]
    assert words[0] == words[1]
    vector = world.function.compute_query_embeddings(QUERY)[0]
    near = [table.search(vector).limit(5).to_list() for table in (stock, adapted)]
    assert near[0] == near[1], "a vector that is given is searched as it is"


def test_chunks_are_embedded_as_before(world: World, database: Path) -> None:
    rows = [{"id": "new", "text": "word1 word2 filler3"}]
    adapted = use_adapter(database, "t", world.adapter)
    adapted.add(rows)
    adapted.merge_insert("id").when_matched_update_all().execute([{"id": "new", "text": "word4 word5"}])
    (stored,) = adapted.search().where("id = 'new'").limit(1).to_list()
    np.testing.assert_array_equal(
        np.array(stored["vector"], np.float32),
        np.array(world.function.compute_source_embeddings(["word4 word5"])[0], np.float32),
    )


@pytest.mark.slow
def test_the_adapter_that_a_table_names_is_found_from_any_process_and_folder(
    world: World, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.adapter.parent)
    stock = lancedb.connect(str(database)).open_table("t")
    stock.create_index("text", config=FTS())
    before, indexes = fingerprints(database / "t.lance" / "data"), stock.list_indices()
    named = use_adapter(database, "t", "adapter")
    assert fingerprints(database / "t.lance" / "data") == before, "no vector is written"
    assert [index.name for index in named.list_indices()] == [index.name for index in indexes]
    expected = named.search(QUERY).limit(3).to_list()
    assert expected == open_table(database, "t", adapter=world.adapter).search(QUERY).limit(3).to_list()
    code = """
import json, sys
from lancedb.embeddings import get_registry
get_registry().set_var("key-of-the-tests", "sk-another")
{opening}
print(json.dumps(table.search(sys.argv[2]).limit(3).to_list()))
"""
    ours = "from embedtune_lancedb import open_table; table = open_table(sys.argv[1], 't')"
    theirs = "import lancedb; table = lancedb.connect(sys.argv[1]).open_table('t')"
    found = [
        json.loads(run_script(code.format(opening=opening), database, QUERY, folder=database.parent)[0])
        for opening in (ours, theirs)
    ]
    assert found[0] == expected
    assert found[1] == stock.search(QUERY).limit(3).to_list() != expected, "LanceDB alone searches without it"


def test_a_table_can_be_freed_of_its_adapter(world: World, database: Path) -> None:
    stock = open_table(database, "t").search(QUERY).limit(3).to_list()
    assert use_adapter(database, "t", world.adapter).search(QUERY).limit(3).to_list() != stock
    assert use_adapter(database, "t", None).search(QUERY).limit(3).to_list() == stock
    assert use_adapter(database, "t", None).schema.field("vector").metadata in (None, {})


def test_only_the_function_of_the_opened_table_is_adapted(world: World, database: Path) -> None:
    twin = hosted(world.server.base_url)
    before = [function.compute_query_embeddings_with_retry(QUERY) for function in (world.function, twin)]
    adapted = open_table(database, "t", adapter=world.adapter)
    own = adapted.embedding_functions["vector"].function
    assert not np.allclose(own.compute_query_embeddings_with_retry(QUERY), before[0])
    after = [f.compute_query_embeddings_with_retry(QUERY) for f in (world.function, twin, hosted(twin.base_url))]
    assert after == [*before, before[0]]
    assert own.safe_model_dump() == world.function.safe_model_dump()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "text-embedding-3-large"}, r"cannot be searched through the adapter in .*'vector', openai:text-emb.*"
         r"3-large in LanceDB: .*trained on another embedder.*It was trained on openai:text-embedding-3-small in Lan"),
        ({"dim": 128}, rf"the adapter maps vectors of {DIM} dimensions; this column has 128"),
        ({}, r"trained on another embedder.*address"),
    ],
)  # fmt: skip
def test_an_adapter_of_another_function_is_refused_before_any_search(
    fields: dict[str, Any], message: str, world: World, tmp_path: Path
) -> None:
    with scripted_server(hashed) as other:
        server = other if fields == {} else world.server
        table_of(hosted(server.base_url, **fields), tmp_path / "db", small())
        asked = len(world.server.requests), len(other.requests)
        for use in (lambda: open_table(tmp_path / "db", "t", adapter=world.adapter),
                    lambda: use_adapter(tmp_path / "db", "t", world.adapter)):  # fmt: skip
            with pytest.raises(EmbeddingError, match=message):
                use()
        assert asked == (len(world.server.requests), len(other.requests))
        assert open_table(tmp_path / "db", "t").search(QUERY).limit(1).to_list(), "nothing was named at the table"


def test_a_missing_folder_and_one_of_something_else_say_so(world: World, database: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No adapter folder at '.*/missing'"):
        open_table(database, "t", adapter=tmp_path / "missing")
    with pytest.raises(ModelFolderError, match=r"No adapter in .*tuner='adapter'"):
        use_adapter(database, "t", tmp_path)
    gone = tmp_path / "gone"
    shutil.copytree(world.adapter, gone)
    use_adapter(database, "t", gone)
    shutil.move(gone, tmp_path / "moved")
    with pytest.raises(ModelNotFoundError, match=r"No adapter folder at '.*/gone'.*'t' names it.*use_adapter\(db, 't'"):
        open_table(database, "t")
    once = open_table(database, "t", adapter=tmp_path / "moved").search(QUERY).limit(3).to_list()
    assert use_adapter(database, "t", tmp_path / "moved").search(QUERY).limit(3).to_list() == once


def test_an_adapter_that_was_tuned_again_waits_to_be_named_again(world: World, database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(world.adapter, folder)
    use_adapter(database, "t", folder)
    world.function.finetune(SPLIT.train, SPLIT.val, path=folder, seed=1, progress=False)
    with pytest.raises(
        EmbeddingError, match=r"has the fingerprint \w{32}; the table 't' .*tuned again since.*use_adap"
    ):
        open_table(database, "t")
    assert use_adapter(database, "t", folder).search(QUERY).limit(1).to_list()


def test_of_several_columns_the_adapter_goes_to_the_one_that_it_was_trained_for(world: World, tmp_path: Path) -> None:
    other = hosted(world.server.base_url, name="text-embedding-3-large")
    database = lancedb.connect(str(tmp_path))
    for name, function in (("two", other), ("twins", hosted(world.server.base_url))):

        class Row(LanceModel):
            id: str
            title: str = function.SourceField()
            text: str = world.function.SourceField()
            title_vector: Vector(DIM) = function.VectorField()  # type: ignore[valid-type]
            vector: Vector(DIM) = world.function.VectorField()  # type: ignore[valid-type]

        rows = [{"id": chunk, "title": text, "text": text} for chunk, text in small().corpus.items()]
        database.create_table(name, data=rows, schema=Row)
    stock, two = open_table(tmp_path, "two"), use_adapter(tmp_path, "two", world.adapter)
    for column, is_same in (("title_vector", True), ("vector", False)):
        found = [t.search(QUERY, vector_column_name=column).limit(5).to_list() for t in (stock, two)]
        assert (found[0] == found[1]) is is_same
    with pytest.raises(EmbeddingError, match=r"fits the columns title_vector, vector.*column='title_vector'"):
        open_table(tmp_path, "twins", adapter=world.adapter)
    with pytest.raises(EmbeddingError, match=r"embeds no column 'text'. Columns that it embeds: title_vector, vector"):
        use_adapter(tmp_path, "twins", None, column="text")
    assert use_adapter(tmp_path, "twins", world.adapter, column="vector").schema.field("title_vector").metadata is None
    with pytest.raises(EmbeddingError, match="'title_vector', openai:text-embedding-3-large"):
        open_table(tmp_path, "two", adapter=world.adapter, column="title_vector")


def test_odd_queries(world: World, database: Path) -> None:
    adapted = open_table(database, "t", adapter=world.adapter)
    for query in ("Wo liegt das Wörterbuch? 词典在哪里", "word1 " * 20_000):
        assert len(adapted.search(query).limit(5).to_list()) == 5
    with pytest.raises(EmbeddingError, match="gave no vector for the query: it is blank"):
        adapted.search("")


def test_the_key_stays_out_of_the_adapter_and_the_table(world: World, database: Path) -> None:
    use_adapter(database, "t", world.adapter)
    assert world.server.requests[0].headers["authorization"] == f"Bearer {KEY}", "it was used"
    written = [path for folder in (world.adapter, database) for path in folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_a_function_without_fingerprint_is_known_by_a_query(tmp_path: Path) -> None:
    from lancedb.embeddings import TextEmbeddingFunction
    from lancedb.embeddings import get_registry as stock_registry

    from embedtune.testing import HashEmbedder

    @stock_registry().register("words-of-the-adapter-tests")
    class Words(TextEmbeddingFunction):
        turned: bool = False

        def ndims(self) -> int:
            return DIM

        def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
            vectors = HashEmbedder(DIM).embed_documents(texts)
            return np.roll(vectors, 1 if self.turned else 0, axis=1).tolist()

    try:
        words = get_registry().get("words-of-the-adapter-tests")
        result = words.create().finetune(SPLIT.train, SPLIT.val, path=tmp_path / "adapter", progress=False)
        assert result.record.base_model == "words-of-the-adapter-tests in LanceDB"
        for name, is_turned in (("same", False), ("other", True)):
            table_of(words.create(turned=is_turned), tmp_path / "db", small(), name)
        assert open_table(tmp_path / "db", "same", adapter=result.path).search(QUERY).limit(1).to_list()
        with pytest.raises(EmbeddingError, match=r"query 'Which embedder is this.' a vector whose cosine"):
            open_table(tmp_path / "db", "other", adapter=result.path)
    finally:
        del stock_registry()._functions["words-of-the-adapter-tests"]
