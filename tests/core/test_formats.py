"""JSON, BEIR and CSV: what is written, what is read, and what is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from embedtune import BackendNotFoundError, DatasetError, ModelFolderError, PluginManager, QADataset
from embedtune.formats.beir import load_beir
from embedtune.plugins import DatasetFormat
from embedtune.testing import DatasetFormatContract, tiny_dataset

CORPUS_LINES = ['{"_id": "c1", "title": "Head", "text": "body"}', '{"_id": "c2", "title": "", "text": "alone"}']
QUERY_LINES = ['{"_id": "q1", "text": "how?"}', '{"_id": "q2", "text": "why?"}']
QRELS_LINES = ["query-id\tcorpus-id\tscore", "q1\tc1\t1", "q2\tc2\t1"]


class TestJson(DatasetFormatContract):
    path = "dataset.json"

    def make(self) -> DatasetFormat:
        return PluginManager(found=[]).dataset_format("json")


class TestCsv(DatasetFormatContract):
    path = "dataset.csv"

    def make(self) -> DatasetFormat:
        return PluginManager(found=[]).dataset_format("csv")


class TestBeir(DatasetFormatContract):
    def make(self) -> DatasetFormat:
        return PluginManager(found=[]).dataset_format("beir")


def write_beir(folder: Path, **files: list[str]) -> Path:
    """A BEIR folder of three files, each of which may be given; keys are file names without suffix."""
    lines = {"corpus": CORPUS_LINES, "queries": QUERY_LINES, "test": QRELS_LINES, **files}
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, content in lines.items():
        path = folder / (f"{name}.jsonl" if name in ("corpus", "queries") else f"qrels/{name}.tsv")
        path.write_text("\n".join(content) + "\n", encoding="utf-8")
    return folder


def rich_dataset() -> QADataset:
    """Everything that a data set can hold, with ids that are no plain words."""
    return QADataset(
        {'q "1"': "how?", "q\u20182\u2019": "why, and to what end?"},
        {'c"1': "like this", "c 2": "because", "c3": "a distractor"},
        {'q "1"': ['c"1', "c 2"], "q\u20182\u2019": ["c 2"]},
        metadata={'c"1': {"document_id": "d1"}, "c3": {"document_id": "d3"}},
        styles={'q "1"': "keyword"},
        grades={'q "1"': {'c"1': 0.1234567, "c 2": 3}},
    )


@pytest.mark.parametrize("name", ["json", "beir", "csv"])
def test_styles_grades_documents_and_odd_ids_come_back(name: str, tmp_path: Path) -> None:
    """BEIR's judgments know no quotes, so an id with one must be written bare."""
    dataset = rich_dataset()
    dataset.save(tmp_path / "set", format=name)
    loaded = QADataset.load(tmp_path / "set", format=name)
    assert (loaded.queries, loaded.corpus, loaded.relevant_docs) == (
        dataset.queries,
        dataset.corpus,
        dataset.relevant_docs,
    )
    assert loaded.styles == dataset.styles
    assert loaded.grades['q "1"'] == dataset.grades['q "1"']
    assert loaded.documents == dataset.documents


# Which format a path is in


