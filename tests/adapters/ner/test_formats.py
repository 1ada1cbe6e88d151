"""Readers of all corpus layouts on small samples, and errors for invalid files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from srkd.adapters.data import find
from srkd.adapters.ner.formats import read
from srkd.errors import SrkdError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def kmou(folder: Path, words: str, tags: str) -> Path:
    write(folder / "a.tags.txt", tags)
    return write(folder / "a.words.txt", words)


def test_kmou(tmp_path: Path) -> None:
    path = kmou(tmp_path, "힐러리 클린턴 이 오 았 다\r\n\r\n28 일 \r\n", "B-PER I-PER O O O O\r\n\r\nB-DAT I-DAT \r\n")
    corpus = read(path, "kmou")
    assert [s.tokens for s in corpus.sentences] == [["힐러리", "클린턴", "이", "오", "았", "다"], ["28", "일"]]
    assert corpus.sentences[1].tags == ["B-DAT", "I-DAT"] and not corpus.notices


def test_klue_with_space_tokens_and_comments(tmp_path: Path) -> None:
    text = "## 컬럼명 : CHAR\tNE_TAG\n## klue-1\t<박:PS>씨 #\n박\tB-PS\n씨\tO\n \tO\n#\tO\n\n## klue-2\t또\n또\tO\n\n"
    first, second = read(write(tmp_path / "a.tsv", text), "klue").sentences
    assert first.tokens == ["박", "씨", " ", "#"] and first.tags == ["B-PS", "O", "O", "O"]
    assert second.tokens == ["또"]


def test_conll_with_any_columns_and_schemes(tmp_path: Path) -> None:
    text = (
        "-DOCSTART- -X- -X- O\n\n# text = a comment\nU.N. NNP I-NP I-ORG\n# SYM O O\nHeitor\tNNP x S-PER\n\n"
        "New NNP x B-LOC\nYork NNP x E-LOC\nLima NNP x U-LOC\n"
    )
    corpus = read(write(tmp_path / "a.conll", text), "conll")
    assert corpus.sentences[0].tokens == ["U.N.", "#", "Heitor"]
    assert corpus.sentences[0].tags == ["B-ORG", "O", "B-PER"]
    assert corpus.sentences[1].tags == ["B-LOC", "I-LOC", "B-LOC"]


def test_other_white_space_is_a_token(tmp_path: Path) -> None:
    text = "10\u00a0000 CD B-NOH\n\u3000\tSP\tO\n\u00a0\n원 NN O\n"
    assert [s.tokens for s in read(write(tmp_path / "a.conll", text), "conll").sentences] == [
        ["10\u00a0000", "\u3000"],
        ["원"],
    ]
    assert read(kmou(tmp_path, "가 \u3000 나\n", "O O O\n"), "kmou").sentences[0].tokens == ["가", "\u3000", "나"]


def modu(entities: list[dict[str, Any]]) -> str:
    sentence = {"id": "S1", "form": "이순신이 부산에", "NE": entities}
    return json.dumps({"document": [{"id": "D1", "sentence": [sentence, {"id": "S2", "form": "", "NE": []}]}]})


def test_modu_tags_characters(tmp_path: Path) -> None:
    entities = [
        {"id": 1, "form": "이순신", "label": "PS_NAME", "begin": 0, "end": 3},
        {"id": 2, "form": "부산", "label": "LCP_CITY", "begin": 5, "end": 7},
    ]
    (sentence,) = read(write(tmp_path / "a.json", modu(entities)), "modu").sentences
    assert sentence.tokens == list("이순신이 부산에")
    assert sentence.tags == ["B-PS", "I-PS", "I-PS", "O", "O", "B-LC", "I-LC", "O"]


def test_entity_starting_with_i_is_read_as_b_with_a_notice(tmp_path: Path) -> None:
    path = kmou(tmp_path, "가 나\n가 나 다\n가", "O O\nI-PER I-PER I-LOC\nI-LOC")
    corpus = read(path, "kmou")
    assert corpus.sentences[1].tags == ["B-PER", "I-PER", "B-LOC"]
    (notice,) = corpus.notices
    assert notice.endswith("a.words.txt: 3 entities begin with I (first in line 2), read as B")


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ("가 나\n가 나\n", "O O\nO\n", r"a\.words\.txt, line 2: 2 tokens, but 1 tags in a\.tags\.txt"),
        ("가\n가\n", "O\n", r"a\.words\.txt: 2 lines, but a\.tags\.txt has 1"),
        ("가\n나 다\n", "O\nO PER\n", r'a\.words\.txt, line 2: invalid tag "PER"'),
        ("가\n", "B-\n", 'line 1: invalid tag "B-"'),
        ("\n\n", "\n\n", "no sentences found, read as kmou"),
    ],
)
def test_invalid_kmou_files_raise(words: str, tags: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=message):
        read(kmou(tmp_path, words, tags), "kmou")


def test_mixed_encodings_raise_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("가\tO\n".encode() + "나\tO\n".encode("cp949"))
    with pytest.raises(SrkdError, match=r"a\.tsv, line 2: not UTF-8; convert"):
        read(path, "klue")


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ("가\tO\n나\n", "klue", 'line 2: "나" has no tag'),
        ("a O\n\nb X-PER\n", "conll", 'line 3: invalid tag "X-PER"'),
        ("", "conll", "no sentences found"),
        ("{}", "modu", "not the JSON of the Modu"),
        ("{", "modu", "not the JSON of the Modu"),
        ('{"document": [{"sentence": [3]}]}', "modu", r"sentence \?: invalid entities"),
        (modu([{"form": "부산", "label": "LC", "begin": 0, "end": 2}]), "modu", 'sentence S1.*"부산" is not at 0 to 2'),
        (modu([{"form": "부산", "label": "LC", "begin": 5, "end": 7}] * 2), "modu", "overlaps another"),
        ("가 O\n", "conl", 'data.format: unknown layout "conl" .did you mean "conll"'),
        ("가 O\n", "kmou", 'needs a file with "words" in its name'),
    ],
)
def test_invalid_files_in_other_layouts_raise(text: str, format: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=message):
        read(write(tmp_path / "file", text), format)


def test_a_missing_file_raises(tmp_path: Path) -> None:
    write(tmp_path / "a.words.txt", "가\n")
    with pytest.raises(SrkdError, match=r"a\.tags\.txt: cannot read the corpus"):
        read(tmp_path / "a.words.txt", "kmou")


@pytest.mark.parametrize(
    ("path", "format", "sentences", "entities"),
    [("ner/kmou/testa.words.txt", "kmou", 2662, None), ("ner/klue-ner-v1.1_dev.tsv", "klue", 5000, 14257)],
)
def test_the_real_corpora(path: str, format: str, sentences: int, entities: int | None) -> None:
    try:
        file = find(path, "a corpus", "its authors")
    except SrkdError as error:
        pytest.skip(str(error))
    corpus = read(file, format)
    assert len(corpus.sentences) == sentences
    if entities:
        assert sum(tag[0] == "B" for s in corpus.sentences for tag in s.tags) == entities
