"""A checkpoint measured before is opened as its stored engine, without torch, and gives the same images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference import backends, quick_start
from srkd.inference.autotune import Autotuner
from srkd.inference.model import Model
from support import textured, tiny_checkpoint

pytest.importorskip("openvino")

SPY = """
import sys
from srkd.cli.main import main
code = main(sys.argv[1:])
print("with torch" if "torch" in sys.modules else "without torch")
raise SystemExit(code)
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tiny_checkpoint(tmp_path)


def remembered(checkpoint: Path, precision: str = "fp32") -> Path:
    """Remember that the checkpoint runs on OpenVINO; returns the stored engine."""
    model = Model.load(checkpoint)
    tuner = Autotuner(model, 0.1, lambda line: None)
    engine = tuner.opened(("openvino", precision)).engine
    assert engine is not None
    stored = tuner.stored(("openvino", precision))
    quick_start.remember(str(checkpoint), model, stored, engine)
    return stored


def recalled(checkpoint: Path, scale: int | None = None) -> Model | None:
    return quick_start.recall(str(checkpoint), scale, lambda line: None)


def test_it_runs_the_stored_engine_and_loads_the_network_for_what_needs_it(checkpoint: Path) -> None:
    assert recalled(checkpoint) is None
    remembered(checkpoint)
    model, whole = recalled(checkpoint, 2), Model.load(checkpoint)
    assert model is not None and model.backend == ("openvino", "fp32")
    whole.engine = backends.open_engine(whole, "openvino", "fp32").engine
    image = textured(0, 40, 30)
    np.testing.assert_array_equal(model.upscale(image, 16), whole.upscale(image, 16))
    assert model.bytes_per_pixel == pytest.approx(whole.bytes_per_pixel, abs=1)
    assert "whole" not in vars(model)
    deep = image.astype(np.uint16) * 257
    assert model.backend_of(deep) == model.backend_of(image, True) == ("torch", "fp32")
    np.testing.assert_array_equal(model.upscale(deep), whole.upscale(deep))
    np.testing.assert_array_equal(model.upscale(image, None, True), whole.upscale(image, None, True))
    assert "whole" in vars(model)


def test_an_invalid_output_falls_back_to_the_network(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(checkpoint, "bf16")
    image, said = textured(1, 24, 24), list[str]()
    monkeypatch.setattr(backends.openvino.OpenVinoEngine, "_run", lambda self, x: np.zeros((1, 48, 48, 3), np.uint8))
    model = quick_start.recall(str(checkpoint), None, said.append)
    assert model is not None
    np.testing.assert_array_equal(model.upscale(image), Model.load(checkpoint).upscale(image))
    assert len(said) == 1 and "falling back to torch fp32" in said[0]


def test_what_changed_since_is_not_recalled(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = remembered(checkpoint)
    assert recalled(checkpoint) is not None
    assert recalled(checkpoint, 3) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert recalled(checkpoint) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert recalled(checkpoint) is None
    checkpoint.write_bytes(content)
    engine = stored.with_suffix(".bin")
    engine.write_bytes(engine.read_bytes()[:-1])
    assert recalled(checkpoint) is None


def test_an_engine_that_others_may_write_is_not_recalled(checkpoint: Path) -> None:
    stored = remembered(checkpoint)
    stored.chmod(0o666)
    assert recalled(checkpoint) is None


def test_an_unreadable_note_or_engine_does_no_harm(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(checkpoint)
    (note,) = (checkpoint.parent / "cache" / "runtimes" / "quick_start").iterdir()
    written = note.read_text()
    for damaged in ("", "{}", '{"engine": {}}', "[1]"):
        note.write_text(damaged)
        assert recalled(checkpoint) is None
    note.write_text(written)

    def fail(path: Path) -> None:
        raise SrkdError(f"{path}: another version")

    monkeypatch.setattr(backends.openvino, "load", fail)
    assert recalled(checkpoint) is None


def test_a_gpu_is_left_to_torch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(checkpoint)
    monkeypatch.setattr(quick_start, "_may_have_gpu", lambda: True)
    assert recalled(checkpoint) is None


def test_the_command_starts_without_torch(checkpoint: Path) -> None:
    remembered(checkpoint)
    place = checkpoint.parent
    write_image(place / "in.png", ImageData(textured(2, 20, 24)))

    def run(name: str, *options: str) -> str:
        command = ["upscale", str(place / "in.png"), "-o", str(place / name), "-m", str(checkpoint), *options]
        done = subprocess.run(
            [sys.executable, "-c", SPY, *command], capture_output=True, text=True, env={**os.environ}, check=True
        )
        return done.stdout.splitlines()[-1]

    assert run("quick.png") == "without torch"
    assert run("slow.png", "--runtime", "openvino", "--precision", "fp32") == "with torch"
    np.testing.assert_array_equal(read_image(place / "quick.png").pixels, read_image(place / "slow.png").pixels)


def test_only_a_stored_engine_is_remembered(checkpoint: Path) -> None:
    model = Model.load(checkpoint)
    engine = backends.torch_engine(model, "fp32")
    quick_start.remember(str(checkpoint), model, checkpoint.with_name("none.xml"), engine)
    assert recalled(checkpoint) is None
