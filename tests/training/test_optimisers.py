import pytest
import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.training.optimisers import make_optimiser, names
from srkd.training.recipe import Optimiser


@pytest.mark.parametrize("name", names())
def test_supported_optimisers_train(name: str) -> None:
    layer = nn.Conv2d(1, 1, 3)
    before = layer.weight.detach().clone()
    optimiser = make_optimiser(layer.parameters(), Optimiser(type=name, lr=1e-2))
    for _ in range(2):  # SOAP's first step changes nothing
        layer(torch.ones(1, 1, 3, 3)).square().sum().backward()
        optimiser.step()
    assert not torch.equal(before, layer.weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "LBFGS"}, "optimiser LBFGS: needs a closure .*; supported: ASGD, .*Adam"),
        ({"type": "SparseAdam"}, "optimiser SparseAdam: needs sparse gradients"),
        ({"type": "Adam", "betas": [0.9]}, r"optimiser Adam: .*, with \{betas: \[0\.9\]\}"),
        ({"type": "Adam", "betas": "high"}, "optimiser Adam: .*betas: 'high'"),
        ({"type": "AdamW", "weight_decay": [1, 2]}, r"optimiser AdamW: .*weight_decay: \[1, 2\]"),
        ({"type": "SGD", "momentum": -1}, "optimiser SGD: Invalid momentum"),
        ({"type": "Muon"}, "optimiser Muon: updates matrices only"),
    ],
)
def test_unsupported_optimisers_and_options_raise_a_one_line_error(spec: dict[str, object], message: str) -> None:
    if not hasattr(torch.optim, str(spec["type"])):
        pytest.skip(f"this torch has no {spec['type']}")
    with pytest.raises(SrkdError, match=message) as error:
        make_optimiser(nn.Conv2d(1, 1, 3).parameters(), Optimiser(**spec))
    assert "\n" not in str(error.value)
