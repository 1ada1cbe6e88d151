"""Invariants of every registered loss, checked on its `example`: new losses are covered automatically."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from torch import Tensor

import srkd.losses
from srkd.errors import SrkdError
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
    """`change` applied to floating-point tensors only, not to labels and other integers."""
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


EDGES = {  # contents of a side: the scale of its noise, and an added constant
    "zero": (0.0, 0.0),
    "one": (0.0, 1.0),
    "constant": (0.0, 1e4),
    "negative": (0.0, -1e4),
    "noise": (1.0, 0.0),
    "large noise": (1e4, 0.0),
}
PAIRS = [
    ("zero", "zero"),
    ("one", "zero"),
    ("zero", "constant"),
    ("constant", "zero"),
    ("negative", "constant"),
    ("constant", "constant"),
    ("noise", "zero"),
    ("noise", "large noise"),
    ("large noise", "noise"),
    ("zero", "large noise"),
    ("large noise", "large noise"),
    ("constant", "large noise"),
]


def filled(kind: str, seed: int, dtype: torch.dtype):
    rng, (scale, offset) = torch.Generator().manual_seed(seed), EDGES[kind]
    return floating(lambda m: (torch.randn(m.shape, generator=rng) * scale + offset).to(dtype))


def rows_of(maps, count: int, batch: int):
    return each(maps, lambda m: m[:count] if m.ndim and len(m) == batch else m)


def smallest(example: Example, loss: Loss) -> Example:
    """The example cut to the smallest batch that the loss accepts."""
    batch = len(leaves(example.student)[0])
    for count in range(1, batch + 1):
        cut = {key: rows_of(value, count, batch) for key, value in example.context.items()}
        few = Example(*(rows_of(m, count, batch) for m in (example.student, example.teacher, example.target)), cut)
        try:
            loss._check(few.student, few.teacher)
        except SrkdError:
            continue
        return few
    raise AssertionError("the loss rejects its own example")


@pytest.mark.parametrize("name", NAMES)
def test_edge_inputs_give_finite_values_and_gradients(name):
    """Zero, constant and large inputs in three precisions, and the smallest accepted batch; all failures are listed."""
    loss, example = ready(name)
    cases = [(example, *pair, dtype) for pair in PAIRS for dtype in (torch.float32, torch.bfloat16, torch.float16)]
    cases += [(smallest(example, loss), *pair, torch.float32) for pair in (("noise", "noise"), ("constant", "zero"))]
    failures = []
    for source, student, teacher, dtype in cases:
        this, case = copy.deepcopy(loss), copy.deepcopy(source)
        case.student = each(each(case.student, filled(student, 5, dtype)), lambda m: m.requires_grad_())
        case.teacher = each(case.teacher, filled(teacher, 6, dtype))
        value = values(this, case)
        value.backward()
        sides = [m.grad for m in leaves(case.student)] if loss.trains_student else []
        gradients = [g for g in [*sides, *(p.grad for p in this.parameters())] if g is not None]
        # Gradients may overflow float16, which is why AMP scales losses.
        fine = [g.isfinite().all() if g.dtype != torch.float16 else ~g.isnan().any() for g in gradients]
        if not (value.isfinite() and fine and all(fine)):
            batch = len(leaves(case.student)[0])
            failures.append(f"{student} against {teacher}, {dtype}, batch of {batch}: {value.item()}")
    assert not failures, "\n".join(failures)


# Losses whose sides may differ: fake and real images may differ in number; `lr` is passed by keyword.
FREE = {"GANLoss", "lr_imitation"}


COMPARING = [n for n in NAMES if srkd.losses.get(n).example(0).teacher is not None and n not in FREE]


@pytest.mark.parametrize("name", COMPARING)
def test_incomparable_sides_raise_in_a_custom_loop(name):
    """A teacher batch of one is not broadcast, nor are other shapes unless the loss resizes."""
    loss, example = ready(name)

    def assert_raises(teacher, message):
        with pytest.raises(SrkdError, match=f"^{name}: .*{message}"):
            loss(example.student, teacher, example.target, **example.context)
        with pytest.raises(SrkdError, match=f"^{name}: .*{message}"):
            loss.prepare(example.student, teacher, **example.context)

    if srkd.losses.get(name).reference == "target" and not leaves(example.teacher)[0].is_floating_point():
        with pytest.raises(SrkdError, match=f"^{name}: .*(labels|equal shapes on both sides)"):
            loss(example.student, example.teacher[:1])
        return
    one = each(example.teacher, lambda m: m[:1])
    assert_raises(one, r"student \(.*teacher \(1, ")
    assert_raises(None, "nothing|same number of layers")
    if loss.layers == "list":
        assert_raises(list(example.teacher)[:-1], "same number of layers per side")
    if loss.shapes == "equal":
        assert_raises(example.teacher[..., :1], r"teacher \(")
    elif loss.state_dict():
        wider = each(example.teacher, lambda m: torch.cat((m, m), 1))
        with pytest.raises(SrkdError, match=f"^{name}: its learned parts were built for other channels than student"):
            loss(example.student, wider, example.target, **example.context)


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
    expected = values(loss, example)  # with the same random state as the others
    assert torch.equal(values(twin, example), expected)
    assert torch.equal(values(other, example), expected)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_does_not_affect_a_losss_own_computation(name):
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
def test_a_list_instead_of_a_tensor_raises_and_vice_versa(name):
    example = srkd.losses.get(name).example(0)
    loss = srkd.losses.build(name, **example.options)
    wrong = [example.student] if loss.layers == "single" else example.student[0]
    with pytest.raises(SrkdError, match=r"one layer per side.*list of 1|list of layers per side.*single tensor"):
        loss.prepare(wrong, wrong, **example.context)
