"""Which questions are kept: every filter drops what it is for, says so in the report, and can be switched off."""

from typing import Any

import pytest

from embedtune import BaseLLM, GenerationReport, QADataset, QuestionQuality, TextChunk
from embedtune.errors import GenerationError
from embedtune.generation.filters import asks_the_same, copied_share, equal_questions, leans_on_passage
from embedtune.testing import CannedLLM

CHUNK = (
    "A vector index is rebuilt in the background by a worker of its own whenever a fifth of the rows are new. "
    "Searches go on meanwhile."
)
GOOD = "When does an index get built again?"


def written(*questions: str, chunk: str = CHUNK, n_questions: int = 9, **quality: Any) -> tuple[list[str], Any]:
    """What is kept of an answer, and what is dropped for which reason."""
    nodes = [TextChunk(chunk, "c")]
    dataset = QADataset.from_llm(
        nodes,
        CannedLLM(["\n".join((GOOD, *questions))]),
        num_questions_per_chunk=n_questions,
        quality=QuestionQuality(top_ups=0, **quality),
        progress=False,
    )
    assert isinstance(dataset.report, GenerationReport)
    return list(dataset.queries.values())[1:], dataset.report.dropped


LEANING = [
    "What does the author say about searches?",
    "According to the text, what happens meanwhile?",
    "What is described in this passage?",
    "Based on the passage, who does the work?",
    "What happens as mentioned above?",
    "Was geschieht laut dem Text mit der Suche?",
    "Was wird im Abschnitt beschrieben?",
    "Que dit le worker selon le texte ?",
    "¿Qué ocurre según el texto?",
    "Cosa succede secondo il testo?",
    "O que acontece de acordo com o texto?",
    "Wat gebeurt er volgens de tekst?",
    "Hva skjer ifølge teksten?",
    "Vad händer enligt texten?",
]


@pytest.mark.parametrize("question", LEANING)
def test_a_question_that_leans_on_the_passage_is_dropped(question: str) -> None:
    assert written(question) == ([], {"leaning on the passage": 1})
    assert written(question, drop_leaning=False) == ([question], {})


@pytest.mark.parametrize(
    "question",
    [
        "How is text put into a column?",
        "What does a document database do?",
        "Which author column has an index?",
        "How long may a passage of music be?",
        "Wie wird ein Text gesucht?",
        "What does context mean in Python?",
        "How is full-text search in the cloud billed?",
        "How do I search in a document store?",
    ],
)
def test_a_question_on_texts_and_documents_leans_on_nothing(question: str) -> None:
    assert not leans_on_passage(question, CHUNK)


def test_words_of_the_chunk_itself_do_not_lean() -> None:
    chunk = "In the document view, press F2. The text says what comes next."
    assert written("What does the text say after F2 is pressed?", chunk="No such thing here.")[1]
    assert written("How do I edit in the document view?", chunk=chunk) == (["How do I edit in the document view?"], {})


COPIED = "Is rebuilt in the background by a worker of its own?"


def test_copied_wording_is_dropped() -> None:
    assert written(COPIED) == ([], {"copied from the chunk": 1})
    assert written(COPIED, max_copied=None) == ([COPIED], {})
    assert written(COPIED, max_copied=1.0) == ([COPIED], {})


@pytest.mark.parametrize(
    ("question", "share"),
    [
        ("Is a vector index rebuilt?", 0.0),
        ("Why is it rebuilt in the background by a worker?", 0.7),
        (CHUNK, 1.0),
        ("", 0.0),
        ("rebuilt in the background by", 1.0),
    ],
)
def test_the_copied_share_is_that_of_the_longest_run_of_five_words_and_more(question: str, share: float) -> None:
    assert copied_share(question, CHUNK) == pytest.approx(share)


def test_short_and_long_ones_are_dropped() -> None:
    long = f"Why {'very ' * 90}long?"
    assert written("Why?", long) == ([], {"too short": 1, "too long": 1})
    assert written("Why so?", long, min_bytes=1, max_characters=1000) == (["Why so?", long], {})


def test_five_characters_of_chinese_are_a_question() -> None:
    assert written("何时重建\uff1f") == (["何时重建\uff1f"], {})


@pytest.mark.parametrize("repeat", ["when does an index get built AGAIN", "When does an index get built again again?"])
def test_equal_and_nearly_equal_ones_on_a_chunk_are_one(repeat: str) -> None:
    kept, dropped = written(f"1. {repeat}?")
    assert (kept, dropped) in (([], {"repeated": 1}), ([], {}))


def test_nearly_equal_ones_stay_where_that_is_wanted() -> None:
    again = "When does an index get built again again?"
    assert written(again, near_duplicates=None) == ([again], {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is new in version 1.2 of the storage format?", "What is new in version 1.3 of the storage format?"),
        ("What does vitamin A do for the eyes of children?", "What does vitamin B do for the eyes of children?"),
        ("How do I call create_index on a table of mine?", "How do I call drop_index on a table of mine?"),
        ("How large may a file of type .csv be in total?", "How large may a file of type .tsv be in total?"),
    ],
)
def test_what_differs_in_a_number_or_a_name_asks_for_another_thing(one: str, other: str) -> None:
    assert not asks_the_same(one, other, 0.85)
    assert equal_questions({"a": one, "b": other}, 0.85) == []
    assert asks_the_same(one, one.upper().lower(), 0.85)


