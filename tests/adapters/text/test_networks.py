"""Networks: invariance to padding, TF-IDF weights, word dropout, options."""

import numpy as np
import pytest
import torch

from srkd.adapters.text import networks
from srkd.adapters.text.networks import Bag
from srkd.errors import SrkdError

SPECS = [
    {"type": "Bag", "dim": 8, "pairs": 32},
    {"type": "TextCNN", "dim": 8, "channels": 4, "widths": [2, 3]},
    {"type": "BiLSTM", "dim": 8, "hidden": 6, "layers": 2},
    {"type": "Transformer", "dim": 8, "heads": 2},
]
DOCUMENTS = [np.array([2, 3, 2, 4]), np.array([1]), np.array([5, 3])]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["type"])
def test_output_does_not_depend_on_padding_or_batch(spec: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = networks.build(spec, 3, 10, 7).eval()
    together = torch.tensor([[2, 3, 2, 4, 0], [1, 0, 0, 0, 0], [5, 3, 0, 0, 0]])
    logits = network(together)
    assert logits.shape == (3, 3) and network.encoder(together).shape == (3, network.encoder.width)
    alone = torch.cat([network(torch.from_numpy(document)[None]) for document in DOCUMENTS])
    assert torch.allclose(logits, alone, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["type"])
def test_every_weight_has_a_gradient(spec: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = networks.build(spec, 3, 10, 7)
    network(torch.tensor([[2, 3, 2, 4], [9, 8, 7, 6]])).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_a_bag_weights_by_tf_idf() -> None:
    bag = Bag(6, dim=4).double()
    bag.fit(DOCUMENTS)
    idf = {token: 1 + np.log(4 / (1 + found)) for token, found in {2: 1, 3: 2, 4: 1}.items()}
    weights = {2: np.sqrt(2) * idf[2], 3: idf[3], 4: idf[4]}
    length = np.sqrt(sum(value**2 for value in weights.values()))
    rows = bag.embedding.weight.detach().numpy()
    expected = sum(value / length * rows[token] for token, value in weights.items())
    assert np.allclose(bag(torch.from_numpy(DOCUMENTS[0])[None]).detach().numpy()[0], expected, atol=1e-6)


def test_bigrams_distinguish_word_order() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[2, 3, 4], [4, 3, 2]])
    for pairs, same in ((0, True), (64, False)):
        first, second = Bag(6, 4, pairs)(ids)
        assert torch.allclose(first, second, atol=1e-6) is same


def test_words_are_dropped_in_training_only() -> None:
    bag = Bag(6, dim=4, drop=0.5)
    ids = torch.tensor([[2, 3, 4, 5]])
    assert not torch.equal(bag.train()(ids), bag(ids)) and torch.equal(bag.eval()(ids), bag(ids))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "Bagg"}, "Bag"),
        ({}, "network.type"),
        ({"type": "Bag", "dims": 3}, "dim"),
        ({"type": "Bag", "vocabulary": 3}, "vocabulary"),
        ({"type": "Transformer", "dim": 7}, "Transformer"),
        ({"type": "Bag", "pairs": -3}, "pairs must be at least 0, got -3"),
        ({"type": "TextCNN", "dim": "wide"}, "TextCNN"),
    ],
)
def test_invalid_specifications_raise(spec: dict[str, object], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        networks.build(spec, 3, 10, 7)
