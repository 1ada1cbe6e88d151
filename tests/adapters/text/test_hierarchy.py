"""Reader of hierarchy files, and its errors."""

from pathlib import Path

import pytest

from srkd.adapters.text import hierarchy
from srkd.errors import SrkdError


def test_families_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("cat,animal\noak,plant\n\ndog,animal\n", encoding="utf-8-sig")
    assert list(hierarchy.read(path, ["oak", "cat"]).items()) == [("oak", "plant"), ("cat", "animal")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat,animal\n", "no family for oak"),
        (b"cat,animal\noak\n", "line 2"),
        (b'cat,"animal\noak,plant\n', "unexpected end of data"),
        (b"oak,plant\noak,tree\n", "line 2"),
        (b"oak,\xe9t\xe9\n", "in UTF-8"),
    ],
)
def test_invalid_files_raise(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "h.csv"
    path.write_bytes(content)
    with pytest.raises(SrkdError, match=message):
        hierarchy.read(path, ["oak"])
