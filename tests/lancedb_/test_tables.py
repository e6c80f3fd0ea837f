"""Tables: open_table, register, and what LanceDB alone makes of a table of ours."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from lancedb.embeddings import EmbeddingFunctionConfig
from lancedb.index import FTS
from sentence_transformers import SentenceTransformer

from embedtune import DatasetError, EmbeddingError, ModelNotFoundError
from embedtune_lancedb import get_registry, open_table, register
from lance_tables import ROWS, TEXTS, function_of, run_script, save_with_prompts, schema_of


def vectors_of(table: Any) -> np.ndarray[Any, Any]:
    """The stored vectors, in the order of the rows."""
    return np.array(table.to_arrow()["vector"].to_pylist(), dtype=np.float32)


def make_table(folder: Path, model: Path, rows: list[dict[str, Any]] | None = None) -> lancedb.DBConnection:
    """A database with the table ``t``, as LanceDB makes it."""
    database = lancedb.connect(str(folder))
    database.create_table("t", data=rows, schema=schema_of(function_of(model)))
    return database


def test_an_open_table_adds_and_searches_with_the_prompts(prompted: Path, tmp_path: Path) -> None:
    table = open_table(make_table(tmp_path, prompted), "t")
    table.add(ROWS)
    model = SentenceTransformer(str(prompted))
    np.testing.assert_allclose(vectors_of(table), model.encode_document(TEXTS), atol=1e-6)
    (found,) = table.search("what is loud?").limit(1).to_list()
    expected = ((model.encode_query(["what is loud?"])[0] - model.encode_document([TEXTS[1]])[0]) ** 2).sum()
    assert (found["id"], found["_distance"]) == ("1", pytest.approx(expected, abs=1e-4))


def test_lancedbs_own_class_leaves_the_prompts_out_and_we_say_so(
    prompted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from embedtune_lancedb import tuned_function

    tuned_function._warn_of_prompts.cache_clear()
    database = make_table(tmp_path, prompted, ROWS)
    np.testing.assert_allclose(
        vectors_of(database.open_table("t")), SentenceTransformer(str(prompted)).encode(TEXTS), atol=1e-6
    )
    assert "has prompts, and LanceDB's own class leaves them out" in caplog.text
    with pytest.raises(EmbeddingError, match=r"without its prompts.*To re-embed"):
        open_table(database, "t")


def test_registered_functions_reach_every_table(prompted: Path, tmp_path: Path) -> None:
    with register():
        database = make_table(tmp_path, prompted, ROWS)
        reopened = lancedb.connect(str(tmp_path)).open_table("t")
        reopened.add(ROWS)
        model = SentenceTransformer(str(prompted))
        np.testing.assert_allclose(vectors_of(reopened), model.encode_document(TEXTS * 2), atol=1e-6)
        assert reopened.search("what is loud?").limit(1).to_list()[0]["id"] == "1"
    assert open_table(database, "t").count_rows() == 6


def frames(rows: list[dict[str, Any]]) -> dict[str, Callable[[], Any]]:
    """The forms of data that LanceDB's add takes."""
    arrow = pa.Table.from_pylist(rows)
    return {
        "dicts": lambda: rows,
        "pandas": lambda: pd.DataFrame(rows, index=[7, 8, 9]),
        "table": lambda: arrow,
        "batch": lambda: arrow.to_batches()[0],
        "batches": arrow.to_batches,
        "reader": arrow.to_reader,
        "iterator": lambda: iter([arrow.slice(0, 1), arrow.slice(1)]),
        "dataset": lambda: pa.dataset.dataset(arrow),
    }


@pytest.mark.parametrize("form", frames(ROWS))
def test_every_form_of_rows_gets_its_vectors(form: str, prompted: Path, tmp_path: Path) -> None:
    import pyarrow.dataset  # noqa: F401 - an attribute of pa from now on

    table = open_table(make_table(tmp_path, prompted), "t")
    table.add(frames(ROWS)[form]())
    documents = SentenceTransformer(str(prompted)).encode_document(TEXTS)
    np.testing.assert_allclose(vectors_of(table), documents, atol=1e-6)


def test_a_vector_that_is_given_stays(prompted: Path, tmp_path: Path) -> None:
    table = open_table(make_table(tmp_path, prompted), "t")
    table.add([{**ROWS[0], "vector": [1.0] * 384}, {**ROWS[1], "vector": None}])
    first, second = vectors_of(table)
    assert (first == 1).all()
    np.testing.assert_allclose(second, SentenceTransformer(str(prompted)).encode_document([TEXTS[1]])[0], atol=1e-6)


def test_merge_insert_embeds_new_and_changed_rows(prompted: Path, tmp_path: Path) -> None:
    table = open_table(make_table(tmp_path, prompted), "t")
    table.add(ROWS)
    changed = [{"id": "0", "text": "pears are green"}, {"id": "9", "text": "the moon is far"}]
    table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(changed)
    stored = {row["id"]: row for row in table.to_arrow().to_pylist()}
    assert sorted(stored) == ["0", "1", "2", "9"]
    model = SentenceTransformer(str(prompted))
    for row in stored.values():
        np.testing.assert_allclose(row["vector"], model.encode_document([row["text"]])[0], atol=1e-6)


def test_a_row_without_text_is_left_to_on_bad_vectors_and_never_retried(prompted: Path, tmp_path: Path) -> None:
    table = open_table(make_table(tmp_path, prompted), "t")
    started = time.monotonic()
    table.add([{"id": "n", "text": None}, ROWS[0]], on_bad_vectors="drop")
    table.add([{"id": "n", "text": None}], on_bad_vectors="drop")
    assert table.count_rows() == 1
    with pytest.raises(Exception, match="on_bad_vectors"):
        table.add([{"id": "n", "text": None}])
    assert time.monotonic() - started < 2


