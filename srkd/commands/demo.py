"""The demonstration: train two students, one of them distilled, and compare them with bicubic and the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srkd import resources
from srkd.data.sets import open_set
from srkd.errors import SrkdError
from srkd.files.atomic import write_bytes, write_json, write_text
from srkd.files.owned import claim, reset_folder
from srkd.images.read import ImageData, list_images, read_rgb, write_image
from srkd.images.resize import imresize, shrunk, shrunk_size
from srkd.inference import cost
from srkd.inference.loading import file_of
from srkd.inference.model import Model
from srkd.inference.speed import SpeedMeter
from srkd.metrics.evaluation import evaluate, open_model
from srkd.metrics.registry import texts, titles
from srkd.networks import zoo
from srkd.report import crops, html, plots, tables
from srkd.sr import report
from srkd.training.log import Progress, read_metrics
from srkd.training.processes import say
from srkd.training.run import Run

# The colour photographs in the scikit-image package; its other images are grey, synthetic or downloaded.
_TRAINING = ("coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg")
_HELD_OUT = ("astronaut.png", "chelsea.png")
_STUDENT = {"type": "EDSR", "num_feat": 16, "num_block": 8, "img_range": 1.0}
COLUMNS = ["model", "parameters", "multiply-adds (G)", "file (MB)", "ms at 256x256", *titles()]


@dataclass(frozen=True)
class Size:
    """Size of the demonstration.

    Args:
        steps: training steps of each student.
        side: maximum side of a photograph in pixels.
        patch: side of an HR patch in pixels.
        batch: patches per batch.
    """

    steps: int
    side: int
    patch: int
    batch: int


FULL, QUICK = Size(2000, 640, 96, 16), Size(800, 160, 48, 8)


def run(data: Path | None, out: Path, size: Size = FULL) -> dict[str, Any]:
    """Train, distil, evaluate, upscale; write results.json, results.md, upscaled.png and report.html into `out`.

    Args:
        data: a folder of photographs, of which every fifth is held out, at least two; None uses those of scikit-image.

    Raises:
        SrkdError: too few photographs, the teacher cannot be downloaded, or `out` cannot be written or has files of
            the user.
    """
    claim(out)
    training, held_out = _photographs(data, out / "photographs", size.side)
    teacher = _teacher()
    say(f"teacher: {teacher}")
    students = {
        "control": _train("control", training, out, size, None),
        "distilled": _train("distilled", training, out, size, teacher),
    }
    names = {"bicubic": "bicubic", **{k: str(v) for k, v in students.items()}, "teacher": teacher}
    total = len(names) * len(list_images(held_out))
    with Progress("evaluating", total) as progress:
        results = evaluate(list(names.values()), [str(held_out)], 2, say=progress.update)
    rows = [_row(label, name, result) for (label, name), result in zip(names.items(), results["models"], strict=True)]
    results["rows"] = rows
    write_json(out / "results.json", results)
    write_text(out / "results.md", tables.markdown(rows, COLUMNS) + "\n")
    image = list_images(held_out)[-1]
    model = Model.load(students["distilled"])
    write_image(out / "upscaled.png", ImageData(model.upscale(read_rgb(image))))
    comparison = _comparison(names, held_out)
    write_bytes(out / "crops.png", crops.sheet(*comparison))
    write_text(out / "report.html", _page(rows, out, comparison, results))
    return results


def _photographs(data: Path | None, folder: Path, side: int) -> tuple[Path, Path]:
    """Write training and held-out photographs of at most `side` pixels into two folders; returns the folders."""
    if data is None:
        import skimage

        root = Path(skimage.__file__).parent / "data"
        split: list[tuple[str, Sequence[Path]]] = [
            ("training", [root / name for name in _TRAINING]),
            ("held-out", [root / name for name in _HELD_OUT]),
        ]
    else:
        found = list_images(data)
        held = set(found[::5]) if len(found) > 5 else set(found[:2])
        if len(found) - len(held) < 2:
            raise SrkdError(f"{data}: {len(found)} photographs; the demonstration needs at least 4")
        split = [("training", [p for p in found if p not in held]), ("held-out", sorted(held))]
    for name, paths in split:
        place = reset_folder(folder / name, [f"{path.stem}.png" for path in paths])
        for path in paths:
            pixels = read_rgb(path)
            small = shrunk(pixels, shrunk_size(pixels.shape[0], pixels.shape[1], side))
            write_image(place / f"{path.stem}.png", ImageData(small))
    return folder / "training", folder / "held-out"


def _teacher() -> str:
    """The zoo's own teacher if it is trained, else DAT-light, which is downloaded on first use."""
    return "edsr_baseline_x2" if "edsr_baseline_x2" in zoo.trained() else "dat_light_x2"


