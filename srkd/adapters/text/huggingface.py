"""Encoders and tokenisers of Hugging Face transformers from a local folder; nothing is downloaded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from srkd.adapters.text.networks import Encoder
from srkd.adapters.text.tokens import PADDING, UNKNOWN, Ids, Tokeniser
from srkd.errors import SrkdError
from srkd.integrations.transformers import load, longest_input


class PretrainedTokeniser(Tokeniser):
    """A saved tokeniser. Its ids are shifted by one, so that 0 is always padding."""

    def __init__(self, path: str) -> None:
        self._tokeniser = load("AutoTokenizer", path)
        vocabulary = self._tokeniser.get_vocab()
        self.vocabulary = ["<padding>", *sorted(vocabulary, key=lambda token: vocabulary[token])]

    def __call__(self, text: str, length: int) -> Ids:
        ids = self._tokeniser(text, truncation=True, max_length=length)["input_ids"]
        return np.array(ids, np.int64) + 1 if ids else np.array([UNKNOWN], np.int64)


class Pretrained(Encoder):
    """A saved encoder with mean pooling of its last hidden states. Ids must come from `PretrainedTokeniser`.

    Raises:
        SrkdError: the folder cannot be loaded, or the encoder accepts fewer than `length` tokens.
    """

    def __init__(self, path: str, length: int) -> None:
        super().__init__()
        self.model = load("AutoModel", path)
        most = longest_input(self.model) or length
        if length > most:
            raise SrkdError(f"{path}: accepts {most} tokens, not {length}: set data.tokens.length={most} or lower")
        self.width = int(self.model.config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != PADDING).long()
        states: Tensor = self.model(input_ids=(ids - 1).clamp_min(0), attention_mask=mask).last_hidden_state
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).to(torch.float32)
