"""Writing the folder: the page beside a network that was exported to ONNX and verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srkd import web
from srkd.errors import SrkdError
from srkd.files.atomic import write_bytes, write_json
from srkd.files.owned import claim, reset_folder
from srkd.inference.browser import runtime
from srkd.inference.model import Model
from srkd.version import __version__

FOLDER, MODEL = "browser", "model.onnx"
_STATIC = Path(__file__).parent / "static"
_PAGE = [_STATIC / name for name in ("index.html", "app.css", "app.js", "worker.js")]
_SHARED = [web.FOLDER / name for name in ("base.css", "compare.js", "files.js", "divider.svg", "icon.svg")]
_FACTS = "model.json"
_MEMORY = 150 * 2**20  # bytes for a tile: browsers of phones have little
_SMALLEST, _LARGEST = 64, 512  # pixels of a tile's side without its halo


def tile_side(model: Model) -> int:
    """The side of the page's tiles in pixels, without the halo."""
    halo = model.receptive_field.halo or 0
    side = int((_MEMORY / model.bytes_per_pixel) ** 0.5) - 2 * halo
    return min(max(side, _SMALLEST), _LARGEST)


def begin(model: Model, folder: Path) -> list[Path]:
    """Check that the page can run a model, claim the folder, and fetch onnxruntime-web; returns the files to copy.

    Raises:
        SrkdError: a network whose receptive field has no limit, which the page's tiles need; the folder has files that
            srkd did not write; as `runtime.fetch`.
    """
    if not model.receptive_field.exact:
        raise SrkdError(
            f"{model.name}: an export for the browser computes exact tiles, and this network's receptive field has no "
            "limit (attention, or statistics of the whole image); export it to onnx"
        )
    files = [*_PAGE, *_SHARED, *runtime.fetch()]
    claim(folder)
    reset_folder(folder, [*(file.name for file in files), MODEL, _FACTS])
    return files


def finish(model: Model, folder: Path, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
    """Write everything but the network, which is in the folder already."""
    for file in files:
        write_bytes(folder / file.name, file.read_bytes())
    tiles = {"align": model.receptive_field.align, "tile": tile_side(model)}
    sides = {"multiple": model.sides.multiple, "minimum": model.sides.minimum, "square": model.sides.square}
    known = {key: facts.get(key) for key in ("name", "scale", "halo", "parameters", "licence")}
    about = {"srkd": __version__, "runtime": runtime.PACKAGE, "runtime_licence": runtime.LICENCE}
    write_json(folder / _FACTS, {**known, **tiles, **sides, **about})
