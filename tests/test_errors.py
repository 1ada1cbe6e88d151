"""Errors that end a command in one line."""

import pytest

from srkd.errors import SrkdError, exit_on_error


def test_a_modules_own_command_line_ends_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^equal: x.json: no such file$"), exit_on_error("equal"):
        raise SrkdError("x.json: no such file")
    with pytest.raises(KeyError), exit_on_error("equal"):
        raise KeyError("a bug keeps its traceback")
