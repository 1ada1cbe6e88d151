"""Entries of OpenModelDB: generated from the card, and what a user changed stays."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from srkd.errors import SrkdError
from srkd.inference import openmodeldb
from srkd.inference.model import Model
from srkd.networks import build, zoo

SPEC = {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 2, "upscale": 2}


def model(name: str = "my_net", **meta: Any) -> Model:
    return Model(build(SPEC).eval(), 2, name, meta={"network": SPEC, **meta})


def written(folder: Path, *names: str) -> list[Path]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(number + 1))
    return [folder / name for name in names]


def test_every_file_is_listed_with_platform_size_and_digest(tmp_path: Path) -> None:
    names = ["a.onnx", "a.xml", "a.bin", "models/a-x2.param", "models/a-x2.bin", "models/a-x2.param.json", "a.tflite"]
    path = openmodeldb.write(model(), written(tmp_path, *names), tmp_path, "jane")
    assert path == tmp_path / "2x-my-net.json"
    found = json.loads(path.read_text())
    platforms = {each["urls"][0]: each["platform"] for each in found["resources"]}
    expected = ["onnx", "openvino", "openvino", "ncnn", "ncnn", "ncnn", "litert"]
    assert platforms == dict(zip(names, expected, strict=True))
    for each in found["resources"]:
        content = (tmp_path / each["urls"][0]).read_bytes()
        assert (each["size"], each["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert each["type"] == each["urls"][0].rpartition(".")[2]
    assert (found["author"], found["architecture"], found["size"]) == ("jane", "compact", ["4nf", "2nc"])
    assert (found["scale"], found["inputChannels"], found["outputChannels"], found["images"]) == (2, 3, 3, [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"]) and found["license"] is None


@pytest.mark.parametrize("name", zoo.trained())
def test_the_zoos_entries_have_what_the_schema_requires(name: str) -> None:
    known, recipe = zoo.metrics(name), (zoo.folder(name) / "recipe.yml").read_text()
    found = openmodeldb.entry(Model(build(SPEC).eval(), known["scale"], name, meta={"network": SPEC, **known}))
    required = {"name", "author", "license", "tags", "description", "date", "architecture", "size", "scale"}
    assert required | {"inputChannels", "outputChannels"} <= set(found)
    assert found["author"] == "srkd" and found["trainingIterations"] == known["steps"]
    assert f"batch_size_per_gpu: {found['trainingBatchSize']}" in recipe and found["dataset"].split(",")[0] in recipe
    assert known["notes"] in found["description"] and found["description"] == found["description"].strip()
    assert ("PSNR to the outputs of" in found["description"]) == ("imitates" in known)
    assert ("Distilled from" in found["description"]) == bool(known["teacher"])
    assert re.fullmatch(r"\d+x-[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*", openmodeldb.identifier(name, known["scale"]))


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC0 1.0, as the photographs it was trained on", "CC0-1.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("mit", "MIT"),
        ("research use, as the training images", None),
        ("", None),
    ],
)
def test_licences_are_spdx_identifiers_or_stated_in_the_description(licence: str, identifier: str | None) -> None:
    found = openmodeldb.entry(model(licence=licence))
    assert found["license"] == identifier
    assert (f"Licence: {licence}." in found["description"]) == (bool(licence) and identifier is None)


def test_what_a_user_changed_stays(tmp_path: Path) -> None:
    path = openmodeldb.write(model(), written(tmp_path, "a.onnx"), tmp_path)
    changed = json.loads(path.read_text())
    assert changed["author"] == "unknown"
    changed |= {"author": "jane", "description": "mine", "images": [{"type": "standalone", "url": "u"}]}
    changed["resources"][0]["urls"] = ["https://example.org/a.onnx"]
    path.write_text(json.dumps(changed))
    (tmp_path / "a.onnx").write_bytes(b"newer")
    openmodeldb.write(model(), [tmp_path / "a.onnx", *written(tmp_path, "b.onnx")], tmp_path)
    found = json.loads(path.read_text())
    assert {key: found[key] for key in ("author", "description", "images")} == {
        key: changed[key] for key in ("author", "description", "images")
    }
    first, second = found["resources"]
    assert first["urls"] == ["https://example.org/a.onnx"] and first["size"] == 5
    assert first["sha256"] == hashlib.sha256(b"newer").hexdigest() and second["urls"] == ["b.onnx"]


@pytest.mark.parametrize("content", ["not JSON", "[]", '{"resources": 3}'])
def test_another_file_of_that_name_is_not_overwritten(content: str, tmp_path: Path) -> None:
    (tmp_path / "2x-my-net.json").write_text(content)
    with pytest.raises(SrkdError, match=r"2x-my-net\.json: not an OpenModelDB entry"):
        openmodeldb.write(model(), written(tmp_path, "a.onnx"), tmp_path)
    assert (tmp_path / "2x-my-net.json").read_text() == content
