"""What `srkd compress` is asked for."""

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
    """What the student may take: milliseconds for an input of `at` (width, height), and megabytes of its file."""

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
    """Everything that decides what comes out.

    Args:
        teacher: zoo name or checkpoint, as `srkd.load` takes it.
        data: folders of photographs (searched with their sub-folders), or data sets by name.
        seconds: for all of it, from reading the images to the report.
        runtime, precision: where the student shall run; None leaves the choice to measurements.
        control: whether the chosen student is also trained without the teacher.

    Raises:
        SrkdError: a scale or time that cannot be, a runtime that there is not or that is not installed.
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
            raise SrkdError(f"no runtime that is installed here has {self.precision}: pip install 'srkd[deploy]'")

    def available(self) -> list[tuple[str, str]]:
        """Each (runtime, precision) that may be taken; int8 only if asked for, since it has to pass its gate."""
        precisions = (self.precision,) if self.precision else ("fp32", "bf16")
        return [backend for backend in self._ways_here() if backend[1] in precisions]

    def int8_ways(self) -> list[tuple[str, str]]:
        """Those to try where nothing else meets the budget; none where a precision was asked for."""
        return [] if self.precision else [backend for backend in self._ways_here() if backend[1] == "int8"]

    def _ways_here(self) -> list[tuple[str, str]]:
        """ONNX Runtime only where it is named or OpenVINO, which was faster wherever both were tried, is not here."""
        spare = self.runtime is None and backends.installed("openvino")
        found = [backend for backend in backends.available() if self.runtime in (None, backend[0])]
        return [backend for backend in found if not (spare and backend[0] == "onnxruntime")]

    def identity(self) -> dict[str, Any]:
        """What a folder is begun with and must be gone on with, as plain data; paths are absolute. More time may be
        given later."""

        def whole(name: str) -> str:
            return str(Path(name).absolute()) if Path(name).exists() else name

        plain = {key: value for key, value in asdict(self).items() if key != "seconds"}
        plain["budget"]["at"] = list(self.budget.at)
        plain |= {"teacher": whole(self.teacher), "data": [whole(name) for name in self.data]}
        return {**plain, "srkd": __version__}
