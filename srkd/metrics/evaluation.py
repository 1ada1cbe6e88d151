"""Scores of models on data sets by the standard protocol: per image and mean, for tables and JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd.data import manifests
from srkd.data.manifests import images_of
from srkd.data.store import ImageStore, open_or_build, pair_files
from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.metrics.scores import DEFAULT, METRICS, Protocol, check, score
from srkd.networks.infer import run, to_image, to_tensor
from srkd.networks.loading import load_network

Upscale = Callable[[np.ndarray], np.ndarray]
Say = Callable[[int, str], None]
# Callback for each output: model, set, its images, the image's number, uint8 (H, W, 3).
OnOutput = Callable[[str, str, ImageStore, int, np.ndarray], None]


@dataclass
class Evaluated:
    """A model to evaluate: `upscale` maps uint8 LR (H, W, 3) to uint8 SR; its number of parameters (0: bicubic)."""

    name: str
    upscale: Upscale
    parameters: int
    scale: int | None


def open_model(name: str, scale: int | None, self_ensemble: bool = False) -> Evaluated:
    """A model by zoo name or path, or MATLAB's `bicubic`.

    Raises:
        SrkdError: as `load_network`; or bicubic without a scale.
    """
    if name == "bicubic":
        return Evaluated(name, lambda lr: imresize(lr, float(scale or 1)), 0, scale)
    loaded = load_network(name, scale)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def upscale(lr: np.ndarray) -> np.ndarray:
        x = to_tensor(lr, device)
        return to_image(run(loaded.network, x, loaded.scale, loaded.multiple, self_ensemble, loaded.minimum))

    parameters = sum(p.numel() for p in loaded.network.parameters())
    return Evaluated(loaded.name, upscale, parameters, loaded.scale)


def open_set(folder: str, scale: int) -> tuple[str, ImageStore]:
    """A data set: its manifest's name, a folder of HR images, or `HR:LR` folders of pairs.

    The set is named by the folder, or by its parent if the folder is called HR or GT.

    Raises:
        SrkdError: no folder, no images, images that cannot be read, pairs that do not match.
    """
    hr_folder, _, lr_folder = folder.partition(":")
    root = Path(hr_folder)
    images = _hr_files(folder)
    lr = pair_files(images, images_of(lr_folder), scale) if lr_folder else None
    name = root.parent.name if root.name.upper() in ("HR", "GT") else root.name
    return name or str(root), open_or_build(images, scale, lr)


def _hr_files(folder: str) -> list[Path]:
    root = folder.partition(":")[0]
    inside = Path(root) / "HR"
    return images_of(str(inside) if ":" not in folder and inside.is_dir() else root)


def evaluate(
    models: Sequence[str],
    folders: Sequence[str],
    scale: int | None = None,
    self_ensemble: bool = False,
    say: Say = lambda done, text: None,
    metrics: Sequence[str] = DEFAULT,
    on_output: OnOutput | None = None,
) -> dict[str, Any]:
    """Score every model on every set.

    Args:
        scale: required if every model is `bicubic`; otherwise taken from the models, which must agree.
        say: progress callback after each image: the number done and a description.
        metrics: of `srkd.metrics.scores.METRICS`.
        on_output: called with each output.

    Returns:
        {"scale", "models": [{"model", "parameters", "sets": {set: {metric: mean, "protocol", "images":
        [{"name", metric: score}]}}}]}.

    Raises:
        SrkdError: models of different scales, two sets of one name, or as `metrics.check`, `open_model` and `open_set`.
    """
    check(metrics)
    opened = [open_model(name, scale, self_ensemble) for name in models]
    scales = {model.scale for model in opened if model.scale is not None}
    if len(scales) != 1:
        found = ", ".join(f"{m.name} x{m.scale}" for m in opened) if scales else "bicubic alone needs --scale"
        raise SrkdError(f"all models of an evaluation need the same scale: {found}")
    (common,) = scales
    opened = [open_model("bicubic", common) if model.name == "bicubic" else model for model in opened]
    for model, name in zip(opened, display_names([model.name for model in opened], models), strict=True):
        model.name = name
    sets = [open_set(folder, common) for folder in folders]
    names = [name for name, _ in sets]
    if len(set(names)) < len(names):
        raise SrkdError(f"two data sets have the same name: {', '.join(names)}; rename a folder")
    unverified = [
        name for (name, store), folder in zip(sets, folders, strict=True) if _verified(folder, name, store) is False
    ]
    return measure(opened, sets, common, self_ensemble, say, metrics, on_output, unverified)


def _verified(folder: str, name: str, store: ImageStore) -> bool | None:
    """Whether a set is, by checksum, the data set it is named after (as given or by its folder); None if that name is
    not a data set."""
    given = folder.partition(":")[0]
    return manifests.verified(name if Path(given).is_dir() else given, store)


def display_names(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Names, with duplicates replaced by the differing parts of their paths, since runs name their networks alike."""
    unique = []
    for name, path in zip(names, paths, strict=True):
        own = Path(path).parts
        alike = [Path(other).parts for known, other in zip(names, paths, strict=True) if known == name]
        if len(set(map(len, alike))) == 1:
            own = tuple(part for part, at in zip(own, zip(*alike, strict=True), strict=True) if len(set(at)) > 1)
        unique.append("/".join(own) or name if len(alike) > 1 else name)
    return unique


