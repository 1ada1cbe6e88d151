"""Fixtures for compressions of a few seconds: a tiny teacher, few images, tiny candidates on torch only."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from srkd import networks
from srkd.compression import candidates, finish, measure, rounds
from srkd.compression.job import Phases
from srkd.compression.request import Budget, Request, Settings
from srkd.inference import backends
from srkd.networks import registry
from srkd.networks.base import Ladder
from srkd.training.checkpoint import save_weights


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained EDSR of 6 features."""
    spec = {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 2}
    path = tmp_path_factory.mktemp("teachers") / "teacher.safetensors"
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    return str(path)


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
            measuring_share=math.inf,
        )


def _shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    edsr = Ladder("EDSR", widths=(4, 6), depths=(1, 2), options={"img_range": 1.0})
    srresnet = Ladder("SRResNet", widths=(4, 6), depths=(1,))
    monkeypatch.setattr(registry, "ladders", lambda: [("EDSR", edsr), ("MSRResNet", srresnet)])
    monkeypatch.setattr(candidates, "_PRUNED", ((0.5,), (1.0,)))
    monkeypatch.setattr(backends, "installed", lambda runtime: runtime == "torch")
    monkeypatch.setattr(finish, "in_subprocess", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(Phases, "spent", 0.0)
    monkeypatch.setattr(measure, "steps_per_second", lambda *_: 60.0)
    monkeypatch.setattr(rounds, "pace", lambda run: 60.0)


@pytest.fixture(scope="session")
def ask(teacher: str, six: str) -> Callable[..., Request]:
    """A factory of requests: 1 s at 16x16 on torch in fp32, with any other options."""

    def make(max_ms: float | None = 1000.0, max_mb: float | None = None, scale: int = 2, **changes: Any) -> Request:
        options = {"seconds": 0.8, "runtime": "torch", "precision": "fp32", **changes}
        return Request(teacher, [six], scale, Budget(max_ms, max_mb, (16, 16)), **options)

    return make
