"""Time upscaling a generated clip, file to file, against the network alone on the same frames."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.inference.autotune import BackendSpec, cached_engine, engine_for
from srkd.inference.files import Options
from srkd.inference.jobs import LocalJob
from srkd.inference.model import Model
from srkd.inference.speed import Size, in_subprocess
from srkd.machine import peak_mb
from srkd.training.malloc import keep_freed_memory
from srkd.video.convert import to_rgb
from srkd.video.job import upscale_clip
from srkd.video.read import Clip, Pixels, decode, probe, pyav

COLUMNS = ["what", "frames", "seconds", "frames/s", "of the network alone (%)", "peak MB"]
_ALONE = 10  # frames that the network is timed with; kept in memory
_BATCH = 4
_GRAIN = 4  # pixels: the size of the generated texture's details


def video(
    model: str, size: Size, frames: int, backend: tuple[str | None, str | None], say: Callable[[str], None]
) -> dict[str, Any]:
    """Upscale a generated H.264 clip in a subprocess.

    Args:
        model: zoo name or checkpoint.
        size: (width, height) of the clip.
        frames: number of frames of the clip.
        backend: runtime and precision; with None for both, the cached measurement or else torch.

    Returns:
        {"rows": with `COLUMNS`, "network share (%)", "ratio (%)": the clip's speed to the network's alone, "waits
        (s)": of the network for decoding and encoding, "backend"}.

    Raises:
        SrkdError: PyAV is missing, sides that H.264 does not have, or as `Model.load` and `engine_for`.
    """
    pyav()
    if size[0] % 2 or size[1] % 2:
        raise SrkdError(f"the sides of a clip must be even, got {size[0]}x{size[1]}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "clip.mp4"
        generate(source, size, frames)
        say(f"generated {frames} frames of {size[0]}x{size[1]}")
        measured: dict[str, Any] = in_subprocess(measure, model, str(source), list(backend))
        return measured


def generate(path: Path, size: Size, frames: int) -> None:
    """Write a clip, H.264 with 25 frames per second, in which a texture moves by three pixels a frame."""
    width, height = size
    rng = np.random.default_rng(0)
    shape = -(-height // _GRAIN) + 8, -(-(width + 3 * _GRAIN * 25) // _GRAIN) + 8
    noise = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    texture = imresize(noise, float(_GRAIN))
    with pyav().open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            left = 3 * (number % 25)
            pixels = np.ascontiguousarray(texture[:height, left : left + width])
            container.mux(stream.encode(pyav().VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def measure(model: str, source: str, backend: list[str | None]) -> dict[str, Any]:
    """`video` of a clip that exists, in this process."""
    keep_freed_memory()
    opened = Model.load(model)
    runtime, precision = backend
    quiet = runtime is None and precision is None
    opened.engine = (
        cached_engine(opened, _silent) if quiet else engine_for(opened, BackendSpec(runtime, precision), _silent)
    )
    clip = probe(Path(source))
    alone, batched = _alone(opened, clip)
    before = peak_mb()
    target = Path(source).with_name("result.mp4")
    started = time.monotonic()
    done = upscale_clip(opened, LocalJob(Path(source), target, "mp4"), Options())
    whole = time.monotonic() - started
    rows = [
        _row("network alone", _ALONE, alone * _ALONE, alone, None),
        _row(f"network alone, batches of {_BATCH}", _ALONE, batched * _ALONE, alone, None),
        _row("clip to clip", done.frames, whole, alone, round(peak_mb() - before)),
    ]
    return {
        "rows": rows,
        "network share (%)": round(100 * done.network_seconds / done.seconds, 1),
        "ratio (%)": rows[-1]["of the network alone (%)"],
        "waits (s)": {"decoding": round(done.waits.decoding, 2), "encoding": round(done.waits.encoding, 2)},
        "backend": " ".join(opened.backend),
        "model": opened.name,
        "size": f"{clip.width}x{clip.height}",
    }


def _alone(model: Model, clip: Clip) -> tuple[float, float]:
    """Seconds that the network takes for a frame of a clip, one by one and in batches."""
    decoded = _first(decode(clip, int(clip.times[0]), clip.end), _ALONE)
    frames = [to_rgb(frame, clip) for frame, _ in decoded]
    model.upscale(frames[0])
    alone = _seconds(lambda: [model.upscale(frame) for frame in frames]) / len(frames)
    batches = [np.stack(frames[at : at + _BATCH]) for at in range(0, len(frames) // _BATCH * _BATCH, _BATCH)]
    batched = _seconds(lambda: [model(batch) for batch in batches]) / (_BATCH * max(1, len(batches)))
    return alone, batched


def _first(frames: Any, count: int) -> list[Any]:
    return [frame for frame, _ in zip(frames, range(count), strict=False)]


def _row(what: str, frames: int, seconds: float, alone: float, peak: int | None) -> dict[str, Any]:
    share = round(100 * alone * frames / seconds, 1)
    values = [what, frames, round(seconds, 2), round(frames / seconds, 2), share, peak]
    return dict(zip(COLUMNS, values, strict=True))


def _seconds(work: Callable[[], list[Pixels]]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _silent(text: str) -> None:
    """Notes are not printed: the subprocess's output is its result."""
