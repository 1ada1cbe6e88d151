"""The header of a JPEG XL file (ISO/IEC 18181-1, D.2 and D.3; 18181-2 for boxes), read before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDES = ((9, 1), (13, 1), (18, 1), (30, 1))
_DEPTHS = ((0, 8), (0, 10), (0, 12), (6, 1))
_EXTRA_CHANNELS = ((0, 0), (0, 1), (4, 2), (12, 1))


@dataclass(frozen=True)
class JxlHeader:
    """Sides in pixels, of the image turned upright as decoders return it, and bits per sample; `lossless` unless the
    colours were converted to XYB or, of alpha in an unusual format, it is not known."""

    height: int
    width: int
    bits: int
    lossless: bool = False


def is_jxl(head: bytes) -> bool:
    return head.startswith((_CODESTREAM, _CONTAINER))


def header(data: bytes) -> JxlHeader:
    """The header. Raises ValueError if it is truncated, or of an animation or floating-point samples."""
    bits = _Bits(_codestream(data)[len(_CODESTREAM) :])
    height, width = _size(bits)
    if bits.read(1):  # all values are the defaults
        return JxlHeader(height, width, 8)
    orientation = 1
    if bits.read(1):
        orientation = 1 + bits.read(3)
        if bits.read(1):
            _size(bits)  # the size at which it is to be displayed
        if bits.read(1):
            raise ValueError("a JPEG XL file with a preview cannot be read; convert it to PNG")
        if bits.read(1):
            raise ValueError("an animation; give its frames as single images")
    if bits.read(1):
        raise ValueError("floating-point samples; convert it to 8 or 16 bits")
    depth = bits.one_of(_DEPTHS)
    lossless = not _uses_xyb(bits)
    return JxlHeader(*((width, height) if orientation >= 5 else (height, width)), depth, lossless)


def _uses_xyb(bits: _Bits) -> bool:
    bits.read(1)  # whether 16 bits suffice for buffers
    for _ in range(bits.one_of(_EXTRA_CHANNELS)):
        if not bits.read(1):  # not alpha of 8 bits
            return True
    return bool(bits.read(1))


def _codestream(data: bytes) -> bytes:
    """The start of the codestream, which a container has in a box jxlc, or in parts in boxes jxlp."""
    if data.startswith(_CODESTREAM):
        return data
    at = len(_CONTAINER)
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            return data[at + head + (4 if kind == b"jxlp" else 0) :]
        if length < head:  # 0: until the end of the file
            break
        at += length
    raise ValueError("truncated or corrupt (a JPEG XL file without an image)")


def _size(bits: _Bits) -> tuple[int, int]:
    """(height, width)."""
    in_eights = bits.read(1)

    def side() -> int:
        return 8 * (1 + bits.read(5)) if in_eights else bits.one_of(_SIDES)

    height = side()
    ratio = bits.read(3)
    if not ratio:
        return height, side()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


class _Bits:
    """Reads numbers of a few bits, the least significant first."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data[:64], "little"), 8 * min(len(data), 64)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("truncated or corrupt (its header is incomplete)")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        self._left -= count
        return value

    def one_of(self, forms: tuple[tuple[int, int], ...]) -> int:
        """A number in one of four forms: so many bits, plus an offset."""
        count, offset = forms[self.read(2)]
        return offset + self.read(count)
