"""The cached teacher of a recipe: where its answers are kept, and building them when they are not there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from srkd.data.patches import BankSource, Patches, PatchSource, Source, Subset, to_batch
from srkd.distill.taps import resolve
from srkd.distill.teachers import LiveTeacher
from srkd.files.cache import cache_place, own_place
from srkd.files.lock import locked
from srkd.networks.loading import LoadedNetwork
from srkd.sr import teacher_cache
from srkd.sr.recipe import Cache
from srkd.training.log import Progress
from srkd.training.run import say

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def cached_source(
    kind: str,
    teacher: LoadedNetwork | None,
    taps: Sequence[str],
    images: Subset,
    fingerprint: str,
    patches: Patches,
    spec: Cache,
    fabric: Fabric,
) -> Source:
    """Batches with the teacher's answers in them, from `outputs` or a `bank`; the first process builds what is missing.

    Raises:
        SrkdError: the cache would pass cache.max_bytes, or a teacher's answer is not finite.
    """
    plan = _outputs if kind == "outputs" else _bank
    if fabric.is_global_zero:
        plan(teacher, taps, images, fingerprint, patches, spec)()
    fabric.barrier()
    return plan(teacher, taps, images, fingerprint, patches, spec)()


def check_cache(
    kind: str,
    teacher: LoadedNetwork | None,
    taps: Sequence[str],
    images: Subset,
    fingerprint: str,
    patches: Patches,
    spec: Cache,
) -> None:
    """Say how large the cache would be, without building it. Raises SrkdError where it would pass cache.max_bytes."""
    (_outputs if kind == "outputs" else _bank)(teacher, taps, images, fingerprint, patches, spec)


def _place(spec: Cache, name: str) -> Path:
    return own_place(Path(spec.dir) / name) if spec.dir else cache_place("teachers", name)


def _outputs(
    teacher: LoadedNetwork | None, taps: Sequence[str], images: Subset, fingerprint: str, patches: Patches, spec: Cache
) -> Callable[[], Source]:
    assert teacher is not None
    name = teacher_cache.key(
        network=teacher_cache.network_hash(teacher.network),
        pictures=fingerprint,
        numbers=images.numbers,
        self_ensemble=spec.self_ensemble,
    )
    folder = _place(spec, f"outputs-{name}")
    if teacher_cache.complete(folder) is None:
        size = sum(images.hr(i).size for i in range(len(images))) * 2
        say(teacher_cache.check_size(size, spec.max_bytes, folder, f"{teacher.name}'s outputs"))

    def build() -> Source:
        title, quiet = f"outputs of {teacher.name}", teacher_cache.complete(folder) is not None
        with locked(folder), Progress(title, len(images), quiet=quiet) as progress:
            outputs = teacher_cache.build_outputs(
                teacher.network,
                images,
                teacher.scale,
                folder,
                multiple=teacher.multiple,
                minimum=teacher.minimum,
                self_ensemble=spec.self_ensemble,
                say=progress.update,
            )
        return PatchSource(images, patches, outputs)

    return build


def _bank(
    teacher: LoadedNetwork | None, taps: Sequence[str], images: Subset, fingerprint: str, patches: Patches, spec: Cache
) -> Callable[[], Source]:
    cut = Patches(patches.gt_size, 16, patches.scale, patches.hflip, patches.rot, patches.sampling, spec.seed)
    network = None if teacher is None else teacher_cache.network_hash(teacher.network)
    held = [] if teacher is None else list(dict.fromkeys([*resolve(teacher.network, spec.taps), *taps]))
    name = teacher_cache.key(
        network=network, pictures=fingerprint, numbers=images.numbers, taps=held, cut=vars(cut), patches=spec.patches
    )
    folder = _place(spec, f"bank-{name}")
    live = None if teacher is None else LiveTeacher(teacher.network, held)
    if teacher_cache.complete(folder) is None:
        shapes = {} if live is None else _shapes(live, PatchSource(images, cut))
        size = teacher_cache.bank_bytes(cut, spec.patches, shapes, live is not None)
        say(teacher_cache.check_size(size, spec.max_bytes, folder, f"{spec.patches} patches"))

    def build() -> Source:
        quiet = teacher_cache.complete(folder) is not None
        with locked(folder), Progress("patch bank", spec.patches, quiet=quiet) as progress:
            bank = teacher_cache.build_bank(live, images, cut, spec.patches, folder, progress.update)
        if held:
            # Layers that only other runs look at are not read.
            bank["teacher_features"] = {tap: bank["teacher_features"][tap] for tap in taps}
        return BankSource(bank, patches.batch, patches.seed)

    return build


def _shapes(live: LiveTeacher, source: PatchSource) -> dict[str, tuple[int, ...]]:
    drawn = source.draw(0)
    one = {side: drawn[side][:1] for side in ("lr", "hr")}
    prediction = live(to_batch(one, teacher_cache.device_of(live.network)))
    return {tap: tuple(value.shape[1:]) for tap, value in prediction.features.items()}
