"""Caches of a teacher's predictions: whole-image outputs, and the patch bank.

Outputs hardly depend on flips of the input (about 1 %), so the teacher runs once on each whole image, and its output is
cropped, flipped and rotated together with the image. Features do change and also depend on the border, so they are
computed on a fixed set of augmented patches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from srkd.data.patches import OUTPUT_STEPS, PairedImages, Patches, PatchSource, to_batch
from srkd.distill.teachers import Teacher
from srkd.errors import SrkdError
from srkd.files.atomic import write_json, writing
from srkd.files.cache import trusted_inside
from srkd.files.digest import sampled_sha256
from srkd.inference.model import Model

Say = Callable[[int, str], None]

_META, _OUTPUTS = "meta.json", "outputs.i16"


def network_hash(network: nn.Module) -> str:
    """sha256 of a network's parameters and buffers with their names, 16 digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def key(**parts: Any) -> str:
    """A hash (16 hexadecimal digits) of everything on which a cache depends."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def check_size(size: float, limit: float, folder: Path, what: str) -> str:
    """The message that announces a cache of `size` bytes.

    Raises:
        SrkdError: it would exceed `limit`, the recipe's cache.max_bytes.
    """
    if size > limit:
        raise SrkdError(
            f"the cache of {what} would take {size / 1e9:.2f} GB, more than cache.max_bytes ({limit / 1e9:.2f} GB); "
            "raise that, use fewer images or patches, or fewer taps"
        )
    return f"cache of {what}: {size / 1e9:.2f} GB in {folder}"


def complete(folder: Path) -> dict[str, Any] | None:
    """Content of a cache's `meta.json` if the cache is complete, unchanged and writable by no other user; else None.

    Files are compared by size and samples, because they may have many gigabytes.
    """
    with suppress(OSError, ValueError, AttributeError, TypeError):
        meta: dict[str, Any] = json.loads((folder / _META).read_bytes())
        files = meta.get("files", {})  # caches of earlier versions have no digests, but are expensive to rebuild
        if trusted_inside(folder) and all(sampled_sha256(folder / name) == digest for name, digest in files.items()):
            return meta
    return None


def _write_meta(folder: Path, meta: dict[str, Any], files: Iterable[str]) -> None:
    write_json(folder / _META, {**meta, "files": {name: sampled_sha256(folder / name) for name in files}})


class OutputCache:
    """A teacher's outputs for whole images as one memory-mapped int16 file; `image(i)` is (H, W, 3)."""

    dtype = np.dtype(np.int16)

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self.shapes = [tuple(shape) for shape in meta["shapes"]]
        self._offsets = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)])
        self._data = np.memmap(folder / _OUTPUTS, np.int16, "r")

    def image(self, number: int) -> np.ndarray:
        start, end = self._offsets[number], self._offsets[number + 1]
        return self._data[start:end].reshape(self.shapes[number])


def build_outputs(
    teacher: Model,
    images: PairedImages,
    folder: Path,
    self_ensemble: bool = False,
    say: Say = lambda done, name: None,
) -> OutputCache:
    """Run the teacher on every image unless `folder` has a complete cache; an interrupted build is continued.

    Args:
        say: called after each image with the number done and its name.
    """
    if known := complete(folder):
        return OutputCache(folder, known)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = [list(images.hr(i).shape) for i in range(len(images))]
    unfinished = folder / "outputs.part"
    sizes = np.cumsum([0, *(int(np.prod(shape)) * 2 for shape in shapes)])
    done = int(np.searchsorted(sizes, unfinished.stat().st_size, "right")) - 1 if unfinished.exists() else 0
    with writing(folder), unfinished.open("r+b" if done else "wb") as file:
        file.truncate(sizes[done])
        file.seek(sizes[done])
        for number in range(done, len(images)):
            lr = to_batch({"lr": images.lr(number)[None].copy()}, teacher.device)["lr"]
            file.write(_steps(teacher.run(lr, self_ensemble)).tobytes())
            file.flush()
            say(number + 1, images.name(number))
    unfinished.replace(folder / _OUTPUTS)
    _write_meta(folder, {"shapes": shapes}, [_OUTPUTS])
    return OutputCache(folder, {"shapes": shapes})


