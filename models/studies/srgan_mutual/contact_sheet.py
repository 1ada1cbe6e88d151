"""The contact sheet: crops of images that may be shown, by bicubic, pre-training, both variants, and as they are.

python models/studies/srgan_mutual/contact_sheet.py  (after the study has run; from the folder that has experiments/)
"""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from srkd.images.resize import imresize
from srkd.metrics.evaluation import open_model
from srkd.metrics.scores import Protocol, score
from srkd.report.crops import busiest

HERE, RUNS, SEED = Path(__file__).parent, Path("experiments"), 0
MODELS = {
    "bicubic": "bicubic",
    "MSE only": RUNS / "srgan_mutual_pretrain/models/net_g_latest.safetensors",
    "independent": RUNS / f"srgan_mutual/control/seed_{SEED}/models/net_g_0_latest.safetensors",
    "mutual": RUNS / f"srgan_mutual/mutual/seed_{SEED}/models/net_g_0_latest.safetensors",
}


def tile(detail: np.ndarray, label: str, note: str) -> np.ndarray:
    """A detail four times as large, its pixels square, over two lines of text."""
    large = detail.repeat(4, axis=0).repeat(4, axis=1)
    canvas = np.pad(large, ((0, 44), (0, 8), (0, 0)), constant_values=255)
    for line, (text, grey) in enumerate([(label, 30), (note, 100)]):
        at = (0, large.shape[0] + 16 + 19 * line)
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (grey,) * 3, 1, cv2.LINE_AA)
    return canvas


def row(image: np.ndarray) -> np.ndarray:
    """Where bicubic is furthest from a uint8 RGB image, by every model; scores are those of the whole image."""
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    protocol, low = Protocol.default(2), imresize(image, 0.5)
    shown = {label: open_model(str(model), 2).upscale(low) for label, model in MODELS.items()}
    box = busiest(image, shown["bicubic"])
    tiles = []
    for label, output in shown.items():
        scores = score(output, image, protocol, metrics=["psnr", "niqe"])
        tiles.append(tile(box.cut(output), label, f"{scores['psnr']:.2f} dB, NIQE {scores['niqe']:.2f}"))
    return np.concatenate([*tiles, tile(box.cut(image), "ground truth", "")], axis=1)


def main() -> None:
    sheet = np.concatenate([row(image) for image in (data.astronaut(), data.chelsea(), data.coffee())])
    cv2.imwrite(str(HERE / "contact_sheet.png"), sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
