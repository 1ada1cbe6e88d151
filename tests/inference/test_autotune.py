from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.files.cache import cache_folder
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference import autotune, backends
from srkd.inference.autotune import Autotuner, BackendSpec, cached_engine, engine_for, measured_before
from srkd.inference.backends.engine import Bytes
from srkd.inference.backends.pytorch import TorchEngine
from srkd.inference.calibration import calibration_images
from srkd.inference.fingerprint import fingerprint
from srkd.inference.model import Model
from srkd.inference.speed import Speed, SpeedMeter
from srkd.networks import build
from srkd.training.checkpoint import save_weights
from support import ExactOnly, edsr_with_large_features, needs_int8, replicating_edsr, textured

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2, "img_range": 1.0}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Model:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(autotune, "_SECONDS", 0.0)
    images = autotune.calibration_images
    monkeypatch.setattr(autotune, "calibration_images", lambda scale: images(scale, count=1))
    return Model(replicating_edsr(), 2, "tiny", meta={"network": SPEC})


@pytest.mark.parametrize(
    "spec",
    [
        {
            "type": "RCAN",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 4,
            "num_group": 1,
            "num_block": 1,
            "squeeze_factor": 2,
            "upscale": 2,
        },
        {"type": "SRResNet", "num_feat": 4, "num_block": 1, "upscale": 2},
    ],
    ids=["1x1 kernels", "batch norm"],
)
def test_every_tensor_can_be_fingerprinted(spec: dict[str, object], tmp_path: Path) -> None:
    save_weights(tmp_path / "net.safetensors", build(spec).state_dict(), {"network": spec, "scale": 2})
    write_image(tmp_path / "in.png", ImageData(textured(0, 20, 24)))
    loaded = Model.load(tmp_path / "net.safetensors")  # in channels last, as upscaling has it
    assert fingerprint(loaded) == fingerprint(Model.load(tmp_path / "net.safetensors"))
    assert (
        main(
            ["upscale", str(tmp_path / "in.png"), "-o", str(tmp_path / "out"), "-m", str(tmp_path / "net.safetensors")]
        )
        == 0
    )
    assert read_image(tmp_path / "out" / "in.png").pixels.shape == (40, 48, 3)


def speeds(monkeypatch: pytest.MonkeyPatch, times: dict[str, float]) -> None:
    """Let each (runtime precision) take a time that is given, whatever it takes here."""

    monkeypatch.setattr(SpeedMeter, "model", lambda self, model, at: Speed((times[" ".join(model.backend)],)))