def _train(name: str, images: Path, out: Path, size: Size, teacher: str | None) -> Path:
    """Train one student; the two differ only in the second loss."""
    losses: list[dict[str, Any]] = [{"type": "L1Loss", "target": "gt"}]
    if teacher is not None:
        losses.append({"type": "wavelet", "balance": {"share": 1}})
    recipe = {
        "name": name,
        "scale": 2,
        "network_g": _STUDENT,
        "network_g_teacher": None if teacher is None else {"zoo": teacher},
        "datasets": {"train": {"dataroot_gt": str(images), "gt_size": size.patch, "batch_size_per_gpu": size.batch}},
        "cache": {"kind": "live" if teacher is None else "outputs", "dir": str(resources.cache() / "teachers")},
        "train": {
            "total_iter": size.steps,
            "losses": losses,
            "optim_g": {"type": "SOAP", "lr": 6e-3},
            "ema_decay": 0.99,
        },
        "logger": {"print_freq": max(size.steps // 100, 1), "use_tb_logger": False},
    }
    result = Run(recipe, out).train()
    if not result["finished"]:
        raise KeyboardInterrupt
    return Path(result["models"]["net_g"])


def _row(label: str, name: str, result: dict[str, Any]) -> dict[str, Any]:
    (scores,) = result["sets"].values()
    row = {
        "model": label if label in ("bicubic", "control", "distilled") else f"teacher ({name})",
        "parameters": "-",
        "multiply-adds (G)": "-",
        "file (MB)": "-",
        "ms at 256x256": "-",
        **texts(scores, brief=True),
        "protocol": scores["protocol"]["stamp"],
    }
    if name != "bicubic":
        model = Model.load(name)
        row["parameters"] = f"{cost.parameters(model.network):,}"
        row["multiply-adds (G)"] = f"{cost.multiply_adds(model.network, model.scale) / 1e9:.1f}"
        row["file (MB)"] = f"{file_of(name).stat().st_size / 1e6:.2f}"
        row["ms at 256x256"] = f"{SpeedMeter().network(model.network).ms:.0f}"
    return row


def _comparison(names: dict[str, str], held_out: Path) -> tuple[dict[str, np.ndarray], crops.Box]:
    """The first held-out image upscaled by every model, and the region that is hardest for bicubic."""
    _, store = open_set(str(held_out), 2)
    hr, lr = store.hr(0), store.lr(0)
    images = {"HR": hr, **{label: open_model(name, 2)(lr[None])[0] for label, name in names.items()}}
    return images, crops.busiest(hr, imresize(lr, 2.0))


def _page(
    rows: list[dict[str, Any]], out: Path, comparison: tuple[dict[str, np.ndarray], crops.Box], results: dict[str, Any]
) -> str:
    series = []
    for name in ("control", "distilled"):
        records = [r for r in read_metrics(out / name / "metrics.jsonl") if "l_L1Loss" in r]
        series.append({"label": name, "x": [r["step"] for r in records], "y": [r["l_L1Loss"] for r in records]})
    shown, box = comparison
    multiply_adds = "Multiply-adds are for an output of 1280x720; milliseconds are this machine's CPU, fp32, batch 1."
    sections: list[html.PageSection] = [
        {"heading": "Result", "paragraphs": [multiply_adds], "table": {"rows": rows, "columns": COLUMNS}},
        {
            "heading": "Training",
            "plot": {
                **plots.curves(series, "step", "L1 to the ground truth", log=True),
                "caption": "Both students: same seed, data order and steps.",
            },
        },
        {
            "heading": "Visual comparison",
            "crops": {**crops.section(shown, box), "left": "bicubic", "right": "distilled"},
        },
        *report.images(results, [row["model"] for row in rows]),
        {"heading": "Recipe", "recipe": (out / "distilled" / "recipe.yml").read_text(encoding="utf-8")},
    ]
    lead = "A student of 49,603 parameters, trained alone and distilled, against bicubic and its teacher."
    return html.page("srkd: the demonstration", sections, lead)
