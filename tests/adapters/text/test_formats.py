"""Readers of CSV files and folders of documents, and errors with file and line."""

from pathlib import Path

import pytest

from srkd.adapters.text import formats
from srkd.errors import SrkdError


def table(folder: Path, content: bytes) -> Path:
    path = folder / "documents.csv"
    path.write_bytes(content)
    return path


def test_a_table_with_line_breaks_long_texts_and_a_byte_order_mark(tmp_path: Path) -> None:
    long = b"word " * 40_000
    lines = b'\xef\xbb\xbftext,label,split\n"two\nlines, one ""text""",a,train\n,a,test\n' + long + b",b,train\n"
    found = formats.read(table(tmp_path, lines))
    assert found["train"].texts == ['two\nlines, one "text"', long.decode()]
    assert found["train"].labels == ["a", "b"] and found["test"].texts == [""]


def test_a_table_of_mixed_encodings_is_read_line_by_line(tmp_path: Path) -> None:
    lines = b"text,label,split\n" + "한글,a,train\n".encode("cp949") + "한글,a,test\n".encode()
    found = formats.read(table(tmp_path, lines), ["utf-8", "cp949"])
    assert found["train"].texts == found["test"].texts == ["한글"]
    with pytest.raises(SrkdError, match=r"documents.csv, line 2: not utf-8: add its encoding to data.encodings"):
        formats.read(tmp_path / "documents.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text,label\nx,a\n", "line 1: no column split"),
        (b"", "line 1: no column text, label, split"),
        (b"text,label,split,label\nx,a,train,b\n", 'the header has 2 columns "label"; rename all but the one to use'),
        (b"text,label,split\nx,a,train\nx,a\n", "line 3: needs a text, a label, and the split train or test"),
        (b"text,label,split\nx,,train\n", "line 2: needs a text"),
        (b"text,label,split\nx,a,dev\n", "line 2: needs a text"),
        (b"label,split,text\na,train,one, two\n", "line 2: more cells than the 3 of the header: quote a text"),
        (b'text,label,split\n"x"y,a,train\n', "line 2"),
        (b"text,label,split\nx,a,train\n", 'no document of the split "test"'),
        (b"text,label,split\nx,a,train\ny,b,test\n", 'the label "b" occurs only in the test documents'),
    ],
)
def test_invalid_tables_raise(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        formats.read(table(tmp_path, content))


def test_a_folder_is_read_by_split_and_class(tmp_path: Path) -> None:
    for name, content in (("train/a/1.txt", b"one"), ("train/b/2", b"Subject: two\n\nbody"), ("test/a/3", b"caf\xe9")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = formats.read(tmp_path, ["utf-8", "latin-1"], ["headers"])
    assert found["train"].texts == ["one", "body"] and found["train"].labels == ["a", "b"]
    assert found["test"].texts == ["café"]
    with pytest.raises(SrkdError, match=r"test/a/3: not utf-8: add its encoding"):
        formats.read(tmp_path)


def test_hidden_files_and_folders_are_no_documents(tmp_path: Path) -> None:
    for name in ("train/a/1.txt", "test/a/1.txt", "train/a/.DS_Store", "test/a/.gitkeep", "train/.cache/1.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    assert {split: len(found.texts) for split, found in formats.read(tmp_path).items()} == {"train": 1, "test": 1}


def test_an_empty_folder_and_a_missing_table_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match='no document of the split "train"'):
        formats.read(tmp_path)
    with pytest.raises(SrkdError, match=r"none.csv: cannot be read: No such file"):
        formats.read(tmp_path / "none.csv")
