"""XMP packets, copied except orientation, pixel sizes and attachments.

XMP is edited as text, so that everything else stays byte for byte; names are found by the prefixes that the packet
binds to their namespaces. Gain maps: Android's Ultra HDR format 1.1 and Apple's; motion photos: Android's format 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")
_NAME = rb"[\w.-]+"
# Namespaces, and which of their names refer to another image or a video in the same file.
_GAIN_MAPS = {b"http://ns.adobe.com/hdr-gain-map/1.0/": _NAME, b"http://ns.apple.com/HDRGainMap/1.0/": _NAME}
_VIDEOS = {b"http://ns.google.com/photos/1.0/camera/": rb"(?:MotionPhoto|MicroVideo)[\w.-]*"}
_FURTHER = {b"http://ns.adobe.com/xmp/note/": rb"HasExtendedXMP"}
_LISTS = {b"http://ns.google.com/photos/1.0/container/": rb"Directory"}
_SIZES = {
    b"http://ns.adobe.com/tiff/1.0/": (rb"ImageWidth", rb"ImageLength"),
    b"http://ns.adobe.com/exif/1.0/": (rb"PixelXDimension", rb"PixelYDimension"),
}
_PANORAMA = {b"http://ns.google.com/photos/1.0/panorama/": rb"(?:CroppedArea|FullPano)\w+Pixels"}


def upright(xmp: bytes) -> bytes:
    """The packet for the image turned upright."""
    return _ORIENTATION.sub(rb"\g<1>1", xmp)


def without_attachments(xmp: bytes) -> tuple[bytes, tuple[str, ...]]:
    """(the packet without references to gain maps, videos and further packets; the names of those it had)."""
    attached = []
    for what, spaces in (("gain map", _GAIN_MAPS), ("video", _VIDEOS), ("extended XMP", _FURTHER)):
        before, xmp = xmp, _without(xmp, spaces)
        named = what == "gain map" and re.search(rb"Semantic\s*=\s*[\"']GainMap", before)
        if xmp != before or named:
            attached.append(what)
    return _without(xmp, _LISTS), tuple(attached)


def sized(xmp: bytes, height: int, width: int, factors: tuple[float, float]) -> bytes:
    """The packet with its pixel sizes set to (height, width), a panorama's multiplied by `factors` (down, across)."""
    for space, (wide, high) in _SIZES.items():
        for prefix in _prefixes(xmp, space):
            for name, value in ((wide, width), (high, height)):
                xmp = _renumbered(xmp, prefix + b":" + name, lambda old, value=value: value)  # type: ignore[misc]
    for space, names in _PANORAMA.items():
        for prefix in _prefixes(xmp, space):
            for name in set(re.findall(rb"\b" + prefix + rb":(" + names + rb")", xmp)):
                factor = factors[1] if b"Width" in name or b"Left" in name else factors[0]
                xmp = _renumbered(xmp, prefix + b":" + name, lambda old, by=factor: round(old * by))  # type: ignore[misc]
    return xmp


def _prefixes(xmp: bytes, namespace: bytes) -> set[bytes]:
    bound = rb"xmlns:(" + _NAME + rb")\s*=\s*[\"']" + re.escape(namespace) + rb"[\"']"
    return {re.escape(prefix) for prefix in re.findall(bound, xmp)}


def _without(xmp: bytes, spaces: dict[bytes, bytes]) -> bytes:
    """Remove attributes and elements of these names."""
    for space, names in spaces.items():
        for prefix in _prefixes(xmp, space):
            name = prefix + b":" + names
            xmp = re.sub(rb"\s" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
            xmp = re.sub(rb"<(" + name + rb")(?:\s[^<>]*)?(?:/>|>.*?</\1\s*>)", b"", xmp, flags=re.DOTALL)
    return xmp


def _renumbered(xmp: bytes, name: bytes, value: Callable[[int], int]) -> bytes:
    """Change the number in attributes and elements of this name."""
    found = re.compile(rb"(\b" + name + rb"(?:\s*=\s*[\"']|>)\s*)(\d{1,9})\b")
    return found.sub(lambda match: match[1] + str(value(int(match[2]))).encode(), xmp)
