"""LiteRT: converted networks give torch's output at any size, in files that name what they cannot represent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import srkd
from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.backends import litert
from srkd.inference.export import ExportOptions, export
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.networks import build
from srkd.networks.sides import Sides
from support import check_output_at_any_size, textured

needs_litert = pytest.mark.skipif(not backends.installed("litert"), reason="the extra litert is not installed")
EDSR = {"type": "EDSR", "num_feat": 8, "num_block": 1, "upscale": 2}  # subtracts a mean
NETWORKS: list[dict[str, Any]] = [
    EDSR,
    {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2},
    {"type": "SESR", "num_feat": 8, "num_block": 1, "upscale": 3},
    {"type": "UnshuffleSR", "num_feat": 8, "num_block": 1, "upscale": 2},
    {"type": "NearestResNet", "num_feat": 8, "num_block": 1, "upscale": 4},
    {"type": "SPAN", "num_feat": 8, "num_block": 1, "upscale": 2},
]


def model_of(spec: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    network: Any = build(spec).eval()
    return Model(network, spec["upscale"], "tiny", {"network": spec}, sides=Sides(network.multiple, network.minimum))


@needs_litert
@pytest.mark.parametrize("spec", NETWORKS, ids=lambda spec: spec["type"])
def test_its_output_is_that_of_the_network_at_any_size(spec: dict[str, Any]) -> None:
    check_output_at_any_size(model_of(spec), "litert")


@needs_litert
def test_export_writes_a_file_that_upscales_and_names_what_it_lacks(photos: Path, tmp_path: Path) -> None:
    model, options = model_of(EDSR), ExportOptions(["litert"], uint8=True, data=str(photos), seconds=0)
    (row,) = export(model, tmp_path / "out", options).files
    assert row["file"] == "tiny.tflite" and row["kept"] == "yes" and row["largest difference"] <= 1
    opened, image = srkd.load(tmp_path / "out" / "tiny.tflite"), textured(1, 21, 30)
    assert np.abs(opened.upscale(image).astype(int) - model.upscale(image)).max() <= 1
    other = model_of({"type": "PlainUSR", "upscale": 2})
    (row,) = export(other, tmp_path / "other", options).rejected
    assert row["kept"].startswith("no: LiteRT cannot represent this network: srkd does not convert Slice")


@needs_litert
@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(8) + b"TFL3" + bytes(100), b"\x1c\0\0\0TFL3" * 9])
def test_files_that_are_no_exported_network_are_rejected(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(content)
    with pytest.raises(SrkdError, match=r"x\.tflite: not a LiteRT model exported by srkd"):
        backends.open_file(tmp_path / "x.tflite")


@needs_litert
def test_operators_that_srkd_does_not_write_are_rejected(tmp_path: Path) -> None:
    model = model_of(EDSR)
    native = backends.converted(graph_of(model.network), "litert", "fp32", model.facts())
    classes = litert.schema()
    changed = classes.ModelT.InitFromPackedBuf(native.content, 0)
    code = changed.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = classes.BuiltinOperator.EXPAND_DIMS
    litert.save(litert.LiteRtFile(litert.packed(changed), native.facts), tmp_path / "x.tflite")
    with pytest.raises(SrkdError, match=r"x\.tflite: not a LiteRT model exported by srkd"):
        backends.open_file(tmp_path / "x.tflite")
