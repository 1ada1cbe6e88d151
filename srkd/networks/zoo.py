"""The model zoo: folders under `models/` with recipe.yml, weights.safetensors, metrics.json and a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srkd import edition, resources
from srkd.errors import SrkdError, unknown
from srkd.files.digest import file_sha256


def names() -> list[str]:
    """Names of the zoo's models, trained or not, sorted."""
    folder = resources.folder("models")
    return sorted(path.parent.name for path in folder.glob("*/recipe.yml"))


def trained() -> list[str]:
    """Names of the zoo's models that have weights."""
    listed = edition.exported()
    return [name for name in names() if name in listed or (folder(name) / "weights.safetensors").is_file()]


def folder(name: str) -> Path:
    """The folder of a zoo model.

    Raises:
        SrkdError: no such model; the nearest is suggested.
    """
    if name not in names():
        error = unknown("zoo model", name, [*names(), *external()])
        raise edition.needs_full(f"{error}; another model") if edition.is_light() else error
    return resources.folder("models") / name


def metrics(name: str) -> dict[str, Any]:
    """A model's metrics.json; {} if it has none yet."""
    path = folder(name) / "metrics.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def weights(name: str) -> tuple[Path, dict[str, Any]]:
    """Path of a model's weights and its metrics.

    Raises:
        SrkdError: no such model, not trained yet, or weights that do not match its metrics.json.
    """
    path, known = folder(name) / "weights.safetensors", metrics(name)
    if not path.is_file():
        raise SrkdError(f"the zoo's {name} is not trained yet: run srkd zoo train {name} or use one of {trained()}")
    if "sha256" in known and file_sha256(path) != known["sha256"]:
        raise SrkdError(f"{path}: does not match metrics.json (sha256 differs); reinstall srkd")
    return path, known


def exported(name: str) -> tuple[Path, str]:
    """The exported file of a model, which only the package srkd-upscale has, and its SHA-256.

    Raises:
        SrkdError: no such model in this package.
    """
    folder(name)
    if name not in edition.exported():
        raise edition.needs_full(f"the zoo's {name}")
    known = edition.exported()[name]
    return folder(name) / known["file"], known["sha256"]


def default_model(scale: int) -> str:
    """The model that `auto` selects at this scale: the one whose metrics.json sets `default`.

    Raises:
        SrkdError: no default; the trained models are listed.
    """
    for name in trained():
        if metrics(name).get("default") and metrics(name).get("scale") == scale:
            return name
    raise SrkdError(f"the zoo has no default model for x{scale}; name one: {', '.join(trained() + external())}")


def default_or_larger(scale: int) -> tuple[str, int]:
    """(the default model, its scale) for this scale, or else for the next larger one, whose output is to be reduced.

    Raises:
        SrkdError: no default for this or a larger scale, or a scale below 2; the scales with defaults are listed.
    """
    if scale < 1:
        raise SrkdError(f"the scale must be a positive number, got {scale}")
    defaults = {metrics(name)["scale"]: name for name in trained() if metrics(name).get("default")}
    larger = sorted(known for known in defaults if known >= scale > 1)
    if larger:
        return defaults[larger[0]], larger[0]
    known = ", ".join(f"x{known}" for known in sorted(defaults))
    raise SrkdError(
        f"no default model for x{scale}: they exist for {known}; add --outscale {scale} to one of these scales, "
        "or name a model with --model"
    )


def default_for_factor(factor: float) -> tuple[str, int]:
    """(the default model, its scale) whose output is resized to `factor` with the least loss: the smallest scale that
    reaches it, or else the largest scale.

    Raises:
        SrkdError: no default of any scale.
    """
    scales = [metrics(name)["scale"] for name in trained() if metrics(name).get("default")]
    reaching = [scale for scale in scales if scale >= factor]
    return default_or_larger(min(reaching) if reaching else max(scales, default=2))


def external() -> list[str]:
    """Names of third-party checkpoints that srkd can fetch; srkd-upscale fetches none."""
    if edition.is_light():
        return []
    from srkd.integrations import external as entries

    return sorted(entries.entries())


def scale_of(name: str) -> int | None:
    """The scale of a model, from its card and without its weights; None if it is not known."""
    if name in external():
        from srkd.integrations import external as entries

        return entries.entries()[name].scale
    return metrics(name).get("scale") if name in names() else None


def fetch(name: str) -> Path:
    """Path of an external checkpoint, fetched on first use."""
    from srkd.integrations import external as entries

    return entries.fetch(name)
