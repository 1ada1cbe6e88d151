"""The cached teacher of a recipe: where its answers are kept, and building them when they are not there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from srkd.distill.taps import resolve
from srkd.distill.teachers import LiveTeacher
from srkd.engine.log import Progress
from srkd.engine.run import say
from srkd.io.cache import cache_place, own_place
from srkd.io.lock import locked
from srkd.sr import cache
from srkd.sr.data import BankSource, Patches, PictureSource, Source, Subset, to_batch
from srkd.sr.models import LoadedNetwork
from srkd.sr.recipe import Cache

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def cached_source(kind: str, teacher: LoadedNetwork | None, taps: Sequence[str], pictures: Subset, fingerprint: str,
                  patches: Patches, spec: Cache, fabric: Fabric) -> Source:  # fmt: skip
    """Batches with the teacher's answers in them, from `outputs` or a `bank`; the first process builds what is missing.

    Raises:
        SrkdError: the cache would pass cache.max_bytes, or a teacher's answer is not finite.
    """
    plan = _outputs if kind == "outputs" else _bank
    if fabric.is_global_zero:
        plan(teacher, taps, pictures, fingerprint, patches, spec)()
    fabric.barrier()
    return plan(teacher, taps, pictures, fingerprint, patches, spec)()


def check_cache(kind: str, teacher: LoadedNetwork | None, taps: Sequence[str], pictures: Subset, fingerprint: str,
                patches: Patches, spec: Cache) -> None:  # fmt: skip
    """Say how large the cache would be, without building it. Raises SrkdError where it would pass cache.max_bytes."""
    (_outputs if kind == "outputs" else _bank)(teacher, taps, pictures, fingerprint, patches, spec)


def _place(spec: Cache, name: str) -> Path:
    return own_place(Path(spec.dir) / name) if spec.dir else cache_place("teachers", name)


def _outputs(teacher: LoadedNetwork | None, taps: Sequence[str], pictures: Subset, fingerprint: str, patches: Patches,
             spec: Cache) -> Callable[[], Source]:  # fmt: skip
    assert teacher is not None
    name = cache.key(network=cache.network_hash(teacher.network), pictures=fingerprint, numbers=pictures.numbers,
                     self_ensemble=spec.self_ensemble)  # fmt: skip
    folder = _place(spec, f"outputs-{name}")
    if cache.complete(folder) is None:
        size = sum(pictures.hr(i).size for i in range(len(pictures))) * 2
        say(cache.check_size(size, spec.max_bytes, folder, f"{teacher.name}'s outputs"))

    def build() -> Source:
        title, quiet = f"outputs of {teacher.name}", cache.complete(folder) is not None
        with locked(folder), Progress(title, len(pictures), quiet=quiet) as progress:
            outputs = cache.build_outputs(teacher.network, pictures, teacher.scale, folder, multiple=teacher.multiple,
                                          minimum=teacher.minimum, self_ensemble=spec.self_ensemble,
                                          say=progress.update)  # fmt: skip
        return PictureSource(pictures, patches, outputs)

    return build


def _bank(teacher: LoadedNetwork | None, taps: Sequence[str], pictures: Subset, fingerprint: str, patches: Patches,
          spec: Cache) -> Callable[[], Source]:  # fmt: skip
    cut = Patches(patches.gt_size, 16, patches.scale, patches.hflip, patches.rot, patches.sampling, spec.seed)
    network = None if teacher is None else cache.network_hash(teacher.network)
    held = [] if teacher is None else list(dict.fromkeys([*resolve(teacher.network, spec.taps), *taps]))
    name = cache.key(network=network, pictures=fingerprint, numbers=pictures.numbers, taps=held, cut=vars(cut),
                     patches=spec.patches)  # fmt: skip
    folder = _place(spec, f"bank-{name}")
    live = None if teacher is None else LiveTeacher(teacher.network, held)
    if cache.complete(folder) is None:
        shapes = {} if live is None else _shapes(live, PictureSource(pictures, cut))
        size = cache.bank_bytes(cut, spec.patches, shapes, live is not None)
        say(cache.check_size(size, spec.max_bytes, folder, f"{spec.patches} patches"))

    def build() -> Source:
        quiet = cache.complete(folder) is not None
        with locked(folder), Progress("patch bank", spec.patches, quiet=quiet) as progress:
            bank = cache.build_bank(live, pictures, cut, spec.patches, folder, progress.update)
        if held:
            # Layers that only other runs look at are not read.
            bank["teacher_features"] = {tap: bank["teacher_features"][tap] for tap in taps}
        return BankSource(bank, patches.batch, patches.seed)

    return build


def _shapes(live: LiveTeacher, source: PictureSource) -> dict[str, tuple[int, ...]]:
    drawn = source.draw(0)
    one = {side: drawn[side][:1] for side in ("lr", "hr")}
    answer = live(to_batch(one, cache.device_of(live.network)))
    return {tap: tuple(value.shape[1:]) for tap, value in answer.features.items()}