def _steps(output: Tensor) -> np.ndarray:
    if not torch.isfinite(output).all():
        raise SrkdError("the teacher's output contains NaN or infinity")
    scaled = output[0].float().mul(OUTPUT_STEPS).round().clamp(-32768, 32767)
    return scaled.to(torch.int16).permute(1, 2, 0).contiguous().cpu().numpy()


def bank_bytes(patches: Patches, count: int, features: Mapping[str, tuple[int, ...]], output: bool) -> int:
    """Size in bytes of a bank of `count` patches with teacher features of these (C, H, W) shapes."""
    side = patches.gt_size // patches.scale
    pixels = 3 * (side**2 + patches.gt_size**2) + (6 * patches.gt_size**2 if output else 0)
    return count * (pixels + sum(2 * int(np.prod(shape)) for shape in features.values()))


def build_bank(
    teacher: Teacher | None,
    images: PairedImages,
    patches: Patches,
    count: int,
    folder: Path,
    say: Say = lambda done, name: None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """A fixed bank of `count` augmented patches with the predictions of a teacher on `device` for them.

    Returns:
        Memory-mapped arrays: lr, hr (uint8, (N, H, W, 3)); with a teacher also teacher_output (int16, (N, H, W, 3)) and
        teacher_features (by tap, float16, (N, H, W, C)).
    """
    meta = complete(folder)
    if meta is None:
        folder.mkdir(parents=True, exist_ok=True)
        meta = {"arrays": _write_bank(teacher, PatchSource(images, patches), count, folder, say, device)}
        _write_meta(folder, meta, meta["arrays"].values())
    bank: dict[str, Any] = {}
    for name, file in meta.get("arrays", meta).items():
        array = np.load(folder / file, mmap_mode="r")
        if name.startswith("teacher_features/"):
            bank.setdefault("teacher_features", {})[name.partition("/")[2]] = array
        else:
            bank[name] = array
    return bank


def _write_bank(
    teacher: Teacher | None, source: PatchSource, count: int, folder: Path, say: Say, device: torch.device | str
) -> dict[str, str]:
    size = source.patches.batch
    streams: dict[str, BinaryIO] = {}
    files: dict[str, str] = {}
    with writing(folder), ExitStack() as stack:
        for start in range(0, count, size):
            drawn = source.draw(start // size)
            rows = {"lr": drawn["lr"], "hr": drawn["hr"], **_predictions(teacher, drawn, device)}
            for name, values in rows.items():
                if name not in streams:
                    files[name] = f"{len(files)}.npy"
                    streams[name] = stack.enter_context((folder / files[name]).open("wb"))
                    _write_header(streams[name], values.dtype, (count, *values.shape[1:]))
                # Not memory-mapped: with a full disk, writing to a mapped file ends the process with a bus error.
                streams[name].write(np.ascontiguousarray(values[: count - start]).data)
            say(min(start + size, count), "patches")
    return files


def _write_header(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})


def _predictions(teacher: Teacher | None, drawn: dict[str, Any], device: torch.device | str) -> dict[str, np.ndarray]:
    if teacher is None:
        return {}
    prediction = teacher(to_batch({"lr": drawn["lr"], "hr": drawn["hr"]}, torch.device(device)))
    rows = {f"teacher_features/{tap}": _half(value, tap) for tap, value in prediction.features.items()}
    assert prediction.output is not None
    scaled = prediction.output.float().mul(OUTPUT_STEPS).round().clamp(-32768, 32767).to(torch.int16)
    return {"teacher_output": scaled.permute(0, 2, 3, 1).cpu().numpy(), **rows}


def _half(value: Tensor, tap: str) -> np.ndarray:
    half = value.to(torch.float16)
    if value.ndim != 4 or not torch.isfinite(half).all():
        raise SrkdError(f'tap "{tap}": {tuple(value.shape)} cannot be cached as finite half-precision feature maps')
    return half.permute(0, 2, 3, 1).contiguous().cpu().numpy()
