"""XMP packets, copied except orientation, pixel sizes and attachments.

XMP is edited as text, so that everything else stays byte for byte; names are found by the prefixes that the packet
binds to their namespaces. Gain maps: Android's Ultra HDR format 1.1 and Apple's; motion photos: Android's format 1.0.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")
_NAME = rb"[\w.-]+"
_BINDING = re.compile(rb"xmlns:(" + _NAME + rb")\s*=\s*[\"']([^\"'<>]*)[\"']")
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
        sizes = {wide: width, high: height}
        xmp = _renumbered(xmp, _prefixes(xmp, space), wide + b"|" + high, lambda name, old, sizes=sizes: sizes[name])  # type: ignore[misc]
    for space, names in _PANORAMA.items():
        xmp = _renumbered(
            xmp,
            _prefixes(xmp, space),
            names,
            lambda name, old: round(old * factors[1 if b"Width" in name or b"Left" in name else 0]),
        )
    return xmp


# The expressions below look at each byte a bounded number of times: a stranger's packet may have megabytes.


def _prefixes(xmp: bytes, namespace: bytes) -> set[bytes]:
    """The prefixes that the packet binds to a namespace."""
    return {prefix for prefix, bound in _BINDING.findall(xmp) if bound == namespace}


def _without(xmp: bytes, spaces: dict[bytes, bytes]) -> bytes:
    """Remove attributes and elements of these names."""
    for space, names in spaces.items():
        if prefixes := _prefixes(xmp, space):
            attribute = rb"\s(" + _NAME + rb"):(?:" + names + rb")\s*=\s*(?:\"[^\"]*\"|'[^']*')"
            xmp = re.sub(attribute, lambda match, own=prefixes: b"" if match[1] in own else match[0], xmp)  # type: ignore[misc]
            xmp = _without_elements(xmp, prefixes, names)
    return xmp


def _without_elements(xmp: bytes, prefixes: set[bytes], names: bytes) -> bytes:
    name = rb"((" + _NAME + rb"):(?:" + names + rb"))"
    closings: dict[bytes, list[re.Match[bytes]]] = {}
    for match in re.finditer(rb"</" + name + rb"\s*>", xmp):
        closings.setdefault(match[1], []).append(match)
    kept, end = [], 0
    for match in re.finditer(rb"<" + name + rb"(?:\s[^<>]*)?>", xmp):
        if match[2] not in prefixes or match.start() < end:
            continue
        stop = match.end()
        if not match[0].endswith(b"/>"):
            known = closings.get(match[1], [])
            following = bisect.bisect_left(known, stop, key=lambda closing: closing.start())
            if following == len(known):
                continue
            stop = known[following].end()
        kept.append(xmp[end : match.start()])
        end = stop
    return b"".join([*kept, xmp[end:]])


def _renumbered(xmp: bytes, prefixes: set[bytes], names: bytes, value: Callable[[bytes, int], int]) -> bytes:
    """Change the number in attributes and elements of these names, by a function of name and number."""

    def changed(match: re.Match[bytes]) -> bytes:
        if match[2] not in prefixes:
            return match[0]
        return match[1] + str(value(match[3], int(match[4]))).encode()

    found = rb"((?<![\w.-])(" + _NAME + rb"):(" + names + rb")(?:\s*=\s*[\"']|>)\s*)(\d{1,9})\b"
    return re.sub(found, changed, xmp) if prefixes else xmp
