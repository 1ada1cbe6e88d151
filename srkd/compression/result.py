"""What `srkd.compress` returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from srkd.inference.model import Model


@dataclass(frozen=True)
class Compressed:
    """A finished compression: its folder, and what results.json there holds.

    `results`: "rows" (bicubic, teacher, control, student), "budget", "missed" (why the student is beyond its budget, or
    ""), "faster" (times, than the teacher), "candidates" (every run that was made), "refused" (what does not fit, and
    why), "files" (the exports and how they were verified), "steps", "seconds" and what else the report shows.
    """

    folder: Path
    results: dict[str, Any]

    @cached_property
    def student(self) -> Model:
        """The student, ready to upscale."""
        return Model.load(self.folder / "student.safetensors")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table of the report."""
        return list(self.results["rows"])

    @property
    def within_budget(self) -> bool:
        """Whether the student, measured afresh, takes no more than it may."""
        return not self.results["missed"]
