"""srkd: super-resolution compression. Distil a good, slow network into a small, fast one; measure; upscale pictures.

`srkd.load(name_or_path)` gives a trained model, `srkd.losses` the loss core. Submodules are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from srkd.version import __version__

__all__ = ["SrkdError", "__version__", "load"]

if TYPE_CHECKING:
    from srkd.deploy.model import Model
    from srkd.errors import SrkdError


def load(name: str, scale: int | None = None) -> Model:
    """A trained model by its zoo name or from a checkpoint file.

    Args:
        name: a zoo name, `auto` (the zoo's default for `scale`), or a path: srkd's safetensors, a checkpoint of
            BasicSR, EDSR-PyTorch or traiNNer, or anything spandrel detects.
        scale: the factor that is needed; None takes the model's own.

    Returns:
        A model with `.upscale(image)`, `.network`, `.scale` and `.meta`.

    Raises:
        SrkdError: no such model, a file that is no checkpoint, or another scale.
    """
    from srkd.deploy.model import Model

    return Model.load(name, scale)


def __getattr__(name: str) -> Any:
    if name == "SrkdError":
        from srkd.errors import SrkdError

        return SrkdError
    if name in ("losses", "io", "distill", "engine", "sr", "deploy", "report", "study", "adapters"):
        return importlib.import_module(f"srkd.{name}")
    raise AttributeError(f"module 'srkd' has no attribute {name!r}")
