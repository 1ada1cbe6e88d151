"""Seals: a change of any byte of a file, or of a file beside it, is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.inference.backends import seal


def written(folder: Path, *beside: str) -> Path:
    path = folder / "net.xml"
    path.write_bytes(b"\x00\xffgraph " + "|".join(seal.opened(beside)).encode() + b" weights\x80")
    for suffix in beside:
        path.with_suffix(suffix).write_bytes(suffix.encode() * 5)
    return path


def test_every_changed_byte_of_a_sealed_file_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    seal.close(path)
    assert seal.check(path)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:  # a damaged mark leaves no seal, which the caller knows from the metadata
            assert not seal.check(path)
        except SrkdError as error:
            assert "net.xml: changed or incomplete: its digest is not that in net.xml" in str(error)
    path.write_bytes(content[:-3])
    with pytest.raises(SrkdError, match="changed or incomplete"):
        seal.check(path)


def test_a_file_beside_it_is_covered(tmp_path: Path) -> None:
    path = written(tmp_path, ".bin", ".txt")
    seal.close(path)
    assert seal.check(path)
    (tmp_path / "net.txt").write_bytes(b"another")
    with pytest.raises(SrkdError, match=r"net\.txt: changed or incomplete: its digest is not that in net\.xml"):
        seal.check(path)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(SrkdError, match=r"net\.bin: not found; net\.xml needs it"):
        seal.check(path)


def test_a_file_without_a_seal_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"srkd-sha256:self:short")
    seal.close(path)
    assert path.read_bytes() == b"srkd-sha256:self:short" and not seal.check(path)
    with path.open("wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(SrkdError, match=r"plain: .* more than the limit"):
        seal.check(path)
