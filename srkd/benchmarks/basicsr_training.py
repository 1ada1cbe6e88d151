"""Training speed of BasicSR itself, the baseline for srkd's training loop.

The loop is that of `basicsr.train` with BasicSR's data set, loader, prefetcher and SRModel: PNG files decoded for every
sample, two workers (one on a single core), float32, Adam, L1. Logging, checkpoints, validation and EMA are omitted,
which favours BasicSR. BasicSR has no distillation; here it is added in the style of its models: the teacher runs on
every batch, and an L1 loss to its output is added.

Time both on an idle machine: with as many OpenMP threads as cores, one other busy process makes the threads wait for
each other, and a step can take twenty times as long.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd.errors import SrkdError
from srkd.integrations import basicsr
from srkd.machine import cores

GT_SIZE, BATCH = 96, 16
WORKERS = min(2, cores())  # torch warns of more workers than cores
_WARM_UP = 5  # steps until the workers have started and the allocator has settled

Images = Sequence[np.ndarray]
Step = Callable[[], None]


@dataclass(frozen=True)
class Speed:
    """`steps` training steps, including data loading, took `seconds` of wall-clock time."""

    steps: int
    seconds: float

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds

    @property
    def milliseconds(self) -> float:
        """Milliseconds per step."""
        return 1000 * self.seconds / self.steps


def training_speed(
    network: Mapping[str, Any],
    hr: Images,
    lr: Images,
    seconds: float = 10.0,
    teacher: Mapping[str, Any] | None = None,
) -> Speed:
    """Time BasicSR's training steps for about `seconds`, after a warm-up.

    Args: as `training`.
    """
    with training(network, hr, lr, teacher) as step:
        return timed(step, seconds)


def timed(step: Step, seconds: float) -> Speed:
    """Run `step` until `seconds` have passed, at least once."""
    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return Speed(steps, time.perf_counter() - start)


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
            for _ in range(_WARM_UP):
                step()
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


def _live(model: Any, teacher: torch.nn.Module) -> Callable[[int], None]:
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