@pytest.mark.parametrize(("name", "suffix"), [("json", ".json"), ("csv", ".csv")])
def test_the_suffix_names_the_format(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"set{suffix}"
    tiny_dataset().save(path)
    assert QADataset.load(path) == QADataset.load(path, format=name)
    assert len(QADataset.load(path)) == 8


def test_a_beir_folder_is_known_by_its_corpus(tmp_path: Path) -> None:
    assert len(QADataset.load(write_beir(tmp_path / "set"))) == 2


@pytest.mark.parametrize("existing", [True, False])
def test_a_path_without_suffix_names_the_extra_where_lancedb_is_missing(
    existing: bool, tmp_path: Path, plugins: PluginManager
) -> None:
    (tmp_path / "set").mkdir() if existing else None
    with pytest.raises(BackendNotFoundError, match=r'Installed: .json., .beir., .csv.*"embedtune\[lancedb\]"'):
        tiny_dataset().save(tmp_path / "set", plugins=plugins)


def test_an_unknown_suffix_names_what_is_installed(tmp_path: Path, plugins: PluginManager) -> None:
    with pytest.raises(DatasetError, match=r"No dataset format fits .*set\.xlsx'.* installed: 'json', 'beir', 'csv'"):
        tiny_dataset().save(tmp_path / "set.xlsx", plugins=plugins)


@pytest.mark.parametrize(("name", "message"), [("lance", r"embedtune\[lancedb\]"), ("xml", "'json', 'beir', 'csv'")])
def test_a_named_format_that_is_missing_says_so(
    name: str, message: str, tmp_path: Path, plugins: PluginManager
) -> None:
    with pytest.raises(BackendNotFoundError, match=f"No dataset format named '{name}'.*{message}"):
        tiny_dataset().save(tmp_path / "set", format=name, plugins=plugins)


def test_nothing_there_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no data set at .*gone'"):
        QADataset.load(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []


def test_parents_are_made_and_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tiny_dataset().save("~/deep/er/set.json")
    assert len(QADataset.load("~/deep/er/set.json")) == 8
    assert (tmp_path / "deep" / "er" / "set.json").is_file()


# Targets that are not ours


@pytest.mark.parametrize("foreign", ["notes.txt", "README.md", "qrels/train.tsv"])
def test_saving_over_a_foreign_folder_is_refused_and_leaves_it(foreign: str, tmp_path: Path) -> None:
    """A downloaded BEIR set holds more than we write: replacing the folder would lose its other splits."""
    folder = write_beir(tmp_path / "set")
    (folder / foreign).write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ModelFolderError, match=r"is not empty and was not written by embedtune .* it is left as it is"):
        tiny_dataset().save(folder, format="beir")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_file_format_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set.json").mkdir()
    with pytest.raises(DatasetError, match=r"set\.json' is a folder; the format 'json' is one file"):
        tiny_dataset().save(tmp_path / "set.json")


def test_a_folder_format_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="is a file or a link, not a folder"):
        tiny_dataset().save(tmp_path / "set", format="beir")
    assert (tmp_path / "set").read_text(encoding="utf-8") == "mine"


def test_a_failed_save_leaves_the_old_file_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    tiny_dataset(2).save(path)
    endless: dict[str, object] = {}
    endless["self"] = endless
    broken = QADataset({"q": "how?"}, {"c": "text"}, {"q": ["c"]}, {"c": endless})
    with pytest.raises(ValueError, match="Circular reference"):
        broken.save(path)
    assert len(QADataset.load(path)) == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.json"]


def test_beir_refuses_an_id_that_its_judgments_cannot_hold(tmp_path: Path) -> None:
    dataset = QADataset({"q\t1": "how?"}, {"c": "text"}, {"q\t1": ["c"]})
    with pytest.raises(DatasetError, match=r"cannot hold the id 'q\\t1': it has a tab or a line break"):
        dataset.save(tmp_path / "set", format="beir")
    assert list(tmp_path.iterdir()) == []


# JSON


def test_json_is_llama_indexs_file_by_shape(tmp_path: Path) -> None:
    """EmbeddingQAFinetuneDataset.from_json reads these four keys."""
    path = tmp_path / "set.json"
    tiny_dataset(1).save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["queries"] == tiny_dataset(1).queries
    assert content["corpus"] == tiny_dataset(1).corpus
    assert content["relevant_docs"] == {"q0-0": ["c0"], "q0-1": ["c0"]}
    assert content["mode"] == "text"
    assert set(content) == {"queries", "corpus", "relevant_docs", "mode", "embedtune"}


def test_json_as_llama_index_writes_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    content = {"queries": {"q": "how?"}, "corpus": {"c": "so"}, "relevant_docs": {"q": ["c"]}, "mode": "text"}
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
    assert QADataset.load(path) == QADataset({"q": "how?"}, {"c": "so"}, {"q": ["c"]})


def test_metadata_that_json_does_not_know_is_written_as_text(tmp_path: Path) -> None:
    dataset = QADataset({"q": "how?"}, {"c": "so"}, {"q": ["c"]}, {"c": {"source": Path("a.md"), "page": 3}})
    dataset.save(tmp_path / "set.json")
    assert QADataset.load(tmp_path / "set.json").metadata == {"c": {"source": "a.md", "page": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"queries": {"q": "a?", "q": "b?"}}', "the id 'q' stands twice in one object"),
        ('{"queries": {', r"is not a data set in JSON: .*line 1 column"),
        ("[1]", "must hold an object with the objects 'queries', 'corpus' and 'relevant_docs'"),
        ('{"queries": {}, "corpus": []}', "must hold an object with the objects"),
        ('{"queries": {"q": "a?"}, "corpus": {"c": "b"}, "relevant_docs": {"q": ["x"]}}', "not in the corpus: 'x'"),
        ("[" * 100_000, "is not a data set in JSON"),
        ("", "is not a data set in JSON"),
    ],
)
def test_broken_json_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        QADataset.load(path)


