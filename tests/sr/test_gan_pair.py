"""The discriminator's pass over several batches."""

import pytest
import torch

from srkd import networks
from srkd.sr.gan_pair import MultiBatchDiscriminator


@pytest.mark.parametrize("at", [[], ["body.4"]])
@pytest.mark.parametrize("spectral", [True, False])
def test_batches_give_the_outputs_of_separate_passes(spectral: bool, at: list[str]) -> None:
    spec = {"type": "SRGANDiscriminator", "num_feat": 2, "input_size": 16, "num_dense": 4, "spectral": spectral}
    torch.manual_seed(0)
    network = networks.build(spec).train()
    batches = [torch.rand(size, 3, 16, 16) for size in (2, 3)]
    if spectral:
        network.eval()  # without a power iteration in every pass
    expected = [network(images) for images in batches]
    found = MultiBatchDiscriminator(network, at)(batches)
    for (logits, compared), images, own in zip(found, batches, expected, strict=True):
        torch.testing.assert_close(logits, own)
        assert len(compared) == 1 and len(compared[0]) == len(images)


def test_joined_batches_need_one_power_iteration() -> None:
    torch.manual_seed(0)
    spec = {"type": "SRGANDiscriminator", "num_feat": 2, "input_size": 16, "num_dense": 4, "spectral": True}
    several, one = (networks.build(spec).train() for _ in range(2))
    one.load_state_dict(several.state_dict())
    images = torch.rand(3, 3, 16, 16)
    MultiBatchDiscriminator(several)([images[:2], images[2:]])
    one(images)
    torch.testing.assert_close(several.state_dict(), one.state_dict())
