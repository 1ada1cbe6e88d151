"""Pretrained encoders and tokenisers of Hugging Face transformers, from a local folder; nothing is downloaded."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from torch import nn

from srkd.errors import SrkdError
from srkd.integrations.torchvision_compat import import_torchvision


def load(kind: str, folder: str) -> Any:
    """An object of the transformers class `kind` (`AutoModel`, `AutoTokenizer`, `AutoConfig`) from a folder.

    Raises:
        SrkdError: transformers is not installed, or it cannot load the folder.
    """
    try:
        return getattr(_import(folder), kind).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SrkdError(f"{folder}: cannot load {kind} ({reason}): give the folder of a saved model") from error


def longest_input(model: nn.Module) -> int | None:
    """Number of tokens that a model has positions for; None if it learned none. RoBERTa's positions count from the one
    after its padding's."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def _import(folder: str) -> ModuleType:
    if importlib.util.find_spec("transformers") is None:
        raise SrkdError(f"{folder}: needs transformers: pip install 'srkd[encoders]'")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # before transformers imports it
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    return importlib.import_module("transformers")
