"""Search order of the data of an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from srkd.adapters.data import find
from srkd.errors import SrkdError


def test_path_as_given_precedes_srkd_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SRKD_DATA", str(tmp_path / "mirror"))
    assert find("set", "a set", "X") == tmp_path / "mirror" / "set"
    (tmp_path / "here" / "set").mkdir()
    assert find("set", "a set", "X") == Path("set")
    assert find(str(tmp_path / "here"), "a set", "X") == tmp_path / "here"


def test_missing_data_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=r"no/set: no such file or folder \(a set\). Source: The Lab. .*set SRKD_DATA"):
        find("no/set", "a set", "The Lab")
    monkeypatch.setenv("SRKD_DATA", str(tmp_path))
    with pytest.raises(SrkdError, match=r"Give its path$"):
        find("no/set", "a set", "The Lab")
