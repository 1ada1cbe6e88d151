"""Helpers shared by tests: textured images, tiny networks, recipes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd.data.patches import Patches
from srkd.images.resize import imresize
from srkd.inference import backends
from srkd.inference.model import Model
from srkd.networks import build
from srkd.training.checkpoint import save_weights


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """A uint8 RGB image of edges, gradients and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.6, 0.6, (3, 3))]
    edges = np.stack([np.sign(w) * 40 + w * 50 for w in waves], -1)
    return np.clip(128 + edges + rng.normal(0, 4, edges.shape), 0, 255).astype(np.uint8)


class Memory:
    """Images held in memory."""

    def __init__(self, sizes: list[tuple[int, int]], scale: int = 2) -> None:
        self.images = [textured(seed, *size) for seed, size in enumerate(sizes)]
        self.small = [imresize(p, 1 / scale) for p in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def hr(self, i: int) -> np.ndarray:
        return self.images[i]

    def lr(self, i: int) -> np.ndarray:
        return self.small[i]

    def name(self, i: int) -> str:
        return f"p{i}"


IMAGES = Memory([(40, 60), (48, 44), (64, 80)])
PATCHES = Patches(gt_size=16, batch=6, scale=2, seed=3)

# A BasicSR option file, for `str.format`.
BASICSR_OPTIONS = """
name: {name}
model_type: {model}
scale: {scale}
num_gpu: auto
manual_seed: 10
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: {hr}
    dataroot_lq: {lr}
    meta_info_file: basicsr/data/meta_info/meta_info_DIV2K800sub_GT.txt
    filename_tmpl: '{{}}'
    io_backend: {{type: disk}}
    gt_size: {gt_size}
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 6
    batch_size_per_gpu: {batch}
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: {val}
    type: PairedImageDataset
    dataroot_gt: {hr}
    dataroot_lq: {lr}
    io_backend: {{type: disk}}
{networks}
path:
  pretrain_network_g: {pretrained}
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {scheduler}
  total_iter: 3
  warmup_iter: -1
  {losses}
val:
  val_freq: !!float 5e3
  save_img: false
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 2, test_y_channel: false}}
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {{project: ~, resume_id: ~}}
dist_params: {{backend: nccl, port: 29500}}
"""


def replicating_edsr(strong: float = 1.0) -> Any:
    """An EDSR x2 of 4 features with known weights that repeats pixels.

    Its fourth feature is `strong` times the red one; it is unused but widens the range of the features.
    """
    network = build({"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2, "img_range": 1.0}).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(1e-4 if "bias" in name else 0)  # OpenVINO's int8 fails on zero biases
        for colour in range(3):
            network.conv_first.weight[colour, colour, 1, 1] = 1
            network.conv_last.weight[colour, colour, 1, 1] = 1
            network.upsample[0].weight[4 * colour : 4 * colour + 4, colour, 1, 1] = 1
        network.conv_first.weight[3, 0, 1, 1] = strong
    return network


def edsr_with_large_features(offset: float) -> Any:
    """`replicating_edsr` with `offset` added to its features, and subtracted at the end. From 64 on bf16 has steps of
    1/2, from 8 on of 1/16."""
    network = replicating_edsr()
    with torch.no_grad():
        network.conv_first.bias += offset
        network.conv_last.bias -= offset
    return network


class KillsItsExporter(nn.Module):
    """Nearest neighbours x2; torch's exporter is killed by it, as by some third-party networks."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.functional.interpolate(x, scale_factor=2.0)


class ExactOnly(nn.Module):
    """Nearest neighbours x2 by a float32 table, like the masks of windowed networks: no other precision runs."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(nn.functional.conv2d(x, torch.eye(3)[..., None, None]), scale_factor=2.0)


class FixedSize(nn.Module):
    """Nearest neighbours x2; a tracing exporter records the size as a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, size=(2 * int(x.shape[-2]), 2 * int(x.shape[-1])))


def needs_int8(runtime: str) -> None:
    """Skip if a runtime's int8 is unsound here: OpenVINO with oneDNN capped below AVX-512."""
    if (runtime, "int8") not in backends.available():
        pytest.skip(f"{runtime} has no sound int8 here")


def torchvision_weights(path: Path, layers: Sequence[tuple[int, int, int]]) -> Path:
    """Save random weights of convolutions, (number, output channels, kernel), with the names of torchvision's VGG."""
    state, rng, width = {}, torch.Generator().manual_seed(0), 3
    for number, following, side in layers:
        scale = (2 / (width * side**2)) ** 0.5
        state[f"features.{number}.weight"] = torch.randn(following, width, side, side, generator=rng) * scale
        state[f"features.{number}.bias"] = torch.zeros(following)
        width = following
    state["classifier.1.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return path


# Kernel, stride, input, expanded and output channels of EfficientNet-Lite0's blocks 0 to 4.
LITE0_BLOCKS = [(3, 1, 32, 32, 16), (3, 2, 16, 96, 24), (3, 1, 24, 144, 24), (5, 2, 24, 144, 40), (5, 1, 40, 240, 40)]


def lite0_weights() -> dict[str, Tensor]:
    """Random weights up to block 4 with the package's names; BatchNorm keeps the maps near unit variance."""
    rng, state = torch.Generator().manual_seed(0), {}

    def add(conv: str, norm: str, *shape: int) -> None:
        state[f"{conv}.weight"] = torch.randn(shape, generator=rng) / (shape[1] * shape[2] * shape[3]) ** 0.5
        for key, low, high in (("weight", 0.5, 2), ("bias", -1, 1), ("running_mean", -1, 1), ("running_var", 0.5, 2)):
            state[f"{norm}.{key}"] = torch.rand(shape[0], generator=rng) * (high - low) + low

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, inputs, inner, outputs) in enumerate(LITE0_BLOCKS):
        block = f"_blocks.{number}."
        if inner != inputs:
            add(f"{block}_expand_conv", f"{block}_bn0", inner, inputs, 1, 1)
        add(f"{block}_depthwise_conv", f"{block}_bn1", inner, 1, kernel, kernel)
        add(f"{block}_project_conv", f"{block}_bn2", outputs, inner, 1, 1)
    return state


def tiny_checkpoint(folder: Path) -> Path:
    """A checkpoint of a small x2 EDSR with fixed random weights."""
    torch.manual_seed(0)
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    path = folder / "tiny.safetensors"
    save_weights(path, build(spec).state_dict(), {"network": spec, "scale": 2})
    return path


def check_output_at_any_size(model: Model, runtime: str) -> None:
    """Assert that a runtime's fp32 output is within one level of the network's, from photographs to single pixels."""
    opened = backends.open_engine(model, runtime, "fp32")
    assert opened.backend == (runtime, "fp32")
    for height, width in ((37, 50), (20, 24), (1, 3), (2, 1)):
        batch = np.stack([textured(seed, height, width) for seed in range(2)])
        expected = model(batch)
        prediction = opened(batch)
        assert prediction.shape == expected.shape and np.abs(prediction.astype(int) - expected).max() <= 1