def test_bf16_that_loses_too_much_is_not_chosen_and_raises_if_named(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds(monkeypatch, {"torch fp32": 9.0, "torch bf16": 1.0})
    assert engine_for(model, BackendSpec("torch")).precision == "bf16"  # type: ignore[union-attr]
    for offset, why in ((8, r"loses \d+\.\d+ dB"), (64, "torch bf16 differs by .* or the precision is too low")):
        said: list[str] = []
        wide = Model(edsr_with_large_features(offset), 2, "wide", meta={"network": SPEC})
        assert engine_for(wide, BackendSpec("torch"), said.append) is None  # fp32
        assert re.search(rf"torch bf16 rejected \({why}", said[-1])
        with pytest.raises(SrkdError, match=why):
            engine_for(wide, BackendSpec("torch", "bf16"))


def test_a_loss_allowed_once_is_neither_allowed_nor_rejected_later(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds(monkeypatch, {"torch fp32": 9.0, "torch bf16": 1.0})
    monkeypatch.setattr(backends, "available", lambda device="cpu": [("torch", "fp32"), ("torch", "bf16")])
    monkeypatch.setattr(autotune, "_MIN_PSNR", 0.0)
    wide = Model(edsr_with_large_features(8), 2, "wide", meta={"network": SPEC})
    for max_drop, chosen in ((0.01, "None"), (99.0, "torch bf16"), (0.02, "None")):
        assert str(engine_for(wide, BackendSpec(max_drop=max_drop))) == chosen
        assert str(cached_engine(wide, max_drop=max_drop)) == chosen
    assert cached_engine(wide, max_drop=50.0) is None, "not measured yet: fp32, which loses nothing"


def test_bf16_that_overflows_is_not_chosen(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 has the range of fp32, but rounds what is just below its end up to infinity."""
    speeds(monkeypatch, {"torch fp32": 9.0, "torch bf16": 1.0})
    network = replicating_edsr()
    with torch.no_grad():
        network.conv_first.bias[3] = 3.4e38  # unused, but 0 times infinity is NaN
    wide, said = Model(network, 2, "wide", meta={"network": SPEC}), list[str]()
    assert engine_for(wide, BackendSpec("torch"), said.append) is None
    assert "torch bf16 rejected (" in said[-1]


@pytest.mark.isa
def test_the_fastest_good_one_is_measured_once_and_remembered(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_int8("openvino")
    times = {"torch fp32": 9.0, "torch bf16": 8.0, "openvino fp32": 4.0, "openvino bf16": 2.0, "openvino int8": 1.0}
    speeds(monkeypatch, times)
    said: list[str] = []
    assert cached_engine(model, said.append) is None and not said
    first = engine_for(model, BackendSpec(), said.append)
    assert str(first) == "openvino int8" and sum("measuring" in line for line in said) == 5
    image = textured(0, 30, 40)
    assert first is not None
    assert np.abs(first(image[None])[0].astype(int) - image.repeat(2, 0).repeat(2, 1)).max() <= 6
    said.clear()
    monkeypatch.setattr(backends, "converted", lambda *_: pytest.fail("converted again"))
    again = cached_engine(model, said.append)
    assert str(again) == "openvino int8" and not any("measuring" in line for line in said)
    table = cache_folder() / "runtimes" / fingerprint(model) / "measured.json"
    rows = json.loads(table.read_bytes())
    for row in rows.values():
        row["good"] = row["precision"] == "fp32"
    table.write_text(json.dumps(rows))
    assert str(engine_for(model, BackendSpec())) == "openvino fp32"
    assert engine_for(model, BackendSpec("torch")) is None  # the network itself
    with pytest.raises(SrkdError, match=r"tiny: loses .* dB from fp32; take another --runtime or --precision"):
        engine_for(model, BackendSpec("openvino", "int8"))
    table.write_text("{")  # a broken cache is made anew
    assert cached_engine(model) is None


@pytest.mark.parametrize("damage", ["exchanged", "writable", "no note"])
def test_a_damaged_or_foreign_engine_is_made_anew(model: Model, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    speeds(monkeypatch, {"openvino fp32": 1.0})
    spec = BackendSpec("openvino", "fp32")
    assert engine_for(model, spec) is not None
    folder = cache_folder() / "runtimes" / fingerprint(model)
    weights = folder / "openvino.bin"
    if damage == "exchanged":
        weights.write_bytes(bytes(weights.stat().st_size))
    elif damage == "writable":
        weights.chmod(0o666)
    else:
        (folder / "openvino.json").unlink()
    again = engine_for(model, spec)
    assert again is not None
    image = textured(0, 30, 40)
    assert np.abs(again(image[None])[0].astype(int) - image.repeat(2, 0).repeat(2, 1)).max() <= 6
    assert weights.stat().st_mode & 0o002 == 0 and any(weights.read_bytes())
    monkeypatch.setattr(backends, "converted", lambda *_: pytest.fail("converted again"))
    assert engine_for(model, spec) is not None


@pytest.mark.parametrize("text", ["[1]", '{"openvino-fp32": 3}', "\x00", "{"])
def test_damaged_measurements_are_made_anew(model: Model, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    speeds(monkeypatch, {"openvino fp32": 1.0})
    assert engine_for(model, BackendSpec("openvino", "fp32")) is not None
    (cache_folder() / "runtimes" / fingerprint(model) / "measured.json").write_text(text)
    said: list[str] = []
    assert engine_for(model, BackendSpec("openvino", "fp32"), said.append) is not None
    assert any("measuring" in line for line in said)


@pytest.mark.isa
def test_int8_that_is_no_faster_is_left_unless_it_is_named(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_int8("openvino")
    speeds(
        monkeypatch,
        {f"{runtime} {precision}": 2.0 for runtime, precision in backends.available()} | {"torch bf16": 1.0},
    )
    with monkeypatch.context() as patched:
        patched.setattr(autotune, "quantise", lambda *_: pytest.fail("layers were looked for"))
        said: list[str] = []
        assert str(engine_for(model, BackendSpec(), said.append)) == "torch bf16"
        assert said[-1].startswith("the fastest is ") and "openvino int8 rejected (2.0 ms, no faster)" in said[-1]
        assert str(cached_engine(model)) == "torch bf16"
    assert str(engine_for(model, BackendSpec(precision="int8"))) == "openvino int8"
    assert str(cached_engine(model)) == "torch bf16"


def test_another_network_is_measured_anew(model: Model) -> None:
    assert fingerprint(model) == fingerprint(Model(replicating_edsr(), 2, "other name"))
    assert fingerprint(model) != fingerprint(Model(replicating_edsr(2.0), 2, "tiny"))
    brighter = replicating_edsr()
    brighter.img_range = 255.0
    assert fingerprint(model) != fingerprint(Model(brighter, 2, "tiny")), "equal weights, another function"


def test_the_command_takes_what_is_wished_for(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(tmp_path / "tiny.safetensors", model.network.state_dict(), {"network": SPEC, "scale": 2})
    shapes = {"colour": (20, 30, 3), "grey": (20, 30, 1), "alpha": (20, 30, 4)}
    for name, shape in shapes.items():
        pixels = np.repeat(textured(1, 20, 30)[..., :1], shape[2], 2)
        write_image(tmp_path / "in" / f"{name}.png", ImageData(pixels))
    command = ["upscale", str(tmp_path / "in"), "-m", str(tmp_path / "tiny.safetensors"), "-o"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert main([*command, str(tmp_path / "b"), "--runtime", "openvino", "--precision", "bf16", "--tile", "16"]) == 0
    assert re.search(r"openvino bf16: openvino bf16 \d+\.\d ms", capsys.readouterr().err)
    for name in shapes:
        a, b = (read_image(tmp_path / folder / f"{name}.png").pixels.astype(int) for folder in "ab")
        assert a.shape[:2] == (40, 60) and np.abs(a - b).max() <= 2
    for extra, words in (
        (["--runtime", "onyx"], 'unknown runtime "onyx"'),
        (["--runtime", "torch", "--precision", "int8"], "torch has fp32, bf16, not int8"),
        (["--precision", "int4"], 'unknown precision "int4" (did you mean "int8"?)'),
        (["--precision", "bf16", "--max-drop", "nan"], "max_drop must be above 0 dB, got nan"),
        (["--max-drop", "-1"], "max_drop must be above 0 dB, got -1"),
    ):
        assert main([*command, str(tmp_path / "c"), *extra]) == 1
        assert words in capsys.readouterr().err


def test_a_missing_extra_is_named_with_its_command(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends._PACKAGES, "openvino", ["openvino_that_is_not_here"])
    with pytest.raises(SrkdError, match=r"openvino_that_is_not_here is not installed: pip install 'srkd\[deploy\]'"):
        engine_for(model, BackendSpec("openvino"))
    assert all(runtime != "openvino" for runtime, _ in backends.available())


def test_what_a_runtime_cannot_do_is_left_for_what_can(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Model(ExactOnly().eval(), 2, "exact")
    monkeypatch.setattr(autotune.backends, "available", lambda *_: [("torch", "fp32"), ("torch", "bf16")])
    said: list[str] = []
    assert engine_for(exact, BackendSpec(), said.append) is None and engine_for(exact, BackendSpec("torch")) is None
    assert re.search(r"torch bf16 rejected \(torch bf16 cannot run this network at .*\)", said[-1])
    with pytest.raises(SrkdError, match="torch bf16 cannot run this network") as caught:
        engine_for(exact, BackendSpec("torch", "bf16"))
    assert "\n" not in str(caught.value)


def test_a_slow_network_is_measured_on_few_and_small_images(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "calibration_images", calibration_images)
    sizes: list[tuple[int, ...]] = []

    def count(self: TorchEngine, x: Bytes, run: Any = TorchEngine._run) -> Bytes:
        sizes.append(x.shape[1:3])
        return run(self, x)

    monkeypatch.setattr(TorchEngine, "_run", count)
    monkeypatch.setattr(autotune, "_CALIBRATION_SECONDS", 0.0)
    autotune.engine_for(model, BackendSpec("torch"))
    assert max(max(size) for size in sizes) <= 72  # of the sizes that every engine is compared at
    assert sizes.count((64, 64)) < 20


def test_all_backends_are_timed_at_one_side_whatever_the_load(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "_CALIBRATION_SECONDS", 0.0)
    engine_for(model, BackendSpec("torch"))
    monkeypatch.setattr(autotune, "_CALIBRATION_SECONDS", 1e9)
    tuner = autotune.Autotuner(model, 0.1, lambda line: None)
    assert tuner._side == 64 and {row["side"] for row in tuner._rows.values()} == {64}


def test_an_earlier_measurement_is_that_of_the_fastest_good_backend(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends_here = [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
    monkeypatch.setattr(autotune, "candidates", lambda device="cpu": backends_here)
    assert measured_before(model) is None
    rows = {
        f"{runtime}-{precision}": {"runtime": runtime, "precision": precision, "ms": ms, "side": 256, "good": good}
        for (runtime, precision), ms, good in zip(backends_here, (30.0, 20.0, 10.0), (True, True, False), strict=True)
    }
    write_json(Autotuner(model, BackendSpec().max_drop, print)._folder / "measured.json", rows)
    assert measured_before(model) == rows["openvino-fp32"]
    monkeypatch.setattr(autotune, "candidates", lambda device="cpu": [*backends_here, ("openvino", "int8")])
    assert measured_before(model) is None, "not all were measured"
