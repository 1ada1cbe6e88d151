"""Recommenders: networks that map users to logits of the classes of every item, (users, 1 + classes, items).

Class 0 is "no rating" and has logit 0. With one class the other logit is the usual score. Every network has the modules
`user` and `item`, with embeddings (users, dim) and (items, dim) as outputs, and `score`, whose output (users, items)
ranks the items: the tap points of distillation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError, unknown

_LEAST_SUM = 1e-15  # of exponentials, the largest being 1


class Score(nn.Module):
    """Log odds of the expected class: log E[c] - log(C - E[c]); logits (N, 1 + C, I) to scores (N, I).

    Ranks items by their expected class without saturating; with one class it is the logit of that class.
    """

    def forward(self, logits: Tensor) -> Tensor:
        classes = logits.shape[1] - 1
        if classes == 1:
            return logits[:, 1] - logits[:, 0]
        weights = torch.arange(classes + 1).to(logits)
        with torch.autocast(logits.device.type, enabled=False):
            sums = torch.stack([weights, classes - weights]) @ (logits - logits.detach().amax(1, keepdim=True)).exp()
        if sums.amin() > _LEAST_SUM:
            above, below = sums.log().unbind(1)
            return above - below
        # Logits far apart underflow, here or in the gradient; log-sum-exp never does, but takes twice as long.
        shifts = weights[1:].log()[:, None]
        return torch.logsumexp(logits[:, 1:] + shifts, 1) - torch.logsumexp(logits[:, :-1] + shifts.flip(0), 1)


class Recommender(nn.Module):
    """Base class: logit <p_u * w_c, q_i> + b_ci, the inner product of the embeddings of a user and an item, with a
    weight vector per class.

    Args:
        user: maps the output of `user_input` to embeddings (N, dim).
    """

    every_item: Tensor

    def __init__(self, user: nn.Module, items: int, classes: int, dim: int) -> None:
        super().__init__()
        self.user, self.item = user, _table(items, dim)
        self.classes = nn.Parameter(torch.ones(classes, dim))
        self.bias = nn.Parameter(torch.zeros(classes, items))
        self.score = Score()
        self.register_buffer("every_item", torch.arange(items), persistent=False)

    def forward(self, users: Tensor) -> Tensor:
        """Map user indices (N) to logits (N, 1 + classes, items)."""
        logits = self.interact(self.user(self.user_input(users)), self.item(self.every_item))
        logits = logits + _with_class_0(self.bias)
        if self.score._forward_hooks:  # of taps; it takes as long as the rest
            self.score(logits)
        return logits

    def user_input(self, users: Tensor) -> Tensor:
        """Input of the module `user` for user indices (N)."""
        return users

    def observe(self, rated: csr_matrix) -> None:
        """Set the classes (users, items) that users are embedded by; ignored by networks with a vector per user."""

    def interact(self, users: Tensor, items: Tensor) -> Tensor:
        """Map embeddings (N, dim) and (items, dim) to logits (N, 1 + classes, items), 0 for class 0."""
        return (users[:, None] * _with_class_0(self.classes)) @ items.T


def _table(rows: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.1)
    return table


def _with_class_0(weights: Tensor) -> Tensor:
    """Prepend zeros for class 0 to weights (classes, n): cheaper than prepending zeros to the logits."""
    return F.pad(weights, (0, 0, 1, 0))


class MatrixFactorisation(Recommender):
    """An embedding per user. Trained with cross-entropy it is logistic matrix factorisation, with `bpr` BPR-MF (Rendle
    et al., UAI 2009). With dimension 0 only the biases remain: one ranking for all users, the popularity baseline."""

    def __init__(self, users: int, items: int, classes: int, dim: int = 20) -> None:
        super().__init__(_table(users, dim), items, classes, dim)


class NeuralCF(Recommender):
    """The inner product plus an MLP with one hidden layer over both embeddings (He et al., WWW 2017).

    The hidden layer is the sum of a user part and an item part, computed once per user and once per item instead of
    once per pair.
    """

    def __init__(self, users: int, items: int, classes: int, dim: int = 20) -> None:
        super().__init__(_table(users, dim), items, classes, dim)
        self.from_user, self.from_item = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        self.head = nn.Linear(dim, classes, bias=False)

    def interact(self, users: Tensor, items: Tensor) -> Tensor:
        hidden = F.relu(self.from_user(users)[:, None] + self.from_item(items))
        return super().interact(users, items) + _with_class_0(self.head.weight) @ hidden.transpose(1, 2)


class CDAE(Recommender):
    """Collaborative denoising auto-encoder (Wu et al., WSDM 2016): the user embedding is a sum over the rated items.

    In training each rated item is dropped with probability `corruption`. Items are weighted by class / highest class.
    """

    starts: Tensor
    rated: Tensor
    share: Tensor

    def __init__(self, users: int, items: int, classes: int, dim: int = 20, corruption: float = 0.5) -> None:
        super().__init__(nn.Tanh(), items, classes, dim)
        self.corruption = corruption
        self.own, self.encode = _table(users, dim), _table(items, dim)
        self.hidden = nn.Parameter(torch.zeros(dim))

    def observe(self, rated: csr_matrix) -> None:
        for name, array in (("starts", rated.indptr), ("rated", rated.indices)):
            self.register_buffer(name, torch.from_numpy(array.astype("int64")), persistent=False)
        self.register_buffer("share", torch.from_numpy(rated.data).float() / len(self.classes), persistent=False)

    def user_input(self, users: Tensor) -> Tensor:
        starts, counts = self.starts[users], self.starts[users + 1] - self.starts[users]
        offsets = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum()), device=users.device) + (starts - offsets).repeat_interleave(counts)
        shares = F.dropout(self.share[places], self.corruption, self.training)
        summed = F.embedding_bag(self.rated[places], self.encode.weight, offsets, mode="sum", per_sample_weights=shares)
        # Divided by the root of the count: a sum grows with the count, and a mean loses it.
        output: Tensor = summed / counts.clamp_min(1).sqrt()[:, None] + self.own(users) + self.hidden
        return output


_TYPES: dict[Any, Any] = {"MF": MatrixFactorisation, "NeuralCF": NeuralCF, "CDAE": CDAE}


def build(spec: Mapping[str, Any], classes: int, rated: csr_matrix) -> Recommender:
    """Build the network `{type: MF | NeuralCF | CDAE, dim, corruption (CDAE only)}`.

    Args:
        classes: number of classes.
        rated: the classes of the training pairs, (users, items), sparse.

    Raises:
        SrkdError: unknown network or option, or a value out of range.
    """
    options = {key: value for key, value in spec.items() if key != "type"}
    kind = str(spec.get("type"))
    if kind not in _TYPES:
        raise SrkdError(f"network: {unknown('type', kind, list(_TYPES))}")
    known = ["dim", "corruption"] if kind == "CDAE" else ["dim"]
    for key, value in options.items():
        if key not in known:
            raise SrkdError(f"network: {unknown('option', str(key), ['type', *known])}")
        whole = key == "dim" and type(value) is int and value >= (0 if kind == "MF" else 1)
        share = key == "corruption" and isinstance(value, (int, float)) and 0 <= value < 1
        if not (whole or share):
            raise SrkdError(
                f"network: {key} is {value!r}; dim must be an integer above 0 (for MF also 0), corruption in [0, 1)"
            )
    network: Recommender = _TYPES[kind](*rated.shape, classes, **options)
    network.observe(rated)
    return network
