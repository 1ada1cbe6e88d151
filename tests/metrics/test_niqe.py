"""NIQE against BasicSR, and images that it cannot judge."""

import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.integrations import basicsr
from srkd.metrics import registry
from srkd.metrics.scores import Protocol, score
from support import textured

HR = textured(1, 200, 204)
BLURRED = imresize(imresize(HR, 0.5), 2.0)


def test_niqe_equals_basicsrs_function_within_the_border() -> None:
    found = score(BLURRED, HR, Protocol.default(2), metrics=["niqe"])
    calculate = basicsr._metric("calculate_niqe")
    expected = calculate(np.ascontiguousarray(BLURRED[..., ::-1]), crop_border=2, input_order="HWC", convert_to="y")
    assert found == {"niqe": float(np.squeeze(expected))} and found["niqe"] > 0


def test_small_and_flat_images_raise() -> None:
    protocol = Protocol.default(2)
    small = HR[:100, :195]
    with pytest.raises(SrkdError, match="NIQE needs at least two blocks of 96x96 pixels inside the border, got 191x96"):
        score(small, small, protocol, metrics=["niqe"])
    flat = np.full_like(HR, 128)
    with pytest.raises(SrkdError, match="NIQE's statistics of this image are degenerate"):
        score(flat, flat, protocol, metrics=["niqe"])


def test_without_basicsr_it_is_reported_before_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basicsr, "available", lambda: False)
    basicsr._import.cache_clear()
    with pytest.raises(SrkdError, match="BasicSR is not installed: pip install basicsr"):
        registry.check(["psnr", "niqe"])
