"""What a step of continual learning sees: its own sentences, its own types, and what the previous step's model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.adapters.ner.recipe import Data
from srkd.adapters.ner.tags import Sentence, only


def seen_types(data: Data) -> list[str]:
    """The types up to this step, in the order in which they arrived."""
    return [kind for types in data.steps[: data.step] for kind in types]


def sentences_of(everything: Sequence[Sentence], data: Data, seed: int) -> list[Sentence]:
    """The training sentences of a step.

    Every step has its own share of the sentences (the first, say, sentences 0, 3, 6, ... of three), in which the types
    of this step alone are labelled. `joint` takes the shares of all steps so far and labels all their types; `replay`
    adds some sentences of each earlier share, drawn by `seed`, labelled as they were then.
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
    """Labels of tokens as probabilities, in which the previous model says what O hides.

    O in this step's labels means only that a token is of no new type. So the probabilities of such a token are the
    previous model's over the old labels, O among them, and 0 for the new ones. In these terms cross-entropy is
    -log p(old) + KL over the old labels: it is what says that the token is of no new type, where `masked_kl` looks at
    the old labels alone. Where the largest probability is at least `pseudo`, the token has that label and no other.

    Args:
        target: (tokens) labels; `outside` (tokens) says where they are O.
        previous: (tokens, old labels) logits.

    Returns:
        (tokens, labels).
    """
    prediction = previous.float().softmax(1)
    if pseudo is not None:
        sure, label = prediction.max(1)
        prediction = torch.where((sure >= pseudo)[:, None], F.one_hot(label, prediction.shape[1]).float(), prediction)
    prediction = F.pad(prediction, (0, labels - prediction.shape[1]))
    return torch.where(outside[:, None], prediction, F.one_hot(target, labels).float())
