"""Internal settings of a compression. Tests use smaller ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes are in HR pixels and times in seconds unless stated otherwise.

    Args:
        patch: side of a training patch in LR pixels.
        batch: patches per step.
        crop: sides of the training crops, larger and smaller; the smaller is used if time allows fewer than `few`
            crops of the larger.
        few: see `crop`.
        held_out: number of pixels in the held-out crops.
        teacher_share: share of the total time for the teacher's outputs.
        halving_share: share of the remaining time for the rounds of successive halving.
        halving_share_with_control: the same if a control is trained, which takes as long as the student.
        candidates: maximum number of candidates to train.
        steps: desired number of steps of a student; a candidate with fewer is replaced by a narrower one.
        shortest: minimum training time of a candidate in a round.
        final: minimum training time of the student.
        closing: time for export, measurements and report; `closing_share` of the total time is added.
        timing: time of each measurement.
    """

    patch: int = 48
    batch: int = 16
    crop: tuple[int, int] = (512, 256)
    few: int = 64
    held_out: int = 8 * 512**2
    teacher_share: float = 0.2
    halving_share: float = 0.35
    halving_share_with_control: float = 0.28
    candidates: int = 8
    steps: int = 2000
    shortest: float = 10.0
    final: float = 45.0
    closing: float = 90.0
    closing_share: float = 0.02
    timing: float = 0.4
