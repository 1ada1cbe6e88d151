"""Taggers: shapes, invariance to padding, growing heads, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from srkd.adapters.ner.networks import build, distinct_rows, grown
from srkd.adapters.ner.vocabulary import collect
from srkd.errors import SrkdError

SENTENCES = [["부산", "에", "가", "았", "다"], ["서울"], ["부산", "에", "서울"]]
KNOWN = collect(SENTENCES, "characters", least=1)
SMALL: list[dict[str, Any]] = [
    {"type": "BiLSTM", "width": 8, "embedding": 8},
    {"type": "BiLSTM", "width": 8, "embedding": 8, "layers": 2, "crf": True},
    {"type": "Transformer", "width": 16, "layers": 1, "heads": 2, "crf": True},
]


def padded(sentences: list[list[str]]) -> Tensor:
    encoded = [KNOWN.encode(s) for s in sentences]
    batch = np.zeros((len(encoded), max(map(len, encoded)), encoded[0].shape[1]), np.int64)
    for row, ids in zip(batch, encoded, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(batch)


def colliding() -> Tensor:
    """Rows of which two have the same hash: their difference times the factors is 0 modulo 2^64."""
    one, two = (2 * torch.randint(2**62, (2,), generator=torch.Generator().manual_seed(0)) + 1).tolist()
    return torch.tensor([[0, 0], [two, -one], [0, 0], [3, 4]])


@pytest.mark.parametrize("rows", [torch.randint(3, (50, 4)), torch.zeros(1, 2, dtype=torch.int64), colliding()])
def test_distinct_rows(rows: Tensor) -> None:
    distinct, which = distinct_rows(rows)
    assert torch.equal(distinct[which], rows)
    assert len(distinct) == len({tuple(row) for row in rows.tolist()})


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: spec["type"])
def test_logits_do_not_depend_on_padding(spec: dict[str, Any]) -> None:
    torch.manual_seed(0)
    tagger = build(spec, KNOWN, 5).eval()
    if tagger.crf is not None:
        torch.nn.init.normal_(tagger.crf.transitions)
    together = tagger(padded(SENTENCES))
    assert together.shape == (9, 5)
    for alone, part in zip(SENTENCES, together.split([5, 1, 3]), strict=True):
        assert torch.allclose(tagger(padded([alone])), part, atol=1e-5)


def test_bilstm_equals_torch() -> None:
    """Both directions against the bidirectional layer of torch on a packed sequence."""
    torch.manual_seed(0)
    encoder = build({"type": "BiLSTM", "width": 8, "embedding": 8}, KNOWN, 5).eval().encoder
    reference = torch.nn.LSTM(16, 8, batch_first=True, bidirectional=True)
    weights = encoder.ahead[0].state_dict() | {f"{k}_reverse": v for k, v in encoder.back[0].state_dict().items()}
    reference.load_state_dict(weights)
    tokens = padded(SENTENCES)
    real = tokens[..., 0] != 0
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        encoder.embedding(tokens), real.sum(1), batch_first=True, enforce_sorted=False
    )
    wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    assert torch.allclose(encoder(tokens, real)[real], wanted[real], atol=1e-6)


def test_a_crf_learns_transitions() -> None:
    """The gradient reaches the transitions: labels alternate independently of the words."""
    torch.manual_seed(0)
    tagger = build({"type": "BiLSTM", "width": 4, "embedding": 4, "dropout": 0.0, "crf": True}, KNOWN, 2)
    optimiser = torch.optim.Adam(tagger.crf.parameters(), 0.1)  # type: ignore[union-attr]
    tokens, target = padded([["에"] * 6]), torch.tensor([0, 1] * 3)
    first = torch.nn.functional.cross_entropy(tagger(tokens), target).item()
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(tagger(tokens), target)
        loss.backward()
        optimiser.step()
    transitions = tagger.crf.transitions  # type: ignore[union-attr]
    assert loss.item() < first - 0.01 and transitions[0, 1] + transitions[1, 0] > transitions.diagonal().sum()


@pytest.mark.parametrize("crf", [False, True])
def test_growing_keeps_old_rows_bit_exact(crf: bool) -> None:
    spec = {**SMALL[0], "crf": crf}
    old = build(spec, KNOWN, 5)
    if old.crf is not None:
        torch.nn.init.normal_(old.crf.transitions)
    new = build(spec, KNOWN, 9)
    own_rows = new.head.weight[5:].clone()
    new.load_state_dict(grown(new.state_dict(), old.state_dict()))
    assert torch.equal(new.head.weight[:5], old.head.weight) and torch.equal(new.head.bias[:5], old.head.bias)
    assert torch.equal(new.head.weight[5:], own_rows)
    if old.crf is not None and new.crf is not None:
        assert torch.equal(new.crf.transitions[:5, :5], old.crf.transitions)
    tokens = padded(SENTENCES)
    if not crf:
        assert torch.allclose(new.eval()(tokens)[:, :5], old.eval()(tokens), atol=1e-6)


def test_growing_from_another_network_raises() -> None:
    old, new = build(SMALL[0], KNOWN, 9), build(SMALL[0], KNOWN, 5)
    with pytest.raises(SrkdError, match=r"head.weight is \(9, 16\) in the previous step, but \(5, 16\) in this one"):
        grown(new.state_dict(), old.state_dict())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "BiLTSM"}, r'network.type: unknown network "BiLTSM" .did you mean "BiLSTM"'),
        ({"type": "BiLSTM", "widht": 3}, 'network: unknown option "widht" .did you mean "width"'),
        ({"type": "BiLSTM", "crf": 1}, "network.crf: must be true or false"),
        ({"type": "Transformer", "width": 10, "heads": 4}, "width must be a multiple"),
        ({"type": "HuggingFace"}, "set data.pieces to its folder"),
    ],
)
def test_invalid_specifications_raise(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        build(spec, KNOWN, 3)
