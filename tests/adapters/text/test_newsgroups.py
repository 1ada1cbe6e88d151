"""20 Newsgroups: reading, and removal of headers, footers and quotes."""

import io
import tarfile
from pathlib import Path

import pytest

from srkd.adapters.text import formats, newsgroups
from srkd.errors import SrkdError

LETTER = "From: a@b\nSubject: c\n\nIn article <1> d writes:\n> old words\nnew words \xe9\n\n--\nA. Name"


def archive(path: Path, documents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, content in documents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def test_a_split_is_read_sorted_and_stripped(tmp_path: Path) -> None:
    letter = LETTER.encode("latin-1")
    names = ("train/sci.med/2", "train/alt.atheism/1", "test/sci.med/3")
    path = archive(tmp_path / "a.tar.gz", {f"20news-bydate-{name}": letter for name in names})
    documents = newsgroups.read(path, "train")
    assert [(key, group) for key, _, group in documents] == [("alt.atheism/1", "alt.atheism"), ("sci.med/2", "sci.med")]
    assert newsgroups.strip(documents[0][1], newsgroups.REMOVERS).strip() == "new words \xe9"
    assert newsgroups.strip(documents[0][1], ["headers"]).startswith("In article")
    assert newsgroups.read(path, "test") == [("sci.med/3", LETTER, "sci.med")]


def test_a_single_block_has_no_footer_and_no_header() -> None:
    assert newsgroups.without_footer("a\nb") == newsgroups.without_headers("a\nb") == "a\nb"


def test_invalid_archives_raise(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("words")
    empty = archive(tmp_path / "empty.tar.gz", {})
    for path, split in ((tmp_path / "bad", "train"), (empty, "test"), (tmp_path / "none", "test")):
        with pytest.raises(SrkdError, match=r"20news-bydate\.tar\.gz"):
            newsgroups.read(path, split)


def test_families_are_topics_not_prefixes() -> None:
    topics = {
        "alt.atheism": "religion",
        "soc.religion.christian": "religion",
        "talk.religion.misc": "religion",
        "talk.politics.mideast": "politics",
        "comp.sys.mac.hardware": "computers",
        "misc.forsale": "forsale",
        "rec.sport.hockey": "recreation",
        "sci.electronics": "science",
        "alt.hypertext": "alt",
    }
    assert {group: newsgroups.family(group) for group in topics} == topics


def test_the_real_archive_has_the_published_counts(data: Path) -> None:
    splits = formats.read(data / "text" / "20news-bydate.tar.gz")
    assert [len(splits[name].texts) for name in ("train", "test")] == [11_314, 7_532]
    groups = set(splits["train"].labels)
    assert len(groups) == 20 and len({newsgroups.family(group) for group in groups}) == 6
