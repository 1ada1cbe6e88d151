"""Degradations in a recipe, in the words of Real-ESRGAN's and BasicSR's option files.

Those files set the blur kernels under `datasets.train` (`RealESRGANDataset`) and everything else at the top level
(`RealESRNetModel`, `RealESRGANModel`). Keys that end in 2 are those of the second pass.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import pydantic

from srkd.data.degradations import Degradation, Levels, Order
from srkd.data.like import Like, like
from srkd.errors import SrkdError
from srkd.sr.recipe import TrainSet
from srkd.training.recipe import Section

Pair = Annotated[list[float], pydantic.Field(min_length=2, max_length=2)]
_FIRST, _SECOND = Order(), Degradation().second


def _default(value: Any, description: str) -> Any:
    return pydantic.Field(list(value) if isinstance(value, tuple) else value, description=description)


class DegradedTrainSet(TrainSet):
    """Training images that are degraded and downscaled, with `RealESRGANDataset`'s keys.

    A window of 16 LR pixels more than a patch is degraded, and the patch cut from it.
    """

    zoomed: float = pydantic.Field(0.0, ge=0, le=0, description="not for degraded images")
    like: str | None = pydantic.Field(
        None,
        description="folder of JPEG files whose compression, noise and blur are measured and imitated, instead of all "
        "options below",
    )
    clean_prob: float = pydantic.Field(0.0, description="share of images that are only downscaled (MATLAB's bicubic)")
    slight_prob: float = pydantic.Field(
        0.0, description="share of images with a slight blur, slight noise and one JPEG of quality 60 to 98"
    )
    blur_kernel_size: int = _default(_FIRST.blur_kernel_size, "side of the blur kernels in pixels, odd")
    kernel_list: list[str] = _default(
        _FIRST.kernel_list, "kinds of kernels; generalized and plateau ones have flatter or sharper tops"
    )
    kernel_prob: list[float] = _default(_FIRST.kernel_prob, "their probabilities")
    sinc_prob: float = _default(_FIRST.sinc_prob, "probability of a sinc filter, which rings, in place of a kernel")
    blur_sigma: Pair = _default(_FIRST.blur_sigma, "standard deviations of the kernels in pixels")
    betag_range: Pair = _default(_FIRST.betag_range, "exponents of the generalized kernels")
    betap_range: Pair = _default(_FIRST.betap_range, "exponents of the plateau kernels")
    blur_kernel_size2: int = _default(_SECOND.blur_kernel_size, "side of the blur kernels in pixels, odd, second pass")
    kernel_list2: list[str] = _default(
        _SECOND.kernel_list, "kinds of kernels; generalized and plateau ones have flatter or sharper tops, second pass"
    )
    kernel_prob2: list[float] = _default(_SECOND.kernel_prob, "their probabilities, second pass")
    sinc_prob2: float = _default(
        _SECOND.sinc_prob, "probability of a sinc filter, which rings, in place of a kernel, second pass"
    )
    blur_sigma2: Pair = _default(_SECOND.blur_sigma, "standard deviations of the kernels in pixels, second pass")
    betag_range2: Pair = _default(_SECOND.betag_range, "exponents of the generalized kernels, second pass")
    betap_range2: Pair = _default(_SECOND.betap_range, "exponents of the plateau kernels, second pass")
    final_sinc_prob: float = pydantic.Field(0.8, description="probability of a final sinc filter")


class DegradationOptions(Section):
    """Resizing, noise and JPEG, with the top-level keys of Real-ESRGAN's option files."""

    high_order_degradation: bool = pydantic.Field(
        True, description="false: the images are not degraded; LR is read from dataroot_lq, or made by bicubic"
    )
    second_blur_prob: float = pydantic.Field(0.8, description="probability of any blur in the second pass")
    resize_prob: list[float] = _default(_FIRST.resize_prob, "probabilities to enlarge, shrink and keep")
    resize_range: Pair = _default(_FIRST.resize_range, "factors of that")
    gaussian_noise_prob: float = _default(
        _FIRST.gaussian_noise_prob, "probability of Gaussian noise; otherwise Poisson noise"
    )
    noise_range: Pair = _default(_FIRST.noise_range, "standard deviations of Gaussian noise in grey levels")
    poisson_scale_range: Pair = _default(_FIRST.poisson_scale_range, "strengths of Poisson noise")
    gray_noise_prob: float = _default(_FIRST.gray_noise_prob, "probability that noise is the same in all channels")
    jpeg_range: Pair = _default(_FIRST.jpeg_range, "JPEG qualities")
    resize_prob2: list[float] = _default(_SECOND.resize_prob, "probabilities to enlarge, shrink and keep, second pass")
    resize_range2: Pair = _default(_SECOND.resize_range, "factors of that, second pass")
    gaussian_noise_prob2: float = _default(
        _SECOND.gaussian_noise_prob, "probability of Gaussian noise; otherwise Poisson noise, second pass"
    )
    noise_range2: Pair = _default(
        _SECOND.noise_range, "standard deviations of Gaussian noise in grey levels, second pass"
    )
    poisson_scale_range2: Pair = _default(_SECOND.poisson_scale_range, "strengths of Poisson noise, second pass")
    gray_noise_prob2: float = _default(
        _SECOND.gray_noise_prob, "probability that noise is the same in all channels, second pass"
    )
    jpeg_range2: Pair = _default(_SECOND.jpeg_range, "JPEG qualities, second pass")


def levels(options: DegradationOptions, train: DegradedTrainSet) -> Levels | Like:
    """The degradations of a recipe: those of the images in `like`, or by the other options.

    Raises:
        SrkdError: an unknown kernel, probabilities that do not sum to 1, a range that is empty or not sensible; as
            `srkd.data.like.like`.
    """
    if train.like is not None:
        return like(train.like)
    given = {**options.model_dump(), **train.model_dump()}
    first = _order(given, "")
    second = _order({**given, "blur_prob2": options.second_blur_prob}, "2")
    return Levels(
        train.clean_prob, train.slight_prob, strong=Degradation(first, second, final_sinc_prob=train.final_sinc_prob)
    )


def _order(given: dict[str, Any], suffix: str) -> Order:
    known: dict[str, Any] = {field.name: given.get(f"{field.name}{suffix}") for field in fields(Order)}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in known.items()}
    try:
        return Order(**{key: value for key, value in values.items() if value is not None})
    except SrkdError as error:
        raise SrkdError(f"second pass, {error}" if suffix else str(error)) from error
