"""`finetune`: documents or a data set in, tuned embeddings out; nothing is paid for twice, or in vain."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from sentence_transformers import SentenceTransformer

from embedtune import (
    EmbeddingError,
    GenerationError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    TuningError,
    evaluate,
    leaks,
)
from embedtune.testing import tiny_dataset
from framework_models import AsyncChat
from langchain_embedtune import EmbedtuneEmbeddings, finetune
from servers import Reply, Request, ScriptedServer, chat_answer, scripted_server

QUICK: dict[str, Any] = {"learning_rate": 1e-3, "device": "cpu", "progress": False}


@pytest.fixture
def secret() -> QADataset:
    """Three questions on each chunk, in words that stand for others in the chunk: only training can solve it."""
    words = dict(zip(["apple", "river", "tower", "candle"], ["engine", "paper", "violin", "desert"], strict=True))
    words |= dict(zip(["button", "garden", "mirror", "ladder"], ["rocket", "cheese", "carpet", "planet"], strict=True))
    queries, corpus, relevant = {}, {}, {}
    for number, chosen in enumerate(itertools.combinations(words, 3)):
        corpus[f"c{number}"] = " ".join(words[word] for word in chosen)
        for turn in range(3):
            queries[f"q{number}-{turn}"] = " ".join([*chosen[turn:], *chosen[:turn]])
            relevant[f"q{number}-{turn}"] = [f"c{number}"]
    return QADataset(queries, corpus, relevant)


@pytest.fixture
def asked(wikipedia: QADataset) -> Iterator[ScriptedServer]:
    """A chat server that writes, of each paragraph, the questions that people asked on it; of one it never does."""
    real: dict[str, list[str]] = {}
    for query, (chunk,) in wikipedia.relevant_docs.items():
        real.setdefault(wikipedia.corpus[chunk], []).append(wikipedia.queries[query])
    silent = next(iter(real))

    def write(request: Request) -> Reply:
        prompt = request.body["messages"][0]["content"]
        (text,) = [text for text in wikipedia.corpus.values() if text in prompt]
        if text == silent:
            return Reply({}, status=500)
        lines = real.get(text, [])[:2]
        return Reply(chat_answer("\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1)) or "NONE"))

    with scripted_server(write) as server:
        yield server


def options(server: ScriptedServer) -> dict[str, Any]:
    return {"llm": AsyncChat(base_url=server.base_url), "llm_options": {"retries": 0, "progress": False}}


@pytest.mark.slow
def test_documents_become_tuned_embeddings_and_held_out_questions(
    documents: list[Document], prompted: Path, tmp_path: Path, asked: ScriptedServer
) -> None:
    tuned = finetune(documents, prompted, path=tmp_path / "m", test=0.3, folds=2, **options(asked), **QUICK)
    assert isinstance(tuned, EmbedtuneEmbeddings)
    assert tuned.record is not None
    assert tuned.record.base_model == str(prompted)
    np.testing.assert_allclose(
        tuned.embed_query("wie"), SentenceTransformer(str(tmp_path / "m"), device="cpu").encode_query("wie"), atol=1e-5
    )
    held_out = QADataset.load(tmp_path / "m.test.json")
    written = {"m", "m.answers.jsonl", "m.test.json", "m.test.json.report.json"}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert evaluate(tuned, held_out).n_seen == 0
    assert len(held_out) >= 10


@pytest.mark.slow
def test_trap_2_the_same_call_asks_again_only_what_failed(
    documents: list[Document], prompted: Path, tmp_path: Path, asked: ScriptedServer
) -> None:
    common: dict[str, Any] = {"path": tmp_path / "m", "folds": 0, **options(asked), **QUICK}
    first = finetune(documents, prompted, **common)
    n_asked = len(asked.requests)
    assert n_asked >= len(documents)
    again = finetune(documents, prompted, **common)
    (new,) = asked.requests[n_asked:]
    assert documents[0].page_content in new.body["messages"][0]["content"]
    assert first.record is not None
    assert again.record is not None
    assert again.record.seen == first.record.seen


@pytest.mark.slow
def test_trap_1_held_out_questions_share_nothing_with_those_that_train(
    documents: list[Document], prompted: Path, tmp_path: Path, asked: ScriptedServer
) -> None:
    tuned = finetune(documents, prompted, path=tmp_path / "m", folds=0, **options(asked), **QUICK)
    held_out = QADataset.load(tmp_path / "m.test.json")
    whole = QADataset.from_llm(documents, journal=tmp_path / "m.answers.jsonl", **flat(options(asked)))
    trained = whole.subset([query for query in whole.queries if query not in held_out.queries])
    assert not leaks(trained, held_out)
    documents_of = [
        {side.documents[c] for found in side.relevant_docs.values() for c in found} for side in (trained, held_out)
    ]
    assert documents_of[0].isdisjoint(documents_of[1])
    assert evaluate(tuned, trained).n_seen == len(trained)


def flat(given: dict[str, Any]) -> dict[str, Any]:
    return {"llm": given["llm"], **given["llm_options"]}


@pytest.mark.slow
def test_nothing_is_held_out_if_told(
    documents: list[Document], prompted: Path, tmp_path: Path, asked: ScriptedServer
) -> None:
    finetune(documents, prompted, path=tmp_path / "m", test=0, folds=0, **options(asked), **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"m", "m.answers.jsonl"}


@pytest.mark.slow
def test_a_data_set_trains_as_it_is(secret: QADataset, prompted: Path, tmp_path: Path) -> None:
    split = secret.split(val=0.2, test=0.2, seed=1)
    tuned = finetune(split.train, prompted, path=tmp_path / "m", valset=split.val, epochs=4, **QUICK)
    assert {path.name for path in tmp_path.iterdir()} == {"m"}
    assert split.test is not None
    base = evaluate(EmbedtuneEmbeddings(model=prompted, device="cpu"), split.test).metrics["mrr@10"]
    assert evaluate(tuned, split.test).metrics["mrr@10"] > base + 0.2
    assert evaluate(tuned, split.test).n_seen == 0


@pytest.mark.slow
def test_trap_17_questions_of_one_chunk_do_not_push_their_own_chunk_away(
    secret: QADataset, prompted: Path, tmp_path: Path
) -> None:
    """One batch holds all three questions of each chunk."""
    split = secret.split(val=0.2, test=0)
    tuned = finetune(split.train, prompted, path=tmp_path / "m", valset=split.val, epochs=6, batch_size=256, **QUICK)
    assert evaluate(tuned, split.train, top_k=1).hit_rate > 0.9


@pytest.mark.slow
def test_trap_18_fewer_questions_than_a_batch_still_train(secret: QADataset, prompted: Path, tmp_path: Path) -> None:
    split = secret.split(val=0.2, test=0)
    tuned = finetune(split.train, prompted, path=tmp_path / "m", valset=split.val, epochs=2, batch_size=4096, **QUICK)
    assert tuned.record is not None
    assert tuned.record.chosen_step > 0
    assert tuned.fingerprint != EmbedtuneEmbeddings(model=prompted).fingerprint


@pytest.mark.slow
def test_the_base_stays_as_it_is(secret: QADataset, prompted: Path, tmp_path: Path) -> None:
    """Also a loaded one that is in use: it is trained on a copy."""
    model = SentenceTransformer(str(prompted), device="cpu")
    base = EmbedtuneEmbeddings(model=model)
    before = base.embed_query("apple river")
    split = secret.split(val=0.2, test=0)
    tuned = finetune(split.train, base, path=tmp_path / "m", valset=split.val, **QUICK)
    assert base.embed_query("apple river") == before
    assert not np.allclose(tuned.embed_query("apple river"), before, atol=1e-3)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"learning_rates": 1}, TuningError, "has no option 'learning_rates'"),
        ({"epochs": 0}, TuningError, "epochs must be a whole number of at least 1; got 0"),
        ({"test": 1}, TuningError, r"test must lie in \[0, 1\).*got 1"),
        ({"base": "/nowhere/m"}, ModelNotFoundError, "No model folder at '/nowhere/m'"),
        ({"base": "nobody/no-model"}, ModelNotFoundError, "Cannot load the model 'nobody/no-model'"),
        ({"device": "gpu"}, EmbeddingError, "device 'gpu' is none that PyTorch knows"),
        ({"valset": 3}, TuningError, "valset must be a QADataset, or None; got a int"),
        ({"test": "0.2"}, TuningError, r"test must lie in \[0, 1\).*got '0.2'"),
        ({"path": "taken"}, ModelFolderError, "taken"),
        ({"llm_options": {"num_questions": 3}}, TypeError, "num_questions"),
    ],
)
def test_trap_26_a_wrong_argument_is_told_before_the_llm_is_asked(
    given: dict[str, Any],
    error: type[Exception],
    message: str,
    documents: list[Document],
    prompted: Path,
    tmp_path: Path,
    asked: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("Mine.")
    arguments: dict[str, Any] = {"base": prompted, "path": "m", **options(asked), **given}
    with pytest.raises(error, match=message):
        finetune(documents, arguments.pop("base"), **arguments)
    assert asked.requests == []
    assert {path.name for path in tmp_path.iterdir()} == {"taken"}


def test_documents_need_an_llm_and_a_data_set_none(documents: list[Document], prompted: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"Give llm=\.\.\., which writes questions, or a QADataset"):
        finetune(documents, prompted, path=tmp_path / "m")
    with pytest.raises(TuningError, match="A QADataset has its questions: llm and llm_options are for documents"):
        finetune(tiny_dataset(), prompted, path=tmp_path / "m", llm="openai:m")
    with pytest.raises(TuningError, match="Give a list of documents, or a QADataset; got 'docs'"):
        finetune("docs", prompted, path=tmp_path / "m", llm="openai:m")


def test_an_llm_that_answers_nothing_is_an_error_and_no_model(
    documents: list[Document], prompted: Path, tmp_path: Path
) -> None:
    with scripted_server(lambda _: Reply({}, status=500)) as server, pytest.raises(GenerationError):
        finetune(documents, prompted, path=tmp_path / "m", **options(server), **QUICK)
    assert not (tmp_path / "m").exists()


def test_a_valset_on_the_documents_is_refused_before_the_llm_is_asked(
    wikipedia: QADataset, documents: list[Document], prompted: Path, tmp_path: Path, asked: ScriptedServer
) -> None:
    with pytest.raises(TuningError, match="of the documents answer questions of the valset"):
        finetune(documents, prompted, path=tmp_path / "m", valset=wikipedia, **options(asked))
    assert asked.requests == []


def test_an_llm_that_writes_nothing_on_most_documents_trains_nothing(
    documents: list[Document], prompted: Path, tmp_path: Path
) -> None:
    """A model tuned on a third of the data would look like one tuned on all."""
    told = {document.page_content: place for place, document in enumerate(documents) if place % 3 == 0}

    def write(request: Request) -> Reply:
        prompt = request.body["messages"][0]["content"]
        for text, place in told.items():
            if text in prompt:
                return Reply(chat_answer(f"Who counted the {place} people of the town?"))
        return Reply(chat_answer("I have nothing to say."))

    with (
        scripted_server(write) as server,
        pytest.raises(TuningError, match=r"wrote no question on \d+ of \d+ documents; .*the same call goes on from"),
    ):
        finetune(documents, prompted, path=tmp_path / "m", **options(server), **QUICK)
    assert not (tmp_path / "m").exists()
    assert (tmp_path / "m.answers.jsonl").exists()
