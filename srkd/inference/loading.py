"""Trained networks by name or path: the zoo, checkpoints, and exported files, which need no torch."""

from __future__ import annotations

import os
from pathlib import Path

from srkd import edition
from srkd.errors import SrkdError
from srkd.files.remote import Url, fetched, is_url
from srkd.inference.model import Model
from srkd.networks import zoo


def load_model(name: str | Path, scale: int | None = None) -> Model:
    """Load a model by its zoo name or from a checkpoint file, on the CPU.

    Args:
        name: a zoo name (`srkd zoo list`), which takes precedence over a file of that name, a .safetensors of srkd, or
            a .pth/.safetensors of BasicSR, EDSR-PyTorch, traiNNer or anything spandrel detects, ncnn's .param of
            Real-ESRGAN, or a file that `srkd export` wrote (.onnx, .xml, .param, .tflite); a file is given as a
            Path, or by a name with a suffix or a slash, or a URL. `auto` is the zoo's default for `scale`.
        scale: the required scale; None accepts the network's own.

    Raises:
        SrkdError: unknown name (the nearest is suggested), a file that is not a checkpoint or fails the checks of
            `srkd.safe_load`, or another scale than the required or the recorded one.
    """
    is_file, name = isinstance(name, Path) or is_path(name), str(name)
    if is_url(name):
        name = str(local_file(name))
    if is_file and (exported := _exported(Path(name))) is not None:
        return _of_scale(exported, name, scale)
    if name == "auto":
        name = zoo.default_model(scale or 2)
    if edition.is_light():
        if is_file and Path(name).exists():
            raise edition.needs_full(f"{name}: a checkpoint")
        if is_file:
            raise SrkdError(
                f"{name}: no such file, and no zoo model of that name; the zoo has {', '.join(zoo.names())}"
            )
        return _of_scale(_of_zoo(name), name, scale)
    from srkd.inference import checkpoints

    if not is_file:
        _check_scale(zoo.scale_of(name), name, scale)  # before it is downloaded
    loaded = checkpoints.from_file(Path(name)) if is_file else checkpoints.from_zoo(name)
    return checkpoints.checked(_of_scale(loaded, name, scale), name)


def _of_zoo(name: str) -> Model:
    """A zoo model from its exported file, after a comparison with its digest."""
    from srkd.inference import backends

    path, digest = zoo.exported(name)
    model = backends.open_own(path, digest)
    model.name, model.meta = name, {**model.meta, **zoo.metrics(name)}
    return model


def _of_scale(loaded: Model, name: str, scale: int | None) -> Model:
    _check_scale(loaded.scale, name, scale)
    return loaded


def _check_scale(known: int | None, name: str, scale: int | None) -> None:
    if scale is not None and known not in (None, scale):
        raise SrkdError(f"{name} is a network for x{known}, not x{scale}")


def _exported(path: Path) -> Model | None:
    """The model of a file that `srkd export` wrote, which is only an engine; None for any other kind of file."""
    from srkd.inference import backends
    from srkd.inference.backends import ncnn

    suffix = path.suffix.lower()
    if (
        not path.is_file()
        or suffix not in backends.SUFFIXES.values()
        or (suffix == ".param" and not ncnn.is_export(path))
    ):
        return None
    return backends.open_file(path)


def is_path(name: str) -> bool:
    """Whether a model's name refers to a file: it has a slash or a suffix, and is not a zoo model's name.

    A file in the working folder must not replace a zoo model.
    """
    has_separator = os.sep in name or (os.altsep or os.sep) in name
    return has_separator or (Path(name).suffix != "" and name not in zoo.names() and name not in zoo.external())


def local_file(name: str) -> Path:
    """The path of a checkpoint's file; one by URL is copied to the cache, with the weights beside a description."""
    if not is_url(name):
        return Path(name)
    return fetched(name, [".bin"] if Url(name).suffix.lower() in (".param", ".xml") else [])


def file_of(name: str) -> Path:
    """The file of a model's weights, by path or zoo name; downloaded on first use.

    Raises:
        SrkdError: no such model, or not trained yet.
    """
    path = local_file(name) if is_path(name) else zoo.fetch(name) if name in zoo.external() else zoo.weights(name)[0]
    return path.with_suffix(".bin") if path.suffix.lower() == ".param" else path
