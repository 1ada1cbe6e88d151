import time
from collections.abc import Callable
from pathlib import Path

import pytest

from srkd.compression import job
from srkd.compression.job import Phases
from srkd.compression.request import Budget, Request, Settings
from srkd.errors import SrkdError
from srkd.files import wheels
from srkd.inference.model import Model


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

    phases = Phases(tmp_path, {}, time.monotonic() - 100)
    with pytest.raises(KeyboardInterrupt):
        phases.once("one", fail)
    assert phases.done("one") is None
    assert Phases(tmp_path, {}).spent >= 100


def test_other_options_raise(tmp_path: Path) -> None:
    Phases(tmp_path / "out" / "work", {"scale": 3, "teacher": "b"})
    Phases(tmp_path / "out" / "work", {"scale": 2, "teacher": "a"}).once("one", dict)
    with pytest.raises(SrkdError, match=r"out was started with other options: scale was 2 and is 3; restore them"):
        Phases(tmp_path / "out" / "work", {"scale": 3, "teacher": "a"})
    with pytest.raises(SrkdError, match=r"with other options: scale was 2 and is None; restore them"):
        Phases(tmp_path / "out" / "work", {"teacher": "a"})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    phases = Phases(tmp_path, {})
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(SrkdError, match=r"one\.json: cannot be read; remove it"):
        phases.done("one")


@pytest.mark.parametrize(
    ("teacher", "scale", "imitate", "words"),
    [
        ("dat_light_x4", 2, False, "dat_light_x4 is a network for x4, not x2"),
        ("edsr_16x8_x4", 3, False, "edsr_16x8_x4 is a network for x4, not x3"),
        ("realesrgan_x4plus", 3, True, "realesrgan_x4plus is a network for x4, which is not a multiple of x3"),
    ],
)
def test_a_teacher_of_another_scale_is_rejected_before_it_is_downloaded(
    teacher: str, scale: int, imitate: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "fetch", lambda *_: pytest.fail("downloaded"))
    request = Request(teacher, ["photos"], scale, Budget(30, None), imitate=imitate)
    with pytest.raises(SrkdError, match=words):
        job.CompressionJob(request, tmp_path / "out", Settings())


def test_the_time_counts_from_before_the_teacher_is_opened(
    ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, load_model = time.monotonic, job.load_model

    def slow(name: str, scale: int) -> Model:
        monkeypatch.setattr(time, "monotonic", lambda: real() + 100)
        return load_model(name, scale)

    monkeypatch.setattr(job, "load_model", slow)
    begun = job.CompressionJob(ask(), tmp_path / "out", Settings(patch=8))
    with begun.begun():
        assert begun.phases.spent >= 100
