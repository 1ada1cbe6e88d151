"""The data of a step of continual learning: its sentences, its types, and the predictions of the previous model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.adapters.ner.recipe import NerData
from srkd.adapters.ner.tags import Sentence, only


def seen_types(data: NerData) -> list[str]:
    """The types of this and all earlier steps, in the order of `data.steps`."""
    return [kind for types in data.steps[: data.step] for kind in types]


def sentences_of(everything: Sequence[Sentence], data: NerData, seed: int) -> list[Sentence]:
    """The training sentences of a step.

    Every step has its own share of the sentences (of three steps, the first has sentences 0, 3, 6, ...), in which only
    the types of this step are labelled. `joint` uses the shares of all steps so far and labels all their types;
    `replay` adds sentences of each earlier share, sampled with `seed`, with the labels of their own step.
    """
    shares = [list(everything[k :: len(data.steps)]) for k in range(data.step)]
    if data.joint:
        return [_labelled(s, seen_types(data)) for share in shares for s in share]
    own = [_labelled(s, data.steps[data.step - 1]) for s in shares[-1]]
    random = np.random.default_rng((seed, 2))
    for share, types in zip(shares[:-1], data.steps, strict=False):
        kept = random.permutation(len(share))[: data.replay]
        own += [_labelled(share[i], types) for i in kept]
    return own


def _labelled(sentence: Sentence, types: Sequence[str]) -> Sentence:
    return Sentence(sentence.tokens, only(sentence.tags, types))


def relabel(target: Tensor, outside: Tensor, previous: Tensor, labels: int, pseudo: float | None) -> Tensor:
    """Soft labels of tokens, in which the previous model's predictions replace O.

    O in this step's labels means only that a token has no new type. Such a token therefore gets the previous model's
    probabilities for the old labels (O included) and 0 for the new ones. Cross-entropy then is -log p(old) + KL over
    the old labels; its first term is the evidence against the new types, which `masked_kl` lacks because it compares
    the old labels only. Where the largest probability is at least `pseudo`, the target is that label, one-hot.

    Args:
        target: labels (tokens), int64; `outside` (tokens), bool, is True where they are O.
        previous: logits (tokens, old labels) of the previous model.
        labels: number of labels of this step.
        pseudo: confidence threshold in (0, 1] for pseudo-labels; None: none.

    Returns:
        Probabilities (tokens, labels), float32.
    """
    prediction = previous.float().softmax(1)
    if pseudo is not None:
        confidence, label = prediction.max(1)
        prediction = torch.where(
            (confidence >= pseudo)[:, None], F.one_hot(label, prediction.shape[1]).float(), prediction
        )
    prediction = F.pad(prediction, (0, labels - prediction.shape[1]))
    return torch.where(outside[:, None], prediction, F.one_hot(target, labels).float())
