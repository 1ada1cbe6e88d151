"""Evaluation sets: a manifest's name, a folder of HR images, or folders of HR and LR images."""

from __future__ import annotations

from pathlib import Path

from srkd.data import manifests
from srkd.data.manifests import images_of
from srkd.data.store import ImageStore, open_or_build, pair_files


def open_set(folder: str, scale: int) -> tuple[str, ImageStore]:
    """A data set and its name: its manifest's name, a folder of HR images, or `HR:LR` folders of pairs.

    The set is named by the folder, or by its parent if the folder is called HR or GT.

    Raises:
        SrkdError: no folder, no images, images that cannot be read, pairs that do not match.
    """
    hr_folder, _, lr_folder = folder.partition(":")
    root = Path(hr_folder)
    images = hr_files(folder)
    lr = pair_files(images, images_of(lr_folder), scale) if lr_folder else None
    name = root.parent.name if root.name.upper() in ("HR", "GT") else root.name
    return name or str(root), open_or_build(images, scale, lr)


def hr_files(folder: str) -> list[Path]:
    """The HR images of a set in the form accepted by `open_set`."""
    root = folder.partition(":")[0]
    inside = Path(root) / "HR"
    return images_of(str(inside) if ":" not in folder and inside.is_dir() else root)


def verified(folder: str, name: str, store: ImageStore) -> bool | None:
    """Whether a set is, by checksum, the data set it is named after (as given or by its folder); None if that name is
    not a data set."""
    given = folder.partition(":")[0]
    return manifests.verified(name if Path(given).is_dir() else given, store)
