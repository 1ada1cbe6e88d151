"""IEKD: its value against the formula, the gradients of its terms, and targets that do not collapse."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def maps(*shapes, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]


STUDENT = maps((3, 4, 6, 6), (3, 6, 2, 2))
TEACHER = maps((3, 5, 4, 4), (3, 8, 2, 2), seed=1)


def ready(student=STUDENT, teacher=TEACHER, **options):
    torch.manual_seed(0)
    loss = srkd.losses.build("iekd", **{"dim": 8, "heads": 2, "size": 2, **options})
    loss.prepare(student, teacher)
    return loss


def positions(map_):
    """2x2 positions of a map, each with mean 0 and variance 1 over its channels; image, position, channel."""
    half = map_.shape[2] // 2
    rows = []
    for image in map_:
        for y in (0, 1):
            for x in (0, 1):
                window = image[:, y * half : (y + 1) * half, x * half : (x + 1) * half]
                vector = window.mean((1, 2))
                rows.append((vector - vector.mean()) / (vector.var(unbiased=False) + 1e-5).sqrt())
    return torch.stack(rows).view(len(map_), 4, -1)


def normed(x, norm):
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt() * norm.weight + norm.bias


def attend(encoder, queries, memory):
    """One image: (n, dim) queries over (m, dim) memory, head by head and query by query."""
    q, k, v = queries @ encoder.query.weight.T, memory @ encoder.key.weight.T, memory @ encoder.value.weight.T
    width = q.shape[1] // encoder.heads
    result = []
    for row in q:
        heads = []
        for h in range(encoder.heads):
            part = slice(h * width, (h + 1) * width)
            scores = torch.stack([(row[part] * key[part]).sum() / width**0.5 for key in k])
            weights = scores.exp() / scores.exp().sum()
            heads.append(sum(w * value[part] for w, value in zip(weights, v, strict=True)))
        mixed = normed(torch.cat(heads), encoder.norm1)
        hidden = mixed @ encoder.mlp[0].weight.T + encoder.mlp[0].bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        result.append(normed(mixed + hidden @ encoder.mlp[2].weight.T + encoder.mlp[2].bias, encoder.norm2))
    return torch.stack(result)


def tokens(module, vectors):
    parts = [x @ p.weight.T + p.bias + e for p, x, e in zip(module.project, vectors, module.layer, strict=True)]
    return torch.cat(parts, 1)


def linear(module, x):
    return x @ module.weight.T + module.bias


def test_value_matches_the_formula():
    loss = ready(internal=2.0, external=3.0, matching=0.5)
    z_s, z_t = [positions(m) for m in STUDENT], [positions(m) for m in TEACHER]
    s, t = tokens(loss.ours, z_s), tokens(loss.theirs, z_t)
    own = torch.stack([attend(loss.encoder, image, image) for image in t])
    inside = torch.stack([attend(loss.encoder, image, image) for image in s])
    across = torch.stack([attend(loss.encoder, a, b) for a, b in zip(s, t, strict=True)])
    matching = sum((linear(m, x) - y).square().mean() for m, x, y in zip(loss.match, z_s, z_t, strict=True))
    rebuilt = [linear(d, own[:, 4 * i : 4 * i + 4]) for i, d in enumerate(loss.rebuild)]
    rebuilding = sum((r - y).square().mean() for r, y in zip(rebuilt, z_t, strict=True))
    apart = [(x - own).square().mean() for x in (inside, across)]
    expected = 0.5 * matching + 2 * apart[0] + 3 * apart[1] + rebuilding
    assert loss(STUDENT, TEACHER).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_encoder_is_trained_by_the_teacher_alone():
    loss = ready()
    student = [m.clone().requires_grad_() for m in STUDENT]
    parts = loss.parts(student, TEACHER)
    learned_of_teacher = [*loss.encoder.parameters(), *loss.theirs.parameters(), *loss.rebuild.parameters()]
    of_student = parts["matching"] + parts["internal"] + parts["external"]
    gradients = torch.autograd.grad(of_student, learned_of_teacher, allow_unused=True, retain_graph=True)
    assert all(g is None or not g.any() for g in gradients)
    gradients = torch.autograd.grad(parts["rebuilding"], [*learned_of_teacher, *student], allow_unused=True)
    assert all(g is not None and g.any() for g in gradients[: len(learned_of_teacher)])
    assert all(g is None for g in gradients[len(learned_of_teacher) :])


def test_targets_do_not_collapse():
    """While the student's terms fall, the targets still distinguish images as well as at the start."""
    random = torch.Generator().manual_seed(0)
    teacher = [torch.randn(16, 8, 4, 4, generator=random), torch.randn(16, 12, 2, 2, generator=random)]
    student = [torch.randn(16, 6, 4, 4, generator=random).requires_grad_() for _ in range(2)]
    loss = ready(student, teacher, dim=16)

    def spread():
        t = loss.theirs([loss.positions(m)[0] for m in teacher])
        return loss.encoder(t, t).std(0).mean().item()

    first, optimiser = spread(), torch.optim.Adam([*loss.parameters(), *student], 1e-2)
    before = {name: value.item() for name, value in loss.parts(student, teacher).items()}
    for _ in range(150):
        optimiser.zero_grad()
        loss(student, teacher).backward()
        optimiser.step()
    after = loss.parts(student, teacher)
    assert spread() > 0.7 * first
    assert after["rebuilding"] < 0.5 * before["rebuilding"]  # the targets still encode the teacher's maps
    mixed_up = loss.parts([m.flip(0) for m in student], teacher)
    assert all(after[name] < 0.8 * mixed_up[name] for name in ("matching", "internal", "external"))


def test_layers_of_any_size_and_vectors_are_accepted():
    student, teacher = maps((2, 4, 7, 5), (2, 6)), maps((2, 5, 3, 1), (2, 3), seed=2)
    assert ready(student, teacher)(student, teacher).isfinite()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"internal": 0, "external": 0, "matching": 0}, "all 0"),
        ({"dim": 10, "heads": 4}, "dim must be a multiple of heads"),
        ({"size": 0}, "size must be an integer"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build("iekd", **options)


def test_unpaired_layers_and_use_before_prepare_raise():
    loss = srkd.losses.build("iekd")
    with pytest.raises(SrkdError, match="same number of layers per side, got 2 of the student and 1 of the teacher"):
        loss.prepare(STUDENT, TEACHER[:1])
    with pytest.raises(SrkdError, match="iekd: call prepare"):
        loss(STUDENT, TEACHER)
