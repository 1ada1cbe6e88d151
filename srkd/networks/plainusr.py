"""PlainUSR: Wang et al., "PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution", ACCV 2024."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.registry import register
from srkd.networks.tail import ShuffleLast


@register("PlainUSR")
class PlainUSR(SRNetwork):
    """Blocks on ever fewer and then more of the channels (a U over channels), with attention by local importance.

    This is the authors' inference form, whose names it has; their training form's branches are linear, as those of
    `train.reparameterise`. Published sizes: U and T are 16 and 32 features at 2 levels, S 32 at 3 levels; (num_feat,
    mid_feat, attn_feat) of M are (48, [32, 16], 8), of the base (64, [48, 32], 16), of L (80, [64, 48], 16) with
    num_conv 3.

    Args:
        num_feat: channels of the outermost blocks; three more carry the image from the first to the last convolution.
        num_level: blocks from the outermost to the innermost.
        mid_feat: channels of the blocks further inside; half of `num_feat`, a quarter, ... by default.
        attn_feat: channels of the attention; 0 for a 3x3 convolution as attention, in the innermost block only. By
            default 4, and 0 with 2 levels.
        num_conv: convolutions of a block.
        upscale: any factor.
    """

    ladder = Ladder("PlainUSR", widths=(16, 24, 32, 48, 64), depth="num_level", depths=(2, 3), offered=False)

    def __init__(
        self,
        num_feat: int = 32,
        num_level: int = 3,
        mid_feat: Sequence[int] | None = None,
        attn_feat: int | None = None,
        num_conv: int = 2,
        upscale: int = 2,
    ) -> None:
        super().__init__()
        if mid_feat is None:
            mid_feat = [num_feat >> level for level in range(1, num_level)]
        if attn_feat is None:
            attn_feat = 4 if num_level > 2 else 0
        widths = [num_feat, *mid_feat]
        if num_level < 2 or len(widths) != num_level or widths != sorted(widths, reverse=True) or widths[-1] < 1:
            raise ValueError(f"mid_feat must be {num_level - 1} widths from {num_feat} down to 1, got {list(mid_feat)}")
        self.minimum = 7 if attn_feat else 1  # the attention's window
        outside = widths[:-1]
        self.head = nn.Conv2d(3, num_feat + 3, 3, 1, 1)
        for number, width in enumerate(outside, 1):
            setattr(self, f"block{number}", _block(width, num_conv, attn_feat, outer=True))
        self.blockm = _block(widths[-1], num_conv, attn_feat, outer=False)
        for number, width in enumerate(reversed(outside), len(outside) + 1):
            setattr(self, f"block{number}", _block(width, num_conv, attn_feat, outer=True))
        self.tail = nn.Sequential(nn.Conv2d(num_feat + 3, 3 * upscale**2, 3, 1, 1), nn.PixelShuffle(upscale))
        self._depth = len(outside)
        self._carry_the_image(upscale**2)

    def _carry_the_image(self, cells: int) -> None:
        last = self.tail[0]
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            for colour in range(3):
                self.head.weight[colour - 3, colour, 1, 1] += 1
                last.weight[colour * cells : (colour + 1) * cells, colour - 3, 1, 1] += 1

    def features(self, x: Tensor) -> Tensor:
        """The input of the last convolution."""
        x = self.head(x)
        names = [*range(1, self._depth + 1), "m", *range(self._depth + 1, 2 * self._depth + 1)]
        for name in names:
            block = self.get_submodule(f"block{name}")
            width = block.body[0].in_channels  # type: ignore[index, union-attr]
            x = torch.cat([block(x[:, :width]), x[:, width:]], 1)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        output: Tensor = self.tail(self.features(x))
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """The authors' inference form ("Rep")."""
        last = last_number(r"block(\d+)\.", state)
        if "blockm.body.0.weight" not in state or last < 2 or last % 2 or "tail.0.weight" not in state:
            return None
        blocks = [f"block{number}" for number in (*range(1, last // 2 + 1), "m")]
        if any(f"{block}.body.0.weight" not in state for block in blocks):
            return None
        widths = [len(state[f"{block}.body.0.weight"]) for block in blocks]
        num_conv = sum(state.get(f"blockm.body.{2 * i}.weight") is not None for i in range(4))
        attention = state.get(f"blockm.body.{2 * num_conv - 1}.body.0.weight")
        upscale = shuffle_factor(len(state["tail.0.weight"]), 3)
        if attention is None or upscale == 0:
            return None
        attn_feat = len(attention) if attention.shape[2:] == (1, 1) else 0
        sizes = {"num_feat": widths[0], "num_level": len(widths), "mid_feat": widths[1:], "attn_feat": attn_feat}
        return {**sizes, "num_conv": num_conv, "upscale": upscale}, dict(state)

    def fused(self) -> nn.Module:
        last, shuffle = self.tail
        assert isinstance(shuffle, nn.PixelShuffle) and isinstance(last, nn.Conv2d)
        del self.tail
        return ShuffleLast(self, last, shuffle.upscale_factor)


class Block(nn.Module):
    """Convolutions with LeakyReLU (0.05) between them, then attention."""

    def __init__(self, num_feat: int, num_conv: int, attention: nn.Module | None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(num_conv):
            layers += [nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.LeakyReLU(0.05, inplace=True)]
        self.body = nn.Sequential(*layers[:-1], *([] if attention is None else [attention]))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.body(x)
        return output


def _block(num_feat: int, num_conv: int, attn_feat: int, outer: bool) -> Block:
    if attn_feat:
        return Block(num_feat, num_conv, LocalAttention(num_feat, attn_feat))
    return Block(num_feat, num_conv, None if outer else ConvAttention(num_feat))


class LocalAttention(nn.Module):
    """x times its local importance, computed at a sixth of the resolution, times a gate (the sigmoid of channel 0)."""

    def __init__(self, num_feat: int, attn_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_feat, attn_feat, 1),
            SoftPooling(),
            nn.Conv2d(attn_feat, attn_feat, 3, 2, 1),
            nn.Conv2d(attn_feat, num_feat, 3, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        importance = F.interpolate(self.body(x), x.shape[-2:], mode="bilinear", align_corners=False)
        return x * importance * torch.sigmoid(x[:, :1])


class ConvAttention(nn.Module):
    """x times the sigmoid of its convolution, times a gate (the sigmoid of channel 0)."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x * torch.sigmoid(x[:, :1]) * self.body(x)
        return output


class SoftPooling(nn.Module):
    """The mean of a 7x7 window weighted by exponentials, every 3 pixels (Stergiou et al., SoftPool, ICCV 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.exp(x)
        return F.avg_pool2d(weights * x, 7, 3) / F.avg_pool2d(weights, 7, 3)
