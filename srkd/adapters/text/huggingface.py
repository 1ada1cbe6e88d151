"""Encoders and tokenisers of Hugging Face's transformers from a folder; nothing is downloaded."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srkd.adapters.text.networks import Encoder
from srkd.adapters.text.tokens import PADDING, UNKNOWN, Ids, Tokeniser
from srkd.errors import SrkdError


def _load(kind: str, path: str) -> Any:
    """What transformers' class `kind` reads from a folder.

    Raises:
        SrkdError: transformers is not installed, or the folder holds nothing that it knows.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise SrkdError(f"{path}: needs transformers: pip install 'srkd[encoders]'") from error
    try:
        return getattr(transformers, kind).from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise SrkdError(f"{path}: no {kind} can be read ({reason}): give a folder of a saved model") from error


class PretrainedTokeniser(Tokeniser):
    """A saved tokeniser. Its ids are moved up by one, so that 0 is padding here whatever it is there."""

    def __init__(self, path: str) -> None:
        self._tokeniser = _load("AutoTokenizer", path)
        vocabulary = self._tokeniser.get_vocab()
        self.vocabulary = ["<padding>", *sorted(vocabulary, key=lambda token: vocabulary[token])]

    def __call__(self, text: str, length: int) -> Ids:
        ids = self._tokeniser(text, truncation=True, max_length=length)["input_ids"]
        return np.array(ids, np.int64) + 1 if ids else np.array([UNKNOWN], np.int64)


class Pretrained(Encoder):
    """A saved encoder; the mean over the document of its last hidden states. Ids are `PretrainedTokeniser`'s.

    Raises:
        SrkdError: nothing that can be read, or an encoder of documents shorter than `length`.
    """

    def __init__(self, path: str, length: int) -> None:
        super().__init__()
        self.model = _load("AutoModel", path)
        most = getattr(self.model.config, "max_position_embeddings", length)
        if length > most:
            raise SrkdError(f"{path}: takes {most} tokens, fewer than {length}: set data.tokens.length={most} or lower")
        self.width = int(self.model.config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        mask = (ids != PADDING).long()
        states: Tensor = self.model(input_ids=(ids - 1).clamp_min(0), attention_mask=mask).last_hidden_state
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).to(torch.float32)
