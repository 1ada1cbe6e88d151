"""Watch the operators that torch runs."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):
    """A dispatch mode whose first use does not import torch's compiler, which would take a second and compile nothing.

    By default torch wraps `__torch_dispatch__` in a function of its compiler, so that compiled code skips it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
