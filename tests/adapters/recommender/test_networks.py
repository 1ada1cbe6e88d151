"""Networks: shapes, one class as a special case, ranking by expected class, CDAE arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from srkd.adapters.recommender.networks import Score, build
from srkd.errors import SrkdError

RATED = csr_matrix(np.array([[1, 0, 3, 0], [0, 0, 0, 0], [2, 2, 0, 1]]))


def network(kind: str, classes: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    return build({"type": kind, "dim": 5, **options}, classes, RATED)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("kind", ["MF", "NeuralCF", "CDAE"])
def test_logits_of_every_item_and_class(kind: str, classes: int) -> None:
    net = network(kind, classes).eval()
    logits = net(torch.tensor([2, 0]))
    assert logits.shape == (2, 1 + classes, 4) and (logits[:, 0] == 0).all()
    one = net(torch.tensor([0]))
    assert torch.allclose(one[0], logits[1], atol=1e-6)  # the output for a user does not depend on the others
    logits.sum().backward()
    assert all(p.grad is not None for name, p in net.named_parameters())


def test_the_score_is_the_log_odds_of_the_expected_class() -> None:
    logits = torch.randn(4, 6, 7, dtype=torch.float64)
    mean = (logits.softmax(1) * torch.arange(6)[:, None]).sum(1)
    assert torch.allclose(Score()(logits), (mean / (5 - mean)).log())
    assert torch.allclose(Score()(logits[:, :2]), logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("spread", [1.0, 10.0, 20.0, 40.0, 1000.0])
def test_the_score_and_its_gradient_are_exact_however_far_apart_logits_are(spread: float) -> None:
    logits = (spread * torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(0))).requires_grad_()
    wanted = logits.detach().double().requires_grad_()
    weights = torch.arange(1.0, 6.0, dtype=torch.float64).log()[:, None]
    up, down = wanted[:, 1:] + weights, wanted[:, :-1] + weights.flip(0)
    score, exact = Score()(logits), up.logsumexp(1) - down.logsumexp(1)
    (100 * score).sum().backward()
    (100 * exact).sum().backward()
    assert torch.allclose(score.double(), exact, rtol=1e-5, atol=1e-6 * max(spread, 10))
    assert logits.grad is not None and wanted.grad is not None
    assert torch.allclose(logits.grad.double(), wanted.grad, rtol=1e-4, atol=1e-4 * max(spread, 10))


def test_matrix_factorisation_is_an_inner_product_and_a_bias() -> None:
    net = network("MF")
    wanted = sum(net.user.weight[1, d] * net.classes[2, d] * net.item.weight[3, d] for d in range(5)) + net.bias[2, 3]
    assert net(torch.tensor([1]))[0, 3, 3].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_matrix_factorisation_of_dimension_0_is_popularity() -> None:
    net = network("MF", dim=0)
    torch.nn.init.normal_(net.bias)
    logits = net(torch.tensor([0, 2]))
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0, 1:], net.bias)


def test_neural_cf_is_an_inner_product_plus_an_mlp() -> None:
    net = network("NeuralCF")
    p, q = net.user.weight[1], net.item.weight[3]
    both = torch.cat([net.from_user.weight, net.from_item.weight], 1) @ torch.cat([p, q]) + net.from_user.bias
    wanted = (p * net.classes[0] * q).sum() + net.head.weight[0] @ both.relu()
    assert net(torch.tensor([1]))[0, 1, 3].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_cdae_embeds_a_user_by_the_rated_items() -> None:
    net = network("CDAE").eval()
    for user, row in enumerate(RATED.toarray()):
        summed = sum(net.encode.weight[i] * row[i] / 3 for i in range(4)) / max((row > 0).sum(), 1) ** 0.5
        code = torch.tanh(summed + net.own.weight[user] + net.hidden)
        assert torch.allclose(net.user(net.user_input(torch.tensor([2, user])))[1], code, atol=1e-6)


def test_cdae_drops_ratings_in_training_only() -> None:
    net = network("CDAE", corruption=0.9)
    users = torch.zeros(50, dtype=torch.int64)
    assert net.user_input(users).std(0).max() > 0.01
    assert net.eval().user_input(users).std(0).max() < 1e-6


def test_checkpoints_do_not_contain_the_ratings() -> None:
    assert not {"rated", "starts", "share", "every_item"} & set(network("CDAE").state_dict())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "MFF"}, 'network: unknown type "MFF"'),
        ({}, "network: unknown type"),
        ({"type": ["MF"]}, "network: unknown type"),
        ({"type": "MF", "corruption": 0.5}, 'network: unknown option "corruption"'),
        ({"type": "CDAE", "dim": 0}, "network: dim is 0; dim must be an integer above 0"),
        ({"type": "MF", "dim": -1}, "network: dim is -1; dim must be an integer above 0"),
        ({"type": "CDAE", "corruption": 1}, r"network: corruption is 1;.*corruption in \[0, 1\)"),
    ],
)
def test_invalid_recipes_raise(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        build(spec, 2, RATED)