def test_rows_of_an_unknown_kind_are_refused(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"rows given as builtins.int. Give a list of dicts"):
        open_table(make_table(tmp_path, minilm), "t").add(3)


def test_hybrid_search_by_text_uses_our_function(prompted: Path, tmp_path: Path) -> None:
    table = open_table(make_table(tmp_path, prompted), "t")
    table.add(ROWS)
    table.create_index("text", config=FTS())
    assert table.search("drums", query_type="hybrid").limit(1).to_list()[0]["id"] == "1"


def test_a_table_of_another_model_is_refused_and_re_embedding_as_told_heals_it(minilm: Path, tmp_path: Path) -> None:
    model = save_with_prompts(minilm, tmp_path / "model")
    database = make_table(tmp_path / "db", model)
    open_table(database, "t").add(ROWS)
    shutil.rmtree(model)
    save_with_prompts(minilm, model, query="another prompt: ")
    with pytest.raises(EmbeddingError, match=r"has the fingerprint \w{32}; the vectors were made with \w{32}.*re-emb"):
        open_table(tmp_path / "db", "t")

    database.create_table("new", schema=schema_of(function_of(model)))
    open_table(database, "new").add(database.open_table("t").to_arrow().drop_columns(["vector"]))
    assert open_table(database, "new").search("what is loud?").limit(1).to_list()[0]["id"] == "1"


def test_a_table_without_fingerprint_is_checked_by_its_vectors(minilm: Path, prompted: Path, tmp_path: Path) -> None:
    stock = lancedb.embeddings.get_registry().get("sentence-transformers").create(name=str(minilm))
    database = lancedb.connect(str(tmp_path))
    table = database.create_table("t", data=ROWS, schema=schema_of(stock))
    assert b"fingerprint" not in table.schema.metadata[b"embedding_functions"]
    assert open_table(database, "t").search("what is loud?").limit(1).to_list()[0]["id"] == "1"

    other = [{**row, "vector": np.random.default_rng(0).standard_normal(384)} for row in ROWS]
    database.create_table("other", data=other, schema=schema_of(stock))
    with pytest.raises(EmbeddingError, match="another model made them"):
        open_table(database, "other")


def test_what_cannot_be_opened_says_why(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no LanceDB folder"):
        open_table(tmp_path / "missing", "t")
    assert not (tmp_path / "missing").exists(), "connecting would have made it"
    database = lancedb.connect(str(tmp_path / "db"))
    database.create_table("plain", pa.table({"id": ["a"]}))
    with pytest.raises(DatasetError, match="no table 'missing'"):
        open_table(database, "missing")
    with pytest.raises(EmbeddingError, match="'plain' has no embedding function"):
        open_table(database, "plain")
    gone = tmp_path / "gone"
    shutil.copytree(minilm, gone)
    make_table(tmp_path / "db", gone)
    shutil.rmtree(gone)
    with pytest.raises(ModelNotFoundError, match="No model folder at"):
        open_table(database, "t")


def test_an_openai_table_of_an_unknown_model_is_refused_before_it_is_made(tmp_path: Path) -> None:
    function = get_registry().get("openai").create(name="some-model", base_url="http://127.0.0.1:9")
    config = EmbeddingFunctionConfig(vector_column="vector", source_column="text", function=function)
    database = lancedb.connect(str(tmp_path))
    with pytest.raises(EmbeddingError, match="cannot make a table for the model 'some-model'"):
        database.create_table("t", data=ROWS, embedding_functions=[config])
    assert list(tmp_path.iterdir()) == []


WITHOUT_EMBEDTUNE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("embedtune", "embedtune_lancedb", "embedtune_sentence_transformers"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
import lancedb
table = lancedb.connect(sys.argv[1]).open_table("t")
"""
WITH_OPEN_TABLE = "import sys; from embedtune_lancedb import open_table; table = open_table(sys.argv[1], 't')"
WITH_REGISTER = (
    "import sys, lancedb, embedtune_lancedb; embedtune_lancedb.register(); "
    "table = lancedb.connect(sys.argv[1]).open_table('t')"
)
ADD_AND_SEARCH = """
import json
table.add([{"id": "9", "text": "the moon is far from the earth"}])
found = [table.search(query).limit(1).to_list()[0] for query in ("how far is the moon?", "what is loud?")]
print(json.dumps([[row["id"], row["_distance"]] for row in found]))
print(json.dumps(sorted(name for name in sys.modules if name.partition(".")[0] == "embedtune")[:1]))
"""


@pytest.mark.slow
def test_another_process_and_folder_opens_adds_and_searches_with_or_without_us(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(minilm, tmp_path / "home" / "tuned")
    monkeypatch.chdir(tmp_path / "home")
    distances = []
    for way in (WITH_OPEN_TABLE, WITH_REGISTER, WITHOUT_EMBEDTUNE):
        shutil.rmtree(tmp_path / "db", ignore_errors=True)
        database = lancedb.connect(str(tmp_path / "db"))
        function = get_registry().get("sentence-transformers").create(name="./tuned")
        database.create_table("t", data=ROWS, schema=schema_of(function))
        printed, _ = run_script(way + "\n" + ADD_AND_SEARCH, tmp_path / "db", folder=tmp_path / "elsewhere")
        found, ours = map(json.loads, printed.splitlines())
        assert [row[0] for row in found] == ["9", "1"]
        assert ours == ([] if way == WITHOUT_EMBEDTUNE else ["embedtune"])
        distances.append([row[1] for row in found])
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-5)
    np.testing.assert_allclose(distances[0], distances[2], atol=1e-5)
