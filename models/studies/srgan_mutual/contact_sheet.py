"""Contact sheets: crops of images that may be shown, by bicubic, pre-training, the variants, and as they are.

python models/studies/srgan_mutual/contact_sheet.py study       (after the study has run; from the folder that has
python models/studies/srgan_mutual/contact_sheet.py converged    experiments/)
python models/studies/srgan_mutual/contact_sheet.py lightening
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from skimage import data

from srkd.images.resize import imresize
from srkd.metrics.evaluation import open_model
from srkd.metrics.scores import Protocol, score
from srkd.report.crops import busiest

HERE, RUNS, SEED = Path(__file__).parent, Path("experiments"), 0
LIGHTENING = HERE.parent / "srgan_lightening"
UNITS = {"psnr": "dB", "niqe": "NIQE", "efficientnet": "EfficientNet"}


class Sheet(NamedTuple):
    file: Path
    scale: int
    metrics: tuple[str, ...]
    models: Mapping[str, str | Path]


def _run(study: str, variant: str, network: str = "net_g_0") -> Path:
    """Weights of a run; the networks of a cohort are numbered."""
    return RUNS / study / variant / f"seed_{SEED}" / "models" / f"{network}_latest.safetensors"


SHEETS = {
    "study": Sheet(
        HERE / "contact_sheet.png",
        2,
        ("psnr", "niqe"),
        {
            "bicubic": "bicubic",
            "MSE only": RUNS / "srgan_mutual_pretrain/models/net_g_latest.safetensors",
            "independent": _run("srgan_mutual", "control"),
            "mutual": _run("srgan_mutual", "mutual"),
        },
    ),
    "converged": Sheet(
        HERE / "converged_sheet.png",
        4,
        ("psnr", "efficientnet"),
        {
            "bicubic": "bicubic",
            "L1 only": HERE / "pretrained.safetensors",
            "quarter": _run("srgan_converged", "quarter"),
            "half": _run("srgan_converged", "half"),
            "independent": _run("srgan_converged", "control"),
            "mutual": _run("srgan_converged", "mutual"),
        },
    ),
    "lightening": Sheet(
        LIGHTENING / "contact_sheet.png",
        4,
        ("psnr", "efficientnet"),
        {
            "bicubic": "bicubic",
            "teacher": LIGHTENING / "teacher_g.safetensors",
            **{
                label: _run("srgan_lightening", variant, "net_g")
                for label, variant in {
                    "control": "control",
                    "its images": "generator",
                    "its verdicts": "discriminator",
                    "images, then adversarial": "generator_then_adversarial",
                    "its discriminator": "reused_discriminator",
                    "images and features": "student_discriminator",
                }.items()
            },
        },
    ),
}


def tile(detail: np.ndarray, label: str, note: str) -> np.ndarray:
    """A detail four times as large, its pixels square, over two lines of text."""
    large = detail.repeat(4, axis=0).repeat(4, axis=1)
    canvas = np.pad(large, ((0, 44), (0, 8), (0, 0)), constant_values=255)
    for line, (text, grey) in enumerate([(label, 30), (note, 100)]):
        at = (0, large.shape[0] + 16 + 19 * line)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (grey,) * 3, 1, cv2.LINE_AA)
    return canvas


def row(sheet: Sheet, image: np.ndarray) -> np.ndarray:
    """Where bicubic is furthest from a uint8 RGB image, by every model; scores are those of the whole image."""
    scale = sheet.scale
    image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
    protocol, low = Protocol.default(scale), imresize(image, 1 / scale)
    shown = {label: open_model(str(model), scale).upscale(low) for label, model in sheet.models.items()}
    box = busiest(image, shown["bicubic"])
    tiles = []
    for label, output in shown.items():
        scores = score(output, image, protocol, metrics=list(sheet.metrics))
        note = ", ".join(f"{scores[name]:.2f} {unit}" for name, unit in UNITS.items() if name in scores)
        tiles.append(tile(box.cut(output), label, note))
    return np.concatenate([*tiles, tile(box.cut(image), "ground truth", "")], axis=1)


def main(name: str) -> None:
    sheet = SHEETS[name]
    rows = np.concatenate([row(sheet, image) for image in (data.astronaut(), data.chelsea(), data.coffee())])
    cv2.imwrite(str(sheet.file), rows[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main(*sys.argv[1:])
