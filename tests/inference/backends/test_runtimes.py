from __future__ import annotations

import importlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.backends import engine, onnx, openvino
from srkd.inference.calibration import calibration_images, closeness
from srkd.inference.graph import Uint8Graph, graph_of, layers
from srkd.inference.model import Model
from srkd.networks import build
from srkd.networks.sides import Sides
from support import needs_int8, textured

SPEC = {"type": "EDSR", "num_feat": 8, "num_block": 1, "upscale": 2}
WAYS = [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32")]


@pytest.fixture(scope="module")
def tiny() -> Model:
    torch.manual_seed(0)
    return Model(build(SPEC).eval(), 2, "tiny", meta={"network": SPEC, "licence": "CC0 1.0"})


@pytest.mark.isa
@pytest.mark.parametrize(("runtime", "precision"), WAYS)
def test_every_runtime_gives_what_the_network_does(tiny: Model, runtime: str, precision: str) -> None:
    image = textured(0, 37, 50)
    expected = tiny(image[None])[0]
    opened = backends.open_engine(tiny, runtime, precision)
    assert opened.backend == (runtime, precision) and str(opened.engine) == f"{runtime} {precision}"
    for pixels in (image, image[:30], image):  # a size comes again after another
        prediction = opened(pixels[None])[0]
        assert prediction.dtype == np.uint8 and prediction.shape == (2 * len(pixels), 100, 3)
    lowest, largest = closeness([prediction], [expected])
    assert (largest <= 1) if precision == "fp32" else (lowest > 45)
    batch = np.stack([textured(seed, 20, 24) for seed in range(3)])
    alone = np.concatenate([opened(one[None]) for one in batch])
    assert np.abs(opened(batch).astype(int) - alone).max() <= (1 if precision == "fp32" else 3)


@pytest.mark.parametrize("runtime", ["torch", "openvino", "onnxruntime"])
def test_images_of_a_few_pixels_are_all_border(tiny: Model, runtime: str) -> None:
    opened = backends.open_engine(tiny, runtime, "fp32")
    for height, width in itertools.product((1, 2, 3, 4), repeat=2):
        image = textured(height, height, width)
        expected = tiny(image[None])[0]
        prediction = opened(image[None])[0].astype(int)
        assert prediction.shape == expected.shape and np.abs(prediction - expected).max() <= 1


class White(nn.Module):
    """The mean of 9 pixels, four times: every weight and, on white, every input of its convolution is the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, padding_mode="zeros")
        with torch.no_grad():
            self.conv.weight.fill_(1 / 27)
            self.conv.bias.fill_(1e-4)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


@pytest.mark.isa
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_sums_of_int8_products_do_not_overflow(runtime: str) -> None:
    """Without VNNI two products are added in 16 bits, which take no two of 255 x 127: then weights have 7 bits."""
    needs_int8(runtime)
    white = np.full((16, 18, 3), 255, np.uint8)
    opened = backends.open_engine(Model(White().eval(), 2), runtime, "int8", [white])
    for _ in range(2):  # for any size, then for this one
        assert opened(white[None])[0, 2:-2, 2:-2].min() >= 253


@pytest.mark.isa
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_int8_stays_close_and_kept_layers_bring_it_closer(tiny: Model, runtime: str) -> None:
    needs_int8(runtime)
    images = calibration_images(2, count=2)
    exact = images.predictions(backends.open_engine(tiny, "torch", "fp32"))
    names = list(layers(graph_of(tiny.network)))

    def lowest(keep: list[str]) -> float:
        opened = backends.open_engine(tiny, runtime, "int8", images.inputs, keep)
        return closeness(images.predictions(opened), exact)[0]

    whole, most_kept = lowest([]), lowest(names[2:])
    assert 35 < whole < most_kept - 1


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_exported_file_for_floats_does_what_the_network_does(tiny: Model, tmp_path: Path, runtime: str) -> None:
    path = tmp_path / f"tiny{backends.SUFFIXES[runtime]}"
    graph = graph_of(tiny.network, uint8=False)
    backends.save(backends.converted(graph, runtime, "fp32", tiny.facts(tiling=True)), runtime, path)
    opened = backends.open_file(path)
    assert opened.receptive_field == tiny.receptive_field and opened.tile_side(9000, 9000) == tiny.tile_side(9000, 9000)
    image = textured(0, 45, 38)
    assert opened.backend_of(image, True) == (runtime, "fp32")
    deep = image.astype(np.uint16) * 257
    for pixels, options in (
        (image, {"tile": 16}),
        (image, {"self_ensemble": True}),
        (image[..., :1], {"outscale": 1.5}),
        (deep, {"tile": 16, "self_ensemble": True}),
        (deep / np.float32(65535), {}),
    ):
        expected = tiny.upscale(pixels, **options)
        np.testing.assert_allclose(
            opened.upscale(pixels, **options).astype(float), expected, atol=1 if expected.dtype.kind == "u" else 1e-5
        )
    with pytest.raises(SrkdError, match="NaN or infinity"):
        opened._through_network(np.full((1, 8, 8, 3), np.nan, np.float32), False)


def test_an_int8_file_takes_8_bits_only(tiny: Model) -> None:
    engine_of_int8 = backends.torch_engine(tiny, "fp32")
    engine_of_int8.precision = "int8"
    with pytest.raises(SrkdError, match="exported in int8 for 8-bit images: load the checkpoint"):
        Model.of_engine(engine_of_int8, tiny.facts()).upscale(textured(0, 9, 9).astype(np.uint16))


@pytest.mark.isa
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_int8_made_for_processors_with_vnni_is_refused_on_others(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_int8(runtime)
    path = tmp_path / f"white{backends.SUFFIXES[runtime]}"
    for saturates in (True, False):
        monkeypatch.setattr(backends, "int8_saturates", lambda here=saturates: here)
        model = Model(White().eval(), 2, "white")
        converted = backends.converted(graph_of(model.network), runtime, "int8", model.facts())
        own = backends.quantised(converted, runtime, [np.full((16, 18, 3), 255, np.uint8)])
        backends.save(own, runtime, path)
        assert backends.open_file(path).backend == (runtime, "int8")
        monkeypatch.setattr(backends, "int8_saturates", lambda: True)
        if saturates:
            assert backends.open_file(path).backend == (runtime, "int8")
        else:
            with pytest.raises(SrkdError, match=r"white\..* its int8 sums overflow on this processor"):
                backends.open_file(path)


def test_sides_that_the_network_does_not_take_are_padded_and_cut() -> None:
    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[2] % 4 == x.shape[3] % 4 == 0
            return nn.functional.interpolate(x, scale_factor=2, mode="nearest")

    opened = backends.open_engine(Model(Halves(), 2, sides=Sides(4)), "torch", "fp32")
    image = textured(1, 7, 9)
    assert np.array_equal(opened(image[None])[0], image.repeat(2, 0).repeat(2, 1))
    tiny = opened(image[None, :1, :1])
    assert tiny.shape == (1, 2, 2, 3) and (tiny == image[0, 0]).all()


def test_the_graph_of_a_fused_network_shuffles_bytes_alike(tiny: Model) -> None:
    graph = graph_of(tiny.network)
    pixels = torch.from_numpy(textured(2, 9, 13))[None]
    plain = Uint8Graph(tiny.network)
    with torch.inference_mode():
        assert (graph(pixels).int() - plain(pixels).int()).abs().max() <= 1


class Odd(nn.Module):
    """Takes an eigenvalue decomposition, which neither ONNX nor OpenVINO has."""

    def forward(self, x: Tensor) -> Tensor:
        values = torch.linalg.eigvals(x[:, :1, :3, :3])
        return nn.functional.interpolate(x, scale_factor=2) + values.real.mean()


@pytest.mark.parametrize(("runtime", "other"), [("openvino", "ONNX Runtime"), ("onnxruntime", "OpenVINO")])
def test_an_operator_that_a_runtime_lacks_is_named(runtime: str, other: str) -> None:
    with pytest.raises(SrkdError, match=rf"lacks aten.*eig.*use torch or {other}"):
        backends.open_engine(Model(Odd(), 2), runtime, "fp32")


def test_mistakes_are_named(tiny: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match='unknown runtime "openvion" \\(did you mean "openvino"'):
        backends.open_engine(tiny, "openvion", "fp32")
    with pytest.raises(SrkdError, match="torch has fp32, bf16, not int8; openvino and onnxruntime have it"):
        backends.open_engine(tiny, "torch", "int8")
    with pytest.raises(SrkdError, match="openvino int8 needs calibration images"):
        backends.open_engine(tiny, "openvino", "int8")
    with pytest.raises(SrkdError, match="8 calibration images, 9 were requested"):
        calibration_images(2, count=9)
    for name in ("a.onnx", "a.xml"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(SrkdError, match=f"{name}: not an"):
            backends.open_file(tmp_path / name)
    with pytest.raises(SrkdError, match="no such file"):
        backends.open_file(tmp_path / "b.onnx")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    for module, package in ((openvino, "openvino"), (onnx, "onnx")):
        with pytest.raises(SrkdError, match=rf"{package} is not installed: pip install 'srkd\[deploy\]'"):
            module.convert(graph_of(tiny.network), {})


@pytest.mark.parametrize(
    ("runtime", "suffix", "uint8"),
    [("openvino", ".xml", True), ("openvino", ".xml", False), ("onnxruntime", ".onnx", False)],
)
def test_a_saved_file_says_what_it_is(tiny: Model, tmp_path: Path, runtime: str, suffix: str, uint8: bool) -> None:
    known = tiny.facts(tiling=True)
    own = backends.converted(graph_of(tiny.network, uint8), runtime, "fp32", known)
    backends.save(own, runtime, tmp_path / f"net{suffix}")
    opened = backends.open_file(tmp_path / f"net{suffix}")
    assert opened.backend == (runtime, "fp32") and opened.meta["licence"] == "CC0 1.0"
    assert (
        opened.meta["halo"] == tiny.receptive_field.halo
        and opened.meta["colour"] == "RGB"
        and opened.meta["network"] == SPEC
    )
    assert (opened.name, opened.scale, opened.parameters) == ("tiny", 2, tiny.parameters)
    image = textured(3, 12, 15)[None]
    expected = engine.as_bytes(backends.open_engine(tiny, "torch", "fp32")(image).transpose(0, 3, 1, 2) / 255)
    assert np.abs(opened(image).astype(int) - expected).max() <= 1


def stranger(path: Path, facts: Any, branch: bool = False) -> Path:
    """An ONNX file of another program that says it is srkd's."""
    onnx = pytest.importorskip("onnx")
    helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
    image = helper.make_tensor_value_info("image", numbers, ["n", 3, "h", "w"])
    output = helper.make_tensor_value_info("output", numbers, ["n", 3, "a", "b"])
    node = helper.make_node("Identity", ["image"], ["output"])
    if branch:
        large = helper.make_tensor("zero", numbers, [1], [0.0])
        inner = helper.make_graph(
            [helper.make_node("ConstantOfShape", ["size"], ["x"], value=large)], "b", [], [output]
        )
        node = helper.make_node("If", ["condition"], ["output"], then_branch=inner, else_branch=inner)
    model = helper.make_model(helper.make_graph([node], "g", [image], [output]))
    helper.set_model_props(model, {"srkd": json.dumps(facts)})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"precision": None}, "precision"),
        ({"scale": "two"}, "scale"),
        ({"scale": 10**7}, "scale"),
        ({"multiple": 0}, "multiple"),
        ({"multiple": 8000}, "multiple"),
        ({"align": True}, "align"),
        ({"halo": "far"}, "halo"),
        ({"bytes_per_pixel": None}, "bytes_per_pixel"),
        ({"parameters": "many"}, "parameters"),
        ({"network": 5}, "network"),
    ],
)
def test_facts_that_srkd_does_not_write_are_named(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    right = {"name": "x", "scale": 1, "precision": "fp32", "multiple": 1, "minimum": 1, "halo": None, "align": 1}
    assert backends.open_file(stranger(tmp_path / "a.onnx", right)).scale == 1
    with pytest.raises(SrkdError, match=rf"a\.onnx: not exported by srkd, or incomplete: {named}$"):
        backends.open_file(stranger(tmp_path / "a.onnx", {**right, **changed}))
    with pytest.raises(SrkdError, match=r"not a network exported by srkd|incomplete: precision"):
        backends.open_file(stranger(tmp_path / "a.onnx", [["scale", 1]]))
    with pytest.raises(SrkdError, match="not an ONNX model exported by srkd"):
        backends.open_file(stranger(tmp_path / "a.onnx", right, branch=True))
