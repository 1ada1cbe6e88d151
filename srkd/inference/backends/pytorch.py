"""PyTorch: fp32 and bf16, channels last, on the CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srkd.inference.backends.engine import Bytes, Engine
from srkd.training.malloc import keep_freed_memory

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}  # the names of torch's dtypes


class TorchEngine(Engine):
    """The fused network in torch."""

    runtime = "torch"

    def __init__(self, network: nn.Module, precision: str, scale: int, device: torch.device | str = "cpu") -> None:
        import torch

        from srkd.inference.graph import graph_of

        super().__init__(precision, scale)
        keep_freed_memory()
        self.device = torch.device(device)
        graph = graph_of(network).to(self.device, getattr(torch, PRECISIONS[precision]))
        self.graph = graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _run(self, pixels: Bytes) -> Bytes:
        import torch

        with torch.inference_mode():
            output: torch.Tensor = self.graph(torch.from_numpy(pixels).to(self.device))
            return output.cpu().numpy()
