"""CIFAR's pickles read as data: arrays, lists, numbers and strings, and nothing that a pickle could run."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from srkd.errors import SrkdError


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # numpy 2 moved it; the files were written by numpy 1.
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[dict-item]
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[dict-item]
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes for Python 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of images needs")
        return _ALLOWED[module, name]


def load(data: bytes, where: str) -> dict[bytes, Any]:
    """A pickled dictionary with byte strings for keys.

    Raises:
        SrkdError: a damaged pickle, one that asks for anything but plain data and arrays, or no dictionary.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises anything
        raise SrkdError(f"{where}: refused as a pickle: {error}") from error
    if not isinstance(found, dict):
        raise SrkdError(f"{where}: a pickle of {type(found).__name__}, not of a dictionary")
    return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}
