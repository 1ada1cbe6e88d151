"""srkd: super-resolution compression. Distil a good, slow network into a small, fast one; measure; upscale images.

`srkd.load(name_or_path)` gives a trained model, `srkd.compress(...)` makes one, `srkd.losses` is the loss core.
Submodules are imported when first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.version import __version__

__all__ = ["SrkdError", "__version__", "compress", "load", "upscale"]

_PACKAGES = (
    "adapters",
    "data",
    "distill",
    "images",
    "inference",
    "losses",
    "metrics",
    "networks",
    "report",
    "sr",
    "studies",
    "training",
)

if TYPE_CHECKING:
    import torch

    from srkd.compression.result import Compressed
    from srkd.errors import SrkdError
    from srkd.inference.model import Model


def load(
    name: str | Path,
    scale: int | None = None,
    *,
    device: str | torch.device | None = None,
    trust_code: bool = False,
) -> Model:
    """A trained model by its zoo name or from a checkpoint file.

    Args:
        name: a zoo name, `auto` (the zoo's default for `scale`), or a path: srkd's safetensors, a checkpoint of
            BasicSR, EDSR-PyTorch or traiNNer, or anything spandrel detects.
        scale: the factor that is needed; None takes the model's own.
        device: where it runs: `cpu`, `cuda`, `cuda:1`, or `auto`, a GPU if there is one; the CPU by default.
        trust_code: whether the checkpoint may name a network class outside srkd, `package.module:Class`, whose code
            then runs. Without it a checkpoint is data and runs nothing.

    Returns:
        A model with `.upscale(image)`, `.network`, `.scale` and `.meta`.

    Raises:
        SrkdError: no such model, a file that is no checkpoint or not a sound one (NaN, far larger than it is), a class
            outside srkd without `trust_code`, another scale, or no such device here.
    """
    from srkd.inference.files import device_named
    from srkd.inference.model import Model

    return Model.load(name, scale, None if device is None else device_named(str(device)), trust_code=trust_code)


def upscale(
    image: Any,
    model: str | Path | Model = "auto",
    scale: int | None = None,
    *,
    tile: int | None = None,
    self_ensemble: bool = False,
    outscale: float | None = None,
    device: str | torch.device | None = None,
) -> Any:
    """Upscale an image, or several: `Model.upscale` of a model that is loaded for it.

    Args:
        image: a path, an array, a Pillow image, or a list of these; see `srkd.inference.model.Model.upscale`.
        model: as `load` takes it, or a loaded model.
        scale, device: as `load`.
        tile, self_ensemble, outscale: as `Model.upscale`.

    Returns:
        An array, or a list of them where a list was given.

    Raises:
        SrkdError: as `load` and `Model.upscale`.
    """
    loaded = load(model, scale, device=device) if isinstance(model, (str, Path)) else model
    return loaded.upscale(image, tile, self_ensemble, outscale)


def compress(
    teacher: str,
    data: str | Sequence[str],
    out: str | Path,
    *,
    scale: int = 2,
    max_ms: float | None = None,
    at: str = "256x256",
    max_mb: float | None = None,
    time: str = "60m",
    runtime: str | None = None,
    precision: str | None = None,
    control: bool = True,
    seed: int = 0,
) -> Compressed:
    """A student of `teacher` that meets a budget, as `srkd compress` makes it; see its --help.

    Args:
        teacher: as `load` takes it.
        data: a folder of photographs or a data set by name, or several.
        out: a folder for everything; interrupted, the same call goes on from there.
        scale: factor, 2, 3 or 4.
        max_ms: the longest time in milliseconds for one input of `at` (WIDTHxHEIGHT); max_mb: the largest file. One of
            them at least.
        time: for all of it, such as 10m.
        runtime, precision: where the student shall run; None takes what is fastest here.
        control: whether the student is also trained without the teacher, for comparison.

    Returns:
        `.student` (a model), `.rows`, `.results`, `.within_budget`, `.folder`.

    Raises:
        SrkdError: a budget that nothing meets (the nearest that can be met is named), too few or too small photographs,
            a teacher of another scale, too short a time, a runtime that is not installed.
    """
    from srkd.benchmarks.inference import size_named
    from srkd.compression import flow
    from srkd.compression.request import Budget, Request
    from srkd.values import seconds

    folders = [data] if isinstance(data, str) else list(data)
    budget = Budget(max_ms, max_mb, size_named(at))
    request = Request(teacher, folders, scale, budget, seconds(time), runtime, precision, control, seed)
    return flow.compress(request, Path(out))


def __getattr__(name: str) -> Any:
    if name == "SrkdError":
        from srkd.errors import SrkdError

        return SrkdError
    if name in _PACKAGES:
        return importlib.import_module(f"srkd.{name}")
    raise AttributeError(f"module 'srkd' has no attribute {name!r}")
