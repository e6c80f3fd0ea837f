"""What the doctor measures, and what it leaves out where nothing can be measured."""

import logging
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedtune import Evaluation, ModelRecord, QADataset, compare
from embedtune.comparison import Finding
from embedtune.comparison.doctor import diagnose
from embedtune.comparison.probes import movement, prompts_of, reads_sides_alike, truncated
from embedtune.evaluation import evaluate_search
from embedtune.protocols import Embedder, Vectors
from embedtune.records import SeenTexts
from embedtune.testing import HashEmbedder, tiny_dataset

SENTENCE = "the quick brown fox jumps over the lazy dog while many old ships sail around the northern cape"


class ShortSighted(HashEmbedder):
    """Reads the first words of a text."""

    def __init__(self, n_words: int) -> None:
        super().__init__()
        self.n_words = n_words

    @property
    def fingerprint(self) -> str:
        return f"short-sighted {self.n_words}"

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return super().embed_documents([" ".join(text.split()[: self.n_words]) for text in texts])


class Prompted(HashEmbedder):
    """Puts a prompt before queries, and tells its prompts if it has any to tell."""

    def __init__(self, query: str, prompts: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.query = query
        if prompts is not None:
            self.prompts = prompts

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_documents([self.query + text for text in texts])


class Shifted(HashEmbedder):
    """Another model's vectors, a little moved."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return np.asarray(super().embed_documents(texts) + self.by, dtype=np.float32)


def record(seen: SeenTexts | None = None, chosen_step: int = 40, **configuration: Any) -> ModelRecord:
    return ModelRecord(
        base_model="base",
        base_fingerprint=HashEmbedder().fingerprint,
        fingerprint="tuned",
        tuner="custom",
        configuration=configuration,
        chosen_step=chosen_step,
        kept_base=chosen_step == 0,
        seen=seen or SeenTexts(),
    )


def found_by(dataset: QADataset, *ids: str) -> Evaluation:
    """The evaluation of a search that answers everything with the same chunks."""
    return evaluate_search(SimpleNamespace(search=lambda queries, k: [list(ids)] * len(queries)), dataset)


def findings(
    dataset: QADataset,
    base: Embedder | None = None,
    tuned: Embedder | None = None,
    base_record: ModelRecord | None = None,
    tuned_record: ModelRecord | None = None,
    retrieved: Sequence[str] = (),
) -> dict[str, str]:
    evaluation = found_by(dataset, *retrieved)
    found = diagnose(dataset, base, tuned, base_record, tuned_record, (evaluation, evaluation))
    return {finding.name: finding.told for finding in found}


def corpus_of(*texts: str) -> QADataset:
    """One question on each text."""
    corpus = {f"c{i}": text for i, text in enumerate(texts)}
    return QADataset({f"q{i}": f"question {i}" for i in range(len(texts))}, corpus, {f"q{c[1:]}": [c] for c in corpus})


# Nothing to tell


def test_where_nothing_can_be_measured_nothing_is_told() -> None:
    assert findings(tiny_dataset()) == {}


def test_equal_models_without_a_fault_have_no_finding() -> None:
    assert findings(tiny_dataset(), HashEmbedder(), HashEmbedder(), record(), record()) == {}


def test_a_measurement_that_fails_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    """An embedder's server may be gone by now; the comparison must not go with it."""

    class Broken(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            raise ConnectionError("gone")

    dataset = tiny_dataset()
    with caplog.at_level(logging.WARNING):
        found = findings(dataset, Broken(), Broken(), None, record(SeenTexts.of([dataset])))
    assert set(found) == {"leak"}
    assert "nothing can be said of truncation: ConnectionError: gone" in caplog.text


def test_the_doctor_is_not_asked_about_a_model_that_ships() -> None:
    dataset = tiny_dataset(24)
    shipped, failed = (
        compare(ShortSighted(2), HashEmbedder(), dataset),
        compare(HashEmbedder(), ShortSighted(2), dataset),
    )
    assert (shipped.verdict, shipped.findings) == ("ship", ())
    assert failed.verdict == "do not ship: worse"
    assert [finding.name for finding in failed.findings] == ["truncation"]


# Leaks


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_leak_is_counted_and_names_the_model(side: str) -> None:
    dataset = tiny_dataset(4)
    seen = {f"{side}_record": record(SeenTexts.of([dataset.subset(["q0-0"])]))}
    told = findings(dataset, **seen)["leak"]  # type: ignore[arg-type]
    assert told.startswith(f"2 of 8 questions, or chunks that answer them, have trained or chosen the {side} model")


# Prompts


def test_a_prompt_that_one_model_lost_is_named() -> None:
    base, tuned = Prompted("ask: ", {"query": "ask: ", "document": ""}), Prompted("", {"query": "", "document": ""})
    told = findings(tiny_dataset(), base, tuned)["prompt"]
    assert told.startswith("The prompt 'query' is 'ask: ' in the base model and None in the tuned one.")


def test_equal_prompts_are_no_finding() -> None:
    assert "prompt" not in findings(tiny_dataset(), *(Prompted("ask: ", {"query": "ask: "}) for _ in range(2)))


@pytest.mark.parametrize(("queries", "expected"), [(("ask: ", ""), "base"), (("", "ask: "), "tuned")])
def test_models_that_do_not_tell_their_prompts_are_probed(queries: tuple[str, str], expected: str) -> None:
    told = findings(tiny_dataset(), Prompted(queries[0]), Prompted(queries[1]))["prompt"]
    assert told.startswith(f"The {expected} model embeds a text differently as question and as chunk")


def test_two_models_with_prompts_that_they_do_not_tell_are_alike() -> None:
    assert "prompt" not in findings(tiny_dataset(), Prompted("ask: "), Prompted("find: "))


def test_prompts_of_a_model_that_the_embedder_holds_are_found() -> None:
    """As of a sentence-transformers model."""
    embedder: Any = HashEmbedder()
    embedder.model = SimpleNamespace(prompts={"query": "ask: ", "document": ""})
    assert prompts_of(embedder) == {"query": "ask: "}
    assert prompts_of(HashEmbedder()) is None


def test_sides_are_compared_by_their_vectors() -> None:
    assert reads_sides_alike(HashEmbedder(), ["a question"])
    assert not reads_sides_alike(Prompted("ask: "), ["a question"])


# Truncation


def test_chunks_longer_than_the_model_reads_are_counted() -> None:
    dataset = corpus_of(*(f"{SENTENCE} {i}" for i in range(3)), "short one", "short two")
    told = findings(dataset, HashEmbedder(), ShortSighted(10))["truncation"]
    assert told.startswith("Of 5 chunks that answer questions which the tuned model missed, 3 are longer than it reads")


def test_a_text_as_long_as_the_model_reads_is_not_cut() -> None:
    """The ending is cut off whole, so it cannot be told from one word more."""
    texts = [" ".join(["word"] * n) for n in (9, 10, 11)]
    assert list(truncated(ShortSighted(10), texts)) == [False, True, True]
    assert not truncated(HashEmbedder(), texts).any()


def test_questions_that_were_answered_are_not_looked_at() -> None:
    dataset = corpus_of(SENTENCE)
    assert "truncation" not in findings(dataset, tuned=ShortSighted(3), retrieved=["c0"])


# Equal vectors


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_a_model_that_gives_one_vector_for_all_is_told_and_not_that_it_reads_too_little(number: float) -> None:
    class Collapsed(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.full((len(texts), 8), number, dtype=np.float32)

    found = findings(tiny_dataset(24), HashEmbedder(), Collapsed())
    assert (
        "vectors of the last words of chunks are nearly one vector, with a mean cosine of 1.0000" in found["collapse"]
    )
    assert "truncation" not in found


def test_a_model_that_tells_texts_apart_has_not_collapsed() -> None:
    assert "collapse" not in findings(tiny_dataset(24), HashEmbedder(), HashEmbedder())


# False negatives


def test_near_duplicates_among_the_trained_chunks_are_false_negatives() -> None:
    """Of four trained chunks two are twins, and a batch of two draws one of three others: 2 * 1/3 of 4 is 17%."""
    dataset = corpus_of(f"{SENTENCE} 1", f"{SENTENCE} 2", "apples are red and round", "bicycles have two wheels")
    trained = record(SeenTexts.of([dataset]), batch_size=2)
    told = findings(dataset, tuned_record=trained)["false negatives"]
    assert told.startswith("Of the 4 chunks here that trained or chose the tuned model, 2 have a near duplicate")
    assert "in a batch of 2, 17% of the questions" in told


@pytest.mark.parametrize("options", [{}, {"batch_size": None}, {"batch_size": 1}])
def test_without_a_batch_size_false_negatives_cannot_be_told(options: dict[str, object]) -> None:
    dataset = corpus_of(f"{SENTENCE} 1", f"{SENTENCE} 2")
    assert "false negatives" not in findings(dataset, tuned_record=record(SeenTexts.of([dataset]), **options))


def test_near_duplicates_that_were_not_trained_on_are_no_false_negatives() -> None:
    dataset = corpus_of(f"{SENTENCE} 1", f"{SENTENCE} 2")
    assert "false negatives" not in findings(dataset, tuned_record=record(batch_size=64))


# Learning rate


def test_a_run_that_kept_the_base_tells_its_learning_rate() -> None:
    told = findings(tiny_dataset(), tuned_record=record(chosen_step=0, learning_rate=0.01))["learning rate"]
    assert told.startswith("No step of training was better than the base model on the questions that choose, at")
    assert "learning rate of 0.01" in told


def test_a_model_that_hardly_moved_tells_its_learning_rate() -> None:
    told = findings(tiny_dataset(), HashEmbedder(), Shifted(1e-4), None, record(learning_rate=1e-8))["learning rate"]
    assert "40 steps at a learning rate of 1e-08 hardly moved it" in told


@pytest.mark.parametrize(
    ("base", "tuned", "trained"),
    [
        (HashEmbedder(), Shifted(1.0), record(learning_rate=1e-5)),  # moved
        (HashEmbedder(), Shifted(1e-4), record()),  # a rate that is not known
        (Shifted(0.0), Shifted(1e-4), None),  # no record
        (HashEmbedder(32), HashEmbedder(), record(learning_rate=1e-5)),  # not its base
    ],
)
def test_otherwise_the_learning_rate_is_not_blamed(base: Embedder, tuned: Embedder, trained: ModelRecord) -> None:
    assert "learning rate" not in findings(tiny_dataset(), base, tuned, None, trained)


def test_vectors_of_other_dimensions_have_not_moved_by_any_number() -> None:
    assert movement(HashEmbedder(8), HashEmbedder(16), ["a text"]) is None


# Near duplicates


def test_a_near_duplicate_that_was_found_instead_is_counted() -> None:
    dataset = corpus_of(f"{SENTENCE} 1", f"{SENTENCE} 2", "apples are red and round")
    told = findings(dataset.subset(["q0", "q2"]), retrieved=["c1"])["near duplicates"]
    assert told.startswith("For 1 of 2 questions that the tuned model missed, it found a near duplicate of the answer")


def test_a_near_duplicate_that_was_not_found_explains_nothing() -> None:
    dataset = corpus_of(f"{SENTENCE} 1", f"{SENTENCE} 2", "apples are red and round")
    assert "near duplicates" not in findings(dataset.subset(["q0"]), retrieved=["c2"])


def test_findings_stand_in_the_json() -> None:
    found = compare(HashEmbedder(), ShortSighted(2), tiny_dataset(24)).to_json()["findings"]
    assert [finding["name"] for finding in found] == ["truncation"]
    assert Finding(**found[0]).told.startswith("Of ")
