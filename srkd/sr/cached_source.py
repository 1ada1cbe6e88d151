"""A recipe's teacher cache: its location, and building it if it does not exist yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from srkd.data.patches import BankSource, BatchSource, Patches, PatchSource, Subset, to_batch
from srkd.distill.taps import resolve
from srkd.distill.teachers import LiveTeacher
from srkd.files.cache import cache_place, own_place
from srkd.files.lock import locked
from srkd.inference.model import Model
from srkd.networks.device import device_of
from srkd.sr import teacher_cache
from srkd.sr.recipe import Cache
from srkd.training.log import Progress
from srkd.training.run import say

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def cached_source(
    kind: str,
    teacher: Model | None,
    taps: Sequence[str],
    images: Subset,
    fingerprint: str,
    patches: Patches,
    spec: Cache,
    fabric: Fabric,
) -> BatchSource:
    """Batches with the teacher's predictions, from `outputs` or a `bank`; the first process builds a missing cache.

    Raises:
        SrkdError: the cache would exceed cache.max_bytes, or a prediction of the teacher is not finite.
    """
    plan = _outputs if kind == "outputs" else _bank
    if fabric.is_global_zero:
        plan(teacher, taps, images, fingerprint, patches, spec)()
    fabric.barrier()
    return plan(teacher, taps, images, fingerprint, patches, spec)()


def check_cache(
    kind: str,
    teacher: Model | None,
    taps: Sequence[str],
    images: Subset,
    fingerprint: str,
    patches: Patches,
    spec: Cache,
) -> None:
    """Report the size of the cache without building it. Raises SrkdError if it would exceed cache.max_bytes."""
    (_outputs if kind == "outputs" else _bank)(teacher, taps, images, fingerprint, patches, spec)


def _cache_folder(spec: Cache, name: str) -> Path:
    return own_place(Path(spec.dir) / name) if spec.dir else cache_place("teachers", name)


def _outputs(
    teacher: Model | None, taps: Sequence[str], images: Subset, fingerprint: str, patches: Patches, spec: Cache
) -> Callable[[], BatchSource]:
    assert teacher is not None
    name = teacher_cache.key(
        network=teacher_cache.network_hash(teacher.network),
        pictures=fingerprint,
        numbers=images.numbers,
        self_ensemble=spec.self_ensemble,
    )
    folder = _cache_folder(spec, f"outputs-{name}")
    if teacher_cache.complete(folder) is None:
        size = sum(images.hr(i).size for i in range(len(images))) * 2
        say(teacher_cache.check_size(size, spec.max_bytes, folder, f"{teacher.name}'s outputs"))

    def build() -> BatchSource:
        title, quiet = f"outputs of {teacher.name}", teacher_cache.complete(folder) is not None
        with locked(folder), Progress(title, len(images), quiet=quiet) as progress:
            outputs = teacher_cache.build_outputs(teacher, images, folder, spec.self_ensemble, progress.update)
        return PatchSource(images, patches, outputs)

    return build


def _bank(
    teacher: Model | None, taps: Sequence[str], images: Subset, fingerprint: str, patches: Patches, spec: Cache
) -> Callable[[], BatchSource]:
    cut = Patches(patches.gt_size, 16, patches.scale, patches.hflip, patches.rot, patches.sampling, spec.seed)
    network = None if teacher is None else teacher_cache.network_hash(teacher.network)
    bank_taps = [] if teacher is None else list(dict.fromkeys([*resolve(teacher.network, spec.taps), *taps]))
    name = teacher_cache.key(
        network=network,
        pictures=fingerprint,
        numbers=images.numbers,
        taps=bank_taps,
        cut=vars(cut),
        patches=spec.patches,
    )
    folder = _cache_folder(spec, f"bank-{name}")
    live = None if teacher is None else LiveTeacher(teacher.network, bank_taps)
    if teacher_cache.complete(folder) is None:
        shapes = {} if live is None else _shapes(live, PatchSource(images, cut))
        size = teacher_cache.bank_bytes(cut, spec.patches, shapes, live is not None)
        say(teacher_cache.check_size(size, spec.max_bytes, folder, f"{spec.patches} patches"))

    def build() -> BatchSource:
        quiet = teacher_cache.complete(folder) is not None
        with locked(folder), Progress("patch bank", spec.patches, quiet=quiet) as progress:
            bank = teacher_cache.build_bank(live, images, cut, spec.patches, folder, progress.update)
        if bank_taps:
            # Layers that only other runs use are not read.
            bank["teacher_features"] = {tap: bank["teacher_features"][tap] for tap in taps}
        return BankSource(bank, patches.batch, patches.seed)

    return build


def _shapes(live: LiveTeacher, source: PatchSource) -> dict[str, tuple[int, ...]]:
    drawn = source.draw(0)
    one = {side: drawn[side][:1] for side in ("lr", "hr")}
    prediction = live(to_batch(one, device_of(live.network)))
    return {tap: tuple(value.shape[1:]) for tap, value in prediction.features.items()}
