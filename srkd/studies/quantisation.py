"""Study: how much of the loss by int8 is recovered by quantisation-aware fine-tuning, measured on the target runtime.

    python -m srkd.studies.quantisation models/studies/quantisation_aware --seeds 0 1 2

Two networks: a model as it is, and one that is made hard for int8: in each residual block the least important channel
is switched off, and the weights that read it are set to `OUTLIER` times the largest of their filter. They multiply
zeros, but leave a filter's other weights 1/32 of int8's levels. All layers are int8. An interrupted study resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srkd.errors import exit_on_error
from srkd.files.atomic import write_text
from srkd.inference import backends
from srkd.inference.calibration import ImagePairs, calibration_images, evaluation_images
from srkd.inference.model import Model
from srkd.inference.prune import inner_channels
from srkd.report import tables
from srkd.training.checkpoint import save_weights
from srkd.training.recipe import read
from srkd.training.run import Run

OUTLIER = 32
COLUMNS = ["network", "seed", "fp32", "int8 before", "int8 after", "won back (%)"]


@torch.no_grad()
def with_outliers(network: nn.Module) -> None:
    """Make a residual trunk hard for int8, in place; see the module's docstring."""
    for channels in inner_channels(network):
        least = int(channels.importance.argmin())
        writer, reader = (network.get_submodule(path) for path in (channels.writers[0], channels.readers[0]))
        assert isinstance(writer, nn.Conv2d) and isinstance(reader, nn.Conv2d) and writer.bias is not None
        writer.weight[least] = 0
        writer.bias[least] = -1e-3  # negative, so that the activation is zero
        centre = tuple(side // 2 for side in reader.kernel_size)
        reader.weight[:, least, centre[0], centre[1]] = OUTLIER * reader.weight.flatten(1).abs().amax(1)


def prepare(folder: Path, model: str) -> dict[str, Path]:
    """The two networks as checkpoints in `folder`, by name."""
    found = {}
    for name in ("outliers", "as trained"):
        loaded = Model.load(model)
        if name == "outliers":
            with_outliers(loaded.network)
        found[name] = folder / f"{name.replace(' ', '_')}.safetensors"
        meta = {"network": loaded.meta["network"], "scale": loaded.scale}
        save_weights(found[name], loaded.network.state_dict(), meta)
    return found


def int8_psnr(checkpoint: Path, images: ImagePairs, calibration: ImagePairs) -> float:
    """PSNR in dB of a checkpoint in OpenVINO with all convolutions in int8."""
    model = backends.open_engine(Model.load(checkpoint), "openvino", "int8", calibration.inputs)
    return images.psnr(images.predictions(model))


def measure(name: str, checkpoint: Path, recipe: dict[str, Any], seed: int, data: str, work: Path) -> dict[str, Any]:
    """Fine-tune with the fp32 network as teacher and compare; returns a row of `COLUMNS`."""
    scale = int(recipe["scale"])
    images, calibration = evaluation_images(data, scale), calibration_images(scale)
    exact = backends.open_engine(Model.load(checkpoint), "torch", "fp32")
    own = {
        "name": f"{checkpoint.stem}_{seed}",
        "manual_seed": seed,
        "network_g_teacher": {"file": str(checkpoint)},
        "path": {"pretrain_network_g": str(checkpoint)},
    }
    result = Run({**recipe, **own}, work, resume=True).train()
    if not result["finished"]:
        raise SystemExit(128 + result["signal"])
    fp32 = images.psnr(images.predictions(exact))
    before = int8_psnr(checkpoint, images, calibration)
    after = int8_psnr(Path(result["models"]["net_g"]), images, calibration)
    return {
        "network": name,
        "seed": seed,
        "fp32": round(fp32, 3),
        "int8 before": round(before, 3),
        "int8 after": round(after, 3),
        "won back (%)": round(100 * (after - before) / (fp32 - before), 1),
        "protocol": images.protocol.as_dict(["psnr"]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder with recipe.yml, for measured.json and results.md")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--model", default="edsr_16x8_x2_cc0")
    parser.add_argument("--data", default="Set5")
    parser.add_argument("--work", type=Path, default=Path("experiments/quantisation_aware"))
    args = parser.parse_args(arguments)
    with exit_on_error("quantisation"):
        _measure_missing(args)


def _measure_missing(args: argparse.Namespace) -> None:
    recipe = read(args.study / "recipe.yml")
    kept = args.study / "measured.json"
    rows = json.loads(kept.read_text(encoding="utf-8"))["rows"] if kept.is_file() else []
    for name, checkpoint in prepare(args.work, args.model).items():
        for seed in args.seeds:
            if not any((row["network"], row["seed"]) == (name, seed) for row in rows):
                rows.append(measure(name, checkpoint, recipe, seed, args.data, args.work))
                write_text(kept, json.dumps({"rows": rows}, indent=2) + "\n")
                write_text(args.study / "results.md", tables.markdown(rows, COLUMNS) + "\n\n" + _summary(rows) + "\n")


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        won = [row["won back (%)"] for row in rows if row["network"] == name]
        lines.append(f"{name}: {np.mean(won):.0f} % won back (from {min(won):.0f} to {max(won):.0f}, {len(won)} seeds)")
    return "\n\n".join(lines)


if __name__ == "__main__":
    main()
