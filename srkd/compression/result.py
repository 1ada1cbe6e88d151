"""The result of `srkd.compress`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from srkd.inference.model import Model


@dataclass(frozen=True)
class Compressed:
    """A finished compression: its folder and the content of its results.json.

    `results`: "rows" (bicubic, teacher, control, student), "budget", "missed" (why the student exceeds its budget, or
    ""), "faster" (speed-up over the teacher), "candidates" (all training runs), "refused" (candidates that do not fit,
    and why), "files" (exported files and their verification), "steps", "seconds" and the other data of the report.
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
        """Whether the finished student meets the budget, by the final measurement."""
        return not self.results["missed"]
