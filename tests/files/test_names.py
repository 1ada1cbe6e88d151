from __future__ import annotations

import os
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_a_pipe_or_a_link_to_an_open_file_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.png", tmp_path / "stdout"
    os.mkfifo(pipe)
    link.symlink_to("/proc/self/fd/1")
    for path in (pipe, link):
        if path.exists():
            with pytest.raises(SrkdError, match="is a device or a pipe"), atomic_path(path):
                pass
    assert pipe.is_fifo() and link.is_symlink()
