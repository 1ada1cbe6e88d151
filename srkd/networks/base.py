"""What a network may declare besides `forward`, all in its own file, and how it is found for any network.

A network is a subclass of `SRNetwork` registered by name. Every declaration has a default, so that a plain `nn.Module`
is fused (batch norm), pruned, quantised and exported too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

State = Mapping[str, Tensor]
Recognised = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Ladder:
    """The sizes of a network, which `srkd compress` tries: for each depth, widths from narrow to wide.

    Args:
        family: title of the network in tables.
        width, depth: names of the constructor's options.
        widths, depths: their values in ascending order.
        options: other options of all sizes.
        offered: whether `srkd compress` tries them; if not, only where its --network names them.
        imitates: whether they are only for students that imitate a teacher of degraded images.
    """

    family: str
    width: str = "num_feat"
    widths: Sequence[int] = (8, 12, 16, 20, 24, 32, 48, 64)
    depth: str = "num_block"
    depths: Sequence[int] = (4, 8, 16)
    options: Mapping[str, Any] = field(default_factory=dict)
    offered: bool = True
    imitates: bool = False

    def lines(self, kind: str) -> list[list[dict[str, Any]]]:
        """The specs of the network registered as `kind`: for each depth a list from narrow to wide."""
        return [[self.spec(kind, width, depth) for width in self.widths] for depth in self.depths]

    def spec(self, kind: str, width: int, depth: int) -> dict[str, Any]:
        """The spec of one size."""
        return {"type": kind, self.width: width, self.depth: depth, **self.options}


class SRNetwork(nn.Module):
    """Base of srkd's networks: (N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W).

    Declarations, each optional:

    - `multiple`, `minimum`: input sides must be multiples of the one, and at least the other (attributes, which the
      constructor may set).
    - `ladder`: the sizes that `srkd compress` tries and `srkd benchmark ladders` measures.
    - `trunk`: path of the `nn.Sequential` of residual blocks, from which pruning may remove whole blocks.
    - `recognise`: reads the options of a bare checkpoint from its names and shapes. Pruning uses it too, to describe
      the narrower network.
    - `fused`: the form for inference. Any submodule may define it: `srkd.inference.graph.fuse` replaces each module by
      its fused form, inner modules first.
    - `simulate_int8`: what to change for quantisation-aware training beyond rounding the convolutions.
    """

    multiple: int = 1
    minimum: int = 1
    ladder: ClassVar[Ladder | None] = None
    trunk: ClassVar[str] = ""

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """The options of the network with these weights, and the weights under its names; None if it is another.

        The options need not contain `type`. The caller checks that all names and shapes match.
        """
        return None

    def fused(self) -> nn.Module:
        """This network for inference, with the same output within 1e-5; `self` may be changed and returned.

        Called in eval mode without gradients, after the submodules were replaced by their fused forms.
        """
        return self

    def simulate_int8(self) -> None:
        """Change this network in place so that its training rounds what inference rounds; parameters stay."""


def last_number(pattern: str, names: Iterable[str]) -> int:
    """The largest number that `pattern`'s first group matches at the start of a name; -1 if none matches."""
    return max((int(found[1]) for found in map(re.compile(pattern).match, names) if found), default=-1)


def shuffle_factor(channels_before: int, channels_after: int) -> int:
    """The factor of the pixel shuffle between these numbers of channels; 0 if there is none."""
    root = math.isqrt(channels_before // channels_after) if channels_after else 0
    return root if root * root * channels_after == channels_before else 0
