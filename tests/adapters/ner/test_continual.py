"""The data of a step, and soft labels from the previous model."""

from __future__ import annotations

import torch

from srkd.adapters.ner.continual import relabel, sentences_of
from srkd.adapters.ner.recipe import NerData
from srkd.adapters.ner.tags import Sentence

ALL = [Sentence([str(n)], [tag]) for n, tag in enumerate(["B-PER", "B-LOC", "B-DAT", "B-PER", "B-LOC", "B-DAT"])]


def data(**more: object) -> NerData:
    return NerData.model_validate({"format": "kmou", "train": "x", "steps": [["PER"], ["LOC", "DAT"]], **more})


def labelled(**more: object) -> dict[str, str]:
    return {s.tokens[0]: s.tags[0] for s in sentences_of(ALL, data(**more), 0)}


def test_each_step_has_its_share_and_its_own_labels() -> None:
    assert labelled(step=1) == {"0": "B-PER", "2": "O", "4": "O"}
    assert labelled(step=2) == {"1": "B-LOC", "3": "O", "5": "B-DAT"}


def test_joint_uses_and_labels_everything() -> None:
    assert labelled(step=1, joint=True) == labelled(step=1)
    assert labelled(step=2, joint=True) == {s.tokens[0]: s.tags[0] for s in ALL}


def test_replay_adds_old_sentences_with_their_old_labels() -> None:
    assert labelled(step=1, replay=2) == labelled(step=1)
    kept = {k: v for k, v in labelled(step=2, replay=2).items() if k in "024"}
    assert len(kept) == 2 and set(kept.items()) <= {("0", "B-PER"), ("2", "O"), ("4", "O")}
    assert len(labelled(step=2, replay=99)) == 6


def test_previous_predictions_replace_o() -> None:
    target = torch.tensor([0, 0, 3, 0])  # old labels: O and 1, 2; new: 3, 4
    previous = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 9.0, 0], [0, 0, 1.0]])  # O, 1, 1, perhaps 2
    soft = relabel(target, target == 0, previous, 5, None)
    assert torch.allclose(soft[[0, 1, 3], :3], previous.softmax(1)[[0, 1, 3]]) and (soft[[0, 1, 3], 3:] == 0).all()
    assert soft[2].tolist() == [0, 0, 0, 1, 0]
    hard = relabel(target, target == 0, previous, 5, 0.9)
    assert hard[1].tolist() == [0, 1, 0, 0, 0] and torch.equal(hard[3], soft[3])


def test_cross_entropy_splits_into_no_new_type_and_kl_over_old_labels() -> None:
    torch.manual_seed(0)
    student, previous = torch.randn(6, 5).double(), torch.randn(6, 3).double()
    outside = torch.ones(6, dtype=torch.bool)
    target = relabel(torch.zeros(6, dtype=torch.long), outside, previous, 5, None).double()
    q = previous.softmax(1)
    log_p = student.log_softmax(1)
    none_new = -log_p[:, :3].logsumexp(1).mean()
    kl = (q * (q.log() - student[:, :3].log_softmax(1))).sum(1).mean()
    entropy = -(q * q.log()).sum(1).mean()
    found = torch.nn.functional.cross_entropy(student, target)
    assert torch.allclose(found, none_new + kl + entropy, atol=1e-6)
