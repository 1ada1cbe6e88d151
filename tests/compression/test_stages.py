from pathlib import Path

import pytest

from srkd.compression.stages import Stages
from srkd.errors import SrkdError


def test_a_stage_is_done_once_across_processes(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"value": 7}

    for _ in range(2):
        stages = Stages(tmp_path, {"a": 1})
        assert stages.once("one", make) == {"value": 7}
    assert len(calls) == 1 and stages.done("other") is None


def test_a_stage_that_fails_leaves_nothing_but_the_time_it_took(tmp_path: Path) -> None:
    def fail() -> dict[str, int]:
        raise KeyboardInterrupt

    stages = Stages(tmp_path, {})
    stages._before = 100.0
    with pytest.raises(KeyboardInterrupt):
        stages.once("one", fail)
    assert stages.done("one") is None
    assert Stages(tmp_path, {}).spent >= 100


def test_other_arguments_are_refused_in_words(tmp_path: Path) -> None:
    Stages(tmp_path / "out" / "work", {"scale": 2, "teacher": "a"})
    with pytest.raises(SrkdError, match=r"out was begun otherwise: scale was 2 and is 3; restore that"):
        Stages(tmp_path / "out" / "work", {"scale": 3, "teacher": "a"})


def test_a_damaged_stage_is_named(tmp_path: Path) -> None:
    stages = Stages(tmp_path, {})
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(SrkdError, match=r"one\.json: cannot be read; remove it"):
        stages.done("one")
