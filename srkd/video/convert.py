"""Frames of clips as RGB, and back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.video.read import FULL, LIMITED, MATRICES, RGB, Clip, Colour, Pixels, pyav

_RANGES = {LIMITED: "tv", FULL: "pc"}
_EXACT = "bicubic+accurate_rnd+bitexact+full_chroma_int+full_chroma_inp"
_CENTRED = ("mpeg1video", "mjpeg")  # codecs whose chroma samples lie between those of luma


def to_rgb(frame: Any, clip: Clip) -> Pixels:
    """A decoded frame as RGB (H, W, 3), uint8, or uint16 if it has more than 8 bits.

    Raises:
        SrkdError: the frame's size differs from the clip's.
    """
    if (frame.width, frame.height) != (clip.width, clip.height):
        raise SrkdError(
            f"{printable_path(clip.path)} changes its size at {clip.clock(frame.pts)} from {clip.width}x{clip.height} "
            f"to {frame.width}x{frame.height}; split it there"
        )
    format = "rgb48le" if clip.bits > 8 else "rgb24"
    given = ["out_range=pc"]
    if not clip.is_rgb:
        given += [f"in_color_matrix={MATRICES[clip.colour.matrix]}", f"in_range={_RANGES[clip.colour.range]}"]
        if clip.codec not in _CENTRED:
            given.append("in_chroma_loc=left")
    pixels: Pixels = converted(frame, format, given).to_ndarray()
    if clip.pixel_format.startswith("gray") and clip.colour.range == LIMITED:
        return _expanded(pixels)  # swscale takes grey for full range
    return pixels


def _expanded(pixels: Pixels) -> Pixels:
    """Limited-range luma in full range."""
    most = np.iinfo(pixels.dtype).max
    black, white = 16 / 255 * most, 235 / 255 * most
    return np.rint(np.clip((pixels - black) / (white - black), 0, 1) * most).astype(pixels.dtype)


def from_rgb(pixels: Pixels, colour: Colour, pixel_format: str) -> Any:
    """RGB (H, W, 3) of uint8 or uint16 as a frame of `pixel_format`, which is tagged with its colour."""
    frame = pyav().VideoFrame.from_ndarray(pixels, format="rgb48le" if pixels.dtype == np.uint16 else "rgb24")
    given = ["in_range=pc", f"out_range={_RANGES[colour.range]}"]
    if colour.matrix != RGB:
        given += [f"out_color_matrix={MATRICES[colour.matrix]}", "out_chroma_loc=left"]
    frame = converted(frame, pixel_format, given)
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def converted(frame: Any, format: str, options: Sequence[str]) -> Any:
    """A frame in another pixel format, by swscale's accurate path, which is the same on every processor.

    Args:
        options: of FFmpeg's filter `scale`. Where the samples of subsampled chroma lie has to be given: swscale takes
            them to lie between those of luma, but H.264, VP9 and players to lie at the left ones. In a larger image
            the difference becomes visible: coloured fringes at edges.
    """
    graph = _graph(threading.get_ident(), frame.width, frame.height, frame.format.name, format, ":".join(options))
    graph.push(frame)
    return graph.pull()


@lru_cache(maxsize=8)
def _graph(thread: int, width: int, height: int, source: str, target: str, options: str) -> Any:
    """FFmpeg's filters for one kind of conversion, in one thread."""
    graph = pyav().filter.Graph()
    given = graph.add_buffer(width=width, height=height, format=source, time_base=Fraction(1))
    scale = graph.add("scale", f"flags={_EXACT}:{options}")
    format, output = graph.add("format", f"pix_fmts={target}"), graph.add("buffersink")
    given.link_to(scale)
    scale.link_to(format)
    format.link_to(output)
    graph.configure()
    return graph
