"""Networks for text classification: `encoder` maps token ids to a vector (the tap point for features), `head` maps
this to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.adapters.data import build_kind
from srkd.adapters.text.tokens import PADDING
from srkd.errors import SrkdError


class Encoder(nn.Module):
    """Maps ids (N, L), padded by 0 at the end, to vectors (N, width); every document has at least one token.

    `reads` is the key of its input in a batch.
    """

    width: int
    reads: ClassVar[str] = "input"

    def fit(self, documents: Sequence[NDArray[np.int64]]) -> None:
        """Compute statistics of the token ids of the training documents, if the network uses any."""


class TextClassifier(nn.Module):
    """Maps ids (N, L), or whatever else its encoder reads, to logits (N, classes)."""

    def __init__(self, encoder: Encoder, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.dropout, self.head = encoder, nn.Dropout(dropout), nn.Linear(encoder.width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        output: Tensor = self.head(self.dropout(self.encoder(ids)))
        return output

    def privileged(self, batch: Mapping[str, Any]) -> Tensor:
        """The logits of a batch (`srkd.distill.teachers.run_network`)."""
        output: Tensor = self(batch[self.encoder.reads])
        return output


class Embedded(Encoder):
    """The embedding of a document by a pretrained sentence encoder, standardised over the training documents.

    Args:
        embedding: width of the embeddings; 0 without an encoder.
        hidden: units of a hidden layer with GELU; 0: none.
    """

    reads: ClassVar[str] = "embedding"
    mean: Tensor
    deviation: Tensor

    def __init__(self, embedding: int, hidden: int = 0) -> None:
        super().__init__()
        if not embedding:
            raise ValueError("needs the embeddings of a sentence encoder: set data.encoder")
        self.width = hidden or embedding
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("deviation", torch.ones(embedding))
        self.hidden = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU()) if hidden else nn.Identity()

    def standardise(self, embeddings: Tensor) -> None:
        """Compute mean and deviation of the embeddings (N, width) of the training documents."""
        self.mean.copy_(embeddings.mean(0))
        self.deviation.copy_(embeddings.std(0).clamp_min(1e-6))

    def forward(self, embeddings: Tensor) -> Tensor:
        output: Tensor = self.hidden((embeddings - self.mean) / self.deviation)
        return output


class Bag(Encoder):
    """The TF-IDF weighted sum of the embeddings of the words and bigrams of a document.

    The weight of a token is its inverse document frequency over the square root of its count in the document, so that
    all its occurrences together weigh sqrt(count); the weight vector of a document has unit length. Bigrams are hashed
    into `pairs` further rows (Joulin et al., "Bag of Tricks", EACL 2017; arXiv:1607.01759). In training, tokens are
    dropped with probability `drop`.
    """

    weights: Tensor

    def __init__(self, vocabulary: int, dim: int = 64, pairs: int = 0, drop: float = 0.0) -> None:
        super().__init__()
        if pairs < 0:
            raise ValueError(f"pairs must be at least 0, got {pairs}")
        self.width, self.vocabulary, self.pairs, self.drop = dim, vocabulary, pairs, drop
        self.embedding = nn.Embedding(vocabulary + pairs, dim, padding_idx=PADDING)
        self.register_buffer("weights", torch.ones(vocabulary + pairs))

    def fit(self, documents: Sequence[NDArray[np.int64]]) -> None:
        """Inverse document frequencies: 1 + log((1 + documents) / (1 + documents with the token))."""
        found = torch.zeros_like(self.weights)
        for document in documents:
            found[self._features(torch.from_numpy(document)[None]).unique()] += 1
        self.weights.copy_(1 + torch.log((1 + len(documents)) / (1 + found)))

    def _features(self, ids: Tensor) -> Tensor:
        """The ids (N, L) and the hashed bigrams, numbered after the vocabulary: (N, 2 L - 1)."""
        if not self.pairs:
            return ids
        left, right = ids[:, :-1], ids[:, 1:]
        rows = self.vocabulary + (left * 1_000_003 + right) % self.pairs
        return torch.cat([ids, rows.masked_fill(right == PADDING, PADDING)], 1)

    def forward(self, ids: Tensor) -> Tensor:
        features = self._features(ids).sort(1).values
        count = torch.searchsorted(features, features, right=True) - torch.searchsorted(features, features)
        weights = self.weights[features] * (features != PADDING)
        weights = weights / count.sqrt() / torch.linalg.vector_norm(weights, dim=1, keepdim=True)
        if self.training and self.drop:
            weights = F.dropout(weights, self.drop)
        return F.embedding_bag(features, self.embedding.weight, per_sample_weights=weights, mode="sum")


class TextCNN(Encoder):
    """Max pooling over the document of `channels` convolutions of each width (Kim, EMNLP 2014)."""

    def __init__(
        self, vocabulary: int, dim: int = 64, channels: int = 64, widths: Sequence[int] = (3, 4, 5), drop: float = 0.0
    ) -> None:
        super().__init__()
        self.width = channels * len(widths)
        self.embedding, self.drop = nn.Embedding(vocabulary, dim, padding_idx=PADDING), nn.Dropout1d(drop)
        self.convolutions = nn.ModuleList(nn.Conv1d(dim, channels, width, padding=width - 1) for width in widths)

    def forward(self, ids: Tensor) -> Tensor:
        # Drops whole words: the channels of Dropout1d are the positions here.
        x = self.drop(self.embedding(ids)).transpose(1, 2)
        return torch.cat([self._largest(convolution(x), ids) for convolution in self.convolutions], 1)

    @staticmethod
    def _largest(predictions: Tensor, ids: Tensor) -> Tensor:
        """Maximum over the windows with at least one token, so that the output does not depend on the padding."""
        lengths = (ids != PADDING).sum(1, keepdim=True) + predictions.shape[2] - ids.shape[1]
        beyond = torch.arange(predictions.shape[2], device=ids.device) >= lengths
        return F.relu(predictions).masked_fill(beyond[:, None], 0).amax(2)


class BiLSTM(Encoder):
    """Bidirectional LSTM with max pooling over the document (Conneau et al., EMNLP 2017)."""

    def __init__(self, vocabulary: int, dim: int = 64, hidden: int = 64, layers: int = 1, drop: float = 0.0) -> None:
        super().__init__()
        self.width = 2 * hidden
        self.embedding, self.drop = nn.Embedding(vocabulary, dim, padding_idx=PADDING), nn.Dropout1d(drop)
        self.lstm = nn.LSTM(dim, hidden, layers, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != PADDING).sum(1).cpu()
        x = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.embedding(ids)), lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(x)[0], batch_first=True, padding_value=-torch.inf)
        return states.amax(1)


class Transformer(Encoder):
    """Small pre-norm transformer encoder with mean pooling over the document (Vaswani et al., NeurIPS 2017)."""

    def __init__(
        self, vocabulary: int, length: int, dim: int = 64, heads: int = 4, layers: int = 2, drop: float = 0.1
    ) -> None:
        super().__init__()
        self.width = dim
        self.embedding, self.position = nn.Embedding(vocabulary, dim, padding_idx=PADDING), nn.Embedding(length, dim)
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, drop, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == PADDING
        x = self.embedding(ids) + self.position.weight[: ids.shape[1]]
        x = self.layers(x, src_key_padding_mask=padding).masked_fill(padding[..., None], 0)
        output: Tensor = x.sum(1) / (~padding).sum(1, keepdim=True)
        return output


def _huggingface(length: int, path: str) -> Encoder:
    from srkd.adapters.text.huggingface import Pretrained

    return Pretrained(path, length)


KINDS: dict[str, Callable[..., Encoder]] = {
    "Bag": Bag,
    "TextCNN": TextCNN,
    "BiLSTM": BiLSTM,
    "Transformer": Transformer,
    "HuggingFace": _huggingface,
    "Embedded": Embedded,
}


def build(spec: Mapping[str, Any], classes: int, vocabulary: int, length: int, embedding: int = 0) -> TextClassifier:
    """Build the network of a specification: {type, options of its encoder, dropout (before the head, default 0)}.

    Args:
        vocabulary: size of the vocabulary.
        length: maximum number of tokens of a document.
        embedding: width of the documents' sentence embeddings; 0 without any.

    Raises:
        SrkdError: unknown type or option, or an invalid value.
    """
    encoder = {key: value for key, value in spec.items() if key != "dropout"}
    given = {"vocabulary": vocabulary, "length": length, "embedding": embedding}
    try:
        return TextClassifier(build_kind(KINDS, encoder, given, ["dropout"]), classes, spec.get("dropout", 0.0))
    except (TypeError, ValueError) as error:
        raise SrkdError(f"network.dropout: {error}") from error
