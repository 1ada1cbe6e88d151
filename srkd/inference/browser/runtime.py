"""onnxruntime-web, fetched once by npm as the user configured it, verified, and kept in the cache."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_bytes
from srkd.files.cache import cache_place, trusted
from srkd.files.digest import file_sha256

PACKAGE = "onnxruntime-web@1.30.0"
# Of the package's archive, as a package-lock.json states it.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
LICENCE = "MIT"
# The loader and the program of each of the two ways to compute, with the SHA-256 of the files.
FILES: Mapping[str, str] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
_SECONDS = 600


def fetch() -> list[Path]:
    """The files of onnxruntime-web that the page needs.

    Raises:
        SrkdError: npm is not installed, cannot fetch the package, or fetches another one than the pinned.
    """
    folder = cache_place("npm", PACKAGE.replace("@", "-"))
    paths = [folder / name for name in FILES]
    if not all(_is_intact(path) for path in paths):
        with tempfile.TemporaryDirectory() as temporary:
            _extract(_packed(Path(temporary)), folder)
    return paths


def _is_intact(path: Path) -> bool:
    return trusted(path.parent, path) and file_sha256(path) == FILES[path.name]


def _packed(folder: Path) -> Path:
    """The package's archive, fetched by `npm pack`, which runs no code of the package."""
    npm = shutil.which("npm")
    if npm is None:
        raise SrkdError(
            "an export for the browser fetches onnxruntime-web by npm, which is not installed: see nodejs.org"
        )
    command = [npm, "pack", PACKAGE, "--pack-destination", str(folder), "--ignore-scripts", "--silent"]
    command += ["--prefer-offline"]  # the version is pinned, so npm's own cache is as good
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SrkdError(f"npm did not fetch {PACKAGE} within {_SECONDS} seconds; check its network") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise SrkdError(f"npm cannot fetch {PACKAGE}: {lines[0].strip()[:200]}; try: npm view {PACKAGE}")
    found = "sha512-" + base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise SrkdError(f"npm fetched another {PACKAGE} than the pinned one: {found}, expected {INTEGRITY}")
    return archives[0]


def _extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        for name in FILES:
            member = opened.extractfile(f"package/dist/{name}")
            if member is None:
                raise SrkdError(f"{PACKAGE} has no file {name}")
            write_bytes(folder / name, member.read())
            if not _is_intact(folder / name):
                raise SrkdError(f"{printable_path(folder / name)}: damaged, or another user can write there")
