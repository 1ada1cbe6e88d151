"""ncnn on CPUs: computes in fp32, weights stored in fp32 or fp16; also for realesrgan-ncnn-vulkan and Upscayl.

Those programs feed an input named `data` with RGB in [0, 1] and read `output`; they take the scale from the file's name
(`file_stem`). Besides `.param` and `.bin` a file `.param.json` holds srkd's facts and the digests of both.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.inference.backends.engine import Bytes, Engine, as_bytes, as_floats, require
from srkd.integrations.ncnn import NcnnNetwork
from srkd.machine import threads

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "fp16")
INPUT, OUTPUT = "data", "output"


@dataclass(frozen=True)
class NcnnFiles:
    """The contents of a `.param` and a `.bin`, and srkd's facts about the network."""

    param: str
    weights: bytes
    facts: dict[str, Any]


def file_stem(name: str, scale: int) -> str:
    """A model's name in which Upscayl and people find its scale.

    Upscayl (`common/check-model-scale.ts`) looks for x2 or 2x, then for x3 or 3x, and takes everything else for x4.
    """

    def read(stem: str) -> int:
        return next((factor for factor in (2, 3) if re.search(f"x{factor}|{factor}x", stem.lower())), 4)

    if read(name) == scale and re.search(f"(?i)x{scale}|{scale}x", name):
        return name
    stem = f"{name}-x{scale}"
    return stem if read(stem) == scale else f"{re.sub('(?i)(?<=[23])x|x(?=[23])', '-', name)}-x{scale}"


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> NcnnFiles:
    """As `srkd.inference.backends.ncnn_conversion.convert`."""
    from srkd.inference.backends import ncnn_conversion

    return ncnn_conversion.convert(graph, facts)


class NcnnEngine(Engine):
    """An ncnn network on the CPU, image by image."""

    runtime = "ncnn"

    def __init__(self, native: NcnnFiles, precision: str, scale: int) -> None:
        super().__init__(precision, scale)
        with tempfile.TemporaryDirectory() as name:
            param, weights = Path(name) / "net.param", Path(name) / "net.bin"
            param.write_text(native.param, encoding="utf-8")
            weights.write_bytes(native.weights)
            self._network = NcnnNetwork(param, weights, threads())

    def _run(self, pixels: Bytes) -> Bytes:
        return as_bytes(self._run_floats(as_floats(pixels)))

    def _run_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([self._network(image) for image in x])


def described(path: Path) -> Path:
    """The file beside a `.param` that holds srkd's facts."""
    return path.with_name(f"{path.name}.json")


def is_export(path: Path) -> bool:
    """Whether srkd's facts are beside a `.param` file."""
    return described(path).is_file()


def describe(native: NcnnFiles, facts: Mapping[str, Any]) -> NcnnFiles:
    """The network with these facts."""
    return replace(native, facts=dict(facts))


def facts_of(native: NcnnFiles) -> dict[str, Any]:
    """The facts of a network."""
    return native.facts


def _digests(param: bytes, weights: bytes) -> dict[str, str]:
    return {"param": hashlib.sha256(param).hexdigest(), "bin": hashlib.sha256(weights).hexdigest()}


def save(native: NcnnFiles, path: Path) -> None:
    """Write `path` (.param), its .bin and its .param.json."""
    param = native.param.encode()
    path.write_bytes(param)
    path.with_suffix(".bin").write_bytes(native.weights)
    content = {"facts": native.facts, "sha256": _digests(param, native.weights)}
    described(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[NcnnFiles, dict[str, Any]]:
    """An ncnn network that srkd wrote, and its facts.

    Raises:
        SrkdError: any other file; a `.param` or `.bin` that was changed or is incomplete.
    """
    require("ncnn")
    for beside in (described(path), path.with_suffix(".bin")):
        if not beside.is_file():
            raise SrkdError(f"{beside}: not found; srkd opens {path.name} only with it")
    try:
        content = json.loads(described(path).read_bytes())
        facts, expected = dict(content["facts"]), content["sha256"]
        param, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
        int(facts["scale"]), str(facts["precision"])
    except Exception as error:
        raise SrkdError(f"{described(path)}: not written by srkd export, or incomplete") from error
    found = _digests(param, weights)
    for part, file in (("param", path), ("bin", path.with_suffix(".bin"))):
        if found[part] != expected.get(part):
            raise SrkdError(f"{file}: changed or incomplete: its digest is not that in {described(path).name}")
    return NcnnFiles(param.decode(), weights, facts), facts
