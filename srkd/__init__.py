"""srkd: super-resolution compression. Distil a large network into a small, fast one; evaluate it; upscale images.

`srkd.load(name_or_path)` loads a trained model, `srkd.compress(...)` trains a small one, `srkd.evaluate(...)` measures
models on data sets, `srkd.losses` contains the losses. Everything but `__version__` is imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.version import __version__

__all__ = [
    "Compressed",
    "Model",
    "SrkdError",
    "__version__",
    "adapters",
    "compress",
    "data",
    "distill",
    "evaluate",
    "images",
    "inference",
    "load",
    "losses",
    "metrics",
    "networks",
    "report",
    "sr",
    "studies",
    "training",
    "upscale",
]

# Classes and functions of submodules, imported on first use; the other names of `__all__` are packages.
_MODULES = {
    "Compressed": "srkd.compression.finish",
    "Model": "srkd.inference.model",
    "SrkdError": "srkd.errors",
    "evaluate": "srkd.metrics.evaluation",
}

if TYPE_CHECKING:
    import torch

    from srkd import (
        adapters,
        data,
        distill,
        images,
        inference,
        losses,
        metrics,
        networks,
        report,
        sr,
        studies,
        training,
    )
    from srkd.compression.finish import Compressed
    from srkd.errors import SrkdError
    from srkd.inference.model import Model
    from srkd.metrics.evaluation import evaluate


def load(
    name: str | Path,
    scale: int | None = None,
    *,
    device: str | torch.device | None = None,
    trust_code: bool = False,
) -> Model:
    """Load a trained model by its zoo name or from a checkpoint file.

    Args:
        name: a zoo name, `auto` (the zoo's default for `scale`), or a path: srkd's safetensors, a checkpoint of
            BasicSR, EDSR-PyTorch or traiNNer, or anything spandrel detects.
        scale: the required scale; None accepts the model's own.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` (a GPU if available); the CPU by default.
        trust_code: allow the checkpoint to name a network class outside srkd, `package.module:Class`, whose code then
            runs. Otherwise no code of a checkpoint runs.

    Returns:
        A model with `.upscale(image)`, `.network`, `.scale` and `.meta`.

    Raises:
        SrkdError: no such model, an invalid or unsafe checkpoint (NaN, tensors far larger than the file), a class
            outside srkd without `trust_code`, another scale, or an unavailable device.
    """
    from srkd.inference.model import Model
    from srkd.networks.device import device_named

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
    """Upscale one or several images: load a model and call `Model.upscale`.

    Args:
        image: a path, an array, a Pillow image, or a list of these; see `srkd.inference.model.Model.upscale`.
        model: a name or path as for `load`, or a loaded model.
        scale, device: as for `load`; a loaded model stays on its device.
        tile, self_ensemble, outscale: as for `Model.upscale`.

    Returns:
        An array, or a list of arrays for a list.

    Raises:
        SrkdError: as `load` and `Model.upscale`.
    """
    from srkd.errors import SrkdError
    from srkd.inference.model import Model

    if not isinstance(model, Model):
        model = load(model, scale, device=device)
    elif scale not in (None, model.scale):
        raise SrkdError(f"{model.name or 'the model'} is a network for x{model.scale}, not x{scale}; outscale resizes")
    return model.upscale(image, tile, self_ensemble, outscale)


def compress(
    teacher: str | Path,
    data: str | Path | Sequence[str | Path],
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
    imitate: bool = False,
    like: str | None = None,
    networks: str | Sequence[str] = (),
) -> Compressed:
    """Train a student of `teacher` that meets a budget, like the command `srkd compress`; see its --help.

    Args:
        teacher: a name or path as for `load`.
        data: a folder of photographs or a data set by name, or several.
        out: the output folder; after an interruption the same call resumes from it.
        scale: factor, 2, 3 or 4.
        max_ms: maximum time in milliseconds for one input of `at` (WIDTHxHEIGHT); max_mb: maximum file size. At least
            one of them is required.
        time: total time, such as 10m.
        runtime, precision: the inference backend of the student; None selects the fastest on this machine.
        control: whether the student is also trained without the teacher, for comparison.
        imitate: whether the student learns the teacher's outputs for degraded images, for teachers such as Real-ESRGAN.
        like: a folder of JPEG files for which the student imitates its teacher.
        networks: a network or size to try, such as "ETDS" or "ETDS 32x5", or several; by default those found best so
            far.

    Returns:
        `.student` (a model), `.rows`, `.results`, `.within_budget`, `.folder`.

    Raises:
        SrkdError: an argument of another type; a budget that cannot be met (the nearest feasible one is named), too few
            or too small photographs, a teacher of another scale, too short a time, a runtime that is not installed.
    """
    from srkd.arguments import PATH, STRING, check, several
    from srkd.compression import flow
    from srkd.compression.request import Budget, Request
    from srkd.values import seconds, size_named

    check(PATH, teacher=teacher, out=out)
    check(STRING, at=at, time=time)
    folders = [str(folder) for folder in several(PATH, "data", data)]
    budget = Budget(max_ms, max_mb, size_named(at))
    options = (runtime, precision, control, seed, imitate, like, several(STRING, "networks", networks))
    request = Request(str(teacher), folders, scale, budget, seconds(time), *options)
    return flow.compress(request, Path(out))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in __all__:
        return importlib.import_module(f"srkd.{name}")
    raise AttributeError(f"module 'srkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
