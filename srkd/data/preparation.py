"""Data sets and folders of images, decoded into stores by `srkd prepare_data`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from srkd.data.manifests import Progress, Role, check_stems, find, images_of, locate, names
from srkd.data.store import ImageStore, open_or_build, pair_files
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.read import list_images

_Part = tuple[str, "Role | None", list[Path]]  # name, role and files


@dataclass(frozen=True)
class PreparedPart:
    """A store and the role of its images (None for a folder without a manifest)."""

    name: str
    role: Role | None
    store: ImageStore


def prepare(
    what: Sequence[str],
    scale: int | None,
    lr: str | None = None,
    mirror: Path | None = None,
    say: Progress = lambda *_: None,
    exclude: Sequence[str] = (),
) -> Iterator[PreparedPart]:
    """Decode data sets ("BSDS500", "BSDS500/train") and folders of images into one store per part, one after the other.

    Args:
        lr: a folder of LR images paired with those of the folder; by default LR is computed by MATLAB's bicubic.
        exclude: stems of images to leave out, as in a recipe's `datasets.train.exclude`.
        say: progress callback: the current step, the amount done and the total (None if unknown).

    Raises:
        SrkdError: before anything is decoded: neither a data set nor a folder; as `locate` and `check_stems`. Then: as
            `build_store`.
    """
    located = [part for each in what for part in _located(each, lr, mirror, say)]
    check_stems("--exclude", exclude, [path for _, _, files in located for path in files])

    def decode(name: str, role: Role | None, found: list[Path]) -> PreparedPart:
        files = [path for path in found if path.stem not in exclude]
        pairs = None if lr is None or scale is None else pair_files(files, list_images(lr), scale, others=found)
        return PreparedPart(
            name, role, open_or_build(files, scale, pairs, progress=lambda done, whole: say(name, done, whole))
        )

    return (decode(*part) for part in located)


def _located(
    what: str, lr: str | None, mirror: Path | None, say: Progress
) -> list[tuple[str, Role | None, list[Path]]]:
    """Name, role and image files of the parts of a data set, or of a folder."""
    if what.partition("/")[0] not in names():
        return [(printable_path(what), None, images_of(what))]
    if lr is not None:
        raise SrkdError(f"{what}: LR images are paired with a folder, and this is a data set")
    known, parts = find(what)
    return [(f"{known.name}/{p}", known.parts[p].role, locate(known.name, p, mirror, say)) for p in parts]


def report(item: PreparedPart) -> str:
    """A one-line summary of a store."""
    use = "" if item.role is None else f" for {'training' if item.role == 'train' else item.role}"
    low = "" if item.store.scale is None else f", x{item.store.scale} ({item.store.lr_protocol})"
    size = f"{item.store.size / 1e6:.1f} MB"
    return f"{item.name}: {len(item.store)} images{use}{low}, {size} in {printable_path(item.store.folder)}"
