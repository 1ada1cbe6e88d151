"""The teachers of an SR recipe: live networks, or caches of their outputs and features that are built when missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from srkd.data.patches import (
    BankSource,
    BatchSource,
    PairedImages,
    Patches,
    PatchSource,
    Subset,
    check_bank,
    to_batch,
)
from srkd.data.upcycled import LabelledImages, Upcycled, UpcycledOutputs, Zoomed
from srkd.distill.taps import resolve
from srkd.distill.teachers import CachedTeacher, LiveTeacher, MeanOfTeachers, Teacher
from srkd.errors import SrkdError
from srkd.files.cache import cache_place, own_place
from srkd.files.lock import locked
from srkd.inference.model import Model
from srkd.inference.views import eight_views
from srkd.networks.device import device_of
from srkd.sr import teacher_cache
from srkd.sr.recipe import ZOOMED_NEEDS, Cache
from srkd.training.log import Progress
from srkd.training.processes import say

if TYPE_CHECKING:
    from lightning_fabric import Fabric


# Checks the size of a cache; returns the function that builds and opens it.
Plan = Callable[[Subset, str, Patches], Callable[[], tuple[BatchSource, Teacher]]]


class SelfEnsemble(nn.Module):
    """The mean of a network's outputs over the 8 flips and rotations of its input (EDSR's "+", CVPRW 2017)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([undo(self.network(view)) for view, undo in eight_views(x)]).mean(0)


@dataclass
class Member:
    """One of the teachers, its share of their mean, and whether it is self-ensembled.

    `options` are those of a network that the recipe describes: some, such as img_range, change its outputs but none of
    its weights. A checkpoint that describes itself needs none.
    """

    loaded: Model
    share: float = 1.0
    self_ensemble: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        weights = teacher_cache.network_hash(self.loaded.network)
        return teacher_cache.key(weights=weights, options=self.options) if self.options else weights

    @property
    def network(self) -> nn.Module:
        """The network whose outputs the losses see; with `self_ensemble` it has other module paths."""
        return SelfEnsemble(self.loaded.network) if self.self_ensemble else self.loaded.network


