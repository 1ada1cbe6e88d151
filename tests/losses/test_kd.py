"""Hinton's distillation against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import kl, softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (3 * torch.randn(4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


LABELS = torch.tensor([0, 4, 2, 2])


def test_kd():
    expected = sum(kl(softmax(t, 4), softmax(s, 4)) for s, t in zip(S.tolist(), T.tolist(), strict=True)) / 4 * 16
    assert srkd.losses.build("kd")(S, T).item() == pytest.approx(expected, rel=1e-9)


def test_kd_on_positions_is_the_mean_over_them():
    s, t = S.T.reshape(1, 5, 2, 2), T.T.reshape(1, 5, 2, 2)
    loss = srkd.losses.build("kd", temperature=2.0)
    assert loss(s, t).item() == pytest.approx(loss(S, T).item(), rel=1e-12)


def test_logits_of_different_shape_raise():
    with pytest.raises(SrkdError, match=r"equal shapes on both sides, got student \(4, 5\), teacher \(4, 3\)"):
        srkd.losses.build("kd").prepare(S, T[:, :3])


def test_kd_includes_unlabelled_examples_if_ignore_index_is_none():
    labels = torch.full((4,), -100)
    assert srkd.losses.build("kd", ignore_index=None)(S, T, labels).item() == srkd.losses.build("kd")(S, T).item()
    first = srkd.losses.build("kd", ignore_index=2)(S, T, LABELS)
    assert first.item() == pytest.approx(srkd.losses.build("kd")(S[:2], T[:2]).item(), rel=1e-12)


def test_kd_of_a_tapped_map_is_not_masked_by_the_labels_of_whole_examples():
    s, t = maps_of_logits(), maps_of_logits()
    assert srkd.losses.build("kd")(s, t, torch.tensor([0, -100])).item() == srkd.losses.build("kd")(s, t).item()


def maps_of_logits():
    return torch.randn(2, 5, 3, 3, generator=RNG)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"target": torch.zeros(2, 7, dtype=torch.long)}, "labels"),
        ({"mask": torch.ones(2, 7)}, "mask"),
    ],
)
def test_classes_in_the_last_dimension_are_detected_by_labels_and_mask(given, name):
    s, t = torch.randn(2, 7, 5), torch.randn(2, 7, 5)
    message = rf"kd: needs {name} of shape \(2, 5\) for logits \(2, 7, 5\).*got \(2, 7\): transpose"
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build("kd")(s, t, **given)
