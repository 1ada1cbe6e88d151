"""Check the environment: each check reports what it found, whether that is a problem, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd import edition
from srkd.errors import SrkdError
from srkd.files.cache import configured_cache
from srkd.machine import busy, cores, load_average, processor_and_threads, threads
from srkd.networks import zoo
from srkd.training.precision import bf16_is_fast, cpu_flags
from srkd.version import __version__

if TYPE_CHECKING:
    import torch

COLUMNS = ["check", "found", "state", "what to do"]
_FEATURES = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "VNNI": "avx512_vnni|avx_vnni",
    "BF16": "avx512_bf16",
    "AMX": "amx_tile",
}
_STUDENT = {"type": "EDSR", "num_feat": 16, "num_block": 8, "upscale": 2}
_GB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """Result of a check. `state` is "ok", "note" (could be better) or "problem" (something fails)."""

    check: str
    found: str
    state: str = "ok"
    advice: str = ""

    def row(self) -> dict[str, Any]:
        return {**{k: v for k, v in asdict(self).items() if k != "advice"}, "what to do": self.advice}


def examine() -> list[Finding]:
    """Run all checks in order. A check that raises is reported as a problem; the others still run."""
    findings: list[Finding] = []
    for check in _checks():
        try:
            findings += check()
        except Exception as error:
            text = " ".join(str(error).split())
            findings.append(
                Finding(
                    check.__name__.strip("_"),
                    f"{type(error).__name__}: {text}",
                    "problem",
                    "the check itself failed; please report this bug",
                )
            )
    return findings


def _checks() -> list[Callable[[], Iterator[Finding]]]:
    """The checks of this package: srkd-upscale has neither torch nor data sets."""
    if edition.is_light():
        return [_edition, _python, _packages, _processor, _memory, _folders, _models, _first_image]
    return [_edition, _python, _packages, _basicsr, _processor, _memory, _gpu, _folders, _data, _models, _speed]


def healthy(findings: list[Finding]) -> bool:
    """Whether there are no problems; notes are allowed."""
    return not any(finding.state == "problem" for finding in findings)


def _edition() -> Iterator[Finding]:
    """Which of the two packages runs, and whether the other one is installed too."""
    own = edition.name()
    contents = "upscaling without torch" if edition.is_light() else "the full package"
    yield Finding(own, f"{__version__}, {contents}")
    other = edition.FULL if edition.is_light() else edition.LIGHT
    try:
        version = importlib.metadata.version(other)
    except importlib.metadata.PackageNotFoundError:
        return
    yield Finding(other, f"{version} is installed too, with files of its own")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    known = (3, 10) <= sys.version_info[:2] <= (3, 12)
    yield Finding("Python", version) if known else Finding("Python", version, "note", "srkd is tested on 3.10 to 3.12")


def _packages() -> Iterator[Finding]:
    """The requirements in setup.cfg, and each extra."""
    try:
        required = importlib.metadata.requires(edition.name()) or []
    except importlib.metadata.PackageNotFoundError:
        found, advice = f"{edition.name()} is not installed", "pip install --editable . in the checkout"
        yield Finding("packages", found, "problem", advice)
        return
    extras: dict[str, list[str]] = {}
    for line in required:
        marker = re.search(r"extra == ['\"](\w+)", line)
        extra = marker[1] if marker else ""
        if _is_for_this_python(line, extra):
            extras.setdefault(extra, []).append(line.partition(";")[0].strip())
    yield from map(_package, extras.pop("", []))
    for extra, lines in extras.items():
        missing = [finding.check for finding in map(_package, lines) if finding.state != "ok"]
        if missing:
            yield Finding(
                f"extra {extra}", f"missing: {', '.join(missing)}", "note", f"pip install '{edition.name()}[{extra}]'"
            )
        else:
            yield Finding(f"extra {extra}", "installed")


def _is_for_this_python(line: str, extra: str) -> bool:
    """Whether a requirement applies here: some are for certain versions of Python only."""
    from packaging.requirements import Requirement

    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": extra})


def _package(line: str) -> Finding:
    """Whether a package is installed in a version that meets a requirement such as `name[extra]>=1,<2`."""
    from packaging.requirements import Requirement

    needed = Requirement(line)
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(needed.name, "not installed", "problem", f"pip install '{line}'")
    if not needed.specifier.contains(version, prereleases=True):
        found = f"{version}, but {needed.specifier} is needed"
        return Finding(needed.name, found, "problem", f"pip install '{line}'")
    return Finding(needed.name, version)


def _basicsr() -> Iterator[Finding]:
    from srkd.integrations import basicsr

    if not basicsr.available():
        return
    try:
        yield Finding("BasicSR", f"imports, with {len(basicsr.network_names())} networks")
    except SrkdError as error:
        yield Finding("BasicSR", str(error), "problem", "pip install -c constraints.txt basicsr==1.4.2")


def _processor() -> Iterator[Finding]:
    yield Finding("processor", _machine())
    found = [name for name, flag in _FEATURES.items() if re.search(rf"\b({flag})\b", cpu_flags())]
    slow = not edition.is_light() and not bf16_is_fast("cpu")
    advice = "nothing: bfloat16 is not faster here, so precision: auto trains in fp32" if slow else ""
    yield Finding("vector units", ", ".join(found) or "none known", "note" if slow else "ok", advice)
    available, used, load = cores(), threads(), load_average()
    if used < available:
        yield Finding("threads", f"{used} of {available} cores", "note", "unset OMP_NUM_THREADS, or set it higher")
    else:
        yield Finding("threads", f"{used} of {available} cores")
    if load is None:
        return
    yield Finding(
        "load",
        f"{load:.1f} on {available} cores",
        "note" if busy() else "ok",
        "stop other programs before timing anything" if busy() else "",
    )


def _machine() -> str:
    if edition.is_light():
        return processor_and_threads()
    from srkd.inference.speed import machine

    return machine()


def _memory() -> Iterator[Finding]:
    if sys.platform != "linux":
        return
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    whole, free = (kilobytes[key] * 1024 / _GB for key in ("MemTotal", "MemAvailable"))
    low = free < 2
    yield Finding(
        "memory",
        f"{free:.1f} of {whole:.1f} GB free",
        "note" if low else "ok",
        "stop other programs, or train with smaller batches" if low else "",
    )


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            yield Finding(f"GPU {number}", f"{about.name}, {about.total_memory / _GB:.0f} GB")
    elif Path("/dev/nvidia0").exists():
        yield Finding(
            "GPU",
            "found, but torch cannot use it",
            "problem",
            "install torch with CUDA and a recent enough driver",
        )
    else:
        yield Finding("GPU", "not found: everything runs on the CPU")


def _folders() -> Iterator[Finding]:
    for title, folder, elsewhere in (
        ("cache folder", configured_cache(), "set SRKD_CACHE to another folder"),
        ("current folder", Path.cwd(), "use another output folder"),
    ):
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
        try:
            with tempfile.TemporaryFile(dir=place):
                free = shutil.disk_usage(place).free / _GB
        except OSError as error:
            yield Finding(title, f"{folder} cannot be written: {error.strerror}", "problem", elsewhere)
            continue
        low = free < 1
        yield Finding(title, f"{folder}, {free:.1f} GB free", "note" if low else "ok", "free some space" if low else "")


def _data() -> Iterator[Finding]:
    from srkd.data import manifests

    mirror = os.environ.get("SRKD_DATA")
    if mirror and not Path(mirror).is_dir():
        yield Finding(
            "SRKD_DATA", f"{mirror} is not a folder", "problem", "set it to a folder of data sets or unset it"
        )
    elif mirror:
        yield Finding("SRKD_DATA", mirror)
    else:
        yield Finding("SRKD_DATA", "not set: data sets are downloaded on first use")
    found = {name: manifests.present(name) for name in manifests.names()}
    for name, place in found.items():
        if place is not None:
            yield Finding(f"data set {name}", str(place))
    absent = [name for name, place in found.items() if place is None]
    if absent:
        yield Finding(
            "other data sets", ", ".join(absent), "ok", "srkd prepare_data NAME downloads one, or explains how"
        )


def _models() -> Iterator[Finding]:
    trained = zoo.trained()
    for scale in (2, 3, 4):
        try:
            name, found = zoo.default_or_larger(scale)
            yield Finding(f"model for x{scale}", name if found == scale else f"{name}, resized to x{scale}")
        except SrkdError:
            yield Finding(f"model for x{scale}", "no default", "note", "name one with --model: srkd zoo list")
    if not trained:
        yield Finding("zoo", "no trained models", "problem", f"install {edition.name()} again: its weights are missing")


def _first_image() -> Iterator[Finding]:
    """Open the default model, which compares it with its digest, and time it on one image."""
    import numpy as np

    from srkd.inference.model import Model

    started = time.perf_counter()
    model = Model.load("auto")
    opened = time.perf_counter()
    for _ in range(2):  # the first run of a size prepares it
        started_image = time.perf_counter()
        model(np.zeros((1, 256, 256, 3), np.uint8))
    ms = [round(1000 * seconds) for seconds in (opened - started, time.perf_counter() - started_image)]
    yield Finding("256x256 to 512x512", f"{ms[1]} ms with {model.name} in {model.engine}, opened in {ms[0]} ms")


def _speed() -> Iterator[Finding]:
    """Time the studies' student (50 thousand parameters) for about a second in each mode."""
    import torch

    from srkd import networks
    from srkd.inference.speed import SpeedMeter

    network = networks.build(_STUDENT).eval()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    meter = SpeedMeter(1.0)
    yield Finding("256x256 to 512x512", f"{meter.network(network).ms:.0f} ms with a 50 K student in fp32")
    patches = torch.rand(16, 3, 48, 48).to(memory_format=torch.channels_last)
    times = {}
    for name, half in (("fp32", False), ("bf16", True)):
        times[name] = meter.time(_step(network, patches, half)).ms
    shown = ", ".join(f"{name} {1000 / ms:.1f}" for name, ms in times.items())
    bf16_is_slower = bf16_is_fast("cpu") and times["bf16"] > 1.1 * times["fp32"] and not busy()
    yield Finding(
        "training steps a second",
        f"{shown} (16 patches of 48x48)",
        "note" if bf16_is_slower else "ok",
        "train with train.precision=fp32: bf16 is slower here" if bf16_is_slower else "",
    )


def _step(network: torch.nn.Module, patches: torch.Tensor, half: bool) -> Callable[[], None]:
    import torch

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = network(patches).float().abs().mean()
        loss.backward()

    return step
