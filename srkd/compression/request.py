"""The options of `srkd compress`: the user's, and internal ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srkd.arguments import BOOLEAN, INTEGER, NUMBER, STRING, check, printable_value
from srkd.errors import SrkdError
from srkd.inference import autotune, backends
from srkd.inference.autotune import Backend, BackendSpec
from srkd.networks import rungs
from srkd.version import __version__

SCALES = (2, 3, 4)
RUNTIMES = ("torch", "openvino", "onnxruntime")  # students are delivered for these
_NEWER = ("imitate", "like", "networks")


def absolute(name: str) -> str:
    """A file or folder by its absolute path; the name of anything else as it is."""
    return str(Path(name).absolute()) if Path(name).exists() else name


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
            if value is not None and not (NUMBER.fits(value) and 0 < value < float("inf")):
                raise SrkdError(f"--{name} must be a positive number, got {printable_value(value)}")

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
        imitate: whether the student learns the teacher's outputs on degraded images, and is judged by its distance to
            them: for teachers such as Real-ESRGAN, which restore more than they enlarge.
        like: a folder of JPEG files of the kind that the student is for; implies `imitate`. None: degradations of all
            kinds.
        networks: the networks and sizes to try, such as `ETDS` and `PlainUSR 32x2`; empty: those that are offered.

    Raises:
        SrkdError: an option of another type, invalid scale or time, unknown runtime, a runtime that is not installed,
            or as `rungs.lines`.
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
    imitate: bool = False
    like: str | None = None
    networks: Sequence[str] = ()

    def __post_init__(self) -> None:
        check(INTEGER, scale=self.scale, seed=self.seed)
        check(BOOLEAN, control=self.control, imitate=self.imitate)
        check(STRING, optional=True, runtime=self.runtime, precision=self.precision, like=self.like)
        if self.like is not None:
            object.__setattr__(self, "imitate", True)
        if self.scale not in SCALES:
            raise SrkdError(f"students are made for x2, x3 and x4, not x{self.scale}")
        if not self.seconds > 0:
            raise SrkdError(f"--time must be positive, got {self.seconds:g} seconds")
        rungs.lines(self.networks)
        if self.runtime is not None:
            BackendSpec(self.runtime, self.precision)
            if self.runtime not in RUNTIMES:
                raise SrkdError(
                    f"students are made for {', '.join(RUNTIMES)}, not {self.runtime}: export the student afterwards, "
                    f"with srkd export student.safetensors --to {self.runtime}"
                )
            backends.check_installed(self.runtime)
        if not self.available():
            raise SrkdError(f"no installed runtime supports {self.precision}: pip install 'srkd[deploy]'")

    def available(self) -> list[Backend]:
        """Each (runtime, precision) to consider; int8 only on request, since its quality has to be checked."""
        found = autotune.candidates(self.runtime, self.precision)
        return [backend for backend in found if self.precision or backend[1] != "int8"]

    def int8_backends(self) -> list[Backend]:
        """The int8 backends, tried if no other meets the budget; none if a precision was requested."""
        return [] if self.precision else autotune.candidates(self.runtime, "int8")

    def identity(self) -> dict[str, Any]:
        """The options that must not change when a folder is resumed, as plain data with absolute paths. The time may
        change."""
        # Options that are not used are left out: results name what was asked for.
        plain = {key: value for key, value in asdict(self).items() if key != "seconds" and (value or key not in _NEWER)}
        if self.networks:
            plain["networks"] = list(self.networks)
        if self.like is not None:
            plain["like"] = absolute(self.like)
        plain["budget"]["at"] = list(self.budget.at)
        plain |= {"teacher": absolute(self.teacher), "data": [absolute(name) for name in self.data]}
        return {**plain, "srkd": __version__}


@dataclass(frozen=True)
class Settings:
    """Internal settings; tests use smaller ones. Sizes are in HR pixels and times in seconds unless stated otherwise.

    Args:
        patch: side of a training patch in LR pixels.
        batch: patches per step.
        crop: sides of the training crops, larger and smaller; the smaller is used if time allows fewer than `few`
            crops of the larger.
        few: see `crop`.
        held_out: number of pixels in the held-out crops.
        teacher_share: share of the total time for the teacher's outputs; `bank_share` if they are imitated, for at most
            `patches` patches, whose sides are `bank_margin` LR pixels longer than those of training patches.
        halving_share: share of the remaining time for the rounds of successive halving.
        halving_share_with_control: the same if a control is trained, which takes as long as the student.
        candidates: maximum number of candidates to train.
        steps: desired number of steps of a student; a candidate with fewer is replaced by a narrower one.
        shortest: minimum training time of a candidate in a round.
        final: minimum training time of the student.
        closing: time for export, measurements and report; `closing_share` of the total time is added.
        timing: time of each measurement.
        measuring_share: share of the total time for the measurements before training; when it is used up, candidates
            that were not measured are estimated from those that were.
    """

    patch: int = 48
    batch: int = 16
    crop: tuple[int, int] = (512, 256)
    few: int = 64
    held_out: int = 8 * 512**2
    teacher_share: float = 0.2
    bank_share: float = 0.35
    patches: int = 20_000
    bank_margin: int = 16
    halving_share: float = 0.35
    halving_share_with_control: float = 0.28
    candidates: int = 8
    steps: int = 2000
    shortest: float = 10.0
    final: float = 45.0
    closing: float = 90.0
    closing_share: float = 0.02
    timing: float = 0.4
    measuring_share: float = 0.15
