"""BasicSR itself, the baseline for srkd's training loop and for upscaling a folder.

The training loop is that of `basicsr.train` with BasicSR's data set, loader, prefetcher and SRModel: PNG files decoded
for every sample, two workers (one on a single core), float32, Adam, L1. Logging, checkpoints, validation and EMA are
omitted, which favours BasicSR. BasicSR has no distillation; here it is added in the style of its models: the teacher
runs on every batch, and an L1 loss to its output is added.

Time both on an idle machine: with as many OpenMP threads as cores, one other busy process makes the threads wait for
each other, and a step can take twenty times as long.

Upscaling uses the functions that BasicSR's inference scripts call, in a subprocess, because srkd changes the
allocator's settings in this process, which speeds up any eager code.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.inference.speed import SpeedMeter, StepRate
from srkd.integrations import basicsr
from srkd.machine import cores

GT_SIZE, BATCH = 96, 16
WORKERS = min(2, cores())  # torch warns of more workers than cores

Images = Sequence[np.ndarray]
Step = Callable[[], None]


def training_speed(
    network: Mapping[str, Any],
    hr: Images,
    lr: Images,
    seconds: float = 10.0,
    teacher: Mapping[str, Any] | None = None,
) -> float:
    """BasicSR's training steps per second, including data loading.

    Args: as `training`.
    """
    rate = StepRate(seconds)
    with training(network, hr, lr, teacher) as step:
        step()
        while not rate.tick():
            step()
    return rate.per_second


@contextmanager
def training(
    network: Mapping[str, Any], hr: Images, lr: Images, teacher: Mapping[str, Any] | None = None
) -> Iterator[Step]:
    """Set up BasicSR for training and yield a function that runs one step.

    Args:
        network: {type, **options} of BasicSR's registry; its `upscale` is the scale.
        hr, lr: images and their low resolutions, uint8 RGB (H, W, 3); written as PNG files into a temporary folder. HR
            must be at least 96 x 96.
        teacher: {type, **options} of a network that runs on every batch; None trains without distillation.

    Raises:
        SrkdError: basicsr is not installed or does not have the network, or the image sizes do not match.
    """
    package, scale = basicsr.package(), int(network["upscale"])
    _check(hr, lr, scale)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        _write(Path(folder), hr, lr)
        batches = _batches(package, Path(folder), scale)
        model = package.build_model(_options(network))
        optimise = model.optimize_parameters if teacher is None else _live(model, basicsr.network(**teacher).eval())
        number = 0

        def step() -> None:
            nonlocal number
            number += 1
            model.update_learning_rate(number, warmup_iter=-1)
            model.feed_data(next(batches))
            optimise(number)

        try:
            yield step
        finally:
            batches.close()  # also stops the workers, which read from the folder


def _batches(package: Any, folder: Path, scale: int) -> Generator[dict[str, Any], None, None]:
    options = {
        "name": "baseline",
        "type": "PairedImageDataset",
        "phase": "train",
        "scale": scale,
        "dataroot_gt": str(folder / "HR"),
        "dataroot_lq": str(folder / "LR"),
        "io_backend": {"type": "disk"},
        "gt_size": GT_SIZE,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": WORKERS,
        "batch_size_per_gpu": BATCH,
    }
    dataset = package.build_dataset(options)
    sampler = package.data.data_sampler.EnlargedSampler(dataset, 1, 0, ratio=100)
    loader = package.build_dataloader(dataset, options, num_gpu=0, sampler=sampler, seed=0)
    prefetcher = package.data.prefetch_dataloader.CPUPrefetcher(loader)
    epoch = 0
    while True:
        batch = prefetcher.next()
        if batch is None:
            epoch += 1
            sampler.set_epoch(epoch)
            prefetcher.reset()
        else:
            yield batch


def _options(network: Mapping[str, Any]) -> dict[str, Any]:
    train = {
        "optim_g": {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
        "scheduler": {"type": "MultiStepLR", "milestones": [200_000], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    }
    return {
        "model_type": "SRModel",
        "num_gpu": 0,
        "dist": False,
        "is_train": True,
        "path": {},
        "network_g": dict(network),
        "train": train,
    }


def _live(model: Any, teacher: nn.Module) -> Callable[[int], None]:
    """SRModel's training step with a teacher."""

    def optimise(current_iter: int) -> None:
        model.optimizer_g.zero_grad()
        model.output = model.net_g(model.lq)
        with torch.no_grad():
            prediction = teacher(model.lq)
        losses = {"l_pix": model.cri_pix(model.output, model.gt), "l_kd": model.cri_pix(model.output, prediction)}
        sum(losses.values()).backward()
        model.optimizer_g.step()
        model.log_dict = model.reduce_loss_dict(losses)

    return optimise


def _check(hr: Images, lr: Images, scale: int) -> None:
    if not hr or len(hr) != len(lr):
        raise SrkdError(f"BasicSR's baseline needs a low resolution for every image, got {len(hr)} and {len(lr)}")
    for number, (high, low) in enumerate(zip(hr, lr, strict=True)):
        height, width = low.shape[0] * scale, low.shape[1] * scale
        if high.shape[:2] != (height, width) or min(height, width) < GT_SIZE:
            raise SrkdError(
                f"image {number}: HR must be {scale} times LR and at least {GT_SIZE} pixels a side, got "
                f"{high.shape[1]}x{high.shape[0]} for an LR of {low.shape[1]}x{low.shape[0]}"
            )


def _write(folder: Path, hr: Images, lr: Images) -> None:
    import cv2

    for name, images in (("HR", hr), ("LR", lr)):
        (folder / name).mkdir()
        for number, image in enumerate(images):
            path = folder / name / f"{number:05d}.png"
            if not cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1])):
                raise SrkdError(f"cannot write {path}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep BasicSR from printing the network to the terminal."""
    logger = logging.getLogger("basicsr")
    logger.disabled, before = True, logger.disabled
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def stock_process() -> Iterator[ProcessPoolExecutor]:
    """A subprocess with the default settings of torch and the allocator, for the functions below."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def upscale_folder(spec: Mapping[str, Any], weights: str, files: Sequence[Path], output: Path) -> float:
    """Upscale images one after the other in fp32: `cv2.imread`, `img2tensor`, the network, `tensor2img`, `cv2.imwrite`.
    Returns the seconds without loading the network.

    Args:
        spec: one of BasicSR's networks, `{type, **options}`.
        weights: path of its weights as safetensors.
    """
    import cv2

    network = _network(tuple(sorted(spec.items())), weights)
    basicsr.package()
    convert = importlib.import_module("basicsr.utils.img_util")
    output.mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def upscale_all() -> None:
        for file in files:
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            assert image is not None
            tensor = convert.img2tensor(image.astype(np.float32) / 255.0, bgr2rgb=True, float32=True)[None]
            cv2.imwrite(str(output / f"{file.stem}.png"), convert.tensor2img(network(tensor)))

    return SpeedMeter().once(upscale_all)


@cache
def _network(spec: tuple[tuple[str, Any], ...], weights: str) -> nn.Module:
    from srkd.training.checkpoint import load_weights

    options = dict(spec)
    network = basicsr.network(options.pop("type"), **{"num_in_ch": 3, "num_out_ch": 3} | options).eval()
    network.load_state_dict(load_weights(Path(weights))[0])
    return network
