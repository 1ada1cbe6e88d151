"""Malicious files: rejected with a one-line error, and none of their code is run."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.loading import load_model
from srkd.training.checkpoint import load_weights, save_weights


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """A path that exists after malicious code was run."""
    return tmp_path / "sprung"


def rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error output of a command that must fail: one line, exit code 1."""
    capsys.readouterr()
    assert main(arguments) == 1
    output = capsys.readouterr().err
    lines = [line for line in output.splitlines() if line.startswith("srkd: ")]
    assert len(lines) == 1 and "Traceback" not in output, output
    return lines[0]


def with_network(recipe: dict[str, Any], spec: Any, path: Path, key: str = "network_g") -> str:
    path.write_text(yaml.safe_dump({**recipe, key: spec}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("legacy", [True, False])
def test_no_command_runs_a_pickle(
    suffix: str,
    legacy: bool,
    recipe: dict[str, Any],
    photos: Path,
    sprung: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bomb = tmp_path / f"bomb{suffix}"
    if legacy:
        bomb.write_bytes(pickle.dumps({"params": _Canary(sprung)}))
    else:
        torch.save({"params": _Canary(sprung)}, bomb)
    out, opt = str(tmp_path / "out"), tmp_path / "r.yml"
    for arguments in (
        ["upscale", str(photos), "-o", out, "-m", str(bomb)],
        ["evaluate", "--model", str(bomb), "--data", str(photos), "--output", out],
        ["prune", str(bomb), "-o", f"{out}.safetensors", "--keep", "0.5"],
        ["train", "-opt", with_network(recipe, {"file": str(bomb)}, opt), "--output", out],
        ["train", "-opt", with_network(recipe, {"file": str(bomb)}, opt, "network_g_teacher"), "--output", out],
        ["train", "-opt", with_network(recipe, {"pretrain_network_g": str(bomb)}, opt, "path"), "--output", out],
    ):
        assert bomb.name in rejected(arguments, capsys)
    assert not sprung.exists() and not Path(out).exists()


def test_a_training_state_is_not_run(
    recipe: dict[str, Any], sprung: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = tmp_path / "tiny" / "training_states"
    states.mkdir(parents=True)
    (states / "000000003.pt").write_bytes(pickle.dumps({"step": _Canary(sprung)}))
    opt = with_network(recipe, recipe["network_g"], tmp_path / "r.yml")
    output = rejected(["train", "-opt", opt, "--auto_resume", "--output", str(tmp_path)], capsys)
    assert "was not run" in output and not sprung.exists()


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("os:mkdir", "path", "{}"),
        ("os:system", "command", "mkdir {}"),
        ("builtins:exec", "source", "import os; os.mkdir('{}')"),
        ("subprocess:Popen", "args", ["mkdir", "{}"]),
    ],
)
def test_a_checkpoint_cannot_choose_what_is_called(
    name: str, option: str, value: Any, sprung: Path, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb.safetensors"
    spec = json.loads(json.dumps({"type": name, option: value}).replace("{}", str(sprung)))
    save_weights(bomb, {"w": torch.zeros(1)}, {"network": spec, "scale": 2})
    with pytest.raises(SrkdError, match="whose code would run; if you trust both"):
        load_model(bomb)
    assert not sprung.exists()


def _safetensors(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FALSE_HEADERS = {
    "longer than the file": _safetensors({"w": _entry()}, length=1 << 20),
    "longer than any file": _safetensors({"w": _entry()}, length=(1 << 64) - 1),
    "no JSON": _safetensors(b"{'w': 1}"),
    "no UTF-8": _safetensors(b'{"\xff": 1}'),
    "not a mapping": _safetensors([1, 2]),
    "deeply nested": _safetensors(b'{"w":' * 20000 + b"1" + b"}" * 20000),
    "beyond the end": _safetensors({"w": _entry(shape=(400,), offsets=(0, 1600))}),
    "backwards": _safetensors({"w": _entry(offsets=(16, 0))}),
    "negative": _safetensors({"w": _entry(offsets=(-16, 0))}),
    "more than a number holds": _safetensors({"w": _entry(shape=(1 << 62, 1 << 62))}),
    "shape and bytes disagree": _safetensors({"w": _entry(shape=(5,))}),
    "overlapping": _safetensors({"a": _entry(), "b": _entry(shape=(2,), offsets=(8, 16))}),
    "with a hole": _safetensors({"w": _entry(shape=(1,), offsets=(8, 12))}),
    "unknown type": _safetensors({"w": _entry(dtype="F33")}),
    "no tensors": _safetensors({}, data=b""),
    "description no JSON": _safetensors({"w": _entry(), "__metadata__": {"srkd": "{"}}),
    "description not a mapping": _safetensors({"w": _entry(), "__metadata__": {"srkd": "[1]"}}),
    "metadata not text": _safetensors({"w": _entry(), "__metadata__": {"srkd": 3}}),
}


@pytest.mark.parametrize("kind", list(FALSE_HEADERS))
def test_false_headers_of_safetensors_are_rejected(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "false.safetensors"
    path.write_bytes(FALSE_HEADERS[kind])
    with pytest.raises(SrkdError, match=r"false\.safetensors") as error:
        load_model(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "network",
    [
        {"type": "EDSR", "num_feat": -1},
        {"type": "EDSR", "num_feat": "many"},
        {"type": "EDSR", "num_block": None},
        {"type": "EDSR", "upscale": 0},
        {"type": ["EDSR"]},
        {"type": ""},
        {"type": ":"},
        {"type": "os:"},
        {"type": ".x:Y"},
        {"type": "SwinIR", "window_size": 0},
        {},
        "EDSR",
        None,
    ],
)
def test_invalid_network_descriptions_are_rejected(network: Any, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {"network": network, "scale": 2})
    with pytest.raises(SrkdError) as error:
        load_model(tmp_path / "w.safetensors")
    assert "\n" not in str(error.value)


def test_weights_are_not_mapped_after_they_were_read(tmp_path: Path) -> None:
    """A file that is later cut short in place would otherwise end the process with a bus error."""
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(100_000)}, path)
    state, _ = load_weights(path)
    path.write_bytes(b"")
    assert state["w"].sum() == 100_000


@pytest.mark.parametrize("place", ["../secret.bin", "{}/secret.bin", "link.bin", "beside.bin"])
@pytest.mark.parametrize("where", ["weights", "attribute"])
def test_onnx_weights_in_another_file_are_rejected(place: str, where: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    (tmp_path / "secret.bin").write_bytes(b"secret: \0\0\0\0\0\0\0\0")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "beside.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place.format(tmp_path))
    output = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4])
    nodes = [onnx.helper.make_node("Constant", [], ["w"], value=tensor)] if where == "attribute" else []
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [output], [tensor] * (not nodes)))
    model.metadata_props.add(key="srkd", value=json.dumps({"name": "x", "scale": 2, "precision": "fp32"}))
    (folder / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SrkdError, match=r"x\.onnx: not an ONNX model exported by srkd"):
        backends.open_file(folder / "x.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"no model", bytes(1000), b"<net/>", b"<!DOCTYPE n [<!ENTITY a 'x'>]>"]
)
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_files_that_are_no_exported_network_are_rejected(content: bytes, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino" if suffix == ".xml" else "onnx")
    (tmp_path / f"x{suffix}").write_bytes(content)
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(SrkdError, match=r"not an \w+ model exported by srkd"):
        backends.open_file(tmp_path / f"x{suffix}")


TAGS = [
    "!!python/object/apply:os.mkdir ['{}']",
    "!!python/object/new:os.mkdir ['{}']",
    "!!python/name:os.mkdir '{}'",
    "!!python/module:os '{}'",
    "!!python/tuple ['{}']",
    "!os.mkdir '{}'",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("command", ["train -opt {}", "compare {}", "train -opt {} --set scale=2"])
def test_object_tags_are_rejected_and_not_run(
    tag: str, command: str, sprung: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yml").write_text(f"name: x\nscale: {tag.format(sprung)}\n")
    assert "r.yml, line 2" in rejected(command.format(tmp_path / "r.yml").split(), capsys)
    (tmp_path / "r.yml").write_text("name: x\n")
    given = ["--set", f"scale={tag.format(sprung)}"]
    assert "--set scale" in rejected(["train", "-opt", str(tmp_path / "r.yml"), *given], capsys)
    assert not sprung.exists()


def _laughs(line: str) -> str:
    """Twelve lines, each of which contains the previous one nine times."""
    return "a0: &a0 [ha]\n" + "".join(line.format(n, n - 1) + "\n" for n in range(1, 13))


BOMBS = {
    "laughs": _laughs("a{0}: &a{0} [" + "*a{1}, " * 9 + "]"),
    "laughs in mappings": _laughs("a{0}: &a{0} {{" + ", ".join(f"k{i}: *a{{1}}" for i in range(9)) + "}}"),
    "a list in itself": "train: &t [*t]\n",
    "a mapping in itself": "train: &t {losses: *t}\n",
    "deep": "a: " + "[" * 100_000,
    "deep and closed": "a: " + "[" * 300 + "]" * 300,
    "a long number": "scale: " + "9" * 10_000,
    "an endless float": "scale: 1" + "e9" * 5_000,
}


@pytest.mark.parametrize("kind", list(BOMBS))
@pytest.mark.parametrize("command", ["train -opt {}", "compare {}"])
@pytest.mark.timeout(20)
def test_recipes_that_grow_without_end_are_rejected(
    kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yml").write_text(BOMBS[kind])
    assert len(rejected(command.format(tmp_path / "r.yml").split(), capsys)) < 1000
