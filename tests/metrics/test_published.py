import math

import pytest

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.cost import multiply_adds, parameters
from srkd.inference.graph import fuse
from srkd.metrics import published

WITH_STRUCTURE = [
    (name, scale) for name, known in published.entries().items() if known.network for scale in known.scales
]


@pytest.mark.parametrize("name", published.entries())
def test_an_entry_has_a_source_and_possible_scores(name: str) -> None:
    known = published.entry(name)
    assert known.source and known.scales
    assert name == "bicubic" or (known.reference and known.year)
    for scale, found in known.scales.items():
        assert found.parameters is None or isinstance(found.parameters, int)
        assert found.multiply_adds is None or isinstance(found.multiply_adds, float)  # YAML's 1e9 is text
        for scores in found.scores.values():
            assert {"psnr"} <= set(scores) <= {"psnr", "ssim"}
            assert 20 < scores["psnr"] < 40 and 0.6 < scores.get("ssim", 0.7) < 0.97, scale


@pytest.mark.parametrize(("name", "scale"), WITH_STRUCTURE)
def test_the_structure_has_the_published_costs(name: str, scale: int) -> None:
    """Of the form for inference, except EDSR's, which merges two convolutions. The authors' ETDS has outputs in
    multiples of four and ends in a 1x1 convolution that clamps them, as srkd's levels do."""
    known, kind = published.entry(name).at(scale), dict(published.entry(name).network or {})
    network = networks.build(kind, scale).eval()
    network = network if kind["type"] == "EDSR" else fuse(network)
    more = 0
    if kind["type"] == "ETDS":
        outputs = math.ceil(3 * scale**2 / 4) * 4
        more = outputs * (outputs + 1) + (outputs - 3 * scale**2) * (9 * kind["num_feat"] + 1)
    pixels = 1280 * 720 / scale**2
    assert known.parameters is not None and known.multiply_adds is not None
    assert math.isclose(parameters(network) + more, known.parameters, rel_tol=0.001)
    assert math.isclose(multiply_adds(network, scale) + more * pixels, known.multiply_adds, rel_tol=0.01)


def test_scores_never_rise_with_the_scale() -> None:
    for known in published.entries().values():
        for smaller, larger in ((2, 3), (3, 4)):
            for name, scores in known.scores(larger).items():
                for metric, value in scores.items():
                    assert value < known.scores(smaller).get(name, {}).get(metric, math.inf), (known.model, name)


def test_costs_and_scores_are_of_one_scale() -> None:
    assert published.row("ETDS-M", 4) == {
        "model": "ETDS-M",
        "parameters": 72610,
        "Set5": "31.41/.8843",
        "Set14": "28.13/.7705",
        "B100": "27.27/.7265",
        "Urban100": "25.20/.7544",
    }
    assert published.row("SRResNet", 2) == {"model": "SRResNet"}
    with pytest.raises(SrkdError, match='unknown published network "ETDS-N"'):
        published.entry("ETDS-N")