@pytest.mark.parametrize("name", ["set.json", "set.csv"])
def test_a_file_in_another_encoding_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes("query,chunk\nwie groß?,Zürich\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=rf"{name}.*codec can't decode"):
        QADataset.load(tmp_path / name)


def test_a_folder_where_a_file_is_expected_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.json").mkdir()
    with pytest.raises(DatasetError, match=r"set\.json' cannot be read as 'json'"):
        QADataset.load(tmp_path / "set.json")


# BEIR


def test_beir_text_is_title_newline_text_stripped(tmp_path: Path) -> None:
    dataset = QADataset.load(write_beir(tmp_path / "set"))
    assert dataset.corpus == {"c1": "Head\nbody", "c2": "alone"}


def test_qrels_without_header_keep_their_first_judgment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = QADataset.load(write_beir(tmp_path / "set", test=QRELS_LINES[1:]))
    assert dataset.relevant_docs == {"q1": ["c1"], "q2": ["c2"]}
    assert "test.tsv has no header line; its first line is read as a judgment" in caplog.text


def test_the_header_may_have_other_names(tmp_path: Path) -> None:
    dataset = QADataset.load(write_beir(tmp_path / "set", test=["qid\tdocid\trel", *QRELS_LINES[1:]]))
    assert list(dataset.queries) == ["q1", "q2"]


def test_a_judgment_of_zero_is_not_relevant(tmp_path: Path) -> None:
    dataset = QADataset.load(write_beir(tmp_path / "set", test=[*QRELS_LINES[:2], "q2\tc2\t0", "q1\tc2\t2"]))
    assert dataset.relevant_docs == {"q1": ["c1", "c2"]}
    assert dataset.grades == {"q1": {"c1": 1.0, "c2": 2.0}}


def test_judgments_of_one_are_no_grades(tmp_path: Path) -> None:
    assert QADataset.load(write_beir(tmp_path / "set")).grades == {}


def test_only_the_splits_own_queries_are_read_and_the_whole_corpus(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", train=[QRELS_LINES[0], "q1\tc1\t1"])
    dataset = QADataset.load(folder, split="train")
    assert list(dataset.queries) == ["q1"]
    assert list(dataset.corpus) == ["c1", "c2"]


def test_a_missing_split_names_those_that_are_there(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set", train=QRELS_LINES)
    with pytest.raises(DatasetError, match=r"has no split 'dev'; splits: 'test', 'train'. Say one with split="):
        QADataset.load(folder, split="dev")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"test": [*QRELS_LINES, "q1 c1 1"]},
            r"test.tsv, line 4: expected query id, chunk id and score; got \['q1 c1 1'\]",
        ),
        ({"test": [*QRELS_LINES, "q1\tc1\thigh"]}, "test.tsv, line 4"),
        ({"corpus": [*CORPUS_LINES, "{"]}, "corpus.jsonl, line 3: not JSON"),
        ({"corpus": [*CORPUS_LINES, "[]"]}, r"corpus.jsonl, line 3: must be an object with a str '_id'; got '\[\]'"),
        ({"queries": [*QUERY_LINES, '{"_id": 3, "text": ""}']}, "queries.jsonl, line 3: must be an object with a str"),
        ({"corpus": [*CORPUS_LINES, '{"_id": "c2", "text": "x"}']}, "corpus.jsonl, line 3: the id 'c2' stood before"),
        ({"queries": QUERY_LINES[:1]}, "relevant_docs names queries that do not exist: 'q2'"),
        ({"test": QRELS_LINES[:1]}, "The data set is empty: 0 queries"),
    ],
)
def test_a_broken_beir_folder_names_file_and_line(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        QADataset.load(write_beir(tmp_path / "set", **files))


def test_blank_lines_and_metadata_of_other_kinds_are_no_error(tmp_path: Path) -> None:
    line = '{"_id": "c3", "text": "more", "metadata": "a string"}'
    queries = ['{"_id": "q1", "text": "how?", "metadata": null}', '{"_id": "q2", "text": "why?", "metadata": []}', ""]
    dataset = QADataset.load(write_beir(tmp_path / "set", corpus=[*CORPUS_LINES, "", line], queries=queries))
    assert dataset.metadata == {}


def test_a_beir_folder_without_queries_says_what_it_needs(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "set")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"There is no .*queries.jsonl'; a BEIR folder needs"):
        QADataset.load(folder)


