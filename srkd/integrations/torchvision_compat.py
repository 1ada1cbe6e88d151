"""Make torchvision importable beside a CPU build of torch; BasicSR and spandrel both import it.

PyPI's torchvision is compiled against PyPI's torch, which carries CUDA. Beside a CPU build its library of compiled
operators does not load, and `import torchvision` stops at "operator torchvision::nms does not exist", because it
describes the shapes of two operators that nothing declared. Declaring their names is enough: what srkd needs of
torchvision (its transforms) is plain Python. The operators themselves still refuse to run, in torchvision's own words.
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
    """Import torchvision, declaring its missing operators where it would not import otherwise.

    Returns whether anything was declared: False where torchvision's own operators load.

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
    logging.getLogger(__name__).info("torchvision's compiled operators do not load beside this torch; declared by name")
    return True


@cache
def _declare() -> torch.library.Library:
    # The cache keeps the Library alive: when it is collected, what it declared goes with it.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(_SCHEMA.format(name))
    return library
