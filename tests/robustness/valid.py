"""Small valid files of every supported kind: the seeds of fuzzing."""

from __future__ import annotations

import io
import pickle
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import tifffile
import torch
import yaml
from PIL import Image

from robustness.cases import TINY
from srkd.images.animation import open_animation_writer
from srkd.images.formats import FORMATS
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, write_image
from srkd.networks import build
from srkd.training.checkpoint import save_state, save_weights
from support import BASICSR_OPTIONS, textured

MODELS = Path(__file__).parents[2] / "models"


def recipes(folder: Path) -> list[bytes]:
    options = BASICSR_OPTIONS.format(
        name="x",
        model="SRModel",
        scale=2,
        hr="hr",
        lr="lr",
        gt_size=32,
        batch=4,
        val="v",
        networks="network_g: {type: EDSR, num_feat: 8}",
        pretrained="~",
        scheduler="{type: MultiStepLR, milestones: [10], gamma: 0.5}",
        losses="pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}",
    )
    return [options.encode(), *(path.read_bytes() for path in sorted(MODELS.glob("*/recipe.yml")))]


def studies(folder: Path) -> list[bytes]:
    variants = [
        {"name": "kd", "losses": [{"type": "L1Loss"}, {"type": "rkd", "at": "body.1", "weight": 0.1}]},
        {"name": "clipped", "losses": [{"type": "L1Loss"}], "set": {"train.clip_grad_norm": 1.0}},
    ]
    base = {
        "name": "x",
        "scale": 2,
        "network_g": TINY,
        "train": {"total_iter": 5},
        "datasets": {"train": {"dataroot_gt": "x"}},
    }
    return [yaml.safe_dump({"name": "s", "seeds": [0, 1], "base": base, "variants": variants, "sets": ["x"]}).encode()]


