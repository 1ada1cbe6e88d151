import math

import pytest

from srkd import networks
from srkd.benchmarks.ntire import CHALLENGES, Costs, score
from srkd.inference.cost import multiply_adds, parameters


@pytest.mark.parametrize("year", CHALLENGES)
def test_the_baseline_has_the_published_score(year: int) -> None:
    challenge = CHALLENGES[year]
    assert round(score(challenge.costs, challenge), 4) == 7.3891


def test_each_cost_has_its_weight() -> None:
    challenge, base = CHALLENGES[2025], CHALLENGES[2025].costs
    free = Costs(0, 0, 0)
    assert score(free, challenge) == pytest.approx(1)
    slow = Costs(base.ms, 0, 0)
    assert score(slow, challenge) == pytest.approx(0.7 * math.exp(2) + 0.3)
    half = Costs(base.ms / 2, base.multiply_adds / 2, base.parameters / 2)
    assert score(half, challenge) == pytest.approx(math.e)
    assert score(Costs(3, 2, 1), challenge, Costs(3, 2, 1)) == pytest.approx(math.exp(2))


def test_the_baselines_structure_has_its_published_costs() -> None:
    """SPAN: 0.151 M parameters, 9.83 G multiply-adds for an input of 256x256."""
    challenge = CHALLENGES[2026]
    assert challenge.network is not None
    network = networks.build(challenge.network, 4).eval()
    assert round(parameters(network) / 1e6, 3) == challenge.costs.parameters
    assert round(multiply_adds(network, 4, 1024, 1024) / 1e9, 2) == challenge.costs.multiply_adds
