"""Recommenders: from users to logits of every item's classes, (users, 1 + classes, items).

Class 0 is "no rating"; its logit is 0. With one class the other logit is the usual score. Every network has the modules
`user` and `item`, whose outputs are the vectors (users, dim) and (items, dim), and `score`, whose output (users, items)
ranks the items: these are what distillation looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError, unknown


class Score(nn.Module):
    """The log odds of the expected class: log E[c] - log(C - E[c]); (N, 1 + C, I) logits to (N, I).

    It orders items as their expected class does, keeps apart what sigmoid would round to 1, and of one class it is that
    class's logit itself.
    """

    def forward(self, logits: Tensor) -> Tensor:
        classes = logits.shape[1] - 1
        if classes == 1:
            return logits[:, 1] - logits[:, 0]
        weights = torch.arange(1, classes + 1).to(logits).log()[:, None]
        return torch.logsumexp(logits[:, 1:] + weights, 1) - torch.logsumexp(logits[:, :-1] + weights.flip(0), 1)


class Recommender(nn.Module):
    """Base of the networks: <p_u * w_c, q_i> + b_ci, the inner product of a user's and an item's vector, each class
    with its own weight a dimension.

    Args:
        user: gives the vectors (N, dim) of what `people` hands it.
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
        """Numbers of users (N) to logits (N, 1 + classes, items)."""
        logits = self.interact(self.user(self.people(users)), self.item(self.every_item))
        logits = logits + _and_class_0(self.bias)
        self.score(logits)  # for those who look at its output
        return logits

    def people(self, users: Tensor) -> Tensor:
        """What the module `user` takes."""
        return users

    def interact(self, people: Tensor, things: Tensor) -> Tensor:
        """Vectors (N, dim) and (items, dim) to (N, 1 + classes, items); class 0 has 0."""
        return (people[:, None] * _and_class_0(self.classes)) @ things.T


def _table(rows: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(rows, dim)
    nn.init.normal_(table.weight, std=0.1)
    return table


def _and_class_0(weights: Tensor) -> Tensor:
    """Weights (classes, n) with zeros for class 0 before them: cheaper than zeros before the logits."""
    return F.pad(weights, (0, 0, 1, 0))


class MatrixFactorisation(Recommender):
    """A vector a user. Trained by cross-entropy it is logistic matrix factorisation, by `bpr` BPR-MF (Rendle et al.,
    UAI 2009). With dimension 0 there are the biases alone: one ranking for all users, by how often and how well items
    were rated, which is the popularity baseline."""

    def __init__(self, users: int, items: int, classes: int, dim: int = 20) -> None:
        super().__init__(_table(users, dim), items, classes, dim)


class NeuralCF(Recommender):
    """The inner product plus a one-layer perceptron over both vectors (He et al., WWW 2017), a score per class.

    The perceptron's first layer is a sum of a user's and an item's part, so that it is computed once a user and once an
    item and not once a pair.
    """

    def __init__(self, users: int, items: int, classes: int, dim: int = 20) -> None:
        super().__init__(_table(users, dim), items, classes, dim)
        self.from_user, self.from_item = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        self.head = nn.Linear(dim, classes, bias=False)

    def interact(self, people: Tensor, things: Tensor) -> Tensor:
        hidden = F.relu(self.from_user(people)[:, None] + self.from_item(things))
        return super().interact(people, things) + _and_class_0(self.head.weight) @ hidden.transpose(1, 2)


class CDAE(Recommender):
    """Collaborative denoising auto-encoder (Wu et al., WSDM 2016): a user's vector is made of the rated items'.

    In training each rated item is left out with chance `corruption`; classes weigh as their share of the highest one.
    """

    starts: Tensor
    rated: Tensor
    share: Tensor

    def __init__(
        self, users: int, items: int, classes: int, dim: int = 20, corruption: float = 0.5, *, rated: csr_matrix
    ) -> None:
        super().__init__(nn.Tanh(), items, classes, dim)
        self.corruption = corruption
        self.own, self.encode = _table(users, dim), _table(items, dim)
        self.hidden = nn.Parameter(torch.zeros(dim))
        for name, array in (("starts", rated.indptr), ("rated", rated.indices)):
            self.register_buffer(name, torch.from_numpy(array.astype("int64")), persistent=False)
        self.register_buffer("share", torch.from_numpy(rated.data).float() / classes, persistent=False)

    def people(self, users: Tensor) -> Tensor:
        starts, counts = self.starts[users], self.starts[users + 1] - self.starts[users]
        offsets = counts.cumsum(0) - counts
        places = torch.arange(int(counts.sum()), device=users.device) + (starts - offsets).repeat_interleave(counts)
        shares = F.dropout(self.share[places], self.corruption, self.training)
        summed = F.embedding_bag(self.rated[places], self.encode.weight, offsets, mode="sum", per_sample_weights=shares)
        # Over the root of their number: a sum grows with it, and a mean forgets it.
        return summed / counts.clamp_min(1).sqrt()[:, None] + self.own(users) + self.hidden


_TYPES: dict[Any, Any] = {"MF": MatrixFactorisation, "NeuralCF": NeuralCF, "CDAE": CDAE}


def build(spec: Mapping[str, Any], users: int, items: int, classes: int, rated: csr_matrix) -> Recommender:
    """The network of `{type: MF, NeuralCF or CDAE, dim, corruption (CDAE)}`; `rated` are the training pairs' classes.

    Raises:
        SrkdError: no such network or option, or a value out of range.
    """
    options = {key: value for key, value in spec.items() if key != "type"}
    kind = spec.get("type")
    if kind not in _TYPES:
        raise SrkdError(f"network: {unknown('type', str(kind), list(_TYPES))}")
    known = ["dim", "corruption"] if kind == "CDAE" else ["dim"]
    for key, value in options.items():
        if key not in known:
            raise SrkdError(f"network: {unknown('option', str(key), ['type', *known])}")
        whole = key == "dim" and type(value) is int and value >= (0 if kind == "MF" else 1)
        share = key == "corruption" and isinstance(value, (int, float)) and 0 <= value < 1
        if not (whole or share):
            raise SrkdError(
                f"network: {key} is {value!r}; dim is a whole number above 0, of MF also 0, corruption "
                "from 0 to below 1"
            )
    if kind == "CDAE":
        options["rated"] = rated
    network: Recommender = _TYPES[kind](users, items, classes, **options)
    return network
