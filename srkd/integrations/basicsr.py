"""BasicSR: its networks by registered name, and its metrics as a reference. The only module that imports basicsr.

basicsr 1.4.2 imports neither with torchvision >= 0.17, which dropped `transforms.functional_tensor`, nor on Python >=
3.12 without setuptools, which dropped `distutils`. Stand-ins for both modules are present only during the import;
torchvision itself is handled by `torchvision_compat`. Not fixed, since srkd does not use them: FID with scipy >= 1.18
and JPEG degradations of float quality with OpenCV >= 4.13.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn
from torch.torch_version import TorchVersion

from srkd.errors import SrkdError, unknown
from srkd.integrations.torchvision_compat import import_torchvision


def available() -> bool:
    """Whether basicsr is installed; it is not imported."""
    return importlib.util.find_spec("basicsr") is not None


def package() -> ModuleType:
    """The imported package `basicsr`, with its registries filled.

    Raises:
        SrkdError: it is not installed, or does not import.
    """
    return _import()


def network_names() -> list[str]:
    """The names that `network` accepts, sorted.

    Raises:
        SrkdError: basicsr is not installed, or does not import.
    """
    return sorted(_registry("ARCH"))


def network(type: str, **options: Any) -> nn.Module:
    """Build a network of BasicSR's by the name it is registered under, e.g. `network("EDSR", num_in_ch=3, ...)`.

    Raises:
        SrkdError: basicsr is not installed; an unknown name or option (nearest suggested); a missing or invalid option.
    """
    cls = network_class(type)
    known = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for key in options:
            if key not in known:
                raise SrkdError(f"{type}: {unknown('option', key, known)}")
    try:
        return cls(**options)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise SrkdError(f"{type}: BasicSR cannot build it with {options or 'no options'}: {error}") from error


def network_class(type: str) -> builtins.type[nn.Module]:
    """The class that is registered in BasicSR as `type`.

    Raises:
        SrkdError: basicsr is not installed, or an unknown name (the nearest is suggested).
    """
    registry = _registry("ARCH")
    if type not in registry:
        raise unknown("BasicSR network", type, registry)
    found: builtins.type[nn.Module] = registry[type]
    return found


def psnr(image: np.ndarray, reference: np.ndarray, crop_border: int, y_channel: bool = True) -> float:
    """BasicSR's PSNR in dB of two RGB images, (H, W, 3) in [0, 255], `crop_border` pixels removed on every side."""
    return float(_metric("calculate_psnr")(_bgr(image), _bgr(reference), crop_border, test_y_channel=y_channel))


def ssim(image: np.ndarray, reference: np.ndarray, crop_border: int, y_channel: bool = True) -> float:
    """BasicSR's SSIM of two RGB images, (H, W, 3) in [0, 255]; in RGB the mean of the three channels'."""
    return float(_metric("calculate_ssim")(_bgr(image), _bgr(reference), crop_border, test_y_channel=y_channel))


def niqe(image: np.ndarray, crop_border: int) -> float:
    """BasicSR's NIQE of an RGB image, (H, W, 3) in [0, 255], on its Y channel; lower is better.

    No reference is needed: the image is compared with statistics of natural ones (Mittal et al., SPL 2013). It is
    divided into blocks of 96 x 96, so smaller images are rejected.

    Raises:
        SrkdError: basicsr is not installed; or the image is smaller than one block after the border is removed.
    """
    package()
    height, width = (side - 2 * crop_border for side in image.shape[:2])
    if min(height, width) < 96:
        raise SrkdError(f"NIQE needs an image of at least 96 x 96 pixels, got {width} x {height} without its border")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, for flat blocks: mean of an empty half
        return float(np.squeeze(_metric("calculate_niqe")(_bgr(image), crop_border)))


def _bgr(image: np.ndarray) -> np.ndarray:
    # BasicSR reads images with OpenCV, so its Y channel is computed from BGR: RGB would give a wrong Y.
    return np.ascontiguousarray(image[..., ::-1])


def _metric(name: str) -> Any:
    return _registry("METRIC")[name]


def _registry(kind: str) -> dict[str, Any]:
    package()
    found = dict(iter(getattr(importlib.import_module("basicsr.utils.registry"), f"{kind}_REGISTRY")))
    # BasicSR adds this suffix to names that other projects register too, and looks them up without it.
    return {name.removesuffix("_basicsr"): value for name, value in found.items()}


@cache
def _import() -> ModuleType:
    if not available():
        raise SrkdError("BasicSR is not installed: pip install basicsr==1.4.2")
    try:
        import_torchvision()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # distutils', in older Python
            with _stand_ins():
                return importlib.import_module("basicsr")
    except (ImportError, RuntimeError, AttributeError) as error:
        raise SrkdError(f"BasicSR is installed but does not import: {error}") from error


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Within the block provide modules that basicsr imports and newer versions of Python and torchvision lack."""
    modules: dict[str, ModuleType] = {}
    if not _importable("torchvision.transforms.functional_tensor"):
        functional = importlib.import_module("torchvision.transforms.functional")
        modules["torchvision.transforms.functional_tensor"] = _module(
            "functional_tensor", rgb_to_grayscale=functional.rgb_to_grayscale
        )
    if not _importable("distutils.version"):
        # Only used to compare two version numbers, which torch's class does as well.
        version = _module("distutils.version", LooseVersion=TorchVersion)
        modules |= {"distutils": _module("distutils", version=version), "distutils.version": version}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def _importable(name: str) -> bool:
    try:
        importlib.import_module(name)
        return True
    except ImportError:
        return False


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module
