"""Paired comparison of variants with their control: t interval over seeds, Holm's correction, a verdict.

The statistical unit is the seed. Items (images, users, documents) are the same for all seeds, so they are not
replicates of a training: their scores are averaged first, which gives one difference per seed. A conclusion is valid
for these items.

The paired t test decides. It is exact for normal differences, and conservative for heavier tails; the differences are
symmetric if variant and control do not differ. The exact sign-flip test, which assumes only symmetry, is reported but
does not decide: with five seeds its smallest two-sided p is 2/32 = 0.0625.

The t distribution is scipy's. scipy has no Holm's rule, and its general permutation test would take all patterns one
by one in Python where a matrix product suffices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
MIN_SEEDS = 5  # for a verdict
NOT_SHOWN = "no difference shown"
_ENUMERATED = 16  # number of seeds up to which all 2^n sign flips are enumerated; above, as many random ones
_EQUAL = 1e-7  # differences with a spread below this share of their mean do not depend on the seed


@dataclass(frozen=True)
class Effect:
    """A variant against the control; differences are variant minus control.

    `low` and `high` are the confidence interval at the level at which Holm's rule decided about the variant: with five
    seeds or more it excludes 0 if and only if the verdict is `better` or `worse`. `p` is the two-sided p of the paired
    t test, not corrected; `p_holm` is corrected over the variants compared together; `p_exact` is that of the sign-flip
    test, not corrected. Values that cannot be computed are None.
    """

    verdict: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_exact: float | None = None


def t_test(differences: Array) -> float | None:
    """Two-sided p of the one-sample t test against 0; 1 if all values are 0.

    Returns:
        None for fewer than two values, for values that are not finite, and for equal values other than 0: seeds that
        change nothing are one observation, not several.
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return None
    if not differences.any():
        return 1.0
    if np.ptp(differences) <= _EQUAL * abs(differences.mean()):
        return None
    return float(2 * special.stdtr(len(differences) - 1, -abs(differences.mean()) / _standard_error(differences)))


def t_interval(differences: Array, level: float) -> tuple[float, float]:
    """Two-sided t interval of the mean with error probability `level`, from at least two values."""
    half = special.stdtrit(len(differences) - 1, 1 - level / 2) * _standard_error(differences)
    return float(differences.mean() - half), float(differences.mean() + half)


def _standard_error(differences: Array) -> float:
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))


def sign_flip_test(differences: Array) -> float:
    """Two-sided p of the mean against 0 by the sign-flip test (Fisher 1935): the share of sign patterns whose sum is at
    least as far from 0. All 2^n patterns up to n = 16, else 65,536 random ones (fixed seed) and the observed one.

        >>> sign_flip_test(np.array([0.1, 0.2, 0.1, 0.3, 0.2]))
        0.0625
    """
    sums = np.abs(_signs(len(differences)) @ differences)
    return float(np.mean(sums >= sums[0] * (1 - 1e-12)))


@cache
def _signs(n: int) -> Array:
    """(patterns, n) of 1 and -1; the first pattern flips nothing."""
    if n <= _ENUMERATED:
        flipped = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        flipped = np.random.default_rng(0).integers(0, 2, (2**_ENUMERATED + 1, n))
        flipped[0] = 0
    return np.where(flipped, -1.0, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for multiple testing by Holm's step-down rule (Holm, Scand. J. Statist. 6, 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _levels(p_values: Sequence[float], corrected: Sequence[float], alpha: float) -> list[float]:
    """The level at which Holm's rule decided about each p-value: that of its step, or of the step where it stopped."""
    ranks = np.argsort(np.argsort(p_values, kind="stable"), kind="stable")
    rejected = sum(p <= alpha for p in corrected)
    return [alpha / (len(p_values) - min(int(rank), rejected)) for rank in ranks]


def compare(differences: Mapping[str, Array], alpha: float = 0.05, lower: bool = False) -> dict[str, Effect]:
    """Compare variants with the control on one set and metric.

    Args:
        differences: by variant, (seeds,) of variant minus control, each the mean over the items of one seed; NaN for a
            seed with invalid scores. Variants without any seed are not counted in the correction.
        alpha: probability of any false verdict among all variants.
        lower: whether lower scores are better.

    Returns:
        By variant. The verdict is `better` or `worse` if the corrected p of the t test is at most alpha, else `no
        difference shown`; or the reason for no verdict: fewer than five seeds, NaN, or seeds without effect.
    """
    tested = {name: t_test(values) for name, values in differences.items() if len(values)}
    p_values = [1.0 if p is None else p for p in tested.values()]
    corrected = holm(p_values)
    decided = dict(zip(tested, zip(corrected, _levels(p_values, corrected, alpha), strict=True), strict=True))
    effects = {}
    for name, values in differences.items():
        p = tested.get(name)
        difference = float(values.mean()) if len(values) and not np.isnan(values).any() else None
        if p is None or difference is None:
            effects[name] = Effect(_no_verdict(values) or "no verdict: the seed changes nothing", difference)
            continue
        p_holm, level = decided[name]
        direction = "better" if (difference > 0) != lower else "worse"
        verdict = _no_verdict(values) or (direction if p_holm <= alpha else NOT_SHOWN)
        effects[name] = Effect(verdict, difference, *t_interval(values, level), p, p_holm, sign_flip_test(values))
    return effects


def _no_verdict(values: Array) -> str | None:
    """Why no verdict is possible, regardless of the differences; None if one is."""
    if np.isnan(values).any():
        return "no verdict: NaN"
    return too_few(len(values))


def too_few(seeds: int) -> str | None:
    """A message such as `3 seeds: no verdict`; None if there are enough.

    >>> too_few(1), too_few(5)
    ('1 seed: no verdict', None)
    """
    return f"{seeds} seed{'' if seeds == 1 else 's'}: no verdict" if seeds < MIN_SEEDS else None
