"""The teacher of PISR: Lee et al., "Learning with Privileged Information for Efficient Image SR", ECCV 2020."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from srkd.networks.base import Recognised, State
from srkd.networks.edsr import EDSR
from srkd.networks.registry import register


@register("PrivilegedEDSR")
class PrivilegedEDSR(EDSR):
    """An EDSR with an encoder that maps the HR image to an image of LR size; teacher outputs are computed from HR.

    The encoder preserves details that LR has lost, so that the features after it guide a student of the same shape.
    `forward` is the EDSR alone, on LR images; its parameters have EDSR's names, so that a student can be initialised
    from it (`path.pretrain_network_g` with `strict_load_g: false`).

    The encoder is the official code's (cvlab-yonsei/PISR, models/encoder.py, lcscc): two convolutions of 5x5, the
    second with the scale as its stride, and two of 3x3, with PReLU in between.

    Args:
        num_wide, num_narrow: channels of the encoder's 5x5 convolutions and of its first 3x3 one.
        edsr: EDSR's options.
    """

    def __init__(self, num_wide: int = 56, num_narrow: int = 12, **edsr: Any) -> None:
        super().__init__(**edsr)
        num_in_ch, num_out_ch = self.conv_first.in_channels, self.conv_last.out_channels
        upscale = edsr.get("upscale", self.Options.upscale)
        self.encoder = nn.Sequential(
            nn.Conv2d(num_out_ch, num_wide, 5, 1, 2),
            nn.PReLU(),
            nn.Conv2d(num_wide, num_wide, 5, upscale, 2),
            nn.PReLU(),
            nn.Conv2d(num_wide, num_narrow, 3, 1, 1),
            nn.PReLU(),
            nn.Conv2d(num_narrow, num_in_ch, 3, 1, 1),
        )

    def forward(self, x: Tensor, encode: bool = False) -> Tensor:
        """As `EDSR`; with `encode`, `x` is the HR image, of which the encoder makes the LR image first."""
        return super().forward(self.encoder(x) if encode else x)

    def privileged(self, batch: Mapping[str, Any]) -> Tensor:
        """The output for a batch's `hr` (N, 3, H, W) in [0, 1], H and W multiples of the scale; of the same shape."""
        # In one call, whose hooks give the encoder's convolutions their kernels too (`train.reparameterise`).
        output: Tensor = self(batch["hr"], encode=True)
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """None: its only checkpoints are srkd's, which describe themselves."""
        return None
