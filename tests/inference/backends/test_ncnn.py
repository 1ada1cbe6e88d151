"""ncnn: what pnnx converts gives the network's output, and the files follow the rules of programs that read them."""

from __future__ import annotations

import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import srkd
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference import backends
from srkd.inference.backends import ncnn, ncnn_conversion
from srkd.inference.export import ExportOptions, export
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.integrations.ncnn import Layer, read_layers
from srkd.networks import build
from srkd.networks.sides import Sides
from support import check_output_at_any_size, textured

needs_ncnn = pytest.mark.skipif(
    not find_spec("ncnn") or not find_spec("pnnx"), reason="the extra ncnn is not installed: needs ncnn and pnnx"
)
EDSR = {"type": "EDSR", "num_feat": 8, "num_block": 1, "upscale": 2, "img_range": 1.0}
SESR = {"type": "SESR", "num_feat": 8, "num_block": 1, "upscale": 3}  # works in place on its input, and repeats it
UNSHUFFLE = {"type": "UnshuffleSR", "num_feat": 8, "num_block": 1, "upscale": 2}  # Reorg, and even sides


def model_of(spec: dict[str, Any], name: str = "tiny") -> Model:
    torch.manual_seed(0)
    network = build(spec).eval()
    sides = Sides(network.multiple)  # type: ignore[arg-type]
    return Model(network, spec["upscale"], name, {"network": spec, "licence": "CC0 1.0"}, sides=sides)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .param of the EDSR above."""
    if not find_spec("ncnn") or not find_spec("pnnx"):
        pytest.skip("the extra ncnn is not installed: needs ncnn and pnnx")
    model, path = model_of(EDSR), tmp_path_factory.mktemp("ncnn") / "models" / "tiny-x2.param"
    backends.save(backends.converted(graph_of(model.network), "ncnn", "fp32", model.facts(tiling=True)), "ncnn", path)
    return path


def copied(path: Path, folder: Path) -> Path:
    for file in path.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@needs_ncnn
@pytest.mark.parametrize("spec", [EDSR, SESR, UNSHUFFLE], ids=lambda spec: spec["type"])
def test_its_output_is_that_of_the_network_at_any_size(spec: dict[str, Any]) -> None:
    check_output_at_any_size(model_of(spec), "ncnn")


def test_programs_find_their_blobs_and_only_layers_of_2022(exported: Path) -> None:
    layers = read_layers(exported)
    assert (layers[0].kind, layers[0].outputs) == ("Input", ("data",))
    assert layers[-1].kind == "PixelShuffle" and layers[-1].outputs == ("output",)
    assert layers[-1].values == {0: "2", 1: "1"}
    assert not [layer.name for layer in layers if layer.kind == "BinaryOp" and layer.values.get(2) == "1.0"]
    tile = Layer("Tile", "t", ("x",), ("y",), {-23302: "3,4,1,1"})
    split, concat = ncnn_conversion._without_tile(tile)
    assert split.kind == "Split" and split.inputs == ("x",) and len(split.outputs) == 4
    assert concat.kind == "Concat" and concat.inputs == split.outputs and concat.outputs == ("y",)
    rows = Layer("Tile", "t", ("x",), ("y",), {-23302: "3,1,2,1"})
    assert ncnn_conversion._without_tile(rows) == [rows]


@pytest.mark.parametrize(
    ("name", "scale", "stem"),
    [
        ("edsr_16x8_x2_cc0", 2, "edsr_16x8_x2_cc0"),
        ("student", 2, "student-x2"),
        ("student", 4, "student-x4"),
        ("4x_photo", 4, "4x_photo"),
        ("net_X3", 3, "net_X3"),
        ("edsr_16x8", 3, "edsr_16x8-x3"),
        ("wide_32x24_x4", 4, "wide_32-24_x4-x4"),  # Upscayl would read x2 in 32x24
    ],
)
def test_the_name_states_the_scale_as_upscayl_reads_it(name: str, scale: int, stem: str) -> None:
    assert ncnn.file_stem(name, scale) == stem
    lower = stem.lower()
    assert (2 if "x2" in lower or "2x" in lower else 3 if "x3" in lower or "3x" in lower else 4) == scale


@needs_ncnn
def test_export_keeps_files_that_pass_and_upscale_takes_them(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = model_of(EDSR), tmp_path / "out"
    options = ExportOptions(["ncnn"], ["fp32", "fp16"], uint8=True, data=str(photos), seconds=0)
    result = export(model, out, options)
    names = ["models/tiny-x2.param", "models/tiny-x2_fp16.param"]
    assert [row["file"] for row in result.files] == names and not result.rejected
    whole, half = result.files
    assert whole["largest difference"] <= 1 and half["PSNR to torch (dB)"] >= 45
    assert (out / "models/tiny-x2_fp16.bin").stat().st_size < 0.7 * (out / "models/tiny-x2.bin").stat().st_size
    assert [row["file"] for row in json.loads((out / "export.json").read_text())["rows"]][1:] == names
    image = textured(1, 20, 31)
    write_image(tmp_path / "in.png", ImageData(image))
    for name, precision in zip(names, ("fp32", "fp16"), strict=True):
        opened = srkd.load(out / name)
        assert (opened.scale, opened.backend, opened.meta["licence"]) == (2, ("ncnn", precision), "CC0 1.0")
        assert main(["upscale", str(tmp_path / "in.png"), "-o", str(tmp_path / "o.png"), "-m", str(out / name)]) == 0
        np.testing.assert_array_equal(read_image(tmp_path / "o.png").pixels, opened.upscale(image))
    arguments = ["upscale", str(tmp_path / "in.png"), "-o", str(tmp_path / "o.png"), "-m", str(out / names[0])]
    capsys.readouterr()
    assert main([*arguments, "--runtime", "torch"]) == 1
    assert "an exported file has its runtime" in capsys.readouterr().err
    assert main([*arguments, "--scale", "3"]) == 1
    assert "is a network for x2, not x3" in capsys.readouterr().err


@pytest.mark.parametrize("part", [".param", ".bin"])
def test_a_changed_file_is_rejected(exported: Path, tmp_path: Path, part: str) -> None:
    path = copied(exported, tmp_path)
    changed = path.with_suffix(part)
    data = bytearray(changed.read_bytes())
    data[-2] ^= 1
    changed.write_bytes(data)
    with pytest.raises(SrkdError, match=rf"tiny-x2\{part}: changed or incomplete"):
        srkd.load(path)
    changed.unlink()
    with pytest.raises(SrkdError, match=r"tiny-x2\.param"):
        srkd.load(path)


class Rolled(nn.Module):
    """Has an operator that ncnn lacks."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(torch.special.bessel_j0(x).repeat(1, 4, 1, 1), 2)


@needs_ncnn
def test_a_layer_that_ncnn_lacks_is_named_in_the_table(photos: Path, tmp_path: Path) -> None:
    options = ExportOptions(["ncnn"], data=str(photos), seconds=0)
    result = export(Model(Rolled().eval(), 2, "rolled"), tmp_path / "out", options)
    (row,) = result.rejected
    assert re.match(r"no: ncnn cannot represent this network: .*bessel_j0", row["kept"])
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["export.json", "export.md"]


def test_precisions_that_a_target_lacks_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SrkdError, match="onnxruntime has fp32, int8, not fp16; ncnn has it"):
        ExportOptions(["onnx"], ["fp16"])
    with pytest.raises(SrkdError, match="ncnn has fp32, fp16, not int8"):
        ExportOptions(["ncnn"], ["int8"])
    assert ExportOptions(["onnx", "ncnn"], ["fp32", "fp16"]).precisions_of("onnx") == ["fp32"]

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SrkdError, match=r"ncnn is not installed: pip install 'srkd\[ncnn\]'"):
        backends.check_installed("ncnn")
    with pytest.raises(SrkdError, match=r"pnnx is not installed: pip install 'srkd\[ncnn\]'"):
        ncnn.convert(graph_of(model_of(EDSR).network), {})
