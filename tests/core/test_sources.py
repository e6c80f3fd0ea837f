"""Reading chunks from folders, files and tables, also where they are odd."""

import logging
import os
from pathlib import Path

import pytest

from embedtune import BackendNotFoundError, DatasetError, PluginManager, TextChunk
from embedtune.sources import read_chunks


def write(folder: Path, **files: str) -> Path:
    """A folder of files; ``guide__install_md`` is ``guide/install.md``."""
    for name, content in files.items():
        path = folder / (name.replace("__", "/").rpartition("_")[0] + "." + name.rpartition("_")[2])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def documents(chunks: list[TextChunk]) -> list[str]:
    return list(dict.fromkeys(chunk.metadata["document_id"] for chunk in chunks))


# Folders


def test_a_folder_is_read_with_its_folders_in_the_order_of_names(tmp_path: Path) -> None:
    folder = write(tmp_path, b_md="b", a_txt="a", sub__c_rst="c", sub__deep__d_markdown="d", other_py="no")
    assert documents(read_chunks(folder)) == ["a.txt", "b.md", "sub/c.rst", "sub/deep/d.markdown"]


def test_headings_stand_in_the_metadata_and_not_in_the_text(tmp_path: Path) -> None:
    (chunk,) = read_chunks(write(tmp_path, g_md="# Guide\n\n## Install\n\nRun it."))
    assert chunk.text == "# Guide\n\n## Install\n\nRun it."
    assert dict(chunk.metadata) == {"document_id": "g.md", "heading": "Guide > Install"}


def test_ids_are_the_same_in_the_next_run_and_wherever_the_folder_stands(tmp_path: Path) -> None:
    here, there = (write(tmp_path / name, a_md="same", sub__a_md="same") for name in ("here", "there"))
    ids = [chunk.id for chunk in read_chunks(here)]
    assert ids == [chunk.id for chunk in read_chunks(str(there))]
    assert len(set(ids)) == 2


def test_a_text_twice_in_one_file_is_one_chunk(tmp_path: Path) -> None:
    page = f"# A\n\n{'same ' * 60}\n\n# A\n\n{'same ' * 60}"
    assert len(read_chunks(write(tmp_path, a_md=page))) == 1


def test_hidden_files_and_folders_are_not_read_unless_named(tmp_path: Path) -> None:
    write(tmp_path, a_md="a")
    write(tmp_path / ".git", b_md="b")
    (tmp_path / ".hidden.md").write_text("c", encoding="utf-8")
    assert documents(read_chunks(tmp_path)) == ["a.md"]
    assert documents(read_chunks(tmp_path / ".git")) == ["b.md"]


def test_links_in_a_loop_end_and_broken_ones_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, sub__a_md="a")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    assert documents(read_chunks(tmp_path)) == ["sub/a.md"]


