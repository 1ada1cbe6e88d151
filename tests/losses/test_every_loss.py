"""What holds for every registered loss, through its `example`: a new loss is covered by being there."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import Tensor

import srkd.losses
from srkd.losses import Example, Loss

NAMES = srkd.losses.names()


def ready(name: str, seed: int = 0) -> tuple[Loss, Example]:
    torch.manual_seed(seed)
    example = srkd.losses.get(name).example(seed)
    loss = srkd.losses.build(name, **example.options)
    loss.prepare(example.student, example.teacher, **example.context)
    return loss, example


def each(maps, change):
    if isinstance(maps, (list, tuple)):
        return [change(m) for m in maps]
    return change(maps) if isinstance(maps, Tensor) else maps


def values(loss: Loss, example: Example) -> Tensor:
    """The loss with the global random state fixed, so that stochastic losses repeat."""
    torch.manual_seed(1)
    return loss(example.student, example.teacher, example.target, **example.context)


def leaves(maps):
    return [m for m in (maps if isinstance(maps, (list, tuple)) else [maps]) if isinstance(m, Tensor)]


def floating(change):
    """`change` for measurements; labels and other whole numbers stay."""
    return lambda m: change(m) if m.is_floating_point() else m


@pytest.mark.parametrize("name", NAMES)
def test_value_is_a_finite_scalar_and_gradients_go_to_the_student_only(name):
    loss, example = ready(name)
    example.student = each(example.student, lambda m: m.clone().requires_grad_())
    example.teacher = each(example.teacher, floating(lambda m: m.clone().requires_grad_()))
    value = values(loss, example)
    assert value.shape == () and value.isfinite()
    value.backward()
    if loss.trains_student:
        assert all(m.grad is not None and m.grad.isfinite().all() for m in leaves(example.student))
        assert any(m.grad.abs().max() > 0 for m in leaves(example.student))
    else:
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in loss.parameters())
    if example.teacher is not None and loss.reference == "teacher":
        assert all(m.grad is None for m in leaves(example.teacher))


@pytest.mark.parametrize("name", [n for n in NAMES if srkd.losses.get(n).zero_at_equal])
def test_zero_at_equal(name):
    loss, example = ready(name)
    if example.teacher is None:
        example.student = [example.student[0]] * len(example.student)
    else:
        example.student = each(example.teacher, lambda m: m.clone())
    loss = srkd.losses.build(name, **example.options)
    loss.prepare(example.student, example.teacher if example.teacher is not None else example.student)
    assert values(loss, example).abs() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("student", [0.0, 1.0, 1e4, -1e4, "noise", "large noise"])
@pytest.mark.parametrize("teacher", [0.0, 1e4, "large noise"])
@pytest.mark.parametrize("name", NAMES)
def test_finite_on_constant_zero_and_large_inputs(name, student, teacher, dtype):
    loss, example = ready(name)

    def filled(kind, seed):
        if kind == "noise" or kind == "large noise":
            rng = torch.Generator().manual_seed(seed)
            scale = 1e4 if kind == "large noise" else 1.0
            return floating(lambda m: (torch.randn(m.shape, generator=rng) * scale).to(dtype))
        return floating(lambda m: torch.full_like(m, kind, dtype=dtype))

    example.student = each(each(example.student, filled(student, 5)), lambda m: m.requires_grad_())
    example.teacher = each(example.teacher, filled(teacher, 6))
    value = values(loss, example)
    assert value.isfinite()
    value.backward()
    gradients = [m.grad for m in leaves(example.student) if m.grad is not None] + [
        p.grad for p in loss.parameters() if p.grad is not None
    ]
    assert gradients and all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", [n for n in NAMES if srkd.losses.get(n).permutation_invariant])
def test_permuting_the_batch_together_changes_nothing(name):
    loss, example = ready(name)
    first = values(copy.deepcopy(loss), example)
    batch = len(leaves(example.student)[0])
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(3))

    def shuffle(m):
        return m[order] if isinstance(m, Tensor) and m.ndim and len(m) == batch else m

    example.student, example.teacher = each(example.student, shuffle), each(example.teacher, shuffle)
    example.target = shuffle(example.target)
    example.context = {key: shuffle(value) for key, value in example.context.items()}
    torch.testing.assert_close(values(loss, example), first, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if leaves(srkd.losses.get(n).example(0).student)[0].ndim == 4])
def test_channels_last_equals_contiguous(name):
    loss, example = ready(name)
    results = []
    for form in (torch.contiguous_format, torch.channels_last):
        this = copy.deepcopy(loss)
        case = copy.deepcopy(example)
        case.student = each(case.student, lambda m, f=form: m.contiguous(memory_format=f).requires_grad_())
        case.teacher = each(case.teacher, lambda m, f=form: m.contiguous(memory_format=f))
        value = values(this, case)
        value.backward()
        results.append((value.detach(), [m.grad for m in leaves(case.student)]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_learned_parts_survive_copies_and_state_dicts(name):
    loss, example = ready(name)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    other, _ = ready(name, seed=7)
    other.load_state_dict(loss.state_dict())
    twin = copy.deepcopy(loss)
    expected = values(loss, example)
    assert torch.equal(values(twin, example), expected)
    assert torch.equal(values(other, example), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_random_state_gives_the_same_value(name):
    loss, example = ready(name)
    assert torch.equal(values(copy.deepcopy(loss), example), values(copy.deepcopy(loss), example))


@pytest.mark.parametrize("name", NAMES)
def test_autocast_around_a_loss_changes_nothing_that_it_computes_itself(name):
    loss, example = ready(name)
    expected = values(copy.deepcopy(loss), example)
    with torch.autocast("cpu", torch.bfloat16):
        inside = values(loss, example)
    tolerance = 3e-2 if loss.keeps_autocast else 0.0
    torch.testing.assert_close(inside.to(expected.dtype), expected, rtol=tolerance, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_formula_shapes_weight_cost_and_source(name):
    text = " ".join((inspect.getdoc(srkd.losses.get(name)) or "").split())
    for word in ("Shapes:", "Default weight:", "Cost:"):
        assert word in text, f"{name} does not state its {word}"
    assert any(str(year) in text for year in range(1990, 2030)), f"{name} does not state its source"
    assert " ".join(srkd.losses.describe(name).split()) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_list_where_a_tensor_is_due_is_refused_and_the_reverse(name):
    example = srkd.losses.get(name).example(0)
    loss = srkd.losses.build(name, **example.options)
    wrong = [example.student] if loss.layers == "single" else example.student[0]
    with pytest.raises(ValueError, match=r"one layer a side.*list of 1|list of layers a side.*single tensor"):
        loss.prepare(wrong, wrong, **example.context)
