"""The image classification task: a student with an optional teacher, accuracy and calibration metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.classification import images, networks, scores
from srkd.adapters.classification.augment import crop_and_flip, mixing
from srkd.adapters.classification.formats import Labelled
from srkd.adapters.classification.recipe import ClassificationRecipe
from srkd.adapters.data import find, hash_of
from srkd.adapters.order import percent_by_sample, stratified
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_json
from srkd.training.task import SetScores

_SOURCE = (
    "CIFAR-10 and CIFAR-100: A. Krizhevsky, University of Toronto, cifar-10-python.tar.gz and cifar-100-python.tar.gz; "
    "Fashion-MNIST: Zalando Research, train-images-idx3-ubyte.gz and the other three files"
)
_EVAL_BATCH = 500  # images


class Task(AdapterTask):
    """Trains a network of `networks.build` on `data.root`; `network: {type: VGG8}`."""

    recipe_type: ClassVar[type[AdapterRecipe]] = ClassificationRecipe
    recipe: ClassificationRecipe

    def load(self) -> int:
        data = self.recipe.data
        self.root = find(data.root, "a data set of labelled images", _SOURCE)
        self.images = images.read(self.root, data.train, data.held_out)
        self.mean, self.std = _statistics(self.images.train.images)
        return len(self.images.train.labels)

    def fingerprint(self) -> dict[str, str]:
        train = self.images.train
        return {"pictures": hash_of(train.images, train.labels)}  # the key of committed results

    def scored_on(self) -> str:
        scored = getattr(self.images, self.recipe.data.scored)
        return hash_of(scored.images, scored.labels)

    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        for key in spec:
            if key != "type":
                raise SrkdError(f"network: {unknown('option', str(key), ['type'])}")
        channels = self.images.train.images.shape[-1]
        network = networks.build(spec.get("type"), channels, len(self.images.classes), self.mean, self.std)
        result: nn.Module = network.to(memory_format=self._layout)  # type: ignore[call-overload]
        return result

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.recipe.train.channels_last else torch.contiguous_format

    def check_trained(self, meta: Mapping[str, Any], path: str) -> None:
        expected, found = self.images.classes, meta["classes"]
        if len(expected) != len(found):
            raise SrkdError(
                f"{path}: a network with {len(found)} classes, but {self.root} has {len(expected)}: train it on that"
            )
        unnamed = [str(number) for number in range(len(expected))]  # as in the files of MNIST
        if unnamed not in (expected, found) and expected != found:
            own, other = next((a, b) for a, b in zip(expected, found, strict=True) if a != b)
            raise SrkdError(
                f'{path}: a network for other classes: it has "{other}" where {self.root} has "{own}": train it on that'
            )

    def teacher_network(self, spec: Mapping[str, Any]) -> nn.Module:
        network = super().teacher_network(spec)
        if self.recipe.scale_teacher:
            temperature = self._read(str(spec["file"]))[1]["metrics"].get("temperature")
            if temperature is None:
                raise SrkdError(f"{spec['file']}: no fitted temperature: train it with data.held_out above 0")
            network.register_forward_hook(lambda module, inputs, logits: logits / temperature)
        return network

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        data, train = self.recipe.data, self.images.train
        images, labels = train.images[indices], torch.from_numpy(train.labels[indices])
        inputs = self._tensor(crop_and_flip(images, random) if data.augment else images)
        batch = {"input": inputs, "target": labels, "index": torch.from_numpy(indices)}
        return self._mixed(batch, random) if data.mixup else batch

    def _mixed(self, batch: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        share, partner = mixing(len(batch["target"]), self.recipe.data.mixup, random)
        truth = F.one_hot(batch["target"], len(self.images.classes)).float()
        mixed = {
            key: share * value + (1 - share) * value[partner]
            for key, value in (("input", batch["input"]), ("target", truth))
        }
        return {**batch, **mixed}

    def _tensor(self, images: np.ndarray) -> Tensor:
        """Convert uint8 (N, H, W, C) to float32 (N, C, H, W) in [0, 1]."""
        return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=self._layout)

    @torch.no_grad()
    def _logits(self, split: Labelled) -> np.ndarray:
        """In fp32, whatever the precision of training: calibration is measured on them."""
        found = []
        for start in range(0, len(split.labels), _EVAL_BATCH):
            inputs = self._tensor(np.array(split.images[start : start + _EVAL_BATCH])).to(self.device)
            found.append(self.network(inputs).double().cpu())
        return torch.cat(found).numpy()

    def evaluate(self) -> dict[str, SetScores]:
        """Metrics on the test images, or on those held out.

        `accuracy` (%) is reported for fixed samples of the images (at most 100, of equal size); `nll`, `brier`, `ece`,
        `adaptive_ece` and `classwise_ece` over all images. With held-out images, the fitted `temperature` and
        `ece_scaled` and `nll_scaled` of the scaled logits are added.
        """
        which = self.recipe.data.scored.replace("_", "-")
        test, held_out = self.images.test[: self.limit], self.images.held_out[: self.limit]
        if which == "held-out":
            test, held_out = held_out, held_out[:0]
        logits, labels = self._logits(test), np.asarray(test.labels)
        probabilities = scores.softmax(logits)
        self.reliability = scores.reliability(probabilities, labels)
        single = {
            name: getattr(scores, name)(probabilities, labels)
            for name in ("nll", "brier", "ece", "adaptive_ece", "classwise_ece")
        }
        if len(held_out.labels):
            temperature = scores.fit_temperature(self._logits(held_out), held_out.labels)
            scaled = scores.softmax(logits, temperature)
            single |= {
                "temperature": temperature,
                "nll_scaled": scores.nll(scaled, labels),
                "ece_scaled": scores.ece(scaled, labels),
            }
        metrics = {name: {"all": float(value)} for name, value in single.items()}
        protocol = f"{len(labels)} {which} images of {self.root.name}, ECE with 15 bins"
        accuracy = percent_by_sample(probabilities.argmax(1) == labels, stratified(labels))
        return {which: {"protocol": protocol, "metrics": {"accuracy": accuracy, **metrics}}}

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """As in the base class; also writes the reliability diagram to reliability.json beside the scores."""
        found = super().validate(step, folder)
        if self.fabric.is_global_zero:
            write_json(folder.parent / "reliability.json", self.reliability)
        return found

    def meta(self, name: str) -> dict[str, Any]:
        return {**super().meta(name), "classes": self.images.classes}


def _statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of uint8 images (N, H, W, C), scaled to [0, 1]."""
    values = np.arange(256) / 255
    counts = [np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(images.shape[-1])]
    means = [float(np.average(values, weights=n)) for n in counts]
    deviations = [float(np.sqrt(np.average((values - m) ** 2, weights=n))) for n, m in zip(counts, means, strict=True)]
    return means, [max(deviation, 1e-3) for deviation in deviations]
