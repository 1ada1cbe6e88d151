"""SOAP against a slow version in float64 that updates one parameter at a time, and against torch's AdamW."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srkd.training.soap import SOAP

Matrix = NDArray[np.float64]
# As matrices square: a covariance of lower rank leaves the rest of its basis to rounding.
SHAPES = [(4, 1, 2, 2), (4, 1, 2, 2), (5, 5), (6, 1), (6,), ()]


class Slow:
    """One parameter's state; the formulas of the paper's algorithm 3, with a QR step of power iteration."""

    def __init__(self, value: Matrix) -> None:
        self.value, self.steps = value.copy(), 0
        self.rows = value.shape[0] if value.ndim > 1 else 1

    def step(self, gradient: Matrix, lr: float, betas: tuple[float, float], decay: float, every: int) -> None:
        g, (b1, b2) = gradient.reshape(self.rows, -1), betas
        rows, columns = g.shape
        if self.steps == 0:
            self.mean, self.square = np.zeros_like(g), np.zeros_like(g)
            self.left, self.right = np.zeros((rows, rows)), np.zeros((columns, columns))
            self.left_basis, self.right_basis = np.eye(rows), np.eye(columns)
        self.value *= 1 - lr * decay
        if self.steps:
            rotated = self.left_basis.T @ g @ self.right_basis
            self.mean = b1 * self.mean + (1 - b1) * g
            self.square = b2 * self.square + (1 - b2) * rotated**2
            mean = self.left_basis.T @ self.mean @ self.right_basis / (1 - b1**self.steps)
            adam = mean / (np.sqrt(self.square / (1 - b2**self.steps)) + 1e-8)
            self.value -= lr * (self.left_basis @ adam @ self.right_basis.T).reshape(self.value.shape)
        self.steps += 1
        self.left, self.right = b2 * self.left + (1 - b2) * g @ g.T, b2 * self.right + (1 - b2) * g.T @ g
        if min(rows, columns) > 1 and (self.steps < every or self.steps % every == 0):
            order = np.argsort(-np.diag(self.left_basis.T @ self.left @ self.left_basis), kind="stable")
            self.left_basis, self.square = np.linalg.qr(self.left @ self.left_basis[:, order])[0], self.square[order]
            order = np.argsort(-np.diag(self.right_basis.T @ self.right @ self.right_basis), kind="stable")
            self.right_basis = np.linalg.qr(self.right @ self.right_basis[:, order])[0]
            self.square = self.square[:, order]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=rng, dtype=dtype)) for shape in SHAPES]


def gradients(step: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in SHAPES]


def run(optimiser: torch.optim.Optimizer, steps: range, skipped: tuple[int, ...] = ()) -> None:
    """Steps with given gradients; parameter `number` has none in every third step if it is in `skipped`."""
    for step in steps:
        for number, (p, gradient) in enumerate(zip(optimiser.param_groups[0]["params"], gradients(step), strict=True)):
            p.grad = None if number in skipped and step % 3 == 1 else gradient.to(p.dtype)
        optimiser.step()


def test_equals_the_formulas_one_parameter_at_a_time() -> None:
    fast = parameters()
    slow = [Slow(p.detach().numpy()) for p in fast]
    options = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}
    optimiser = SOAP(fast, **options, precondition_frequency=4)
    for step in range(15):
        run(optimiser, range(step, step + 1))
        for each, gradient in zip(slow, gradients(step), strict=True):
            each.step(gradient.numpy(), 0.01, (0.9, 0.95), 0.1, 4)
    for p, each in zip(fast, slow, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), each.value, rtol=0, atol=1e-9)


def test_without_bases_it_is_adamw_from_the_second_step_on() -> None:
    soap, adam = parameters(), parameters()
    run(SOAP(soap, 0.01, (0.9, 0.95), weight_decay=0.0, max_precond_dim=0), range(6))
    run(torch.optim.AdamW(adam, 0.01, (0.9, 0.95), weight_decay=0.0), range(1, 6))
    for a, b in zip(soap, adam, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_long_side_is_not_rotated() -> None:
    weight = nn.Parameter(torch.zeros(4, 10))
    optimiser = SOAP([weight], max_precond_dim=4)
    weight.grad = torch.ones(4, 10)
    optimiser.step()
    assert {"left", "left_basis"} <= optimiser.state[weight].keys() and "right" not in optimiser.state[weight]


def test_a_parameter_without_gradient_is_left_out_and_does_not_change_others() -> None:
    some, every = parameters(), parameters()
    run(SOAP(some, 0.01), range(8), skipped=(1,))
    run(SOAP(every, 0.01), range(8))
    alone = nn.Parameter(parameters()[1].detach().clone())
    optimiser = SOAP([alone], 0.01)
    for step in range(8):
        if step % 3 != 1:
            alone.grad = gradients(step)[1]
            optimiser.step()
    torch.testing.assert_close(some[1], alone)
    torch.testing.assert_close([some[0], *some[2:]], [every[0], *every[2:]])


def test_resumes_to_the_same_bits() -> None:
    whole, halves = parameters(dtype=torch.float32), parameters(dtype=torch.float32)
    run(SOAP(whole), range(12))
    first = SOAP(halves)
    run(first, range(5))
    second = SOAP(halves)
    second.load_state_dict(deepcopy(first.state_dict()))
    run(second, range(5, 12))
    assert all(torch.equal(a, b) for a, b in zip(whole, halves, strict=True))


def test_is_closer_than_adam_where_directions_are_correlated() -> None:
    """A linear layer whose inputs have standard deviations of 1 to 1e-3 along random directions."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(16, 16, generator=rng)).Q
    inputs = torch.randn(256, 16, generator=rng) * torch.logspace(0, -3, 16) @ directions
    wanted = torch.randn(8, 16, generator=rng)

    def distance(kind: type[torch.optim.Optimizer]) -> float:
        weight = nn.Parameter(torch.zeros(8, 16))
        optimiser = kind([weight], lr=0.02)  # type: ignore[call-arg]
        for _ in range(400):
            optimiser.zero_grad()
            (inputs @ (weight - wanted).T).square().mean().backward()
            optimiser.step()
        return float((weight - wanted).norm().detach())

    assert distance(SOAP) < distance(torch.optim.Adam) / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\)"),
        ({"precondition_frequency": 0}, "precondition_frequency must be a positive integer, got 0"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_invalid_options_raise(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SOAP([nn.Parameter(torch.zeros(2, 2))], **options)  # type: ignore[arg-type]
