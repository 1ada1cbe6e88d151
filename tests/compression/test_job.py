from pathlib import Path

import pytest

from srkd.compression.job import Phases
from srkd.errors import SrkdError


def test_a_phase_runs_once_across_processes(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"value": 7}

    for _ in range(2):
        phases = Phases(tmp_path, {"a": 1})
        assert phases.once("one", make) == {"value": 7}
    assert len(calls) == 1 and phases.done("other") is None


def test_a_failed_phase_saves_only_its_time(tmp_path: Path) -> None:
    def fail() -> dict[str, int]:
        raise KeyboardInterrupt

    phases = Phases(tmp_path, {})
    phases._before = 100.0
    with pytest.raises(KeyboardInterrupt):
        phases.once("one", fail)
    assert phases.done("one") is None
    assert Phases(tmp_path, {}).spent >= 100


def test_other_options_raise(tmp_path: Path) -> None:
    Phases(tmp_path / "out" / "work", {"scale": 2, "teacher": "a"})
    with pytest.raises(SrkdError, match=r"out was started with other options: scale was 2 and is 3; restore them"):
        Phases(tmp_path / "out" / "work", {"scale": 3, "teacher": "a"})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    phases = Phases(tmp_path, {})
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(SrkdError, match=r"one\.json: cannot be read; remove it"):
        phases.done("one")
