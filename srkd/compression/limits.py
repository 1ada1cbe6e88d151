"""How large everything is that one command does; tests do less."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes in pixels of HR (times in seconds) unless said otherwise.

    Args:
        patch: side of a training patch in LR pixels; batch: patches a step.
        crop: sides of the crops that the teacher answers; the smaller where time allows only few.
        few: how many crops of the larger side are few.
        held_out: how many pixels, in crops, choose between candidates.
        answers, halving, controlled: shares of the time for the teacher's answers; of what is then left for choosing;
            and for choosing where a control takes as long as the student.
        candidates: how many are trained at most.
        steps: what a student should make; one that would make fewer in the time gives way to a narrower one.
        shortest: the shortest run that tells candidates apart; final: the shortest for a student worth its name.
        closing: for export, measurements and report, and `closing_share` of the time beside.
        timing: how long each measurement takes.
    """

    patch: int = 48
    batch: int = 16
    crop: tuple[int, int] = (512, 256)
    few: int = 64
    held_out: int = 8 * 512**2
    predictions: float = 0.2
    halving: float = 0.35
    controlled: float = 0.28
    candidates: int = 8
    steps: int = 2000
    shortest: float = 10.0
    final: float = 45.0
    closing: float = 90.0
    closing_share: float = 0.02
    timing: float = 0.4
