"""Files of a few bytes that claim gigabytes: rejected with a one-line error before memory is allocated."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from srkd.errors import SrkdError
from srkd.images.read import ImageData, image_size, read_image, write_image
from srkd.inference import backends
from srkd.inference.loading import load_model
from srkd.training.recipe import read
from support import textured

_MOST = 512 << 20  # bytes that the process may additionally map


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Limit the address space, so that excessive allocations fail instead of exhausting the machine."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (4 << 30), hard))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < _MOST


def tiff(path: Path, data: bytes, **changes: tuple[int, ...]) -> Path:
    """A grey, deflated TIFF file of 100x100 pixels and 16 bits whose strip is `data`, with other tags by number."""
    tags = {256: (100,), 257: (100,), 258: (16,), 259: (8,), 262: (1,), 277: (1,), 278: (100,), 279: (len(data),)}
    tags |= {int(key.removeprefix("t")): value for key, value in changes.items()}
    where = 324 if 322 in tags else 273
    tags = {key: value for key, value in tags.items() if value and not (where == 324 and key in (278, 279))}
    at = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags[where] = (at,)
    entries = b"".join(struct.pack("<HHII", key, 4, 1, *tags[key]) for key in sorted(tags))
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data)
    return path


def inflating(size: int) -> bytes:
    """A deflate stream of zeros, a thousandth of its decompressed size, without its end and checksum."""
    deflater = zlib.compressobj(9)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return block + (size >> 20) * block[2:]


def test_a_valid_tiff_of_this_kind_is_read(tmp_path: Path) -> None:
    assert read_image(tiff(tmp_path / "x.tif", zlib.compress(bytes(20_000)))).pixels.shape == (100, 100, 1)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_strip_decompresses_to_far_more(bits: int, tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", inflating(1 << 30), t258=(bits,))
    with pytest.raises(SrkdError, match="inflates to much more"):
        read_image(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_of_tiles_larger_than_itself(bits: int, tmp_path: Path) -> None:
    data = zlib.compress(bytes(1000))
    path = tiff(tmp_path / "x.tif", data, t258=(bits,), t322=(32768,), t323=(32768,), t325=(len(data),))
    for look in (read_image, image_size):
        with pytest.raises(SrkdError, match="tiles of 32768x32768 pixels in an image of 100x100"):
            look(path)


@pytest.mark.parametrize("head", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0"])
@pytest.mark.parametrize("size", [8 << 30, 1 << 30])
def test_a_sparse_file_that_is_no_image(head: bytes, size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    with pytest.raises(SrkdError, match=r"x\.png") as error:
        read_image(path)
    assert "memory" not in str(error.value)


def test_an_image_with_much_behind_it(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", ImageData(textured(0, 8, 8)))
    with (tmp_path / "x.png").open("r+b") as file:
        file.truncate(8 << 30)
    with pytest.raises(SrkdError, match="more than the limit of 2,147,483,648"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_sparse_file_that_is_no_checkpoint(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    with pytest.raises(SrkdError, match="the limit for a checkpoint"):
        load_model(path)


def test_a_recipe_without_end() -> None:
    with pytest.raises(SrkdError, match="device"):
        read("/dev/zero")


@pytest.mark.parametrize("shape", [[1 << 20, 1 << 20], [1 << 16, 1 << 16, 3]])
def test_an_onnx_file_that_asks_for_a_constant(shape: list[int], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    numbers = onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [len(shape)], shape)
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        onnx.helper.make_node("ReduceSum", ["large"], ["y"], keepdims=0),
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [])
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [output], [numbers]))
    model.metadata_props.add(key="srkd", value=json.dumps({"name": "x", "scale": 2, "precision": "fp32"}))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SrkdError, match=r"x\.onnx: not an ONNX model exported by srkd"):
        backends.open_file(tmp_path / "x.onnx")


def test_an_openvino_file_that_asks_for_a_constant(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    x = ops.parameter([1], name="x")
    large = ops.broadcast(x, ops.constant([1 << 16, 1 << 16], dtype="int64"))
    model = openvino.Model([ops.reduce_sum(large, ops.constant([0, 1], dtype="int64"))], [x], "m")
    model.set_rt_info(json.dumps({"name": "x", "scale": 2, "precision": "fp32"}), "srkd")
    openvino.save_model(model, tmp_path / "x.xml")
    with pytest.raises(SrkdError, match="not an OpenVINO model exported by srkd"):
        backends.open_file(tmp_path / "x.xml")


def test_a_tensor_of_few_bytes_and_many_numbers(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(60_000, 60_000)}, tmp_path / "x.pth")
    with pytest.raises(SrkdError, match="larger than its storage"):
        load_model(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "network",
    [
        {"type": "EDSR", "num_feat": 8000},
        {"type": "EDSR", "num_block": 10**9},
        {"type": "MSRResNet", "num_block": 10**5},
        {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 30_000},
    ],
)
def test_a_description_of_few_bytes_and_a_large_network(network: dict[str, Any], tmp_path: Path) -> None:
    from srkd.training.checkpoint import save_weights

    save_weights(tmp_path / "x.safetensors", {"w": torch.zeros(1)}, {"network": network, "scale": 2})
    with pytest.raises(SrkdError, match=r"far larger than its weights|out of range for a network option"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["heic", "avif", "jp2", "gif", "pam"])
@pytest.mark.parametrize("side", [60_000, 15_000])
def test_a_small_image_that_declares_a_large_one(name: str, side: int, tmp_path: Path) -> None:
    if {"heic": "HEIF", "avif": "AVIF"}.get(name, "JPEG2000") not in Image.SAVE:
        pytest.skip(f"{name} is not written here")
    path = tmp_path / f"x.{name}"
    write_image(path, ImageData(textured(0, 64, 64)))
    size, data = struct.pack(">II", side, side), path.read_bytes()
    old = struct.pack(">II", 64, 64)
    changed = {
        "gif": lambda: data.replace(struct.pack("<HH", 64, 64), struct.pack("<HH", side, side)),
        "pam": lambda: data.replace(b"WIDTH 64\nHEIGHT 64", b"WIDTH %d\nHEIGHT %d" % (side, side)),
    }.get(name, lambda: data.replace(old, size))()
    assert changed != data
    path.write_bytes(changed)
    for look in (read_image, image_size):
        with pytest.raises(SrkdError, match=r"limit of 150,000,000|not an image that can be read") as error:
            look(path)
        assert "\n" not in str(error.value)
