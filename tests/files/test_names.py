from __future__ import annotations

import pytest

from srkd.errors import SrkdError
from srkd.files.names import check_name, check_part


@pytest.mark.parametrize("name", ["x", "my student x2", "Größe", "a.b-c+d", "net_g"])
def test_ordinary_names_pass(name: str) -> None:
    assert check_name(name, "name") == name == check_part(name, "name")


@pytest.mark.parametrize("name", ["a/b", "/etc/x", "..\\x", "a\nb", "a\x1b[2J", "a\0b", "x" * 201, "\u202egnp"])
def test_text_that_cannot_be_part_of_a_file_name(name: str) -> None:
    for check in (check_name, check_part):
        with pytest.raises(SrkdError) as error:
            check(name, "name")
        assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".git"])
def test_text_that_cannot_name_a_folder(name: str) -> None:
    with pytest.raises(SrkdError, match="without a leading dot"):
        check_name(name, "name")
    assert check_part(name, "suffix") == name
