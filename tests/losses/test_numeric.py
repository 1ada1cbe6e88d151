"""Numerically safe building blocks: values, gradients, and behaviour at zero."""

from __future__ import annotations

import pytest
import torch

from srkd.losses.numeric import cosines, in_memory_order, l2_normalise, mean_distance, mean_square, with_gradient


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_l2_normalise_has_the_gradient_of_the_quotient():
    x = vectors(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: l2_normalise(v, 1), x)
    assert torch.autograd.gradcheck(lambda v: l2_normalise(v, 1, 2), x)
    torch.testing.assert_close(l2_normalise(x, 1), x / x.square().sum(1, keepdim=True).sqrt())


def test_l2_normalise_of_zero_is_zero_without_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    l2_normalise(x, 1).sum().backward()
    assert x.grad.abs().max() == 0


def test_cosines_of_zero_rows_are_zero_without_gradient():
    x = vectors(3, 4)
    x[1] = 0
    x.requires_grad_()
    table = cosines(x)
    assert table[1].abs().max() == 0
    torch.testing.assert_close(table[0, 2], torch.cosine_similarity(x[0], x[2], 0))
    table.sum().backward()
    assert x.grad.isfinite().all() and x.grad[1].abs().max() == 0


def test_in_memory_order_copies_in_neither_format():
    for form in (torch.contiguous_format, torch.channels_last):
        maps = torch.randn(2, 3, 4, 5).contiguous(memory_format=form)
        flat = in_memory_order(maps)
        assert flat.data_ptr() == maps.data_ptr() and flat.shape == (2, 60)


def test_with_gradient_supports_two_backward_passes():
    x = vectors(3).requires_grad_()
    y = with_gradient(x.detach().sum(), {x: torch.arange(3.0, dtype=torch.float64)})
    (first,) = torch.autograd.grad(2 * y, x, retain_graph=True)
    (second,) = torch.autograd.grad(2 * y, x)
    assert first.tolist() == second.tolist() == [0, 2, 4]


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_mean_square_has_the_memory_format_of_its_input(form):
    x = vectors(2, 3, 4, 5).contiguous(memory_format=form).requires_grad_()
    value = mean_square(x)
    torch.testing.assert_close(value, (x * x).mean())
    (gradient,) = torch.autograd.grad(value, x)
    torch.testing.assert_close(gradient, x.detach() * 2 / 120)
    assert gradient.is_contiguous(memory_format=form)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_mean_distance_has_the_values_and_gradients_of_l1_loss(form):
    a, b = (vectors(2, 3, 4, 5).contiguous(memory_format=form) for _ in range(2))
    a, b = a.requires_grad_(), (b * 2).requires_grad_()
    found, expected = mean_distance(a, b), torch.nn.functional.l1_loss(a, b)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(3 * value, (a, b)) for value in (found, expected))
    torch.testing.assert_close(ours, theirs)
    assert all(gradient.is_contiguous(memory_format=form) for gradient in ours)
    assert torch.autograd.grad(mean_distance(a, a.detach()), a)[0].abs().max() == 0
