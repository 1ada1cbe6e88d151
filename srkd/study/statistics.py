"""Paired comparison of variants with their control: bootstrap over seeds and items, Holm's correction, a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """A variant against the control; differences are variant minus control.

    `low` and `high` bound the difference at the level that Holm's correction leaves this variant; `p` is two-sided and
    not corrected, `p_holm` is corrected over the variants compared together.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: str


def bootstrap(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of resampled differences: seeds with replacement, and items with replacement.

    Every seed is scored on the same items, so the two are crossed: a resample draws seeds, then items, which are the
    same for all seeds drawn. With few seeds the spread over them is understated, as by any bootstrap.

    Args:
        differences: (seeds, items).

    Returns:
        (resamples,), the same for the same `seed`.
    """
    seeds, items = differences.shape
    random = np.random.default_rng(seed)
    weights = [random.multinomial(n, np.full(n, 1 / n), resamples) / n for n in (seeds, items)]
    return np.asarray(((weights[0] @ differences) * weights[1]).sum(axis=1))


def p_value(means: np.ndarray) -> float:
    """Two-sided p of resampled means against 0: twice the share on the rarer side, and never 0."""
    rarer = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return min(1.0, 2 * (1 + rarer) / (1 + len(means)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down rule (Holm, Scand. J. Statist. 6, 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def compare(differences: Mapping[str, np.ndarray], alpha: float = 0.05, lower: bool = False) -> dict[str, Comparison]:
    """Compare variants with the control on one set and metric.

    Args:
        differences: by variant, (seeds, items) of variant minus control, each with the same seed and item.
        alpha: chance of any false difference among all the variants.
        lower: whether lower scores are better.

    Returns:
        By variant; the verdict is `better` or `worse` where the interval at Holm's level excludes 0 and the corrected p
        is at most alpha, and there are two seeds or more; else `no difference shown`.
    """
    means = {name: bootstrap(table) for name, table in differences.items()}
    p_values = [p_value(values) for values in means.values()]
    corrected = holm(p_values)
    ranks = np.argsort(np.argsort(p_values, kind="stable"), kind="stable")
    compared = {}
    for (name, values), p, p_holm, rank in zip(means.items(), p_values, corrected, ranks, strict=True):
        level = alpha / (len(means) - int(rank))
        low, high = (float(bound) for bound in np.quantile(values, [level / 2, 1 - level / 2]))
        shown = len(differences[name]) > 1 and p_holm <= alpha and not low <= 0 <= high
        verdict = ("better" if (low > 0) != lower else "worse") if shown else "no difference shown"
        compared[name] = Comparison(float(differences[name].mean()), low, high, p, p_holm, verdict)
    return compared
