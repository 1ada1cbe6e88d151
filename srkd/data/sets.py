"""Evaluation sets: a manifest's name, a folder of HR images, or folders of HR and LR images."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from srkd.data import manifests
from srkd.data.manifests import images_of
from srkd.data.store import ImageStore, open_or_build, pair_files
from srkd.files.remote import is_url, place

_SCHEME_AND_PORT = r"://(?:\[[^\]]*\]|[^/:]*)(?::\d+(?=/|$))?"


def open_set(folder: str, scale: int) -> tuple[str, ImageStore]:
    """A data set and its name: its manifest's name, a folder of HR images, or `HR:LR` folders of pairs, also by URL.

    The set is named by the folder, or by its parent if the folder is called HR or GT.

    Raises:
        SrkdError: no folder, no images, images that cannot be read, pairs that do not match.
    """
    hr_folder, lr_folder = _folders(folder)
    root = PurePosixPath(hr_folder) if is_url(hr_folder) else Path(hr_folder)
    images = hr_files(folder)
    lr = pair_files(images, images_of(lr_folder), scale) if lr_folder else None
    name = root.parent.name if root.name.upper() in ("HR", "GT") else root.name
    return name or str(root), open_or_build(images, scale, lr)


def _folders(text: str) -> tuple[str, str]:
    """The HR and LR folders of `HR:LR`, the latter "" without it.

    The colons of a URL's scheme and port separate nothing, nor does one in the name of a folder that exists.
    """
    colons = [found.start() for found in re.finditer(rf"{_SCHEME_AND_PORT}|(:)", text) if found[1]]
    if not colons or Path(text).is_dir():
        return text, ""
    end = next((end for end in colons if Path(text[:end]).is_dir()), colons[0])
    return text[:end], text[end + 1 :]


def hr_files(folder: str) -> list[Path]:
    """The HR images of a set in the form accepted by `open_set`."""
    root, lr = _folders(folder)
    inside = place(root) / "HR"
    return images_of(str(inside) if not lr and inside.is_dir() else root)


def verified(folder: str, name: str, store: ImageStore) -> bool | None:
    """Whether a set is, by checksum, the data set it is named after (as given or by its folder); None if that name is
    not a data set."""
    given, _ = _folders(folder)
    if is_url(given):
        return None
    return manifests.verified(name if Path(given).is_dir() else given, store)
