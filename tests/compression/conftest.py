"""Fixtures for compressions of a few seconds: a tiny teacher, few images, tiny candidates on torch only."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from srkd import networks
from srkd.compression import engines, ladder, subprocess_timing, training
from srkd.compression.phases import Phases
from srkd.compression.request import Budget, Request
from srkd.compression.settings import Settings
from srkd.images.read import ImageData, write_image
from srkd.inference import backends
from srkd.training.checkpoint import save_weights
from support import textured


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained EDSR of 6 features."""
    spec = {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 2}
    path = tmp_path_factory.mktemp("teachers") / "teacher.safetensors"
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    return str(path)


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of six images, two of them in a subfolder."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(6):
        write_image(root / ("more" if number > 3 else "") / f"p{number}.png", ImageData(textured(number, 60, 70)))
    return str(root)


@pytest.fixture(scope="module")
def small() -> Iterator[Settings]:
    """Four lines of tiny candidates, torch the only runtime, no process started, and a stopped clock, so that
    plans do not depend on the machine's load; returns the settings for them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _shrink(monkeypatch)
        yield Settings(
            patch=8,
            batch=2,
            crop=(48, 32),
            few=2,
            held_out=2 * 48**2,
            candidates=4,
            steps=1,
            shortest=0.01,
            final=0.02,
            closing=0.0,
            timing=0.001,
        )


def _shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    edsr, srresnet = ("EDSR", "num_block", (1, 2), {"img_range": 1.0}), ("MSRResNet", "num_block", (1,), {})
    monkeypatch.setattr(ladder, "WIDTHS", (4, 6))
    monkeypatch.setattr(ladder, "FAMILIES", {"EDSR": edsr, "SRResNet": srresnet})
    monkeypatch.setattr(ladder, "_PRUNED", ((0.5,), (1.0,)))
    monkeypatch.setattr(backends, "installed", lambda runtime: runtime == "torch")
    monkeypatch.setattr(subprocess_timing, "measure", _in_this_process)
    monkeypatch.setattr(Phases, "spent", 0.0)
    monkeypatch.setattr(training, "steps_per_second", lambda *_: 60.0)
    monkeypatch.setattr(training, "pace", lambda run: 60.0)


def _in_this_process(model: str, backend: engines.Backend, at: tuple[int, int], seconds: float) -> dict[str, float]:
    return {"ms": engines.latency(engines.open_delivered(Path(model), backend), at, seconds), "peak MB": 0.0}


@pytest.fixture(scope="session")
def ask(teacher: str, six: str) -> Callable[..., Request]:
    """A factory of requests: 1 s at 16x16 on torch in fp32, with any other options."""

    def make(max_ms: float | None = 1000.0, max_mb: float | None = None, scale: int = 2, **changes: Any) -> Request:
        options = {"seconds": 0.8, "runtime": "torch", "precision": "fp32", **changes}
        return Request(teacher, [six], scale, Budget(max_ms, max_mb, (16, 16)), **options)

    return make
