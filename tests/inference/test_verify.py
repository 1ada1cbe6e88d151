"""`srkd verify`: files that carry LR/SR pairs are replayed; changed ones and those of other tools are rejected."""

from __future__ import annotations

import base64
import importlib
import io
import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import srkd
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.backends import litert, seal
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.inference.proof import Tolerance, example_images, pairs_of, proof_of, replay
from srkd.inference.verify import verify
from srkd.networks import build
from srkd.training.checkpoint import save_weights

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2, "img_range": 1.0}
NAMES = {"onnxruntime": "net.onnx", "openvino": "net.xml", "ncnn": "net-x2.param", "litert": "net.tflite"}


def student() -> Model:
    torch.manual_seed(0)
    return Model(build(SPEC).eval(), 2, "net", meta={"network": SPEC, "scale": 2, "licence": "CC0 1.0"})


def exported(folder: Path, runtime: str) -> None:
    """Write the file of the student for a runtime."""
    model = student()
    native = backends.converted(graph_of(model.network), runtime, "fp32", model.facts(tiling=True))
    proof = proof_of(pairs_of(model), backends.wrap(native, runtime, "fp32", model.facts(tiling=True)))
    backends.save(backends.proved(native, runtime, proof), runtime, folder / NAMES[runtime])


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write an exported file again, sealed, with facts that `change` changes."""
    runtime = backends.readers(path)[0]
    module = backends._MODULES[runtime]
    native, facts = module.load(path)
    facts["seals"] = seal.opened([".bin"] if runtime == "openvino" else [])
    change(facts)
    backends.save(module.describe(native, facts), runtime, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of all runtimes that are installed."""
    folder = tmp_path_factory.mktemp("files")
    for runtime in NAMES:
        if backends.installed(runtime):
            exported(folder, runtime)
    return folder


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest, files: Path, tmp_path: Path) -> Path:
    """A copy of the file of one runtime, with the files beside it."""
    if not backends.installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    for file in files.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / NAMES[request.param]


def test_the_pairs_are_replayed_in_every_runtime_that_opens_the_file(path: Path, tmp_path: Path) -> None:
    save_weights(tmp_path / "net.safetensors", student().network.state_dict(), {"network": SPEC, "scale": 2})
    rows = verify(path, str(tmp_path / "net.safetensors"))
    assert [row["runtime"] for row in rows] == [*backends.readers(path), "torch"]
    for row in rows:
        if row["runtime"] == "torch" or backends.installed(row["runtime"]):
            assert row["result"] == "ok" and row["largest difference"] <= 1 and row["PSNR (dB)"] > 45
            assert row["tolerance"] == "at most 1 level(s)"
    proof = srkd.load(path).meta["proof"]
    shown = [Image.open(io.BytesIO(base64.b64decode(pair["sr"]))) for pair in proof["pairs"]]
    for image, lr in zip(shown, example_images(), strict=True):
        np.testing.assert_array_equal(np.asarray(image), student()(lr[None])[0])


def described(path: Path) -> Path:
    return path.with_name(f"{path.name}.json") if path.suffix == ".param" else path


