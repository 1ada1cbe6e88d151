"""Taggers: a BiLSTM and a small transformer over embeddings of words and their pieces, optionally with a CRF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srkd.adapters.data import build_kind
from srkd.adapters.ner.crf import LinearChainCRF
from srkd.adapters.ner.huggingface import HuggingFace
from srkd.adapters.ner.vocabulary import PADDING, Encoding, Vocabulary
from srkd.errors import SrkdError


class WordEmbedding(nn.Module):
    """The embedding of a word, concatenated with a max-pooled convolution over its pieces (Ma and Hovy, ACL 2016).

    Maps ids (B, T, 1 + pieces) to (B, T, 2 width).
    """

    def __init__(self, vocabulary: Encoding, width: int) -> None:
        super().__init__()
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError("this network needs words and characters: set data.pieces to characters or jamo")
        words, letters = vocabulary.sizes
        self.words = nn.Embedding(words, width, padding_idx=PADDING)
        self.letters = nn.Embedding(letters, width // 2, padding_idx=PADDING)
        self.convolution = nn.Conv1d(width // 2, width, 3, padding=1)
        for table in (self.words, self.letters):
            # With torch's default of unit variance, training hardly changes the vectors.
            nn.init.normal_(table.weight, std=0.1)
            nn.init.zeros_(table.weight[PADDING])

    def forward(self, tokens: Tensor) -> Tensor:
        distinct, which = distinct_rows(tokens[..., 1:].reshape(-1, tokens.shape[-1] - 1))
        spelled = self.convolution(self.letters(distinct).transpose(1, 2)).amax(2)
        return torch.cat([self.words(tokens[..., 0]), spelled[which].view(*tokens.shape[:2], -1)], 2)


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows of integers (N, n), in any order, and for each row which of them it is (N).

    Sorts a hash of each row, a fifteenth of the time of sorting rows, unless two different rows have the same.
    """
    factors = torch.randint(2**62, (rows.shape[1],), generator=torch.Generator().manual_seed(0)).to(rows.device)
    hashes, which = (rows * (2 * factors + 1)).sum(1).unique(return_inverse=True)
    places = torch.empty_like(hashes).scatter_(0, which, torch.arange(len(rows), device=rows.device))
    distinct = rows[places]
    return (distinct, which) if torch.equal(distinct[which], rows) else rows.unique(dim=0, return_inverse=True)


class TokenBiLSTM(nn.Module):
    """Bidirectional long short-term memory (Huang et al., arXiv:1508.01991); features (B, T, 2 width).

    The backward direction reads each sentence reversed, so that it starts at the last token and not in the padding.
    This takes a quarter of the time of a packed sequence on a CPU.
    """

    def __init__(
        self, vocabulary: Encoding, width: int = 96, embedding: int = 64, layers: int = 1, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.features = 2 * width
        self.embedding, self.dropout = WordEmbedding(vocabulary, embedding), nn.Dropout(dropout)
        widths = [2 * embedding] + [2 * width] * (layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in widths)
        self.back = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in widths)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        mirrored = torch.where(real, real.sum(1, keepdim=True) - 1 - positions, positions)
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        features: Tensor = self.embedding(tokens)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            features = self.dropout(features)
            features = torch.cat([ahead(features)[0], back(features[rows, mirrored])[0][rows, mirrored]], 2)
        return features


class TokenTransformer(nn.Module):
    """Pre-norm transformer encoder (Vaswani et al., NeurIPS 2017), sinusoidal positions; features (B, T, width)."""

    def __init__(
        self, vocabulary: Encoding, width: int = 128, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of twice the heads, got {width} and {heads}")
        self.features = width
        self.embedding, self.dropout = WordEmbedding(vocabulary, width // 2), nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        embedded = self.embedding(tokens) + _positions(tokens.shape[1], self.features).to(tokens.device)
        features: Tensor = self.layers(self.dropout(embedded), src_key_padding_mask=~real)
        return features


def _positions(length: int, width: int) -> Tensor:
    """(length, width): sines and cosines of wavelengths from 2 pi to 20,000 pi."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Tagger(nn.Module):
    """An encoder, a head and an optional CRF.

    Maps ids (B, T, 1 + pieces) from `Vocabulary.encode`, padded by 0, to logits (tokens, labels) of the real tokens,
    sentence after sentence. `features` (tokens, width) is the tap point for features.
    """

    def __init__(self, encoder: Any, labels: int, crf: bool, dropout: float) -> None:
        super().__init__()
        self.encoder, self.features = encoder, nn.Dropout(dropout)
        self.head = nn.Linear(encoder.features, labels)
        self.crf = LinearChainCRF(labels) if crf else None

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens[..., 0] != PADDING
        scores: Tensor = self.head(self.features(self.encoder(tokens, real)[real]))
        if self.crf is None:
            return scores
        padded = scores.new_zeros(*real.shape, scores.shape[1])
        padded[real] = scores
        output: Tensor = self.crf(padded, real)[real]
        return output


ENCODERS: dict[str, type[nn.Module]] = {
    "BiLSTM": TokenBiLSTM,
    "Transformer": TokenTransformer,
    "HuggingFace": HuggingFace,
}


def build(spec: Mapping[str, Any], vocabulary: Encoding, labels: int) -> Tagger:
    """Build the tagger of a specification such as `{type: BiLSTM, crf: true, width: 96}`, with random weights.

    Raises:
        SrkdError: unknown type or option, or an invalid value.
    """
    crf, encoder = spec.get("crf", False), {key: value for key, value in spec.items() if key != "crf"}
    if not isinstance(crf, bool):
        raise SrkdError(f"network.crf: must be true or false, got {crf!r}")
    built = build_kind(ENCODERS, encoder, {"vocabulary": vocabulary}, ["crf"])
    return Tagger(built, labels, crf, float(spec.get("dropout", 0.3)))


def grown(own: Mapping[str, Tensor], previous: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`own`, with the weights of the smaller network copied in; its labels are the first rows of the head.

    Raises:
        SrkdError: `previous` is from another network: it has an unknown name or a larger tensor.
    """
    result = {name: tensor.clone() for name, tensor in own.items()}
    for name, old in previous.items():
        new = result.get(name)
        if new is None or new.ndim != old.ndim or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
            size = "absent" if new is None else tuple(new.shape)
            raise SrkdError(
                f"{name} is {tuple(old.shape)} in the previous step, but {size} in this one: all steps of a recipe "
                "must use the same network"
            )
        new[tuple(slice(length) for length in old.shape)] = old
    return result
