"""Describe exported files as an entry of OpenModelDB: `<scale>x-<name>.json`, generated from the model's card.

Schema: `src/lib/schema.ts` and `model-props.ts` of https://github.com/OpenModelDB/open-model-database, which knows the
platforms pytorch, onnx and ncnn; others are named likewise.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.files.digest import file_sha256
from srkd.inference.model import Model
from srkd.networks import zoo
from srkd.training.recipe import read

Entry = dict[str, Any]
_ARCHITECTURES = {"SRVGGNetCompact": "compact", "RRDBNet": "esrgan", "MSRResNet": "sr-res-net"}  # their ids
_SIZES = {"num_feat": "nf", "num_block": "nb", "num_conv": "nc"}
_CREATIVE_COMMONS = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")
_LICENCES = ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "Unlicense", *_CREATIVE_COMMONS)  # SPDX
_PLATFORMS = {".onnx": "onnx", ".param": "ncnn", ".xml": "openvino", ".tflite": "litert", ".safetensors": "pytorch"}
_EDITABLE = ("author", "date", "description", "images", "license", "name", "tags")  # kept when it is written again


def write(model: Model, files: Sequence[Path], folder: Path, author: str = "") -> Path:
    """Write or update the entry of a model in a folder.

    What a user changed in an existing entry stays: the texts, and the addresses and files that are not in `files`.

    Args:
        files: exported files below `folder`, with the files that belong to them.
        author: empty: the card's, or "unknown".
    """
    path = folder / f"{identifier(model.name, model.scale)}.json"
    new, old = entry(model, author), _existing(path)
    new |= {key: old[key] for key in _EDITABLE if key in old and (key != "author" or not author)}
    resources = {_name(each): each for each in old.get("resources", [])}
    for file in sorted(files):
        found = _resource(file, folder)
        known = resources.get(_name(found), {})
        resources[_name(found)] = found | {key: known[key] for key in ("urls",) if key in known}
    write_json(path, new | {"resources": list(resources.values()), "images": new.get("images", [])})
    return path


def identifier(name: str, scale: int) -> str:
    """A model's id, such as 2x-edsr-16x8: letters and digits, joined by single hyphens."""
    words = re.findall(r"[A-Za-z0-9]+", name) or ["model"]
    return "-".join([f"{scale}x", *words])


def entry(model: Model, author: str = "") -> Entry:
    """An entry without its resources: the required properties, and those of the training as far as they are known."""
    meta = model.meta
    spec = meta.get("network", {})
    kind = str(spec.get("type") or meta.get("architecture") or type(model.network).__name__)
    licence = str(meta.get("licence") or "")
    channels = 1 if model.colour == "luma" else 3
    return {
        "name": model.name,
        "author": author or str(meta.get("author") or ("srkd" if model.name in zoo.names() else "unknown")),
        "license": spdx(licence),
        "tags": list(meta.get("tags") or ["general-upscaler"]),
        "description": _description(meta, licence),
        "date": datetime.date.today().isoformat(),
        "architecture": _ARCHITECTURES.get(kind, re.sub("[^a-z0-9]+", "-", kind.lower())),
        "size": [f"{spec[key]}{unit}" for key, unit in _SIZES.items() if key in spec] or None,
        "scale": model.scale,
        "inputChannels": channels,
        "outputChannels": channels,
        **_training(model),
    }


def spdx(licence: str) -> str | None:
    """The SPDX identifier that a licence starts with, such as CC0-1.0 of "CC0 1.0, as the photographs"; else None."""
    start = licence.split(",")[0].strip().replace(" ", "-").lower()
    return next((known for known in _LICENCES if known.lower() == start), None)


def _description(meta: Mapping[str, Any], licence: str) -> str:
    teacher = meta.get("teacher") or meta.get("lineage", {}).get("teacher")
    scores = [(name, found["psnr"]) for name, found in meta.get("sets", {}).items() if "psnr" in found]
    reference = f" to the outputs of {meta['imitates']}" if "imitates" in meta else ""
    parts = [
        str(meta.get("notes") or ""),
        f"Distilled from {teacher}." if teacher else "",
        f"PSNR{reference} (Y, dB): {', '.join(f'{name} {psnr:.2f}' for name, psnr in scores)}." if scores else "",
        f"Licence: {licence}." if licence and spdx(licence) is None else "",
    ]
    return "\n\n".join(filter(None, parts)) or "A super-resolution network, exported by srkd."


def _training(model: Model) -> Entry:
    """The properties of the training that are known, from the zoo's recipe and the checkpoint's lineage."""
    recipe = read(zoo.folder(model.name) / "recipe.yml") if model.name in zoo.names() else {}
    data = recipe.get("datasets", {}).get("train", {})
    folders = data.get("dataroot_gt") or []
    known = {
        "trainingIterations": model.meta.get("steps") or model.meta.get("lineage", {}).get("steps"),
        "trainingBatchSize": data.get("batch_size_per_gpu"),
        "trainingHRSize": data.get("gt_size"),
        "trainingOTF": True if recipe.get("task") in ("imitation", "sr.real_esrgan") else None,
        "dataset": ", ".join([folders] if isinstance(folders, str) else folders),
    }
    return {key: value for key, value in known.items() if value}


def _resource(file: Path, folder: Path) -> Entry:
    """A file with its digest; its address is its path below the folder until it is published."""
    main = next(each for each in (file.suffix, Path(file.stem).suffix, _beside(file)) if each in _PLATFORMS)
    return {
        "platform": _PLATFORMS[main],
        "type": file.suffix[1:],
        "size": file.stat().st_size,
        "sha256": file_sha256(file),
        "urls": [file.relative_to(folder).as_posix()],
    }


def _beside(file: Path) -> str:
    """The suffix of the file that a .bin belongs to."""
    return ".param" if file.with_suffix(".param").is_file() else ".xml"


def _name(resource: Mapping[str, Any]) -> str:
    """The file's name, which is the last part of its address."""
    return str((resource.get("urls") or [""])[0]).rpartition("/")[2]


def _existing(path: Path) -> Entry:
    """An entry that is there already. Raises SrkdError for a file that is not one, which must not be overwritten."""
    with suppress(FileNotFoundError):
        with suppress(ValueError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("resources", []), list):
                return found
        raise SrkdError(f"{path}: not an OpenModelDB entry; move it away, as the export writes one there")
    return {}