def test_a_changed_byte_is_refused_by_verify_and_when_it_is_opened(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = [path.with_suffix(".bin")] if path.suffix not in (".onnx", ".tflite") else []
    for file in {path, described(path), *beside}:
        content = file.read_bytes()
        for at in (len(content) // 3, len(content) - 2):
            file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            assert main(["verify", str(path)]) == 1
            shown = capsys.readouterr()
            assert not shown.out and f"{file.name}: changed or incomplete" in shown.err, (file, at)
            with pytest.raises(SrkdError, match="changed or incomplete"):
                srkd.load(path)
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(SrkdError, match=rf"{file.name}: .*incomplete"):
            srkd.load(path)
        file.write_bytes(content)
    assert main(["verify", str(path)]) == 0


def test_a_seal_that_was_removed_is_missed(path: Path) -> None:
    file = described(path)
    file.write_bytes(file.read_bytes().replace(b"srkd-sha256:self", b"srkd-sha256:Self"))
    with pytest.raises(SrkdError, match="changed or incomplete"):
        srkd.load(path)


def test_another_networks_file_or_sidecar_is_found(path: Path, tmp_path: Path) -> None:
    if path.suffix in (".onnx", ".tflite"):
        pytest.skip("a single file")
    other = tmp_path / "other"
    shutil.copytree(path.parent, other, ignore=shutil.ignore_patterns("other"))
    weights = path.with_suffix(".bin")
    weights.write_bytes(bytes(reversed((other / weights.name).read_bytes())))
    with pytest.raises(SrkdError, match=rf"{weights.name}: changed or incomplete"):
        srkd.load(path)
    weights.unlink()
    with pytest.raises(SrkdError, match=rf"{weights.name}"):
        srkd.load(path)


def test_a_network_that_computes_something_else_fails(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other_sr(facts: dict[str, Any]) -> None:
        facts["proof"]["pairs"][1]["sr"] = facts["proof"]["pairs"][0]["sr"]

    shutil.copytree(path.parent, tmp_path / "bad", ignore=shutil.ignore_patterns("bad"))
    bad = tmp_path / "bad" / path.name
    rewritten(bad, other_sr)
    assert main(["verify", str(bad), "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["rows"][0]["result"] == "different"
    assert f"{bad}: {backends.readers(path)[0]} differs from torch by" in shown.err and "at most 1 level" in shown.err
    assert main(["verify", str(bad), str(path)]) == 2


def test_the_checkpoint_of_another_network_differs(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "same.safetensors", student().network.state_dict(), {"network": SPEC, "scale": 2})
    assert main(["verify", str(path), "--checkpoint", str(tmp_path / "same.safetensors")]) == 0
    torch.manual_seed(1)
    save_weights(tmp_path / "other.safetensors", build(SPEC).state_dict(), {"network": SPEC, "scale": 2})
    capsys.readouterr()
    assert main(["verify", str(path), "--checkpoint", str(tmp_path / "other.safetensors")]) == 1
    assert f"srkd: {path}: the checkpoint differs from the file's SR images by" in capsys.readouterr().err


def test_a_file_without_pairs_or_of_another_kind_says_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(path, lambda facts: (facts.pop("proof"), facts.pop("seals")))
    assert srkd.load(path).scale == 2
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().err == f"srkd: {path}: carries no LR/SR pairs to verify it by; export it again\n"
    assert main(["verify", "net.safetensors"]) == 1
    assert "net.safetensors: an exported network is .onnx or .xml or .param or .tflite" in capsys.readouterr().err


def test_a_file_by_url_is_copied_as_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "http://host.invalid/net.onnx"]) == 1
    assert capsys.readouterr().err.startswith("srkd: http://host.invalid/net.onnx: http downloads may be altered")


@pytest.mark.parametrize(
    "change",
    [
        {"pairs": []},
        {"pairs": [{"lr": "?", "sr": ""}]},
        {"pairs": 3},
        {"tolerance": {}},
        {"tolerance": {"psnr": "high"}},
        {"tolerance": {"levels": 1, "psnr": 2.0}},
    ],
)
def test_a_proof_that_cannot_be_read_is_named(change: dict[str, Any]) -> None:
    model = student()
    with pytest.raises(SrkdError, match=r"x\.onnx: its LR/SR pairs cannot be read"):
        replay(model, proof_of(pairs_of(model), model) | change, "x.onnx")


def test_pairs_of_another_scale_or_of_excessive_size_are_rejected() -> None:
    model = student()
    proof = proof_of(pairs_of(model), model)
    model.scale = 3
    with pytest.raises(SrkdError, match="cannot be read: its sizes"):
        replay(model, proof, "x.onnx")
    stream = io.BytesIO()
    Image.new("RGB", (5000, 1)).save(stream, "PNG")
    proof["pairs"][0]["lr"] = base64.b64encode(stream.getvalue()).decode()
    with pytest.raises(SrkdError, match="an image of 5000x1"):
        replay(model, proof, "x.onnx")


def test_the_tolerance_of_reduced_precision_follows_what_was_measured() -> None:
    exact, rough = Tolerance.of("fp32", 50.0), Tolerance.of("int8", 41.26)
    assert exact.accepts(48.0, 1) and not exact.accepts(48.0, 2)
    assert rough.psnr == 38.3 and rough.accepts(38.4, 30) and not rough.accepts(38.2, 1)
    assert Tolerance.of("fp16", float("inf")).psnr == 57.0


def test_the_example_images_are_what_they_were() -> None:
    images = example_images()
    assert [image.shape for image in images] == [(20, 24, 3)] * 3
    assert images[2].min() == 0 and images[2].max() == 255 and len(np.unique(images[1])) > 10
    assert seal.opened([".bin"]) == [f"srkd-sha256:.bin:{'0' * 64}", f"srkd-sha256:self:{'0' * 64}"]


@pytest.mark.skipif(not find_spec("ncnn") or not find_spec("pnnx"), reason="the extra ncnn is not installed")
def test_a_missing_sidecar_is_named(files: Path, tmp_path: Path) -> None:
    for suffix in (".param", ".bin"):
        shutil.copy(files / f"net-x2{suffix}", tmp_path)
    with pytest.raises(SrkdError, match=r"net-x2\.param\.json: not found"):
        verify(tmp_path / "net-x2.param")


def test_files_of_other_tools_are_named(path: Path, tmp_path: Path) -> None:
    """Their facts are missing; ncnn's are in a file of their own, whose absence is named above."""
    if path.suffix == ".onnx":
        onnx = importlib.import_module("onnx")
        model = onnx.load(path)
        del model.metadata_props[:]
        model.producer_name, model.producer_version = "keras2onnx\x1b", "1.9"
        onnx.save(model, path)
        by = r"keras2onnx\\x1b 1\.9"
    elif path.suffix == ".xml":
        path.write_bytes(re.sub(b"<srkd[^>]*>", b"", path.read_bytes()))
        by = r"another program with OpenVINO 20"
    elif path.suffix == ".tflite":
        model = litert.schema().ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        model.buffers[model.metadata[0].buffer].data, model.metadata = None, None
        model.description = "MLIR Converted."
        path.write_bytes(litert.packed(model))
        by = r"another converter \(MLIR Converted\.\)"
    else:
        return
    with pytest.raises(SrkdError, match=rf"{path.name}: not an? \w+ model exported by srkd but by {by}"):
        srkd.load(path)
    with pytest.raises(SrkdError, match="exported by srkd but by"):
        verify(path)
