"""What is read out of an answer: JSON in whatever wrapping, whole or cut, and lines where there is none."""

import json

import pytest

from embedtune.generation.answers import read_answer
from embedtune.generation.judging import read_judgement
from embedtune.protocols import LLMAnswer

TWO = ["What is Lance?", "How is it stored?"]
PLAIN = json.dumps({"questions": TWO})

WRAPPED = {
    "alone": PLAIN,
    "indented": json.dumps({"questions": TWO}, indent=4),
    "in a fence": f"```json\n{PLAIN}\n```",
    "in a fence without a language": f"```\n{PLAIN}\n```",
    "after a preamble": f"Sure! Here are 2 questions [in JSON]:\n\n{PLAIN}",
    "before an offer": f"{PLAIN}\n\nWould you like more questions?",
    "after reasoning": f'<think>Maybe {{"questions": ["No?"]}}?</think>{PLAIN}',
    "after reasoning without its start": f'I could ask {{"questions": ["No?"]}}.\n</think>\n{PLAIN}',
    "before reasoning that never ends": f"{PLAIN}<think>Is that all? I should",
    "a list": json.dumps(TWO),
    "a list of objects": json.dumps([{"question": text} for text in TWO]),
    "objects with answers": json.dumps({"questions": [{"question": text, "answer": "A fine one?"} for text in TWO]}),
    "objects with numbers": json.dumps({"questions": [{"id": n, "query": text} for n, text in enumerate(TWO)]}),
    "an object a line": "\n".join(json.dumps({"question": text}) for text in TWO),
    "numbered names": json.dumps({"question_1": TWO[0], "question_2": TWO[1]}),
    "nested": json.dumps({"result": {"items": {"questions": TWO}}}),
    "with a title": json.dumps({"title": "Questions on Lance:", "questions": TWO}),
    "numbered inside": json.dumps({"questions": [f"1. {TWO[0]}", f"Q2: {TWO[1]}"]}),
    "with line ends inside": json.dumps({"questions": ["What is\nLance?", "How is it\t stored?"]}),
    "escaped": json.dumps({"questions": ["What is Lance\u003f", "How is it stored?"]}),
    "twice": PLAIN + PLAIN,
    "with a byte order mark": "\ufeff" + PLAIN,
    "with an example of the shape": '{"questions": ["...", ...]}\n' + PLAIN,
}


@pytest.mark.parametrize("answer", WRAPPED.values(), ids=WRAPPED)
def test_both_questions_are_read_out_of_json(answer: str) -> None:
    read = read_answer(answer)
    assert (read.questions, read.keywords) == (TWO, [])


@pytest.mark.parametrize("end", range(len('{"questions": ["What is Lance?"'), len(PLAIN)))
def test_json_that_is_cut_anywhere_gives_the_questions_that_are_whole(end: int) -> None:
    expected = TWO if end > PLAIN.index("stored?") + len("stored?") else TWO[:1]
    assert read_answer(PLAIN[:end]).questions == expected
    assert read_answer("```json\n" + PLAIN[:end]).questions == expected


@pytest.mark.parametrize(
    "answer",
    [
        '{"questions": []}',
        '{"questions": null}',
        "{}",
        "[]",
        '{"questions": [""]}',
        '{"questions": ["What is La',
        '{"ques',
        "null",
        '{"questions": [1, 2, true]}',
        '{"questions": "..."}',
        "[" * 5000,
        '{"a":' * 5000,
    ],
    ids=lambda answer: answer[:30],
)
def test_json_without_a_question_gives_none(answer: str) -> None:
    read = read_answer(answer)
    assert read.questions + read.keywords == []


def test_questions_and_keyword_queries_are_told_apart() -> None:
    answer = json.dumps({"questions": TWO, "keyword_queries": ["lance format", "lance storage"]})
    assert read_answer(answer).keywords == ["lance format", "lance storage"]
    assert read_answer(answer).questions == TWO
    cut = answer[: answer.index("lance storage")]
    assert (read_answer(cut).questions, read_answer(cut).keywords) == (TWO, ["lance format"])
    lines = "1. What is Lance?\n2. How is it stored?\n3. keywords: lance format\n**Keywords:** lance storage"
    assert (read_answer(lines).questions, read_answer(lines).keywords) == (TWO, ["lance format", "lance storage"])


@pytest.mark.parametrize(
    "refusal",
    [
        "I'm sorry, but I can't help with that.",
        "Sorry, I cannot write questions on this. Can I help you with something else?",
        "As an AI language model, I am unable to do so.",
        "Would you like me to rephrase the passage?",
        "How can I help you today?",
        '{"questions": ["I cannot assist with that request."]}',
    ],
)
def test_what_the_model_says_to_its_reader_is_no_question(refusal: str) -> None:
    read = read_answer(refusal)
    assert (read.questions, read.keywords) == ([], [])
    assert len(read.refused) == 1


@pytest.mark.parametrize(
    "question",
    [
        "How can I delete a row?",
        "Can you delete rows in LanceDB?",
        "What can I do about an index that is slow?",
        "Do I need an index?",
        "Is there a way to count rows?",
    ],
)
def test_a_searchers_own_question_is_one(question: str) -> None:
    assert read_answer(question).questions == [question]
    assert read_answer(json.dumps({"questions": [question]})).questions == [question]


@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 20_000,
        '{"' * 10_000,
        " " * 50_000 + "x",
        "1." + " " * 50_000 + "x",
        "*" * 5_000,
        "1. " * 5_000,
        '"' * 10_000,
        "<think>" * 5_000,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_an_answer_of_one_thing_over_and_over_is_read_to_its_end(hostile: str) -> None:
    for answer in (hostile, json.dumps({"questions": [hostile]}), '{"questions": ["' + hostile):
        assert all("?" not in text for text in read_answer(answer).questions)


def test_control_characters_do_not_get_into_a_question() -> None:
    answer = json.dumps({"questions": ["What\x00 is\x1b[31m Lance\u2028?\ud800"]})
    assert read_answer(answer).questions == ["What is [31m Lance ?"]


@pytest.mark.parametrize(
    ("answer", "verdicts"),
    [
        ('{"answered": [true, false]}', [True, False]),
        ('```json\n{"answered": [true, false]}\n```', [True, False]),
        ("1. true\n2. false", [True, False]),
        ("Yes\nNo", [True, False]),
        ('{"answered": [true]}', None),
        ('{"answered": [true, false, true]}', None),
        ("I think so.", None),
        ("", None),
        ('{"answered": [true, fal', None),
    ],
)
def test_a_judgement_is_read_only_with_one_verdict_a_question(answer: str, verdicts: list[bool] | None) -> None:
    assert read_judgement(LLMAnswer(text=answer), 2) == verdicts