def test_what_lies_outside_the_folder_is_not_read_by_a_link(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its text would go to an LLM somewhere."""
    (tmp_path / "docs").mkdir()
    write(tmp_path / "docs", a_md="a")
    (tmp_path / "secret.md").write_text("a password")
    (tmp_path / "docs" / "link.md").symlink_to(tmp_path / "secret.md")
    (tmp_path / "docs" / "up").symlink_to(tmp_path)
    assert documents(read_chunks(tmp_path / "docs")) == ["a.md"]
    assert "it is a link to what is not in the folder" in caplog.text


@pytest.mark.parametrize("content", ["groß".encode("latin-1"), b"\x89PNG\0\0", b"text\0more", b"\xff\xfea"])
def test_a_file_that_is_no_utf8_is_left_out_and_named(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, a_md="a")
    (tmp_path / "b.md").write_bytes(content)
    assert documents(read_chunks(tmp_path)) == ["a.md"]
    assert "left out 1 files that cannot be read as text in UTF-8: 'b.md'" in caplog.text


def test_such_a_file_given_by_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_bytes("groß".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"b\.md' is no text in UTF-8: .* Save it in UTF-8"):
        read_chunks(tmp_path / "b.md")


def test_marks_of_windows_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes("\ufeff# A\r\n\r\ntext\r\n".encode())
    (tmp_path / "b.txt").write_bytes("Zürich".encode("utf-16"))
    assert [chunk.text for chunk in read_chunks(tmp_path)] == ["# A\n\ntext", "Zürich"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_file_name_that_is_no_unicode_becomes_some(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"gro\xdf.md")).write_text("a", encoding="utf-8")
    assert documents(read_chunks(tmp_path)) == ["gro?.md"]


@pytest.mark.parametrize("files", [{}, {"a_py": "x"}, {"a_md": " \n"}])
def test_a_folder_without_text_names_the_suffixes(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no text in \d files ending in \.txt, \.md, \.markdown, \.rst"):
        read_chunks(write(tmp_path, **files))


def test_nothing_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"There is no .*gone'. Give a folder of text files"):
        read_chunks(tmp_path / "gone")


def test_a_file_of_another_kind_names_those_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.py' is of no kind that is read: \.txt, .*\.lance\. Turn it into text"):
        read_chunks(write(tmp_path, a_py="x") / "a.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(DatasetError, match="is of no kind that is read"):
        read_chunks(tmp_path / "pipe.md")
    with pytest.raises(DatasetError, match="holds no text in 0 files"):
        read_chunks(tmp_path)


def test_an_empty_file_given_by_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.md' holds no text"):
        read_chunks(write(tmp_path, a_md="\n") / "a.md")


def test_columns_of_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is no table, so it has no columns"):
        read_chunks(write(tmp_path, a_md="a"), text="body")


def test_real_guides_are_read_without_a_word(test_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        chunks = read_chunks(test_data / "lancedb_docs" / "raw")
    assert len(documents(chunks)) == 123
    assert len({chunk.id for chunk in chunks}) == len(chunks) > 800
    assert not caplog.records


# Tables


def test_a_table_gives_one_chunk_a_row_with_its_own_id_and_document(tmp_path: Path) -> None:
    table = tmp_path / "log.tsv"
    table.write_text('id\tbody\tdoc\tpage\n7\t"a\tb"\td\t1\n8\tc\t\t\n', encoding="utf-8")
    first, second = read_chunks(table, text="body", id="id", document="doc", metadata=["page"])
    assert first == TextChunk("a\tb", "7", {"document_id": "d", "page": "1"})
    assert second == TextChunk("c", "8")


def test_a_table_without_ids_gets_hashes_of_text_and_document(tmp_path: Path) -> None:
    table = tmp_path / "log.csv"
    table.write_text("\ufefftext,doc\nsame,a\nsame,b\nsame,b\n", encoding="utf-8")
    assert len(read_chunks(table)) == 1
    assert len(read_chunks(table, document="doc")) == 2


def test_rows_without_text_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.csv").write_text('text,id\na,1\n"",2\n"  ",3\n', encoding="utf-8")
    assert len(read_chunks(tmp_path / "log.csv")) == 1
    assert "log.csv: left out 2 rows without text: 'row 2', 'row 3'" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,id\na,1\nb,1\n", "log.csv, row 2: the id '1' stood before with another text"),
        ("text,id\na,1\nb,\n", "Row 2 has no id in the column 'id'"),
        ("body,id\na,1\n", r"log.csv has no column 'text'; columns: \['body', 'id'\]"),
        ("text,id,text\na,1,b\n", r"log.csv has the column 'text' twice"),
        ("text,id\na,1,2\n", "log.csv, line 2: more cells than columns"),
        ("", "log.csv has no column 'id' and 'text'"),
        ("text,id\n,1\n", "log.csv holds no text in its column 'text'"),
    ],
)
def test_a_broken_table_names_the_row(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        read_chunks(tmp_path / "log.csv", id="id")


@pytest.mark.parametrize("name", ["log.parquet", "docs.lance"])
def test_a_table_without_its_reader_says_what_to_install(name: str, tmp_path: Path, plugins: PluginManager) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BackendNotFoundError, match=r'pip install "embedtune\[lancedb\]"'):
        read_chunks(tmp_path / name, plugins=plugins)