def test_saved_beir_has_the_header_line_that_readers_skip(tmp_path: Path) -> None:
    tiny_dataset(1).save(tmp_path / "set", format="beir")
    lines = (tmp_path / "set" / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == ["query-id\tcorpus-id\tscore", "q0-0\tc0\t1", "q0-1\tc0\t1"]


@pytest.mark.parametrize("name", ["set.json", "set.csv"])
def test_a_split_of_a_format_without_splits_is_refused(name: str, tmp_path: Path) -> None:
    """Otherwise a model would be tuned on the whole file, and its test part would be no test."""
    tiny_dataset().save(tmp_path / name)
    with pytest.raises(DatasetError, match=rf"'{name}' has no splits; got split='train'. Leave it out"):
        QADataset.load(tmp_path / name, split="train")


@pytest.mark.parametrize(("split", "n_queries"), [("test", 2668), ("train", 8652)])
def test_real_beir_folder_is_read_whole(split: str, n_queries: int, test_data: Path) -> None:
    dataset = load_beir(test_data / "nl2bash", split)
    assert (len(dataset), len(dataset.corpus)) == (n_queries, 10_592)


# CSV


def test_csv_needs_query_and_chunk_alone(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text('\ufeffquery,chunk\nhow?,so\nwhy?,so\n,"a, distractor"\n', encoding="utf-8")
    dataset = QADataset.load(path)
    assert list(dataset.queries.values()) == ["how?", "why?"]
    assert list(dataset.corpus.values()) == ["so", "a, distractor"]
    assert len(set(map(tuple, dataset.relevant_docs.values()))) == 1


def test_csv_keeps_distractors_and_line_ends_in_texts(tmp_path: Path) -> None:
    dataset = QADataset({"q": "a\r\nb?"}, {"c": "one\n\ntwo\rthree", "d": " \ttext "}, {"q": ["c"]})
    dataset.save(tmp_path / "set.csv")
    assert QADataset.load(tmp_path / "set.csv") == dataset


def test_csv_keeps_metadata_beside_the_document(tmp_path: Path) -> None:
    metadata = {"c": {"document_id": "d", "page": 3, "tags": ["ü", "a,b"], "nested": {"a": None}}, "e": {"page": 1}}
    dataset = QADataset({"q": "how?"}, {"c": "so", "e": "else"}, {"q": ["c"]}, metadata)
    dataset.save(tmp_path / "set.csv")
    assert QADataset.load(tmp_path / "set.csv") == dataset


def test_csv_of_an_earlier_release_has_documents_without_metadata(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("query,chunk_id,chunk,document_id\nhow?,c,so,d\n", encoding="utf-8")
    assert QADataset.load(tmp_path / "set.csv").metadata == {"c": {"document_id": "d"}}


def test_metadata_that_csv_cannot_hold_names_its_chunk(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["self"] = endless
    with pytest.raises(DatasetError, match="The metadata of chunk 'c' cannot be written as JSON: Circular reference"):
        QADataset({"q": "how?"}, {"c": "text"}, {"q": ["c"]}, {"c": endless}).save(tmp_path / "set.csv")
    assert list(tmp_path.iterdir()) == []


def test_csv_reads_fields_of_any_length(tmp_path: Path) -> None:
    dataset = QADataset({"q": "how?"}, {"c": "a" * 200_000}, {"q": ["c"]})
    dataset.save(tmp_path / "set.csv")
    assert QADataset.load(tmp_path / "set.csv") == dataset


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("query,text\nhow?,so\n", "set.csv has no column 'chunk'; columns:"),
        ("", "set.csv has no column 'chunk' and 'query'"),
        ("query,chunk\nhow?,so, and so\n", "set.csv, line 2: more cells than columns"),
        ("query,chunk_id,chunk\nhow?,c,so\nwhy?,c,not so\n", "set.csv, line 3: the id 'c' stood before with another"),
        ("query_id,query,chunk\nq,how?,so\nq,why?,so\n", "set.csv, line 3: the id 'q' stood before with another"),
        ("query,chunk,grade\nhow?,so,high\n", "set.csv, line 2: the grade 'high' is no number"),
        ("query,chunk,metadata\nhow?,so,[1]\n", r"set.csv, line 2: the metadata '\[1\]' is no JSON object"),
        ("query,chunk,metadata\nhow?,so,{\n", r"set.csv, line 2: the metadata '\{' is no JSON object"),
        ("query,chunk\nhow?\n", "1 relevant chunks have no text"),
        ("query,chunk\n", "The data set is empty"),
    ],
)
def test_broken_csv_names_file_and_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        QADataset.load(tmp_path / "set.csv")


def test_loading_says_nothing_about_a_good_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny_dataset().save(tmp_path / "set.json")
    with caplog.at_level(logging.INFO):
        QADataset.load(tmp_path / "set.json")
    assert not caplog.records
