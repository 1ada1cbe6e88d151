"""ICC profiles for the colour spaces that PNG defines by numbers, for formats that support only profiles.

ICC.1:2022 (version 4); primaries and transfer curves of ITU-T H.273, which PNG's cICP chunk refers to.
"""

from __future__ import annotations

import struct

import numpy as np

_D50 = (0.9642, 1.0, 0.8249)
_D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# H.273 tables 2 and 3: white, red, green and blue x, y; parameters of ICC's parametric curves.
_PRIMARIES = {
    1: _SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_BT709 = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES = {
    **dict.fromkeys((1, 6, 14, 15), _BT709),
    4: (2.2,),
    5: (2.8,),
    8: (1.0,),
    13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
}
_SRGB_GAMMA, _NEAR = 0.45455, 0.005


def of_png(gamma: bytes | None, chromaticities: bytes | None, code_points: bytes | None, grey: bool) -> bytes | None:
    """The profile equivalent to PNG's gAMA, cHRM and cICP chunks; None if they mean sRGB or are absent.

    Raises:
        ValueError: a colour space that such a profile cannot describe (HDR), or impossible numbers.
    """
    if code_points is not None:
        primaries, transfer, matrix, whole = struct.unpack(">4B", code_points)
        if (primaries, transfer) == (1, 13) and matrix == 0:
            return None
        if primaries not in _PRIMARIES or transfer not in _CURVES or matrix or not whole:
            raise ValueError(f"colour space (cICP {primaries}/{transfer}/{matrix})")
        return _profile(_PRIMARIES[primaries], _CURVES[transfer], grey)
    power = struct.unpack(">I", gamma)[0] / 1e5 if gamma else _SRGB_GAMMA
    corners = tuple(v / 1e5 for v in struct.unpack(">8I", chromaticities)) if chromaticities else _SRGB
    usual = max(abs(a - b) for a, b in zip(corners, _SRGB, strict=True)) < _NEAR
    if (usual or grey) and abs(power - _SRGB_GAMMA) < _NEAR:
        return None
    if not 0.1 <= power <= 10 or min(corners[1::2]) <= 0:
        raise ValueError("gamma or chromaticities")
    return _profile(corners, _CURVES[13] if abs(power - _SRGB_GAMMA) < _NEAR else (1 / power,), grey)


def _profile(corners: tuple[float, ...], curve: tuple[float, ...], grey: bool) -> bytes:
    tags = {b"desc": _text("colour space of a PNG file"), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50)}
    if grey:
        tags[b"kTRC"] = _curve(curve)
    else:
        adapted, colorants = _adapted(corners)
        tags[b"chad"] = b"sf32" + bytes(4) + _fixed(adapted.ravel())
        tags |= {kind: _xyz(column) for kind, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants.T, strict=True)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve))
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for kind, data in tags.items():
        table += struct.pack(">4sII", kind, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    space = b"GRAY" if grey else b"RGB "
    created = struct.pack(">6H", 2025, 1, 1, 0, 0, 0)
    fields = (at + len(body), b"", 0x04400000, b"mntr", space, b"XYZ ", created, b"acsp")
    head = struct.pack(">I4sI4s4s4s12s4s28x", *fields) + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _adapted(corners: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(the Bradford matrix from the white point to D50, the primaries' XYZ under D50 as columns)."""
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in zip(corners[::2], corners[1::2], strict=True)]).T
    white, primaries = xyz[:, 0], xyz[:, 1:]
    try:
        scaled = primaries * np.linalg.solve(primaries, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("chromaticities") from error
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return adapted, adapted @ scaled


def _fixed(values: object) -> bytes:
    numbers = np.rint(np.asarray(values, np.float64) * 65536)
    return numbers.astype(">i4").tobytes()


def _xyz(values: object) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _curve(parameters: tuple[float, ...]) -> bytes:
    return b"para" + struct.pack(">IHH", 0, 0 if len(parameters) == 1 else 3, 0) + _fixed(parameters)


def _text(words: str) -> bytes:
    data = words.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(data), 28) + data