class Teachers:
    """What the losses compare with: no teacher, one, or the weighted mean of the outputs of several.

    Args:
        taps: layers of the teacher that losses use; only with a single one that is not self-ensembled.
        cache: the recipe's section.
        zoomed: share of patches that are zoomed in (`srkd.data.upcycled`) and labelled by the mean of the teachers;
            only with cached outputs.
    """

    def __init__(self, members: Sequence[Member], taps: Sequence[str], cache: Cache, zoomed: float = 0.0) -> None:
        self.members, self.taps, self.cache, self.zoomed = list(members), list(taps), cache, zoomed

    @property
    def network(self) -> nn.Module | None:
        """The network that has the taps; None unless there is a single teacher."""
        return self.members[0].loaded.network if len(self.members) == 1 else None

    @property
    def name(self) -> str | None:
        return ", ".join(member.loaded.name for member in self.members) or None

    @cached_property
    def identity(self) -> str | None:
        """Hashes of the teachers, with all that their mean depends on."""
        several = len(self.members) > 1
        parts = [
            member.hash + " self-ensemble" * member.self_ensemble + f" x {member.share:.6g}" * several
            for member in self.members
        ]
        return ", ".join(parts) or None

    def live(self, taps: Sequence[str] = ()) -> Teacher | None:
        if len(self.members) > 1:
            return MeanOfTeachers([LiveTeacher(m.network) for m in self.members], [m.share for m in self.members])
        return LiveTeacher(self.members[0].network, taps) if self.members else None

    def source(
        self, images: Subset, fingerprint: str, patches: Patches, fabric: Fabric, dry_run: bool
    ) -> tuple[BatchSource, Teacher]:
        """The source of batches, and the teacher for them; the first process builds a missing cache.

        In a dry run nothing is built: the teacher is live, and only the size of the cache is checked.

        Raises:
            SrkdError: the cache would exceed cache.max_bytes, or cannot contain what the losses need; a prediction of
                the teacher is not finite.
        """
        plans: dict[str, Plan] = {"outputs": self._outputs, "bank": self._bank}
        kind = self._kind()
        if self.zoomed and kind != "outputs":
            raise SrkdError(ZOOMED_NEEDS)
        plan = plans.get(kind)
        if plan is None or dry_run:
            if plan is not None:
                plan(images, fingerprint, patches)
            return PatchSource(images, patches), self.live(self.taps) or CachedTeacher()
        if fabric.is_global_zero:
            plan(images, fingerprint, patches)()
        fabric.barrier()
        return plan(images, fingerprint, patches)()

    def _kind(self) -> str:
        kind = self.cache.kind
        if kind == "auto":
            privileged = any(hasattr(member.loaded.network, "privileged") for member in self.members)
            return "live" if not self.members or privileged or self.taps else "outputs"
        if kind == "outputs" and self.taps:
            raise SrkdError(
                f"cache.kind outputs contains no features, but losses use {', '.join(self.taps)}; use bank or live"
            )
        return "live" if kind == "outputs" and not self.members else kind

    def _folder(self, name: str) -> Path:
        return own_place(Path(self.cache.dir) / name) if self.cache.dir else cache_place("teachers", name)

    def _announce(self, size: float, folder: Path, what: str) -> None:
        say(teacher_cache.check_size(size, self.cache.max_bytes, folder, what))

    def _outputs(self, images: Subset, fingerprint: str, patches: Patches) -> Callable[[], tuple[BatchSource, Teacher]]:
        """Check the size of the cache of each teacher's outputs; returns the function that builds and opens them."""
        folders = self._output_folders(images, fingerprint)
        windows = self._output_folders(images, fingerprint, zoomed="1") if self.zoomed else []
        planned = list(zip([*self.members, *self.members], [*folders, *windows], strict=False))
        missing = [(member, folder) for member, folder in planned if teacher_cache.complete(folder) is None]
        if missing:
            distinct = {id(member): member for member, _ in missing}.values()  # two may have the same name
            names = " and ".join(f"{member.loaded.name}'s outputs" for member in distinct)
            size = len(missing) * sum(images.hr(i).size for i in range(len(images))) * 2
            self._announce(size, missing[0][1] if len(missing) == 1 else folders[0].parent, names)

        def build() -> tuple[BatchSource, Teacher]:
            keys = [f"teacher_output{'' if len(folders) == 1 else f'_{n}'}" for n in range(1, len(folders) + 1)]
            opened = [self._build_outputs(member, images, at) for member, at in zip(self.members, folders, strict=True)]
            teachers = [CachedTeacher(key) for key in keys]
            teacher = MeanOfTeachers(teachers, [m.share for m in self.members]) if len(keys) > 1 else teachers[0]
            if not self.zoomed:
                return PatchSource(images, patches, dict(zip(keys, opened, strict=True))), teacher
            made = zip(self.members, windows, strict=True)
            zoomed = [self._build_outputs(member, Zoomed(images), at) for member, at in made]
            sources = [LabelledImages(a, b, m.share) for a, b, m in zip(opened, zoomed, self.members, strict=True)]
            outputs = {key: UpcycledOutputs(each, len(images)) for key, each in zip(keys, sources, strict=True)}
            return PatchSource(Upcycled(images, sources), patches, outputs, self.zoomed), teacher

        return build

    def _output_folders(self, images: Subset, fingerprint: str, **more: str) -> list[Path]:
        """The folder of each teacher's outputs; `more` is what they depend on besides images and teacher."""
        found = []
        for member in self.members:
            name = teacher_cache.key(
                network=member.hash,
                pictures=fingerprint,
                numbers=images.numbers,
                self_ensemble=member.self_ensemble,
                **more,
            )
            found.append(self._folder(f"outputs-{name}"))
        return found

    def _build_outputs(self, member: Member, images: PairedImages, folder: Path) -> teacher_cache.OutputCache:
        loaded, quiet = member.loaded, teacher_cache.complete(folder) is not None
        with locked(folder), Progress(f"outputs of {loaded.name}", len(images), quiet=quiet) as progress:
            return teacher_cache.build_outputs(loaded, images, folder, member.self_ensemble, progress.update)

    def _bank(self, images: Subset, fingerprint: str, patches: Patches) -> Callable[[], tuple[BatchSource, Teacher]]:
        """Check the size of the bank of patches; returns the function that builds and opens it."""
        spec = self.cache
        check_bank(spec.patches, patches.batch)
        cut = Patches(patches.gt_size, 16, patches.scale, patches.hflip, patches.rot, patches.sampling, spec.seed)
        plain = len(self.members) == 1 and not self.members[0].self_ensemble
        if spec.taps and self.members and not plain:
            raise SrkdError("cache.taps: a mean of several teachers or views has no features: remove it")
        extra = resolve(self.members[0].network, spec.taps) if plain else []
        taps = list(dict.fromkeys([*extra, *self.taps]))
        parts = {"taps": taps, "cut": vars(cut), "patches": spec.patches}
        name = teacher_cache.key(network=self.identity, pictures=fingerprint, numbers=images.numbers, **parts)
        folder, live = self._folder(f"bank-{name}"), self.live(taps)
        device = device_of(self.members[0].loaded.network) if self.members else torch.device("cpu")
        if teacher_cache.complete(folder) is None:
            shapes = {} if live is None else _shapes(live, PatchSource(images, cut), device)
            size = teacher_cache.bank_bytes(cut, spec.patches, shapes, live is not None)
            self._announce(size, folder, f"{spec.patches} patches")

        def build() -> tuple[BatchSource, Teacher]:
            quiet = teacher_cache.complete(folder) is not None
            with locked(folder), Progress("patch bank", spec.patches, quiet=quiet) as progress:
                bank = teacher_cache.build_bank(live, images, cut, spec.patches, folder, progress.update, device)
            if taps:
                # Layers that only other runs use are not read.
                bank["teacher_features"] = {tap: bank["teacher_features"][tap] for tap in self.taps}
            return BankSource(bank, patches.batch, patches.seed), CachedTeacher()

        return build


def _shapes(live: Teacher, source: PatchSource, device: torch.device) -> dict[str, tuple[int, ...]]:
    drawn = source.draw(0)
    prediction = live(to_batch({side: drawn[side][:1] for side in ("lr", "hr")}, device))
    return {tap: tuple(value.shape[1:]) for tap, value in prediction.features.items()}
