"""The table of metrics: every class decorated with `@register("name")` in any module of this package.

A new metric needs only a new file here: `srkd evaluate`, `val.metrics` of a recipe, studies, reports and model cards
read its function, title, decimals, direction and needs from this table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from srkd.errors import SrkdError, unknown
from srkd.registry import Registry

if TYPE_CHECKING:
    from srkd.metrics.scores import Pair

DEFAULT = ("psnr", "ssim")
BASICSR = "calculate_"  # what BasicSR's option files put before a name


class Metric:
    """Base of all metrics; its attributes describe one.

    * `label`, `unit`: its title in tables and plots is "label" or "label (unit)".
    * `digits`: decimals in results; `brief_digits`: in model cards and captions, as in papers (default: `digits`).
    * `lower`: whether lower is better.
    * `no_reference`: whether it ignores the ground truth.
    * `needs`: optional packages and files that it requires, for lists; `check` looks for them.
    * `stamp`: what its values depend on besides the protocol; the protocol's stamp ends with it.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str]
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 4
    brief_digits: ClassVar[int | None] = None
    lower: ClassVar[bool] = False
    no_reference: ClassVar[bool] = False
    needs: ClassVar[str] = ""
    stamp: ClassVar[str] = ""

    def __call__(self, pair: Pair) -> float:
        """The score of one image.

        Raises:
            SrkdError: the image is too small or otherwise unsuitable.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Check before scoring that packages and files are available.

        Raises:
            SrkdError: one is missing; names it and how to get it.
        """

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float, brief: bool = False) -> str:
        """A score with the metric's decimals, without unit."""
        digits = self.brief_digits if brief and self.brief_digits is not None else self.digits
        return f"{value:.{digits}f}"

    def caption(self, value: float) -> str:
        """A score with its unit, or with its label if it has none: "37.25 dB", "SSIM 0.9587"."""
        text = self.text(value, brief=True)
        return f"{text} {self.unit}" if self.unit else f"{self.label} {text}"


M = TypeVar("M", bound=type[Metric])
_METRICS: Registry[Metric] = Registry("metric", "srkd.metrics")


def register(name: str) -> Callable[[M], M]:
    """Make a `Metric` class available under `name`, and as `calculate_<name>` to recipes."""

    def add(cls: M) -> M:
        _METRICS.register(name)(cls)
        cls.name = name
        return cls

    return add


def names() -> list[str]:
    """All registered names: the default ones first, then sorted."""
    return [*DEFAULT, *(name for name in _METRICS if name not in DEFAULT)]


def get(name: str) -> Metric:
    """The metric registered as `name`.

    Raises:
        SrkdError: unknown name; the nearest is suggested.
    """
    return _METRICS[name]()


def describe(name: str) -> str:
    """A metric's title, direction, docstring and needs."""
    metric = get(name)
    better = "lower" if metric.lower else "higher"
    needs = f"\n\nNeeds {metric.needs}." if metric.needs else ""
    return f"{metric.title}, {better} is better.\n\n{inspect.getdoc(metric)}{needs}"


def of_basicsr(type: str) -> Metric:
    """The metric of a recipe's or BasicSR's `type: calculate_<name>`.

    Raises:
        SrkdError: unknown type; the nearest is suggested.
    """
    if not type.startswith(BASICSR) or type.removeprefix(BASICSR) not in _METRICS:
        raise unknown("metric", type, [BASICSR + name for name in names()])
    return get(type.removeprefix(BASICSR))


def check(given: Sequence[str]) -> None:
    """Check names of metrics and their required packages and files before scoring.

    Raises:
        SrkdError: an unknown or repeated name, no names, or a missing package or file and how to get it.
    """
    if not given or len(set(given)) < len(given):
        raise SrkdError(f"metrics: list each once, from {', '.join(names())}; got {', '.join(given) or 'none'}")
    for name in given:
        get(name).check()


def lower_is_better(score: str) -> bool:
    """Whether a score is of a registered metric for which lower is better: `niqe`, or `niqe_Set5` of a validation."""
    name = score.rpartition("/")[2].partition("_")[0]  # a cohort's scores start with the network's name
    return name in _METRICS and get(name).lower


def of_scores(scores: Mapping[str, Any]) -> list[Metric]:
    """The metrics among the keys of a result, in its order."""
    return [get(name) for name in scores if name in _METRICS]


def titles(given: Sequence[str] = DEFAULT) -> list[str]:
    """The titles of metrics by name."""
    return [get(name).title for name in given]


def rounded(scores: Mapping[str, Any]) -> dict[str, float]:
    """{title: value with the metric's decimals} of a result's metrics."""
    return {metric.title: round(scores[metric.name], metric.digits) for metric in of_scores(scores)}


def texts(scores: Mapping[str, Any], brief: bool = False) -> dict[str, str]:
    """{title: text} of a result's metrics."""
    return {metric.title: metric.text(scores[metric.name], brief) for metric in of_scores(scores)}


def joined(scores: Mapping[str, Any]) -> str:
    """The metrics of a result in one cell, as papers print them: "37.50/.9587"."""
    return "/".join(texts(scores, brief=True).values()).replace("/0.", "/.")
