from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference import backends
from srkd.inference import export as exporting
from srkd.inference.export import ExportOptions, export
from srkd.inference.model import Model
from srkd.metrics.evaluation import Bicubic
from srkd.training.checkpoint import save_weights
from support import FixedSize, needs_int8, replicating_edsr, textured

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2, "img_range": 1.0}
META = {"network": SPEC, "scale": 2, "licence": "CC0 1.0", "lineage": {"recipe": "tiny"}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_weights(tmp_path / "tiny.safetensors", replicating_edsr(50.0).state_dict(), META)
    return tmp_path / "tiny.safetensors"


def test_files_are_compared_and_say_what_they_are(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = Model.load(checkpoint)
    result = export(model, out, ExportOptions(uint8=True, data=str(photos), seconds=0))
    assert [row["file"] for row in result.rows] == ["tiny", "tiny.onnx", "tiny.xml"] and not result.rejected
    assert sorted(p.name for p in out.iterdir()) == [
        "2x-tiny.json",
        "export.json",
        "export.md",
        "tiny.bin",
        "tiny.onnx",
        "tiny.xml",
    ]
    assert len(json.loads((out / "export.json").read_text())["rows"]) == 3
    for row in result.rows[1:]:
        assert row["largest difference"] <= 1 and abs(row["drop (dB)"]) < 0.01 and row["ms"] > 0
        opened = backends.open_file(out / row["file"])
        image = textured(0, 20, 31)
        assert np.abs(opened(image[None])[0].astype(int) - model.upscale(image)).max() <= 1
        # Three convolutions of 3x3 in a row see 3 pixels far, the fourth after the shuffle up to 1 more.
        assert opened.scale == 2
        assert {key: opened.meta[key] for key in ("colour", "licence", "lineage", "halo")} == {
            "colour": "RGB",
            "licence": "CC0 1.0",
            "lineage": {"recipe": "tiny"},
            "halo": 6,
        }


@pytest.mark.isa
def test_int8_that_loses_too_much_is_refused_and_the_table_says_why(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_int8("openvino")
    # With the sensitive layers kept out nothing may be lost on some processors, so none is kept.
    monkeypatch.setattr("srkd.inference.quantise._counts", lambda layers: [0])
    out, photos = tmp_path / "out", tmp_path / "photos"
    for seed in range(2):  # images that this network upscales well
        pixels = textured(seed, 30, 40).repeat(2, 0).repeat(2, 1)
        write_image(photos / f"{seed}.png", ImageData(pixels))
    arguments = ["export", str(checkpoint), "-o", str(out), "--to", "openvino", "--precision", "int8", "--data"]
    arguments += [str(photos), "--calibration", str(photos), "--calibration-count", "2", "--max-drop"]
    assert main([*arguments, "0.000001"]) == 2
    said = capsys.readouterr()
    assert (
        re.search(r"no: loses \d+\.\d+", said.out)
        and "more than 1e-06" in said.out
        and "1 of 1 files were refused" in said.err
    )
    assert "network.tail.both" in said.out  # the layers by sensitivity
    assert sorted(p.name for p in out.iterdir()) == ["export.json", "export.md"]
    assert main([*arguments, "30"]) == 0
    assert (out / "tiny_int8.xml").is_file() and (out / "tiny_int8.bin").is_file()


def test_an_interrupted_export_leaves_what_was_there(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "tiny.xml").write_text("an older one")

    def interrupted(*_: object) -> None:
        assert any(p.name.startswith(".part-") for p in out.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting._Verifier, "row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(Model.load(checkpoint), out, ExportOptions(["openvino"], data=str(photos), seconds=0))
    assert [p.name for p in out.iterdir()] == ["tiny.xml"] and (out / "tiny.xml").read_text() == "an older one"


def test_mistakes_are_named(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match='unknown target of an export "onxx" \\(did you mean "onnx"'):
        ExportOptions(["onxx"])
    options = ExportOptions(["onnx", "ONNX", ".Onnx", " openvino", ".xml", ".param"], ["FP32", "int8", "fp32"])
    assert (options.targets, options.precisions) == (["onnx", "openvino", "ncnn"], ["fp32", "int8"])
    with pytest.raises(SrkdError, match='precision of an export "int4"'):
        ExportOptions(precisions=["int4"])
    with pytest.raises(SrkdError, match="max_drop must be above 0 dB, got -1"):
        ExportOptions(max_drop=-1)
    exported = Model.of_engine(Bicubic(2), {"name": "tiny", "scale": 2})
    with pytest.raises(SrkdError, match="tiny is an exported file already: give the checkpoint"):
        export(exported, tmp_path / "out", ExportOptions(data="/no/such/folder"))
    few = ExportOptions(["onnx"], ["int8"], data=str(photos), calibration=str(photos), calibration_count=32)
    with pytest.raises(SrkdError, match="4 calibration images, 32 were requested"):
        export(Model.load(checkpoint), tmp_path / "out", few)
    (tmp_path / "file").write_text("")
    with pytest.raises(SrkdError, match="cannot write"):
        export(Model.load(checkpoint), tmp_path / "file", ExportOptions(["openvino"], data=str(photos), seconds=0))


@pytest.mark.parametrize(("target", "beside"), [("openvino", "tiny.bin"), ("ncnn", "models/tiny-x2.bin")])
def test_a_file_that_srkd_did_not_write_is_not_replaced(
    checkpoint: Path, photos: Path, tmp_path: Path, target: str, beside: str
) -> None:
    """Such as the checkpoint itself: torch's and ncnn's weights may be named like OpenVINO's."""
    theirs = tmp_path / "out" / beside
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"weights of theirs")
    options, model = ExportOptions([target], data=str(photos), seconds=0), Model.load(checkpoint)
    with pytest.raises(SrkdError, match=f"{beside}: the export of .* would replace this file"):
        export(model, tmp_path / "out", options)
    assert theirs.read_bytes() == b"weights of theirs"
    theirs.unlink()
    for _ in range(2):  # its own files are replaced
        assert not export(model, tmp_path / "out", options).rejected


def test_what_a_runtime_cannot_take_is_refused_in_the_table(photos: Path, tmp_path: Path) -> None:
    fixed = Model(FixedSize().eval(), 2, "fixed")
    result = export(fixed, tmp_path / "out", ExportOptions(["openvino"], data=str(photos), seconds=0))
    (row,) = result.rejected
    assert row["file"] == "fixed.xml" and re.match(r"no: openvino fp32 .*at 24x20", row["kept"])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["export.json", "export.md"]
