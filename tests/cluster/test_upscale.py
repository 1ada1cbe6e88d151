"""What a worker does with a batch of images. Ray itself: test_ray.py."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from srkd.cluster import executor, upscale
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference.files import Options
from srkd.inference.jobs import Job, Outcome
from srkd.inference.model import Model
from srkd.metrics.evaluation import Bicubic
from support import textured

pyarrow = pytest.importorskip("pyarrow", reason="the extra cluster is not installed")


def outcomes_of(
    names: list[str], folder: Path, open_model: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Outcome]:
    """The outcomes of a batch by the image's name."""
    monkeypatch.setattr(executor, "use_own_threads", lambda: None)
    monkeypatch.setattr(upscale, "_opened", {})
    jobs = [Job(folder / name, folder / "out" / name, "png") for name in names]
    batch = pyarrow.table({"number": list(range(len(jobs))), "job": [pickle.dumps(job) for job in jobs]})
    found = upscale._upscale(batch, key="key", open_model=open_model, options=Options())
    outcomes = [pickle.loads(data) for data in found["outcome"]]
    assert [jobs[number] for number in found["number"]] == [outcome.job for outcome in outcomes]
    return {outcome.job.source.name: outcome for outcome in outcomes}


def bicubic() -> Model:
    return Model.of_engine(Bicubic(2), {"name": "bicubic", "scale": 2, "halo": 4, "align": 1, "bytes_per_pixel": 12})


def missing() -> Model:
    raise SrkdError("net.pth: no such checkpoint")


@pytest.mark.parametrize("others", [[], ["good.png"]])
def test_an_image_that_fails_has_its_reason_whatever_the_size_of_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    write_image(tmp_path / "good.png", ImageData(textured(0, 12, 16)))
    (tmp_path / "broken.png").write_bytes(b"no image")
    found = outcomes_of(["broken.png", *others], tmp_path, bicubic, monkeypatch)
    assert found["broken.png"].status == "failed" and "not an image that can be read" in found["broken.png"].error
    assert all(found[name].status == "written" for name in others)


def test_a_model_that_a_worker_cannot_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcomes_of(["a.png", "b.png"], tmp_path, missing, monkeypatch)
    assert {name: outcome.error for name, outcome in found.items()} == {
        name: f"{tmp_path / name}: net.pth: no such checkpoint" for name in ("a.png", "b.png")
    }