def images(folder: Path) -> list[bytes]:
    """Small images of every kind: formats, depths, channels, compressions, with and without metadata."""
    colour = textured(0, 20, 24)
    deep = colour.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[274] = 6
    meta = Metadata(dpi=(72, 72), exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    files: list[bytes] = []
    for number, (suffix, pixels) in enumerate(
        [
            ("png", colour),
            ("png", colour[..., :1]),
            ("png", deep),
            ("png", np.dstack([deep, deep[..., :1]])),
            ("jpg", colour),
            ("webp", np.dstack([colour, colour[..., :1]])),
            ("tif", deep),
            ("tif", colour),
            ("bmp", colour),
        ]
    ):
        path = folder / f"{number}.{suffix}"
        write_image(path, ImageData(pixels, metadata=meta))
        files.append(path.read_bytes())
    image = Image.fromarray(colour)
    for converted, options in [
        (image.convert("P"), {"format": "PNG", "transparency": 3}),
        (image.convert("1"), {"format": "PNG"}),
        (image.convert("CMYK"), {"format": "JPEG"}),
        (image, {"format": "JPEG", "progressive": True}),
        (image, {"format": "WEBP", "lossless": True}),
        (image, {"format": "TIFF", "compression": "tiff_lzw"}),
        (image.convert("L"), {"format": "TIFF", "compression": "jpeg"}),
        (image.convert("P"), {"format": "BMP"}),
        (image, {"format": "GIF"}),
        (image, {"format": "PPM"}),
        (image, {"format": "TGA"}),
        (image, {"format": "JPEG", "restart_marker_rows": 1, "comment": b"words"}),
        (image.resize((80, 80)), {"format": "JPEG2000", "irreversible": False}),
    ]:
        stream = io.BytesIO()
        converted.save(stream, **options)
        files.append(stream.getvalue())
    for options in ({"compression": "zlib", "planarconfig": "separate"}, {"tile": (16, 16)}):
        stream = io.BytesIO()
        array = deep.transpose(2, 0, 1) if "planarconfig" in options else deep
        tifffile.imwrite(stream, array, photometric="rgb", **options)
        files.append(stream.getvalue())
    return files


def modern_images(folder: Path) -> list[bytes]:
    """AVIF, HEIC and JPEG XL as far as they are installed, JPEG 2000 and Netpbm."""
    colour = textured(0, 20, 24)
    deep = colour.astype(np.uint16) * 257
    alpha = np.dstack([colour, colour[..., :1]])
    exif = Image.Exif()
    exif[274] = 6
    meta = Metadata(dpi=(72, 72), exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    kinds = [("jp2", colour), ("jp2", deep), ("jp2", alpha), ("pgm", deep[..., :1]), ("ppm", colour), ("pam", alpha)]
    for pillow, suffix in (("AVIF", "avif"), ("HEIF", "heic"), ("JXL", "jxl")):
        kinds += [(suffix, colour), (suffix, alpha)] if pillow in Image.SAVE else []
    files = [b"P2 3 2 65535\n# words\n0 1 2 3 4 65535\n", b"P4 9 1 \xff\x80"]
    for number, (suffix, pixels) in enumerate(kinds):
        path = folder / f"{number}.{suffix}"
        write_image(path, ImageData(pixels, metadata=meta), quality=80 if FORMATS[suffix].lossy else None)
        files.append(path.read_bytes())
    return files


def animations(folder: Path) -> list[bytes]:
    """GIF, APNG and WebP of a few frames, and GIF and APNG as Pillow writes them, with disposal and blending."""
    frames = [np.dstack([textured(n, 14, 18), textured(n + 5, 14, 18)[..., :1] // 128 * 255]) for n in range(4)]
    files = []
    for name in ("gif", "png", "webp"):
        path = folder / f"a.{name}"
        with open_animation_writer(path, frames[0].shape, ([Fraction(1, 10)] * 4, 0), name) as writer:
            for frame in frames:
                writer.write(frame)
        files.append(path.read_bytes())
    images = [Image.fromarray(frame) for frame in frames]
    for name, options in (("GIF", {"disposal": 2, "interlace": 1}), ("PNG", {"disposal": 2, "blend": 1})):
        stream = io.BytesIO()
        images[0].save(stream, name, save_all=True, append_images=images[1:], duration=50, loop=3, **options)
        files.append(stream.getvalue())
    return files


def clips(folder: Path) -> list[bytes]:
    """Clips of 12 frames of 32x24: H.264 in MP4 and Matroska, FFV1, VP9."""
    av = import_module("av")
    files = []
    for name, codec, format in (
        ("a.mp4", "libx264", "yuv420p"),
        ("b.mkv", "libx264", "yuv420p"),
        ("c.mkv", "ffv1", "bgr0"),
        ("d.webm", "libvpx-vp9", "yuv420p"),
    ):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt, stream.codec_context.gop_size = 24, 32, format, 4
            for number in range(12):
                frame = av.VideoFrame.from_ndarray(textured(number, 24, 32), format="rgb24")
                container.mux(stream.encode(frame.reformat(format=format)))
            container.mux(stream.encode(None))
        files.append((folder / name).read_bytes())
    return files


def checkpoints(folder: Path) -> list[bytes]:
    """srkd's own, with and without metadata; torch's zip archives and its legacy format."""
    weights = build(TINY).state_dict()
    save_weights(folder / "ours.safetensors", weights, {"network": TINY, "scale": 2})
    save_weights(folder / "bare.safetensors", weights, {})
    torch.save({"params": weights, "params_ema": weights}, folder / "basicsr.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "pickle.pth").write_bytes(pickle.dumps({"params": {"w": 1}}, 2))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def states(folder: Path) -> list[bytes]:
    optimiser = {"state": {0: {"step": torch.zeros(1), "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-3}]}
    save_state(folder / "s.pt", {"step": 3, "task": {"w": torch.zeros(4)}, "optimisers": {"g": optimiser}})
    return [(folder / "s.pt").read_bytes()]