def measure(
    opened: Sequence[Evaluated],
    sets: Sequence[tuple[str, ImageStore]],
    common: int,
    self_ensemble: bool = False,
    say: Say = lambda done, text: None,
    metrics: Sequence[str] = DEFAULT,
    on_output: OnOutput | None = None,
    unverified: Collection[str] = (),
) -> dict[str, Any]:
    """As `evaluate`, for opened models and sets, all of one scale.

    Args:
        unverified: names of sets whose images are not verified by checksum; their stamp states it.
    """
    protocols = {name: _protocol(store, common, self_ensemble, name not in unverified) for name, store in sets}
    rows, done = [], 0
    for model in opened:
        row: dict[str, Any] = {"model": model.name, "parameters": model.parameters, "sets": {}}
        for name, store in sets:
            images = []
            for number in range(len(store)):
                output, scores = _image(model, store, number, protocols[name], metrics)
                images.append(scores)
                if on_output is not None:
                    on_output(model.name, name, store, number, output)
                done += 1
                say(done, f"{model.name} {name} {store.name(number)}")
            means = {metric: float(np.mean([image[metric] for image in images])) for metric in metrics}
            row["sets"][name] = {**means, "protocol": protocols[name].as_dict(metrics), "pictures": images}
        rows.append(row)
    return {"scale": common, "models": rows}


def count(models: Sequence[str], folders: Sequence[str]) -> int:
    """The number of images that `evaluate` will score."""
    return sum(len(_hr_files(folder)) for folder in folders) * len(models)


def _protocol(store: ImageStore, scale: int, self_ensemble: bool, verified: bool) -> Protocol:
    low = "given" if store.lr_protocol and "read from" in store.lr_protocol else "matlab_bicubic"
    return Protocol.default(scale, lr=low, self_ensemble=self_ensemble, verified=verified)


def _image(
    model: Evaluated, store: ImageStore, number: int, protocol: Protocol, metrics: Sequence[str]
) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        output = model.upscale(store.lr(number))
        scores = score(output, store.hr(number), protocol, store.is_grey(number), metrics)
        return output, {"name": store.name(number), **scores}
    except SrkdError as error:
        raise SrkdError(f"{model.name} on {store.name(number)}: {error}") from error


def of_study(text: str) -> tuple[str, tuple[str, ...]]:
    """A study's set, `Set5` or `Set5@psnr,ssim,niqe`: the data set and its metrics.

    Raises:
        SrkdError: as `metrics.check`.
    """
    folder, at, names = text.partition("@")
    metrics = tuple(name.strip() for name in names.split(",")) if at else DEFAULT
    check(metrics)
    return folder, metrics


def item_scores(models: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """A run's scores per data set and image, for paired statistics.

    Args:
        models: checkpoints; an image's score is the mean over them, never the best.
        sets: in the format of `of_study`.
    """
    found: dict[str, Any] = {}
    for folder, metrics in map(of_study, sets):
        rows = [row["sets"] for row in evaluate(models, [folder], metrics=metrics)["models"]]
        for name, scores in rows[0].items():
            if name in found:
                raise SrkdError(f"two data sets of the study have the same name: {name}")
            images = list(zip(*(row[name]["pictures"] for row in rows), strict=True))
            means = {m: {same[0]["name"]: float(np.mean([p[m] for p in same])) for same in images} for m in metrics}
            found[name] = {"protocol": scores["protocol"]["stamp"], "metrics": means}
    return found


def table(results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows and columns for `srkd.report.tables`: one row per model and set, with the protocol's stamp."""
    rows = [
        {
            "model": row["model"],
            "parameters": row["parameters"] or "-",
            "set": name,
            **{title: f"{scores[m]:.{digits}f}" for m, (title, digits) in METRICS.items() if m in scores},
            "protocol": scores["protocol"]["stamp"],
        }
        for row in results["models"]
        for name, scores in row["sets"].items()
    ]
    titles = [title for title, _ in METRICS.values() if any(title in row for row in rows)]
    return rows, ["model", "parameters", "set", *titles]
