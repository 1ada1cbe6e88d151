"""PyTorch: fp32 and bf16, channels last, on the CPU or a GPU."""

from __future__ import annotations

import torch
from torch import nn

from srkd.inference.backends.engine import Bytes, Engine
from srkd.inference.graph import graph_of
from srkd.training.malloc import keep_freed_memory

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TorchEngine(Engine):
    """The fused network in torch."""

    runtime = "torch"

    def __init__(self, network: nn.Module, precision: str, scale: int, device: torch.device | str = "cpu") -> None:
        super().__init__(precision, scale)
        keep_freed_memory()
        self.device = torch.device(device)
        graph = graph_of(network).to(self.device, PRECISIONS[precision])
        self.graph = graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def _run(self, pixels: Bytes) -> Bytes:
        output: torch.Tensor = self.graph(torch.from_numpy(pixels).to(self.device))
        return output.cpu().numpy()
