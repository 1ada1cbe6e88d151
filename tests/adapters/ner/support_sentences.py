"""Synthetic Korean sentences with easily learned entities, as a KMOU corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NAMES = {
    "PER": ["지민", "서연", "하준"],
    "LOC": ["부산", "서울", "제주"],
    "DAT": ["월요일", "오늘", "내일"],
    "TIM": ["오전", "밤", "정오"],
}
TYPES = list(NAMES)
PLAIN = ["은", "에", "가", "는", "을", "만나", "었", "다", "."]


def sentence(random: np.random.Generator) -> tuple[list[str], list[str]]:
    """Tokens and tags: entities of one or two tokens, in any order, between plain words."""
    tokens, tags = [], []
    for kind in random.permutation(TYPES)[:3]:
        length = int(random.integers(1, 3))
        tokens += [str(t) for t in random.choice(NAMES[kind], length)]
        tags += [f"B-{kind}", f"I-{kind}"][:length]
        plain = random.choice(PLAIN, int(random.integers(1, 4)))
        tokens += [str(t) for t in plain]
        tags += ["O"] * len(plain)
    return tokens, tags


def write_kmou(folder: Path, split: str, count: int, seed: int) -> Path:
    """Write `<split>.words.txt` and `<split>.tags.txt`; returns the former."""
    random = np.random.default_rng(seed)
    sentences = [sentence(random) for _ in range(count)]
    for part, lines in (("words", [t for t, _ in sentences]), ("tags", [t for _, t in sentences])):
        text = "\n".join(" ".join(line) for line in lines) + "\n"
        (folder / f"{split}.{part}.txt").write_text(text, encoding="utf-8")
    return folder / f"{split}.words.txt"
