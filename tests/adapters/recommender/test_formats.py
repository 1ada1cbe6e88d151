"""Readers of tables and pair lists: separators, ids of any type, errors with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from srkd.adapters.recommender.formats import read_pairs, read_table
from srkd.errors import SrkdError


def write(folder: Path, text: str) -> Path:
    path = folder / "table"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "196\tKolya\t3\t881250949\n186\tÉté\t4.5\t891717742\n",
        "196::Kolya::3::881250949\n186::Été::4.5::891717742\n",
        "196 Kolya 3 881250949\n\n186 Été 4.5 891717742\n",
        "userId,movieId,rating,timestamp\n196,Kolya,3,881250949\n186,Été,4.5,891717742\n",
        "Rating;Item;User;Time\n3;Kolya;196;881250949\n4.5;Été;186;891717742\n",
        '\ufeffuser,item,rating,time\n196,"Kolya",3,881250949\n186,Été,4.5,891717742\n',
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\tKolya\t3\t881250949\n186\tÉté\t4.5\t891717742\n",
        "user_id,book_id,rating,timestamp\n196,Kolya,3,881250949\n186,Été,4.5,891717742\n",
        "review_text,user_id,business_id,stars,time\n-,196,Kolya,3,881250949\n-,186,Été,4.5,891717742\n",
        "User-ID;hotel_id;Book-Rating;timestamp\n196;Kolya;3;881250949\n186;Été;4.5;891717742\n",
        'user,item,rating,time,text\n196,Kolya,3,881250949,"two\nlines"\n186,Été,4.5,891717742,\u2028\n',
    ],
    ids=[
        "tabs",
        "colons",
        "blanks",
        "header",
        "columns in another order",
        "byte order mark and quotes",
        "RecBole",
        "Goodreads",
        "Yelp",
        "ids of something else",
        "texts with line breaks",
    ],
)
def test_one_table_in_many_formats(text: str, tmp_path: Path) -> None:
    lines = read_table(write(tmp_path, text))
    assert [lines.user_ids[u] for u in lines.users] == ["196", "186"]
    assert [lines.item_ids[i] for i in lines.items] == ["Kolya", "Été"]
    assert lines.ratings.tolist() == [3, 4.5] and lines.times.tolist() == [881250949, 891717742]


def test_a_quotation_mark_between_tabs_is_part_of_the_id(tmp_path: Path) -> None:
    lines = read_table(write(tmp_path, 'u1\t"Heroes\t5\nu2\tb\t4\nu3\t12"\t3\n'))
    assert len(lines) == 3 and lines.item_ids == ['"Heroes', '12"', "b"]


@pytest.mark.parametrize("text", ["user,item\n1,b\n2,c\n", "user_id:token\titem_id:token\n1\tb\n2\tc\n", "1 b\n2 c\n"])
def test_without_ratings_every_one_is_1(text: str, tmp_path: Path) -> None:
    lines = read_table(write(tmp_path, text))
    assert lines.ratings.tolist() == [1, 1] and [lines.item_ids[i] for i in lines.items] == ["b", "c"]


@pytest.mark.parametrize(
    "text", ["user1\titem1\t2\t101\nuser2\titem1\t3\t102\n", "uid_1,iid_1,2,101\nuid_2,iid_1,3,102\n"]
)
def test_ids_with_digits_are_no_header(text: str, tmp_path: Path) -> None:
    lines = read_table(write(tmp_path, text))
    assert lines.ratings.tolist() == [2, 3] and lines.times.tolist() == [101, 102] and len(lines.user_ids) == 2


def test_missing_times_are_zero(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, "a,b,1\n")).times.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,rating\n1,2,3\n1,4,good\n", 'line 3: the rating "good" is not a number'),
        ("1,2,nan\n", 'line 1: the rating "nan" is not a number'),
        ("1,2,inf\n", 'line 1: the rating "inf" is not a number'),
        ("1 2 3 x\n", 'line 1: the time "x" is not a number'),
        ("1,2,3\n1,2\n", "line 2: 2 columns, expected 3"),
        ("1,2,3\n,2,3\n", "line 2: no user"),
        ("user,shop_id,brand_id,rating\n1,2,3,4\n", "the header has no column item; it has user, shop_id, brand_id"),
        ("1\n2\n", "line 1: 1 columns, expected 2"),
        ('1,"two\nlines",3\n1,2,good\n', 'line 3: the rating "good" is not a number'),
        ('1,2,3\n1,"2,3\n1,2,3\n', "line 3: unexpected end of data"),
        ('1,2,3\n1,"2,3\n' + "1,2,3\n" * 30_000, "field larger than field limit"),
        ("user,rating\n1,2\n", "the header has no column item; it has user, rating"),
        ("user,item,rating,User\n1,2,3,4\n", 'the header has 2 columns "user"; rename all but the one to use'),
        ("user,item,rating\n", "no ratings found"),
        ("\n\n", "is empty"),
    ],
)
def test_errors_name_the_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=message):
        read_table(write(tmp_path, text))


def test_unreadable_files_raise(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SrkdError, match="not a text file"):
        read_table(tmp_path / "bytes")
    with pytest.raises(SrkdError, match="cannot be read: No such file"):
        read_table(tmp_path / "nothing")


def test_pairs(tmp_path: Path) -> None:
    assert read_pairs(write(tmp_path, "1 8\n2 a\n")) == [("1", "8"), ("2", "a")]
    with pytest.raises(SrkdError, match="line 2: not a pair of user and item"):
        read_pairs(write(tmp_path, "1 8\n2 3 4\n"))
