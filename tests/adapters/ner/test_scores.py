"""F1 against seqeval, and forgetting."""

from __future__ import annotations

import numpy as np
import pytest

from srkd.adapters.ner.scores import count, forgetting

seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")


def test_micro_and_macro_f1_equal_seqeval() -> None:
    random = np.random.default_rng(0)
    choices = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    true, guess = ([[str(t) for t in random.choice(choices, 8)] for _ in range(30)] for _ in range(2))
    guess = [a if n % 2 else b for n, (a, b) in enumerate(zip(true, guess, strict=True))]
    counts = count(true, guess)
    assert counts.f1(["PER", "LOC"]) == pytest.approx(100 * seqeval.f1_score(true, guess, average="micro"))
    macro = np.mean(list(counts.by_type(["PER", "LOC"]).values()))
    assert macro == pytest.approx(100 * seqeval.f1_score(true, guess, average="macro"))
    hidden = [[[t if t[2:] == "PER" else "O" for t in s] for s in side] for side in (true, guess)]
    assert counts.f1(["PER"]) == pytest.approx(100 * seqeval.f1_score(*hidden))


def test_f1_without_entities_is_0() -> None:
    assert count([["O"]], [["O"]]).f1(["PER"]) == 0


def test_forgetting_is_from_the_best_step() -> None:
    history = [{"A": 60.0}, {"A": 70.0, "B": 50.0}, {"A": 40.0, "B": 55.0, "C": 80.0}]
    assert forgetting(history) == {"A": 30.0, "B": -5.0}
