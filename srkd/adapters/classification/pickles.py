"""Safe reader of CIFAR pickles: arrays, lists, numbers and strings only, no code execution."""

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
    # The files were written by numpy 1; numpy 2 moved the function.
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[dict-item]
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[dict-item]
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes for Python 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it loads {module}.{name}, which is not allowed")
        return _ALLOWED[module, name]


def load(data: bytes, where: str) -> dict[bytes, Any]:
    """Load a pickled dictionary with byte strings as keys.

    Raises:
        SrkdError: the pickle is damaged, loads anything except plain data and arrays, or is not a dictionary.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise any exception
        raise SrkdError(f"{where}: not a safe or valid pickle: {error}") from error
    if not isinstance(found, dict):
        raise SrkdError(f"{where}: a pickled {type(found).__name__}, not a dictionary")
    return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}
