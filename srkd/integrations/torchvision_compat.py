"""Make torchvision importable with a CPU build of torch; BasicSR and spandrel both import it.

PyPI's torchvision is compiled against PyPI's torch, which carries CUDA. With a CPU build its library of compiled
operators does not load, and `import torchvision` raises "operator torchvision::nms does not exist", because it
registers shape functions for two undeclared operators. Declaring them is enough: the parts of torchvision that srkd
needs (transforms) are plain Python. Calling the operators still raises torchvision's own error.
"""

from __future__ import annotations

import importlib
import logging
from functools import cache

import torch

_OPERATORS = ("nms", "qnms")
_SCHEMA = "{}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def import_torchvision() -> bool:
    """Import torchvision, declaring its missing operators if necessary.

    Returns whether anything was declared: False if torchvision's own operators load.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision does not import for another reason.
    """
    try:
        importlib.import_module("torchvision")
        return False
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _declare()
    importlib.import_module("torchvision")
    logging.getLogger(__name__).info("torchvision's compiled operators do not load with this torch; declared by name")
    return True


@cache
def _declare() -> torch.library.Library:
    # The cache keeps the Library alive: its declarations are removed when it is garbage-collected.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(_SCHEMA.format(name))
    return library
