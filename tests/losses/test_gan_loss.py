"""Adversarial losses against float64 formulas and against BasicSR's; the direction of their gradients."""

import pytest
import torch
from torch import Tensor

import srkd.losses
from srkd.errors import SrkdError
from srkd.integrations import basicsr

KINDS = ["vanilla", "lsgan", "hinge", "ragan"]


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    return torch.randn(5, 1, generator=rng) * 3, torch.randn(5, 1, generator=rng) * 3


def reference(kind: str, real: Tensor, fake: Tensor) -> tuple[float, float]:
    """The generator's and the discriminator's loss with labels 1 and 0, from the papers, in float64."""
    r, f = real.double(), fake.double()

    def p(z: Tensor) -> Tensor:
        return 1 / (1 + (-z).exp())

    if kind == "vanilla":
        pair = -p(f).log().mean(), -p(r).log().mean() - (1 - p(f)).log().mean()
    elif kind == "lsgan":
        pair = ((f - 1) ** 2).mean(), ((r - 1) ** 2).mean() + (f**2).mean()
    elif kind == "hinge":
        pair = -f.mean(), (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean()
    else:
        a, b = p(r - f.mean()), p(f - r.mean())
        pair = (-(1 - a).log().mean() - b.log().mean()) / 2, (-a.log().mean() - (1 - b).log().mean()) / 2
    return pair[0].item(), pair[1].item()


@pytest.mark.parametrize("kind", KINDS)
def test_values_match_the_papers(kind: str, logits: tuple[Tensor, Tensor]) -> None:
    real, fake = logits
    generator, discriminator = reference(kind, real, fake)
    assert srkd.losses.build("GANLoss", gan_type=kind)(fake, real).item() == pytest.approx(generator, rel=1e-5)
    ours = srkd.losses.build("GANLossD", gan_type=kind)([real, fake])
    assert ours.item() == pytest.approx(discriminator, rel=1e-5)


@pytest.mark.parametrize("kind", ["vanilla", "lsgan"])
def test_relativistic_losses_and_gradients_match_basicsrs_esrgan_model(
    kind: str, logits: tuple[Tensor, Tensor]
) -> None:
    from importlib import import_module

    basicsr.package()
    theirs = import_module("basicsr.losses.gan_loss").GANLoss(kind)
    real, fake = (z.clone().requires_grad_() for z in logits)
    generator = srkd.losses.build("GANLoss", gan_type=kind, relativistic=True)(fake, real)
    known = real.detach()
    expected = (theirs(known - fake.mean(), False) + theirs(fake - known.mean(), True)) / 2
    torch.testing.assert_close(generator, expected)
    torch.testing.assert_close(torch.autograd.grad(generator, fake), torch.autograd.grad(expected, fake))
    # As in ESRGANModel.optimize_parameters: a backward pass for each, the other side's mean detached.
    discriminator = srkd.losses.build("GANLossD", gan_type=kind, relativistic=True)([real, fake])
    of_real = theirs(real - fake.detach().mean(), True, is_disc=True) * 0.5
    of_fake = theirs(fake - real.detach().mean(), False, is_disc=True) * 0.5
    torch.testing.assert_close(discriminator, of_real + of_fake)
    expected = torch.autograd.grad(of_real, real) + torch.autograd.grad(of_fake, fake)
    torch.testing.assert_close(torch.autograd.grad(discriminator, (real, fake)), expected)


def test_a_relativistic_hinge_raises() -> None:
    with pytest.raises(SrkdError, match="relativistic needs gan_type vanilla or lsgan"):
        srkd.losses.build("GANLoss", gan_type="hinge", relativistic=True)


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_values_match_basicsr_with_its_labels(kind: str, logits: tuple[Tensor, Tensor]) -> None:
    from importlib import import_module

    basicsr.package()
    labels = {"real_label_val": 0.9, "fake_label_val": 0.1}
    theirs = import_module("basicsr.losses.gan_loss").GANLoss(kind, **labels)
    real, fake = logits
    ours = srkd.losses.build("GANLoss", gan_type=kind, **labels)(fake)
    torch.testing.assert_close(ours, theirs(fake, True, is_disc=False))
    ours = srkd.losses.build("GANLossD", gan_type=kind, **labels)([real, fake])
    torch.testing.assert_close(ours, theirs(real, True, is_disc=True) + theirs(fake, False, is_disc=True))


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_discriminator_move_the_logits_in_opposite_directions(kind: str) -> None:
    real, fake = torch.zeros(4, 1, requires_grad=True), torch.zeros(4, 1, requires_grad=True)
    srkd.losses.build("GANLossD", gan_type=kind)([real, fake]).backward()
    assert (fake.grad >= 0).all() and fake.grad.sum() + (kind == "lsgan") > 0 > real.grad.max()
    fake.grad = None
    srkd.losses.build("GANLoss", gan_type=kind)(fake, real).backward()
    assert fake.grad.max() < 0


@pytest.mark.parametrize("kind", KINDS)
def test_real_scores_lie_between_0_and_1_and_follow_the_logits(kind: str) -> None:
    loss = srkd.losses.build("GANLossD", gan_type=kind)
    real, fake = loss.real_scores(torch.full((3, 1), 30.0), torch.full((3, 1), -30.0))
    assert real == pytest.approx(1, abs=1e-6) and fake == pytest.approx(0, abs=1e-6)
    same = loss.real_scores(torch.full((3, 1), 0.5), torch.full((3, 1), 0.5))
    assert same[0] == same[1]


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_is_the_share_classified_correctly(kind: str) -> None:
    loss = srkd.losses.build("GANLossD", gan_type=kind)
    high, low = torch.full((4, 1), 5.0), torch.full((4, 1), -5.0)
    assert loss.accuracy(high, low) == 1 and loss.accuracy(low, high) == 0
    mixed = torch.cat([high[:1], low[:3]])
    assert loss.accuracy(mixed, low) == pytest.approx(5 / 8)


def test_invalid_inputs_raise() -> None:
    with pytest.raises(SrkdError, match="gan_type must be one of vanilla, lsgan, hinge, ragan, got 'wgan'"):
        srkd.losses.build("GANLoss", gan_type="wgan")
    with pytest.raises(SrkdError, match="logits of real images, which were not given"):
        srkd.losses.build("GANLoss", gan_type="ragan")(torch.zeros(2, 1))
    with pytest.raises(SrkdError, match="real and of fake images, got a list of 3"):
        srkd.losses.build("GANLossD").prepare([torch.zeros(2, 1)] * 3)
