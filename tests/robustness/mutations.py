"""Valid files turned into invalid ones, for fuzzing: functions of a random generator, so that a seed repeats them."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence

_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
_WORDS = (
    *("~", "''", "-1", "0", "1e309", ".nan", "-.inf", "1e-400", "0x_", "1:99:99", "2001-99-99", "9" * 400, "no"),
    *("[]", "{}", "[[[[]]]]", "{? }", "*nothing", "&a [*a]", "<<: 3", "'unclosed", "---", "...", "@", "`", "=", "a: b"),
    *("!!binary '*'", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!float x", "!!int 0b2", "!!timestamp x"),
    *("!!python/name:os.system ''", "|\n  x", ">-\n\n", "- - -", "%YAML 9.9", "? x\n: y", '"\\x"', "\x00", "\ufeff"),
    *("\u2028", "\t", "é" * 50, "x" * 5000, "../../etc/passwd", "/dev/zero", "sr.gan", "classification", "os:system"),
)


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to four mutations of its bytes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        rng.choice((_flip, _number, _cut, _drop, _repeat, _insert, _splice))(rng, data, seeds)
    return bytes(data)


def reworded(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The same for text of keys and values: words are replaced by others, or by values that break readers."""
    text = rng.choice(seeds).decode()
    for _ in range(rng.randint(1, 4)):
        words = list(re.finditer(r"[^\s,:{}\[\]]+", text))
        if not words:
            break
        here, other = rng.choice(words), rng.choice(words)
        new = rng.choice((rng.choice(_WORDS), other[0], here[0] * 2, here[0][:-1]))
        text = text[: here.start()] + new + text[here.end() :]
    return mutated(rng, [text.encode()]) if rng.random() < 0.2 else text.encode("utf-8", "surrogatepass")


def _place(rng: random.Random, data: bytearray) -> int:
    # Most files start with a header of lengths and types: half of the mutations go there.
    return rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    size, order = rng.choice("BHIQ"), rng.choice("<>")
    raw = struct.pack(order + size, rng.choice(_NUMBERS) & ((1 << 8 * struct.calcsize(size)) - 1))
    start = _place(rng, data)
    data[start : start + len(raw)] = raw


def _cut(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _drop(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, data)
    del data[start : start + rng.choice((1, 4, 16, 100))]


def _repeat(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, data)
    data[start:start] = data[start : start + rng.choice((1, 4, 16, 100))] * rng.choice((1, 2, 50))


def _insert(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    start = _place(rng, data)
    data[start:start] = rng.randbytes(rng.choice((1, 4, 16)))


def _splice(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    data[_place(rng, data) :] = other[rng.randrange(len(other)) if other else 0 :]
