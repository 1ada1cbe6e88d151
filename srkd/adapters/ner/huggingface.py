"""An encoder and tokeniser of Hugging Face transformers from a local folder. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srkd.adapters.ner.vocabulary import PADDING, RARE, Encoding, Ids
from srkd.errors import SrkdError
from srkd.integrations.transformers import load

_LONGEST = 8  # sub-words per token; the rest is truncated


class SubWords:
    """Encodes tokens with the tokeniser in a folder: sub-word ids, plus one, after a marker of a real token.

    Raises:
        SrkdError: transformers is not installed, or the folder has no tokeniser and configuration.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.tokeniser, self.config = folder, load("AutoTokenizer", folder), load("AutoConfig", folder)

    def encode(self, tokens: Sequence[str]) -> Ids:
        """Ids (tokens, 1 + sub-words).

        Raises:
            SrkdError: the sentence is longer than the encoder accepts.
        """
        ids = np.full((len(tokens), 1 + _LONGEST), PADDING, np.int32)
        for row, token in zip(ids, tokens, strict=True):
            # A token that the tokeniser drops, such as a space, is encoded as unknown.
            pieces = self.tokeniser.encode(token, add_special_tokens=False) or [self.tokeniser.unk_token_id]
            row[0] = RARE
            row[1 : 1 + _LONGEST][: len(pieces)] = np.array(pieces[:_LONGEST]) + 1
        total, most = int((ids[:, 1:] > 0).sum()) + 4, getattr(self.config, "max_position_embeddings", 0)
        if most and total > most:
            raise SrkdError(
                f'{self.folder}: accepts {most - 4} sub-words, but the sentence "{"".join(tokens)[:20]}..." '
                f"has {total - 4}: split it"
            )
        return ids

    def describe(self) -> dict[str, Any]:
        return {"pieces": self.folder}


class HuggingFace(nn.Module):
    """The encoder in the folder `data.pieces`; the feature of a token is that of its first sub-word."""

    def __init__(self, vocabulary: Encoding, dropout: float = 0.1) -> None:
        super().__init__()
        if not isinstance(vocabulary, SubWords):
            raise ValueError("HuggingFace needs the sub-words of its tokeniser: set data.pieces to its folder")
        self.encoder = load("AutoModel", vocabulary.folder)
        self.features, tokeniser = int(self.encoder.config.hidden_size), vocabulary.tokeniser
        self.first, self.last, self.filler = tokeniser.cls_token_id, tokeniser.sep_token_id, tokeniser.pad_token_id

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        pieces = tokens[..., 1:].flatten(1)
        kept = pieces != PADDING
        lengths, rows = kept.sum(1), torch.arange(len(pieces), device=pieces.device)
        # Pack the sub-words between the first and the last special token.
        packed = pieces.new_full((len(pieces), int(lengths.max()) + 2), self.filler)
        place = kept.cumsum(1)
        packed[rows[:, None].expand_as(kept)[kept], place[kept]] = pieces[kept] - 1
        packed[:, 0], packed[rows, lengths + 1] = self.first, self.last
        seen = torch.arange(packed.shape[1], device=pieces.device) < (lengths + 2)[:, None]
        features = self.encoder(input_ids=packed, attention_mask=seen.long()).last_hidden_state
        starts = place.view(*real.shape, -1)[..., 0] * real
        output: Tensor = features[rows[:, None], starts]
        return output
