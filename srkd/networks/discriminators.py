"""Discriminators of SRGAN: the published one, and BasicSR's VGG-style one. One logit per image."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from srkd.errors import SrkdError
from srkd.networks.registry import register


class _FixedSize(nn.Module):
    """A network with a dense last layer, which takes images of one size only."""

    input_size: int

    def _check(self, x: Tensor) -> None:
        side = self.input_size
        if tuple(x.shape[-2:]) != (side, side):
            given = "x".join(str(n) for n in x.shape[-2:])
            raise SrkdError(
                f"{type(self).__name__} takes images of {side}x{side}, got {given}: set input_size, or "
                "datasets.train.gt_size, to match"
            )


@register("SRGANDiscriminator")
class SRGANDiscriminator(_FixedSize):
    """SRGAN's discriminator as published (Ledig et al., CVPR 2017): 8 convolutions, batch norm, LeakyReLU 0.2.

    3x3 convolutions of num_feat to 8 num_feat features, every second one with stride 2, without a bias where
    batch norm follows; then 1024 dense units and one logit (the paper's sigmoid belongs to the loss).

    Args:
        num_feat: features of the first convolution, 64 in the paper.
        input_size: side of the images, a multiple of 16; 96 in the paper.
        num_dense: units of the dense layer, 1024 in the paper.
        spectral: spectral norm (Miyato et al., ICLR 2018) of every layer instead of batch norm. It bounds how fast the
            logit changes with the image, and no statistics of a batch tell real from generated images, so a small
            discriminator saturates less.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_feat: int = 64,
        input_size: int = 96,
        num_dense: int = 1024,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        if input_size < 16 or input_size % 16:
            raise ValueError(f"input_size must be a positive multiple of 16, got {input_size}")
        self.input_size = input_size
        parts: list[nn.Module] = [nn.Conv2d(num_in_ch, num_feat, 3, 1, 1), nn.LeakyReLU(0.2)]
        width = num_feat
        for number in range(1, 8):
            following = num_feat * 2 ** (number // 2)
            parts.append(nn.Conv2d(width, following, 3, 1 + number % 2, 1, bias=spectral))
            parts += [nn.LeakyReLU(0.2)] if spectral else [nn.BatchNorm2d(following), nn.LeakyReLU(0.2)]
            width = following
        self.body = nn.Sequential(*parts)
        dense = nn.Linear(width * (input_size // 16) ** 2, num_dense)
        self.head = nn.Sequential(nn.Flatten(), dense, nn.LeakyReLU(0.2), nn.Linear(num_dense, 1))
        for layer in [*self.body, *self.head] if spectral else []:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, input_size, input_size) in [0, 1] to logits (N, 1); raises SrkdError for another size."""
        self._check(x)
        output: Tensor = self.head(self.body(x))
        return output


@register("VGGStyleDiscriminator")
class VGGStyleDiscriminator(_FixedSize):
    """BasicSR's discriminator for SRGAN and ESRGAN, with its parameter names and arithmetic.

    Pairs of a 3x3 convolution and a 4x4 one of stride 2, down to 4x4; 100 dense units and one logit.

    Args:
        input_size: side of the images, 128 or 256.
    """

    def __init__(self, num_in_ch: int = 3, num_feat: int = 64, input_size: int = 128) -> None:
        super().__init__()
        if input_size not in (128, 256):
            raise ValueError(f"input_size must be 128 or 256, got {input_size}")
        self.input_size = input_size
        self.levels = 5 if input_size == 128 else 6
        width = num_in_ch
        for level in range(self.levels):
            following = num_feat * min(2**level, 8)
            self.add_module(f"conv{level}_0", nn.Conv2d(width, following, 3, 1, 1, bias=level == 0))
            if level:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(following))
            self.add_module(f"conv{level}_1", nn.Conv2d(following, following, 4, 2, 1, bias=False))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(following))
            width = following
        self.linear1 = nn.Linear(width * 4 * 4, 100)
        self.linear2 = nn.Linear(100, 1)
        self.lrelu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, input_size, input_size) in [0, 1] to logits (N, 1); raises SrkdError for another size."""
        self._check(x)
        for level in range(self.levels):
            x = self.get_submodule(f"conv{level}_0")(x)
            x = self.lrelu(self.get_submodule(f"bn{level}_0")(x) if level else x)
            x = self.lrelu(self.get_submodule(f"bn{level}_1")(self.get_submodule(f"conv{level}_1")(x)))
        output: Tensor = self.linear2(self.lrelu(self.linear1(x.flatten(1))))
        return output
