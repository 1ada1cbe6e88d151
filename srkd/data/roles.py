"""The roles of images by the manifests: images of test and validation sets must not be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from srkd.data.manifests import checksums, manifest, names
from srkd.data.store import ImageStore
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path


def refuse_unless_training(store: ImageStore) -> None:
    """Ensure that no image of a test or validation part is used for training.

    Raises:
        SrkdError: as `refuse`.
    """
    for number in range(len(store)):
        source = store.source(number)
        refuse(source.path, *belongs_to(source.sha256, Path(source.path), store.hr(number).shape))


def refuse(path: Path | str, set_name: str, role: str) -> None:
    """Raise SrkdError, naming the image and its set, if its role (as from `belongs_to`) is not "train"."""
    if role != "train":
        title, _, part = set_name.partition("/")
        why = manifest(title).parts[part].note if role == "refused" else f"it is a {role} image"
        raise SrkdError(f"{printable_path(path)} is an image of {set_name} and must not be trained on: {why}")


def belongs_to(sha256: str, path: Path, shape: Sequence[int]) -> tuple[str, str]:
    """A file's ("set/part", role); ("", "train") if it is in no manifest.

    Images are identified by the SHA-256 of their files; those of BSDS500's val part, from which B100 was made, also by
    name and size.
    """
    set_name, role = _roles().get(sha256, ("", "train"))
    if role == "train" and _is_of_bsds500_val(path, shape):
        return "BSDS500/val", "refused"
    return set_name, role


@cache
def _roles() -> dict[str, tuple[str, str]]:
    """{SHA-256: (set/part, role)} of every image whose checksum is known."""
    found: dict[str, tuple[str, str]] = {}
    for name in names():
        parts = manifest(name).parts
        for key, checksum in checksums(name).items():
            part = key.partition("/")[0]
            found[checksum] = (f"{name}/{part}", parts[part].role)
    return found


def _is_of_bsds500_val(path: Path, shape: Sequence[int]) -> bool:
    sides = sorted(shape[:2])
    near = 316 <= sides[0] <= 321 and 476 <= sides[1] <= 481  # 321 x 481, perhaps cropped to a multiple of the scale
    return near and path.stem in manifest("BSDS500").parts["val"].only
