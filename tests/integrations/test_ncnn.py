"""ncnn files: the weights read give the output of the ncnn package, and invalid files are reported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import srkd
from srkd.errors import SrkdError
from srkd.integrations import ncnn, spandrel

FEATURES, GROWTH = 8, 32  # spandrel only detects RRDBNet with a growth of 32
_SLOPE = "9=2 -23310=1,2.000000e-01"


def convolution(name: str, source: str, inputs: int, outputs: int, rest: str = "") -> str:
    return f"Convolution {name} 1 1 {source} {name} 0={outputs} 1=3 4=1 5=1 6={inputs * outputs * 9} {rest}".strip()


def compact(convolutions: int = 3) -> list[str]:
    """SRVGGNetCompact x2 in ncnn's format."""
    lines = ["Input input 0 1 data", "Split split 1 2 data data_0 data_1"]
    source = "data_1"
    for number in range(convolutions):
        last = number == convolutions - 1
        inputs, outputs = (3 if not number else FEATURES), (12 if last else FEATURES)
        lines.append(convolution(f"c{number}", source, inputs, outputs))
        source = f"c{number}"
        if not last:
            lines.append(f"PReLU p{number} 1 1 c{number} p{number} 0={FEATURES}")
            source = f"p{number}"
    lines += [f"PixelShuffle shuffle 1 1 {source} shuffled 0=2", "Interp resize 1 1 data_0 nearest 0=1 1=2.0 2=2.0"]
    return [*lines, "BinaryOp add 2 1 shuffled nearest output"]


def rrdb() -> list[str]:
    """RRDBNet x4 with one block in ncnn's format."""
    lines = ["Input input 0 1 data", convolution("first", "data", 3, FEATURES)]
    block = "first"
    for dense in range(3):
        parts = [block]
        for number in range(5):
            name, last = f"d{dense}c{number}", number == 4
            source = parts[0]
            if number:
                source = f"{name}_in"
                lines.append(f"Concat {source} {len(parts)} 1 {' '.join(parts)} {source}")
            outputs = FEATURES if last else GROWTH
            lines.append(convolution(name, source, FEATURES + number * GROWTH, outputs, "" if last else _SLOPE))
            parts.append(name)
        lines.append(f"Eltwise e{dense} 2 1 {parts[-1]} {block} e{dense} 0=1 -23301=2,2.000000e-01,1.000000e+00")
        block = f"e{dense}"
    lines.append(f"Eltwise outer 2 1 {block} first outer 0=1 -23301=2,2.000000e-01,1.000000e+00")
    lines += [convolution("body", "outer", FEATURES, FEATURES), "BinaryOp add 2 1 first body added"]
    lines += ["Interp up1 1 1 added up1 0=1 1=2.0 2=2.0", convolution("conv_up1", "up1", FEATURES, FEATURES, _SLOPE)]
    lines += ["Interp up2 1 1 conv_up1 up2 0=1 1=2.0 2=2.0", convolution("conv_up2", "up2", FEATURES, FEATURES, _SLOPE)]
    lines.append(convolution("hr", "conv_up2", FEATURES, FEATURES, _SLOPE))
    return [*lines, convolution("last", "hr", FEATURES, 3).replace("1 1 hr last", "1 1 hr output")]


def write(folder: Path, lines: list[str], half: bool = False) -> tuple[Path, Path]:
    """The two files of a network with random weights."""
    # ncnn needs an explicit Split layer where an output has several consumers.
    lines = _split(lines)
    outputs = sum(int(line.split()[3]) for line in lines)
    param, weights = folder / "net.param", folder / "net.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {outputs}", *lines]) + "\n")
    random, data = np.random.default_rng(0), b""
    for line in lines:
        values = dict(part.split("=", 1) for part in line.split() if "=" in part)
        if line.startswith("PReLU"):
            data += random.uniform(0.1, 0.3, int(values["0"])).astype("<f4").tobytes()
        if line.startswith("Convolution"):
            kernel = random.normal(0, 0.1, int(values["6"])).astype("<f2" if half else "<f4").tobytes()
            data += (0x01306B47 if half else 0).to_bytes(4, "little") + kernel + b"\0" * (-len(kernel) % 4)
            data += random.normal(0, 0.1, int(values["0"])).astype("<f4").tobytes()
    weights.write_bytes(data)
    return param, weights


def _split(lines: list[str]) -> list[str]:
    found: list[str] = []
    uses: dict[str, int] = {}
    for line in lines:
        kind, name, inputs, outputs, *rest = line.split()
        for i in range(int(inputs)):
            uses[rest[i]] = uses.get(rest[i], 0) + 1
    taken: dict[str, int] = {}
    for line in lines:
        kind, name, inputs, outputs, *rest = line.split()
        for i in range(int(inputs)):
            source = rest[i]
            if uses[source] > 1:
                rest[i] = f"{source}_of_{taken.get(source, 0)}"
                taken[source] = taken.get(source, 0) + 1
        found.append(" ".join([kind, name, inputs, outputs, *rest]))
        for output in rest[int(inputs) : int(inputs) + int(outputs)]:
            if uses.get(output, 0) > 1:
                parts = " ".join(f"{output}_of_{i}" for i in range(uses[output]))
                found.append(f"Split split_{output} 1 {uses[output]} {output} {parts}")
    return found


