"""Scores of models on data sets by the standard protocol: per image and mean, for tables and JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from srkd import arguments
from srkd.arguments import BOOLEAN, INTEGER, PATH, Kind
from srkd.data import manifests
from srkd.data.sets import hr_files, open_set, verified
from srkd.data.store import ImageStore
from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.inference.backends.engine import Bytes, Engine
from srkd.inference.cost import multiply_adds
from srkd.inference.model import Model
from srkd.metrics import against
from srkd.metrics.registry import DEFAULT, check, texts
from srkd.metrics.scores import Protocol, score
from srkd.networks.device import device_named

BICUBIC = "bicubic"
Say = Callable[[int, str], None]
Named = str | Path | Model
_NAMED = Kind("a name, a Path or a Model", (str, Path, Model))
# Callback for each output: model, set, its images, the image's number, uint8 (H, W, 3).
OnOutput = Callable[[str, str, ImageStore, int, np.ndarray], None]


class Bicubic(Engine):
    """MATLAB's bicubic interpolation."""

    runtime = "bicubic"

    def __init__(self, scale: int) -> None:
        super().__init__("float64", scale)

    def _run(self, pixels: Bytes) -> Bytes:
        return np.stack([imresize(image, float(self.scale)) for image in pixels])


def open_models(models: Named | Sequence[Named], scale: int | None = None) -> list[Model]:
    """Models of one scale with different names where they can be told apart, as `evaluate` takes them.

    Raises:
        SrkdError: no model, models of different scales, `bicubic` alone without a scale, or as `open_model`.
    """
    given = arguments.several(_NAMED, "models", models)
    if not given:
        raise SrkdError("an evaluation needs a model")
    networks = [open_model(name, scale) for name in given if name != BICUBIC]
    common = networks[0].scale if networks else scale
    if common is None:
        raise SrkdError("bicubic alone needs --scale")
    if any(model.scale != common for model in networks):
        found = ", ".join(f"{model.name} x{model.scale}" for model in networks)
        raise SrkdError(f"all models of an evaluation need the same scale: {found}")
    opened = [open_model(name, common) if name == BICUBIC else networks.pop(0) for name in given]
    paths = [each.name if isinstance(each, Model) else each for each in given]
    names = display_names([model.name for model in opened], paths)
    return [
        model if model.name == name else replace(model, name=name) for model, name in zip(opened, names, strict=True)
    ]


def open_model(name: Named, scale: int | None) -> Model:
    """A model by zoo name or path, or MATLAB's `bicubic`, which needs a scale; on a GPU if one is available. A loaded
    model stays as it is.

    Raises:
        SrkdError: as `Model.load`.
    """
    if isinstance(name, Model):
        return name
    if name != BICUBIC:
        return Model.load(name, scale, device_named("auto"))
    assert scale is not None
    return Model.of_engine(Bicubic(scale), {"name": BICUBIC, "scale": scale})


