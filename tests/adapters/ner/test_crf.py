"""CRF marginals against the sum over all labellings, in float64."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from srkd.adapters.ner.crf import LinearChainCRF


def enumerated(scores: Tensor, transitions: Tensor) -> Tensor:
    """log p(y_t) of one sentence (T, C), by all C^T labellings."""
    length, labels = scores.shape
    total = torch.zeros_like(scores)
    for path in itertools.product(range(labels), repeat=length):
        value = sum(scores[t, y] for t, y in enumerate(path)) + sum(
            transitions[a, b] for a, b in itertools.pairwise(path)
        )
        for t, y in enumerate(path):
            total[t, y] += torch.exp(torch.as_tensor(value))
    return (total / total.sum(1, keepdim=True)).log()


def test_marginals_match_enumeration() -> None:
    torch.manual_seed(0)
    crf = LinearChainCRF(3).double()
    torch.nn.init.normal_(crf.transitions)
    scores = torch.randn(2, 5, 3, dtype=torch.float64)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = crf(scores, real)
    assert torch.allclose(found[0], enumerated(scores[0], crf.transitions), atol=1e-12)
    assert torch.allclose(found[1, :3], enumerated(scores[1, :3], crf.transitions), atol=1e-12)


def test_without_transitions_tokens_are_independent() -> None:
    scores = torch.randn(2, 4, 3)
    found = LinearChainCRF(3)(scores, torch.ones(2, 4, dtype=torch.bool))
    assert torch.allclose(found, scores.log_softmax(2), atol=1e-6)