def by_spandrel(weights: dict[str, Tensor], image: np.ndarray) -> np.ndarray:
    network = spandrel._import().ModelLoader().load_from_state_dict(weights).model.eval()
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(image)[None])[0].numpy())


@pytest.mark.skipif(not find_spec("spandrel") or not find_spec("ncnn"), reason="needs spandrel and ncnn")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("lines", [compact(), rrdb()], ids=["compact", "rrdb"])
def test_the_weights_read_give_the_packages_output(lines: list[str], half: bool, tmp_path: Path) -> None:
    files = write(tmp_path, lines, half)
    image = np.random.default_rng(1).random((3, 12, 10), np.float32)
    ours, theirs = by_spandrel(ncnn.state_dict(*files), image), ncnn.NcnnNetwork(*files, threads=1)(image)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.skipif(not find_spec("spandrel"), reason="needs spandrel")
def test_a_param_file_is_a_model(tmp_path: Path) -> None:
    param, weights = write(tmp_path, compact())
    model = srkd.load(param)
    assert model.scale == 2
    image = np.random.default_rng(2).integers(0, 256, (9, 7, 3), np.uint8)
    expected = by_spandrel(ncnn.state_dict(param, weights), image.transpose(2, 0, 1).astype(np.float32) / 255)
    levels = np.rint(np.clip(expected, 0, 1) * 255).transpose(1, 2, 0)
    assert np.abs(model.upscale(image) - levels).max() <= 1


def test_invalid_files_are_reported(tmp_path: Path) -> None:
    param, weights = write(tmp_path, compact())
    text, data = param.read_text(), weights.read_bytes()
    cases = {
        "text": "not an ncnn .param file",
        text.replace("7767517\n", "7767517\n1", 1): "declares 1",
        text.replace("PReLU p0", "Swish p0"): "layer p0 is a Swish",
        text.replace("1=3 4=1", "1=1 4=0", 1): "layer c0: not a 3x3 convolution",
        text.replace("PReLU p0 1 1", "PReLU p0 one 1"): "line 6: not a layer",
        text.replace("4=1 5=1 6=216", "4=1 5=1 6=many", 1): "parameter 6 is 'many'",
        "\n".join(["7767517", "1 1", "Input input 0 1 data"]): "neither RRDBNet nor SRVGGNetCompact",
        _resized(text): "resizes its output after the last layer",
    }
    for changed, message in cases.items():
        param.write_text(changed)
        with pytest.raises(SrkdError, match=message):
            ncnn.state_dict(param, weights)
    param.write_text(text)
    damaged = {data[:-1]: "ends within layer", data + b"\0": "1 bytes too long", b"\1" * len(data): "type 0x1010101"}
    for changed, message in damaged.items():
        weights.write_bytes(changed)
        with pytest.raises(SrkdError, match=message):
            ncnn.state_dict(param, weights)
    with pytest.raises(SrkdError, match=r"none\.param: not found"):
        ncnn.state_dict(tmp_path / "none.param", weights)
    with pytest.raises(SrkdError, match=r"none\.bin: not found"):
        ncnn.state_dict(param, tmp_path / "none.bin")


def _resized(text: str) -> str:
    magic, counts, *lines = text.replace("nearest output", "nearest added").splitlines()
    layers, blobs = map(int, counts.split())
    return "\n".join([magic, f"{layers + 1} {blobs + 1}", *lines, "Interp half 1 1 added output 0=3 1=0.5 2=0.5"])


@pytest.mark.skipif(not find_spec("ncnn"), reason="needs ncnn")
def test_a_layer_that_works_in_place_does_not_change_the_image(tmp_path: Path) -> None:
    param, weights = tmp_path / "net.param", tmp_path / "net.bin"
    lines = ["Input input 0 1 data", "Split split 1 2 data a b", "BinaryOp less 1 1 a c 0=1 1=1 2=0.5"]
    param.write_text("\n".join(["7767517", "4 5", *lines, "BinaryOp add 2 1 b c output 0=0"]) + "\n")
    weights.write_bytes(b"")
    image = np.random.default_rng(0).random((3, 6, 5), np.float32)
    before = image.copy()
    np.testing.assert_allclose(ncnn.NcnnNetwork(param, weights, threads=1)(image), 2 * before - 0.5, atol=1e-6)
    np.testing.assert_array_equal(image, before)