def test_groups_come_in_the_order_given() -> None:
    texts = {"z": "Where is the index kept?", "a": "Who pays?", "m": "where is the index kept", "b": "Who pays"}
    assert equal_questions(texts, None) == [["z", "m"], ["a", "b"]]


class Saying(BaseLLM):
    """One question on each chunk by its number, and one that it asks of some chunks alike."""

    def __init__(self, shared: str, of: int) -> None:
        self.shared, self.of = shared, of

    def chat_completion(self, prompt: str) -> str:
        number = int(prompt.split("topic-")[1].split(".")[0])
        own = f"Why is thing number {number} so?"
        return f"{own}\n{self.shared}" if number < self.of else f"{own}\nWho saw number {number}?"


def topics(n_chunks: int) -> list[TextChunk]:
    return [TextChunk(f"A page on topic-{i}.", f"c{i}") for i in range(n_chunks)]


def test_a_question_asked_of_a_few_chunks_has_all_of_them_as_answers() -> None:
    dataset = QADataset.from_llm(topics(6), Saying("What is a good page?", of=4), progress=False)
    assert ["c0", "c1", "c2", "c3"] in list(dataset.relevant_docs.values())
    assert isinstance(dataset.report, GenerationReport)
    assert (dataset.report.merged, dataset.report.written) == (3, len(dataset))


@pytest.mark.parametrize(("max_chunks", "n_kept"), [(4, 0), (5, 1), (None, 1)])
def test_a_question_asked_of_too_many_is_dropped(max_chunks: int | None, n_kept: int) -> None:
    quality = QuestionQuality(max_chunks=max_chunks)
    dataset = QADataset.from_llm(topics(6), Saying("What is a good page?", of=5), quality=quality, progress=False)
    assert list(dataset.queries.values()).count("What is a good page?") == n_kept
    assert isinstance(dataset.report, GenerationReport)
    assert dataset.report.dropped.get("asked of too many chunks", 0) == 1 - n_kept


def test_a_chunk_whose_questions_were_all_too_general_is_among_the_failures() -> None:
    llm = CannedLLM(["What is a good page?"] * 5 + ["Why is thing number 5 so?\nWho saw number 5?"])
    dataset = QADataset.from_llm(
        topics(6), llm, concurrency=1, quality=QuestionQuality(top_ups=0), num_questions_per_chunk=2, progress=False
    )
    assert isinstance(dataset.report, GenerationReport)
    assert set(dataset.report.failures) == {f"c{i}" for i in range(5)}
    assert set(dataset.report.failures.values()) == {"all its questions were asked of too many chunks"}


def test_what_was_dropped_is_made_up_for_by_asking_again() -> None:
    llm = CannedLLM(["What does the author say?\nWhy?", "When is an index built again?\nDo searches go on meanwhile?"])
    dataset = QADataset.from_llm([TextChunk(CHUNK, "c")], llm, progress=False)
    assert len(dataset) == 2
    assert len(llm.prompts) == 2
    assert llm.prompts[0] != llm.prompts[1], "a careful server gives the same answer to the same words"


def test_a_top_up_names_what_is_there_and_asks_for_the_rest() -> None:
    llm = CannedLLM([GOOD, "Do searches go on meanwhile?"])
    QADataset.from_llm([TextChunk(CHUNK, "c")], llm, progress=False)
    assert "Write 1 questions" in llm.prompts[1]
    assert f"- {GOOD}" in llm.prompts[1]


@pytest.mark.parametrize(("top_ups", "n_asked"), [(0, 1), (1, 2), (3, 4)])
def test_so_many_top_ups_as_wanted(top_ups: int, n_asked: int) -> None:
    llm = CannedLLM([GOOD])
    quality = QuestionQuality(top_ups=top_ups)
    QADataset.from_llm([TextChunk(CHUNK, "c")], llm, quality=quality, progress=False)
    assert len(llm.prompts) == n_asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_copied": 1.5}, r"max_copied must lie in \(0, 1\], or be None; got 1.5"),
        ({"near_duplicates": 0}, r"near_duplicates must lie in \(0, 1\]"),
        ({"min_bytes": 0}, "min_bytes must be a whole number of at least 1; got 0"),
        ({"max_chunks": True}, "max_chunks must be a whole number"),
        ({"top_ups": -1}, "top_ups must be a whole number of at least 0"),
        ({"max_answer_tokens": 3}, "max_answer_tokens must be a whole number of at least 16"),
        ({"styles": {"formal": 1}}, r"styles must map natural, keyword, misspelt to shares; got \['formal'\]"),
        ({"styles": {"natural": -1}}, "must be at least 0, and not all 0"),
        ({"styles": {"natural": float("nan")}}, "must be at least 0"),
        ({"styles": ["natural"]}, "styles must map .* got list"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        QuestionQuality(**options)
