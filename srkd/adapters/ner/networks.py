"""Taggers: a BiLSTM and a small transformer over embedded words and their pieces, optionally with a CRF."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srkd.adapters.ner.crf import Marginals
from srkd.adapters.ner.huggingface import HuggingFace
from srkd.adapters.ner.vocabulary import PADDING, Encoding, Vocabulary
from srkd.errors import SrkdError, unknown


class Embedding(nn.Module):
    """A word's own vector beside the largest values of a convolution over its pieces (Ma and Hovy, ACL 2016).

    Takes numbers (B, T, 1 + pieces), gives (B, T, 2 width).
    """

    def __init__(self, vocabulary: Encoding, width: int) -> None:
        super().__init__()
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError("words and characters are embedded here: set data.pieces to characters or jamo")
        words, letters = vocabulary.sizes
        self.words = nn.Embedding(words, width, padding_idx=PADDING)
        self.letters = nn.Embedding(letters, width // 2, padding_idx=PADDING)
        self.convolution = nn.Conv1d(width // 2, width, 3, padding=1)
        for table in (self.words, self.letters):
            # torch's own vectors of length 1 an entry are so large that training hardly moves them.
            nn.init.normal_(table.weight, std=0.1)
            nn.init.zeros_(table.weight[PADDING])

    def forward(self, tokens: Tensor) -> Tensor:
        distinct, which = tokens[..., 1:].reshape(-1, tokens.shape[-1] - 1).unique(dim=0, return_inverse=True)
        spelled = self.convolution(self.letters(distinct).transpose(1, 2)).amax(2)
        return torch.cat([self.words(tokens[..., 0]), spelled[which].view(*tokens.shape[:2], -1)], 2)


class BiLSTM(nn.Module):
    """Long short-term memory in both directions (Huang et al., arXiv:1508.01991); features (B, T, 2 width).

    The backward direction reads each sentence turned round, so that it starts at its end and not in the padding: a
    quarter of the time that a packed sequence takes on a CPU.
    """

    def __init__(
        self, vocabulary: Encoding, width: int = 96, embedding: int = 64, layers: int = 1, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.features = 2 * width
        self.embedding, self.dropout = Embedding(vocabulary, embedding), nn.Dropout(dropout)
        widths = [2 * embedding] + [2 * width] * (layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(inside, width, batch_first=True) for inside in widths)
        self.back = nn.ModuleList(nn.LSTM(inside, width, batch_first=True) for inside in widths)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        turned = torch.where(real, real.sum(1, keepdim=True) - 1 - places, places)
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        features: Tensor = self.embedding(tokens)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            features = self.dropout(features)
            features = torch.cat([ahead(features)[0], back(features[rows, turned])[0][rows, turned]], 2)
        return features


class Transformer(nn.Module):
    """Encoder layers (Vaswani et al., NeurIPS 2017), normalised first, sinusoidal positions; features (B, T, width)."""

    def __init__(
        self, vocabulary: Encoding, width: int = 128, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of twice the heads, got {width} and {heads}")
        self.features = width
        self.embedding, self.dropout = Embedding(vocabulary, width // 2), nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        embedded = self.embedding(tokens) + _positions(tokens.shape[1], self.features).to(tokens.device)
        features = self.layers(self.dropout(embedded), src_key_padding_mask=~real)
        return features


def _positions(length: int, width: int) -> Tensor:
    """(length, width): sines and cosines of wavelengths from 2 pi to 20,000 pi."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Tagger(nn.Module):
    """An encoder, a head and perhaps a CRF.

    Takes numbers (B, T, 1 + pieces) as `Vocabulary.encode` gives them, padded by 0; gives logits (tokens, labels) of
    the real tokens, sentence after sentence. `features`, (tokens, width), is where they can be tapped.
    """

    def __init__(self, encoder: Any, labels: int, crf: bool, dropout: float) -> None:
        super().__init__()
        self.encoder, self.features = encoder, nn.Dropout(dropout)
        self.head = nn.Linear(encoder.features, labels)
        self.crf = Marginals(labels) if crf else None

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens[..., 0] != PADDING
        scores: Tensor = self.head(self.features(self.encoder(tokens, real)[real]))
        if self.crf is None:
            return scores
        padded = scores.new_zeros(*real.shape, scores.shape[1])
        padded[real] = scores
        return self.crf(padded, real)[real]


ENCODERS: dict[str, type[nn.Module]] = {"BiLSTM": BiLSTM, "Transformer": Transformer, "HuggingFace": HuggingFace}


def build(spec: Mapping[str, Any], vocabulary: Encoding, labels: int) -> Tagger:
    """The tagger that `{type: BiLSTM, crf: true, width: 96, ...}` describes, with random weights.

    Raises:
        SrkdError: no such type or option, or a value that the network refuses.
    """
    kind, crf = spec.get("type"), spec.get("crf", False)
    if kind not in ENCODERS:
        raise SrkdError(f"network.type: {unknown('network', str(kind), ENCODERS)}")
    options = {key: value for key, value in spec.items() if key not in ("type", "crf")}
    known = list(inspect.signature(ENCODERS[kind].__init__).parameters)[2:]  # after self and the vocabulary
    for key in options:
        if key not in known:
            raise SrkdError(f"network: {unknown('option', str(key), [*known, 'crf'])}")
    if not isinstance(crf, bool):
        raise SrkdError(f"network.crf: must be true or false, got {crf!r}")
    try:
        encoder = ENCODERS[kind](vocabulary, **options)
        return Tagger(encoder, labels, crf, float(options.get("dropout", 0.3)))
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError, OSError) as error:
        raise SrkdError(f"network: {error}") from error


def grown(own: Mapping[str, Tensor], previous: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`own`, with every value that the smaller network had: its labels are the first rows of the head.

    Raises:
        SrkdError: weights of another network: a name that it has not, or something larger.
    """
    result = {name: tensor.clone() for name, tensor in own.items()}
    for name, old in previous.items():
        new = result.get(name)
        if new is None or new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
            size = "absent" if new is None else tuple(new.shape)
            raise SrkdError(
                f"the previous step's {name} is {tuple(old.shape)}, but this one's {size}: the steps of a "
                "recipe share their network"
            )
        new[tuple(slice(length) for length in old.shape)] = old
    return result
