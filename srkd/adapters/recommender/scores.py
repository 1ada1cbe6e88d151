"""Ranking metrics over all items, per user: HR, precision, recall, MRR and NDCG of the first k.

NDCG discounts by log2(1 + rank) and divides by the ideal DCG; binary gains are 0 and 1, graded ones 2^class - 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ranked(scores: Tensor, seen: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The top items of each user that were not `seen` in training.

    Args:
        scores: (users, items).
        seen: (users, items), bool.

    Returns:
        Items (users, k), best first, k = min(top, items), and a bool mask (users, k) of the valid ones: False for
        fillers, where fewer than k items are unseen.
    """
    best = scores.masked_fill(seen, -torch.inf).topk(min(top, scores.shape[1]), 1)
    return best.indices, best.values > -torch.inf


def of_lists(items: Tensor, real: Tensor, relevant: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """Metrics (users) by name of recommendation lists; NaN for users without relevant items.

    Args:
        items, real: as returned by `ranked`.
        relevant: (users, items), bool: the relevant items.
        classes: (users, items), integer: the classes of test pairs, 0 elsewhere.
    """
    top = items.shape[1]
    discount = 1 / torch.log2(torch.arange(2, top + 2, dtype=torch.float64))
    hit = (relevant.gather(1, items) & real).double()
    number = relevant.count_nonzero(1)
    counted = torch.where(number > 0, 0.0, torch.nan).double()
    gains = (torch.exp2(classes.gather(1, items).double()) - 1) * real
    best = torch.exp2(classes.topk(top, 1).values.double()) - 1
    best_hits = discount.cumsum(0)[number.clamp(1, top) - 1]
    return {
        "hr": hit.any(1) + counted,
        "precision": hit.sum(1) / top + counted,
        "recall": hit.sum(1) / number + counted,
        "mrr": torch.where(hit.any(1), 1 / (1 + hit.argmax(1)), 0) + counted,
        "ndcg": hit @ discount / best_hits + counted,
        "ndcg_graded": gains @ discount / (best @ discount) + counted,
    }


def expected(logits: Tensor, levels: Tensor) -> Tensor:
    """Expected rating (pairs) given that a pair is rated, from logits (pairs, 1 + classes) and ratings (classes)."""
    return logits[:, 1:].softmax(1) @ levels.to(logits)
