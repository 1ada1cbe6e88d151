"""The candidate students, in lines: candidates of a line differ only in width and are sorted from narrow to wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.cost import parameters
from srkd.inference.prune import prune
from srkd.integrations import basicsr
from srkd.networks.loading import LoadedNetwork
from srkd.training.checkpoint import save_weights

WIDTHS = (8, 12, 16, 20, 24, 32, 48, 64)
# Family: (registered name of the network, its depth option, depths, other options).
FAMILIES: dict[str, tuple[str, str, Sequence[int], dict[str, Any]]] = {
    "EDSR": ("EDSR", "num_block", (4, 8, 16), {"img_range": 1.0}),
    "Compact": ("SRVGGNetCompact", "num_conv", (4, 8, 16), {}),
    "SRResNet": ("MSRResNet", "num_block", (4, 8), {}),
}
_PRUNED = ((0.25, 0.5, 1.0), (0.25, 0.5, 1.0))  # kept shares of inner channels (along a line) and of blocks
_LR, _WIDEST_AT_LR, _LR_PRUNED = 2e-3, 32, 2e-4


@dataclass(frozen=True)
class Candidate:
    """A possible student: its network spec, learning rate, and initial weights (None for random)."""

    label: str
    family: str
    spec: dict[str, Any] = field(hash=False)
    lr: float
    start: str | None = None

    def build(self, scale: int) -> nn.Module:
        """The network in eval mode, with random weights unless it is pruned."""
        return networks.build(self.spec, scale).eval()


Line = list[Candidate]


def lines(teacher: LoadedNetwork, folder: Path) -> list[Line]:
    """All candidates by family and depth, and pruned teachers if the teacher can be pruned.

    Args:
        folder: where the pruned teachers' weights are saved.
    """
    return [*_families(), *_pruned(teacher, folder)]


def narrower(candidate: Candidate, lines: Sequence[Line], share: float, scale: int) -> Candidate:
    """The widest candidate of the same line with at most `share` of the parameters, or else the narrowest."""
    line = next(line for line in lines if candidate in line)
    most = share * parameters(candidate.build(scale))
    smaller = [other for other in line if parameters(other.build(scale)) <= most]
    return smaller[-1] if smaller else line[0]


def _families() -> list[Line]:
    found: list[Line] = []
    for family, (kind, depth_option, depths, options) in FAMILIES.items():
        if kind not in networks.names() and not basicsr.available():
            continue
        for depth in depths:
            found.append([_candidate(family, kind, width, depth_option, depth, options) for width in WIDTHS])
    return found


def _candidate(family: str, kind: str, width: int, depth_option: str, depth: int, options: dict[str, Any]) -> Candidate:
    spec = {"type": kind, "num_feat": width, depth_option: depth, **options}
    # Wide networks diverge at the learning rate of narrow ones; EDSR-baseline (64 wide) uses about a quarter of it.
    return Candidate(f"{family} {width}x{depth}", family, spec, _LR * min(1.0, (_WIDEST_AT_LR / width) ** 2))


def _pruned(teacher: LoadedNetwork, folder: Path) -> list[Line]:
    try:
        found: list[Line] = []
        for blocks in _PRUNED[1]:
            line = [_pruned_candidate(teacher, keep, blocks, folder) for keep in _PRUNED[0] if keep * blocks < 1]
            found.append(line)
        return found
    except SrkdError:  # a teacher without a residual trunk
        return []


def _pruned_candidate(teacher: LoadedNetwork, keep: float, blocks: float, folder: Path) -> Candidate:
    small = prune(teacher.network, teacher.meta.get("network", {}), keep, blocks)
    path = folder / f"pruned_{keep:g}_{blocks:g}.safetensors"
    if not path.is_file():
        save_weights(path, small.network.state_dict(), {"network": small.spec, "scale": teacher.scale})
    return Candidate(f"teacher {keep:.0%} wide, {blocks:.0%} deep", "pruned teacher", small.spec, _LR_PRUNED, str(path))
