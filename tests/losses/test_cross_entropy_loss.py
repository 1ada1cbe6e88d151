from __future__ import annotations

import pytest
import torch

from srkd import losses
from srkd.errors import SrkdError


def reference(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> float:
    total, counted = 0.0, 0
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        if label == -100:
            continue
        q = torch.full_like(row, smoothing / len(row))
        q[label] += 1 - smoothing
        total, counted = total - float((q * (row - row.logsumexp(0))).sum()), counted + 1
    return total / max(counted, 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_matches_the_formula_and_honours_ignore_index(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(8, 5), torch.tensor([0, 4, -100, 2, 1, -100, 3, 3])
    loss = losses.build("CrossEntropyLoss", label_smoothing=smoothing)
    assert float(loss(logits, labels)) == pytest.approx(reference(logits, labels, smoothing), rel=1e-6)
    assert float(loss(logits, torch.full((8,), -100))) == 0


def test_accepts_positions_and_probabilities() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 3), torch.randint(5, (2, 3))
    loss = losses.build("CrossEntropyLoss")
    flat = reference(logits.movedim(1, 2).reshape(6, 5), labels.flatten(), 0.0)
    assert float(loss(logits, labels)) == pytest.approx(flat, rel=1e-6)
    one_hot = torch.nn.functional.one_hot(labels, 5).movedim(2, 1).float()
    assert float(loss(logits, one_hot)) == pytest.approx(flat, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_few_labels_among_ignored_ones_have_the_same_value_and_gradient(smoothing: float) -> None:
    """They are taken out first: a recommender has labels for some 50 of 10,000 items."""
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, 7, requires_grad=True)
    labels = torch.where(torch.rand(3, 5, 7) < 0.1, torch.randint(4, (3, 5, 7)), -100)
    value = losses.build("CrossEntropyLoss", label_smoothing=smoothing)(logits, labels)
    (found,) = torch.autograd.grad(value, logits)
    flat = logits.detach().movedim(1, -1).flatten(0, -2)
    assert float(value.detach()) == pytest.approx(reference(flat, labels.flatten(), smoothing))
    double = logits.detach().double().requires_grad_()
    dense = torch.nn.functional.cross_entropy(double, labels, label_smoothing=smoothing)
    (expected,) = torch.autograd.grad(dense, double)
    torch.testing.assert_close(found.double(), expected)


def test_mismatched_labels_and_invalid_smoothing_raise() -> None:
    with pytest.raises(SrkdError, match="needs labels"):
        losses.build("CrossEntropyLoss")(torch.randn(2, 5), torch.tensor([1, 2, 3]))
    with pytest.raises(SrkdError, match="label_smoothing"):
        losses.build("CrossEntropyLoss", label_smoothing=1.0)
