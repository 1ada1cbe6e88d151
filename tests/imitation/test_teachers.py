"""Teachers of outputs: known networks, ONNX and ncnn files, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.imitation.teachers import open_teacher
from srkd.inference import backends
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.inference.proof import pairs_of, proof_of
from srkd.networks import build
from support import textured

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's exporter


class Doubler(nn.Module):
    """Nearest neighbours, times `gain`."""

    def __init__(self, gain: float = 1.0, scale: int = 2) -> None:
        super().__init__()
        self.gain: float | nn.Parameter = gain
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=float(self.scale), mode="nearest") * self.gain


def export(path: Path, network: nn.Module, *inputs: Tensor) -> Path:
    pytest.importorskip("onnxscript", reason="the extra deploy is not installed")
    given = inputs or (torch.rand(1, 3, 32, 40),)
    sizes = {0: "n", 2: "h", 3: "w"}
    torch.onnx.export(
        network.eval(), given, str(path), dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes={"x": sizes}
    )
    return path


def image(height: int = 12, width: int = 15) -> np.ndarray:
    return np.stack([textured(seed, height, width) for seed in (0, 1)])


def test_any_onnx_file_is_a_teacher_and_its_scale_is_measured(tmp_path: Path) -> None:
    path = export(tmp_path / "three.onnx", Doubler(scale=3))
    teacher = open_teacher({"file": str(path)})
    assert (teacher.name, teacher.scale, teacher.runtime) == ("three", 3, "onnxruntime")
    np.testing.assert_array_equal(teacher(image()), image().repeat(3, 1).repeat(3, 2))
    assert teacher.digest != open_teacher({"file": str(export(tmp_path / "b.onnx", Doubler(1.01, 3)))}).digest


def test_weights_beside_an_onnx_file_belong_to_its_digest(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    digests = []
    for number, gain in enumerate((1.0, 1.1)):
        (tmp_path / str(number)).mkdir()
        network = Doubler(scale=3)
        network.gain = nn.Parameter(torch.full((3, 1, 1), gain))
        model = onnx.load(export(tmp_path / "whole.onnx", network))
        path = tmp_path / str(number) / "t.onnx"
        onnx.save_model(model, path, save_as_external_data=True, location="t.data", size_threshold=0)
        digests.append(open_teacher({"file": str(path)}).digest)
    graphs = [(tmp_path / name / "t.onnx").read_bytes() for name in "01"]
    assert graphs[0] == graphs[1] and digests[0] != digests[1]


def test_an_onnx_file_that_is_no_teacher_is_named(tmp_path: Path) -> None:
    for number, (network, message) in enumerate(
        (
            (Doubler(255.0), r"does not return the colours of its input \(off by"),
            (nn.AvgPool2d(2), r"upscales an RGB image of \(3, 32, 32\) to \(3, 16, 16\)"),
            (nn.Flatten(2), "upscales an RGB image"),
        )
    ):
        with pytest.raises(SrkdError, match=message):
            open_teacher({"file": str(export(tmp_path / f"{number}.onnx", network))})
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(SrkdError, match=r"broken\.onnx: onnxruntime cannot read it"):
        open_teacher({"file": str(tmp_path / "broken.onnx")})
    with pytest.raises(SrkdError, match=r"none\.onnx: not found"):
        open_teacher({"file": str(tmp_path / "none.onnx")})
    with pytest.raises(SrkdError, match=r"network_g_teacher: .*no such checkpoint"):
        open_teacher({"file": str(tmp_path / "none.pth")})


def test_a_known_network_gives_the_same_output_as_srkd(teacher_file: Path) -> None:
    import srkd

    teacher = open_teacher({"file": str(teacher_file)})
    assert teacher.scale == 4 and teacher.name == "teacher"
    expected = srkd.load(teacher_file).upscale(image()[0])
    assert np.abs(teacher(image())[0].astype(int) - expected).max() <= 2  # bf16 where that is fast


NEAREST = """7767517
2 2
Input data 0 1 data
Interp up 1 1 data out 0=1 1=2.0 2=2.0
"""


def test_an_ncnn_file_of_an_unknown_network_runs_on_ncnn(tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    (tmp_path / "near.param").write_text(NEAREST)
    (tmp_path / "near.bin").write_bytes(b"")
    teacher = open_teacher({"file": str(tmp_path / "near.param")})
    assert (teacher.name, teacher.scale, teacher.runtime) == ("near", 2, "ncnn")
    np.testing.assert_array_equal(teacher(image()), image().repeat(2, 1).repeat(2, 2))
    (tmp_path / "odd.param").write_text(NEAREST.replace("Interp up", "Mystery up"))
    (tmp_path / "odd.bin").write_bytes(b"")
    with pytest.raises(SrkdError, match=r"layer up is a Mystery, which srkd cannot convert.*nor does it run on ncnn"):
        open_teacher({"file": str(tmp_path / "odd.param")})
    (tmp_path / "odd.bin").unlink()
    with pytest.raises(SrkdError, match=r"odd\.bin: not found"):
        open_teacher({"file": str(tmp_path / "odd.param")})


@pytest.mark.parametrize(
    ("runtime", "name"), [("onnxruntime", "net.onnx"), ("onnxruntime", "net.ONNX"), ("ncnn", "net.param")]
)
def test_a_changed_export_is_no_teacher(tmp_path: Path, runtime: str, name: str) -> None:
    """Its weights run in any program, but they are not the network's."""
    if not backends.installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    torch.manual_seed(0)
    spec = {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 1, "upscale": 2}
    model = Model(build(spec).eval(), 2, "net", meta={"network": spec})
    facts, path = model.facts(tiling=True), tmp_path / name
    native = backends.converted(graph_of(model.network, uint8=False), runtime, "fp32", facts)
    proof = proof_of(pairs_of(model), backends.wrap(native, runtime, "fp32", facts))
    backends.save(backends.proved(native, runtime, proof), runtime, path)
    teacher = open_teacher({"file": str(path)})
    assert (teacher.scale, teacher.runtime) == (2, f"{runtime} fp32")
    assert np.abs(teacher(image()).astype(int) - model(image())).max() <= 1
    weights = backends.files_of(path)[:2][-1]
    value = model.network.body[0].weight.detach().numpy().tobytes()[:16]  # type: ignore[index, union-attr, operator]
    content = weights.read_bytes()
    assert content.count(value) == 1
    weights.write_bytes(content.replace(value, bytes(16)))
    with pytest.raises(SrkdError, match="changed or incomplete"):
        open_teacher({"file": str(path)})