def evaluate(
    models: Named | Sequence[Named],
    folders: str | Path | Sequence[str | Path],
    scale: int | None = None,
    self_ensemble: bool = False,
    say: Say = lambda done, text: None,
    metrics: Sequence[str] = DEFAULT,
    on_output: OnOutput | None = None,
    against_published: bool = False,
) -> dict[str, Any]:
    """Score every model on every set.

    Args:
        models: zoo names, checkpoints, `bicubic`, or loaded models; one or several.
        folders: folders of HR images, HR:LR folders, or names of data sets; one or several.
        scale: required if every model is `bicubic`; otherwise taken from the models, which must agree.
        say: progress callback after each image: the number done and a description.
        metrics: of `srkd.metrics.registry.names()`.
        on_output: called with each output.
        against_published: add to each network published ones of similar size, as `srkd.metrics.against.beside`.

    Returns:
        {"scale", "models": [{"model", "parameters", "sets": {set: {metric: mean, "protocol", "images":
        [{"name", metric: score}]}}}]}, and with `against_published` "multiply_adds" and "published" of each network.

    Raises:
        SrkdError: an argument of another type, models of different scales, two sets of one name, or as
            `metrics.check`, `open_model`, `open_set` and `against.check`.
    """
    check(metrics)
    arguments.check(INTEGER, optional=True, scale=scale)
    arguments.check(BOOLEAN, self_ensemble=self_ensemble)
    opened, places = open_models(models, scale), [str(folder) for folder in arguments.several(PATH, "folders", folders)]
    common = opened[0].scale
    sets = [open_set(folder, common) for folder in places]
    names = [name for name, _ in sets]
    if len(set(names)) < len(names):
        raise SrkdError(f"two data sets have the same name: {', '.join(names)}; rename a folder")
    unverified = [
        name for (name, store), folder in zip(sets, places, strict=True) if verified(folder, name, store) is False
    ]
    if against_published:
        against.check(common, {name: _protocol(store, common, self_ensemble, True) for name, store in sets}, metrics)
        if not any(model.has_network for model in opened):
            raise SrkdError("published networks are compared with networks, and none of the models is one")
    results = measure(opened, sets, common, self_ensemble, say, metrics, on_output, unverified)
    if against_published:
        _add_published(results, opened)
    return results


def _add_published(results: dict[str, Any], opened: Sequence[Model]) -> None:
    for row, model in zip(results["models"], opened, strict=True):
        if model.has_network:
            row["multiply_adds"] = multiply_adds(model.network, model.scale)
            row["published"] = against.beside(model.scale, row, row["sets"])


def display_names(names: Sequence[str], paths: Sequence[str | Path]) -> list[str]:
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
    opened: Sequence[Model],
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
        unverified: names of sets whose images are not verified by checksum; their stamp states it, as for sets that
            are named after a data set and are another one.
    """
    others = {*unverified, *(name for name, store in sets if manifests.verified(name, store) is False)}
    protocols = {name: _protocol(store, common, self_ensemble, name not in others) for name, store in sets}
    rows, done = [], 0
    for model in opened:
        row: dict[str, Any] = {"model": model.name, "parameters": model.parameters, "sets": {}}
        for name, store in sets:
            images = []
            for number in range(len(store)):
                output, scores = _image(model, store, number, protocols[name], metrics, self_ensemble)
                images.append(scores)
                if on_output is not None:
                    on_output(model.name, name, store, number, output)
                done += 1
                say(done, f"{model.name} {name} {store.name(number)}")
            means = {metric: float(np.mean([image[metric] for image in images])) for metric in metrics}
            row["sets"][name] = {**means, "protocol": protocols[name].as_dict(metrics), "images": images}
        rows.append(row)
    return {"scale": common, "models": rows}


def count(models: Sequence[Named], folders: Sequence[str]) -> int:
    """The number of images that `evaluate` will score."""
    return sum(len(hr_files(folder)) for folder in folders) * len(models)


def _protocol(store: ImageStore, scale: int, self_ensemble: bool, verified: bool) -> Protocol:
    low = "given" if store.lr_protocol and "read from" in store.lr_protocol else "matlab_bicubic"
    return Protocol.default(scale, lr=low, self_ensemble=self_ensemble, verified=verified)


def _image(
    model: Model,
    store: ImageStore,
    number: int,
    protocol: Protocol,
    metrics: Sequence[str],
    self_ensemble: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
    try:
        views = self_ensemble and not isinstance(model.engine, Bicubic)  # whose outputs are the same for all views
        output = model(store.lr(number)[None], views)[0]
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
            images = list(zip(*(row[name]["images"] for row in rows), strict=True))
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
            **texts(scores),
            "protocol": scores["protocol"]["stamp"],
        }
        for row in results["models"]
        for name, scores in row["sets"].items()
    ]
    return rows, [column for column in rows[0] if column != "protocol"]
