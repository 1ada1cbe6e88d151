"""The options of `srkd compress`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.version import __version__

SCALES = (2, 3, 4)


@dataclass(frozen=True)
class Budget:
    """Limits for the student: milliseconds for an input of size `at` (width, height), and megabytes of its file."""

    max_ms: float | None
    max_mb: float | None
    at: tuple[int, int] = (256, 256)

    def __post_init__(self) -> None:
        if self.max_ms is None and self.max_mb is None:
            raise SrkdError("a student needs a budget: give --max-ms, --max-mb or both")
        for name, value in (("max-ms", self.max_ms), ("max-mb", self.max_mb)):
            if value is not None and not 0 < value < float("inf"):
                raise SrkdError(f"--{name} must be a positive number, got {value:g}")

    def __str__(self) -> str:
        limits = [] if self.max_ms is None else [f"{self.max_ms:g} ms at {self.at[0]}x{self.at[1]}"]
        return " and ".join(limits + ([] if self.max_mb is None else [f"{self.max_mb:g} MB"]))


@dataclass(frozen=True)
class Request:
    """All options that determine the result.

    Args:
        teacher: zoo name or checkpoint, as in `srkd.load`.
        data: folders of photographs (searched recursively), or names of data sets.
        seconds: total time, from reading the images to the report.
        runtime, precision: target of the student; None selects by measurement.
        control: whether to train the chosen student without the teacher, too.

    Raises:
        SrkdError: invalid scale or time, unknown runtime, or a runtime that is not installed.
    """

    teacher: str
    data: Sequence[str]
    scale: int
    budget: Budget
    seconds: float = 3600.0
    runtime: str | None = None
    precision: str | None = None
    control: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise SrkdError(f"students are made for x2, x3 and x4, not x{self.scale}")
        if not self.seconds > 0:
            raise SrkdError(f"--time must be positive, got {self.seconds:g} seconds")
        if self.runtime is not None:
            known = backends.PRECISIONS.get(self.runtime, ("fp32",))
            backends.check(self.runtime, self.precision or known[0])
            backends.check_installed(self.runtime)
        if not self.available():
            raise SrkdError(f"no installed runtime supports {self.precision}: pip install 'srkd[deploy]'")

    def available(self) -> list[tuple[str, str]]:
        """Each (runtime, precision) to consider; int8 only on request, since its quality has to be checked."""
        precisions = (self.precision,) if self.precision else ("fp32", "bf16")
        return [backend for backend in self._installed() if backend[1] in precisions]

    def int8_backends(self) -> list[tuple[str, str]]:
        """The int8 backends, tried if no other meets the budget; none if a precision was requested."""
        return [] if self.precision else [backend for backend in self._installed() if backend[1] == "int8"]

    def _installed(self) -> list[tuple[str, str]]:
        """Installed backends; ONNX Runtime only if requested or without OpenVINO, which was always faster."""
        skip_onnxruntime = self.runtime is None and backends.installed("openvino")
        found = [backend for backend in backends.available() if self.runtime in (None, backend[0])]
        return [backend for backend in found if not (skip_onnxruntime and backend[0] == "onnxruntime")]

    def identity(self) -> dict[str, Any]:
        """The options that must not change when a folder is resumed, as plain data with absolute paths. The time may
        change."""

        def absolute(name: str) -> str:
            return str(Path(name).absolute()) if Path(name).exists() else name

        plain = {key: value for key, value in asdict(self).items() if key != "seconds"}
        plain["budget"]["at"] = list(self.budget.at)
        plain |= {"teacher": absolute(self.teacher), "data": [absolute(name) for name in self.data]}
        return {**plain, "srkd": __version__}
