"""Data sets by name: their manifests `datasets/*.yml`, where their images are, and what they may be used for.

A manifest lists sources, parts, licence and citation. Each part has one role, and roles never mix: images to `train`
on, images for `validation` (choosing methods), images for the final `test`, and images `refused` for training because
a test set was made from them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml

from srkd import resources
from srkd.data.store import ImageStore
from srkd.errors import SrkdError, nearest, unknown
from srkd.files.atomic import printable_path, write_json
from srkd.files.cache import cache_place
from srkd.files.digest import file_sha256, parse_sums
from srkd.files.download import MAX_BYTES, download
from srkd.files.extract import extract
from srkd.files.lock import locked
from srkd.files.remote import is_url
from srkd.images.formats import SUFFIXES
from srkd.images.read import list_images

Role = Literal["train", "validation", "test", "refused"]
Progress = Callable[[str, int, "int | None"], None]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Archive(_Strict):
    """A downloadable archive. Without a `sha256`, that of the first download with the expected images is recorded."""

    url: str
    sha256: str | None
    max_bytes: int = MAX_BYTES


class Part(_Strict):
    """Images with one role: those that match `images`, a glob below the unpacked archives."""

    role: Role
    count: int
    images: str = pydantic.Field(validation_alias=pydantic.AliasChoices("images", "pictures"))  # the former key
    mirror: str | None = pydantic.Field(None, description="the same glob in a local mirror")
    only: list[str] = pydantic.Field([], description="stems; empty: all")
    without: list[str] = pydantic.Field([], description="stems that are excluded")
    note: str = ""


class Manifest(_Strict):
    """The contents of `datasets/NAME.yml`."""

    name: str
    description: str
    homepage: str
    licence: str
    citation: str
    sources: list[Archive] = []
    package: str | None = pydantic.Field(None, description="an installed package that contains the images")
    manual: str | None = pydantic.Field(None, description="manual download instructions, where required")
    parts: dict[str, Part]


def names() -> list[str]:
    """The data sets that have a manifest, sorted."""
    return sorted(path.stem for path in resources.folder("datasets").glob("*.yml"))


@cache
def manifest(name: str) -> Manifest:
    """The manifest of a data set.

    Raises:
        SrkdError: no such data set (the nearest is suggested), or an invalid manifest.
    """
    if name not in names():
        raise unknown("data set", name, names())
    path = resources.folder("datasets") / f"{name}.yml"
    try:
        return Manifest.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, pydantic.ValidationError) as error:
        raise SrkdError(f"{path}: {' '.join(str(error).split())}") from error


def find(name: str) -> tuple[Manifest, list[str]]:
    """The manifest and parts named by "Set5" or "BSDS500/train"; without a part, all except refused ones.

    Raises:
        SrkdError: no such data set or part.
    """
    title, _, part = name.partition("/")
    known = manifest(title)
    if part and part not in known.parts:
        raise unknown(f"part of {title}", part, known.parts)
    return known, [part] if part else [key for key, value in known.parts.items() if value.role != "refused"]


def checksums(name: str) -> dict[str, str]:
    """{part/file: SHA-256} of a data set; {} if not recorded."""
    path = resources.folder("datasets") / f"{name}.sha256"
    return parse_sums(path.read_text(encoding="utf-8")) if path.is_file() else {}


def verified(what: str, store: ImageStore) -> bool | None:
    """Whether a store's images are, by checksum, exactly those of the data set or part that `what` names.

    None if `what` is not a data set; False if its checksums are not known."""
    title = what.partition("/")[0]
    if title not in names():
        return None
    known = {key: value for key, value in checksums(title).items() if key.partition("/")[0] in find(what)[1]}
    found = sorted(store.source(number).sha256 for number in range(len(store)))
    return bool(known) and sorted(known.values()) == found


def locate(name: str, part: str, mirror: Path | None = None, say: Progress = lambda *_: None) -> list[Path]:
    """The image files of a part, downloaded if not available locally.

    Search order: `mirror` (a folder laid out as in the manifest), $SRKD_DATA likewise, an installed package, the cache
    folder, the download sources. Files of a mirror must match `checksums`.

    Raises:
        SrkdError: not found in the given `mirror`; a file is missing or its checksum differs; a data set that must be
            downloaded manually (with instructions); as `download` and `extract`.
    """
    known = manifest(name)
    wanted = known.parts[part]
    given = mirror or (Path(os.environ["SRKD_DATA"]) if os.environ.get("SRKD_DATA") else None)
    found = _matching(given, wanted.mirror, wanted) if given and wanted.mirror else []
    if found:
        _check_sums(known.name, part, found)
    elif mirror is not None:
        where = (
            f"{printable_path(mirror)}/{wanted.mirror}"
            if wanted.mirror
            else "a mirror: its manifest gives no location there"
        )
        raise SrkdError(f"{name}/{part}: no images in {where}")
    else:
        found = _matching(_unpacked(known, say), wanted.images, wanted)
    if len(found) != wanted.count:
        raise SrkdError(f"{name}/{part}: {len(found)} images found, expected {wanted.count}")
    return found


def present(name: str) -> Path | None:
    """The folder with all of a data set, as `locate` finds it without downloading; None if not available locally."""
    known = manifest(name)
    parts = [part for part in known.parts.values() if part.role != "refused"]
    for root, mirrored in _places(known):
        if all(len(_files_in(root, mirrored, part)) == part.count for part in parts):
            return root
    return None


def at_hand(name: str, part: str, mirror: Path | None = None) -> list[Path]:
    """The image files of a part on this machine; [] unless all of them are. Downloads nothing."""
    known = manifest(name)
    wanted = known.parts[part]
    places = [*([(mirror, True)] if mirror else []), *_places(known)]
    found = (_files_in(root, mirrored, wanted) for root, mirrored in places)
    return next((files for files in found if len(files) == wanted.count), [])


def _places(known: Manifest) -> list[tuple[Path, bool]]:
    """Local folders that may contain a data set, and whether each is laid out as a mirror."""
    mirror, cached = os.environ.get("SRKD_DATA"), cache_place("datasets")
    spec = importlib.util.find_spec(known.package) if known.package else None
    places = [(Path(mirror), True)] if mirror else []
    places += [(Path(spec.origin).parent, False)] if spec and spec.origin else []
    return [*places, (cached / (known.name if known.manual else "unpacked"), False)]


def _files_in(root: Path, mirrored: bool, part: Part) -> list[Path]:
    pattern = part.mirror if mirrored else part.images
    return _matching(root, pattern, part) if pattern else []


def _matching(root: Path | None, pattern: str, part: Part) -> list[Path]:
    every = sorted(root.glob(pattern)) if root else []
    found = [p for p in every if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]  # as `list_images`
    return [p for p in found if (not part.only or p.stem in part.only) and p.stem not in part.without]


def _check_sums(name: str, part: str, files: Sequence[Path]) -> None:
    sums = checksums(name)
    expected = {key.partition("/")[2]: value for key, value in sums.items() if key.partition("/")[0] == part}
    if not expected:
        return
    for path in files:
        if expected.pop(path.name, None) != file_sha256(path):
            raise SrkdError(
                f"{printable_path(path)}: not {name}'s image of that name: its sha256 differs from the manifest"
            )
    if expected:
        raise SrkdError(f"{name}/{part}: {next(iter(expected))} is missing in {printable_path(files[0].parent)}")


def _unpacked(known: Manifest, say: Progress) -> Path:
    """The root folder of the manifest's globs."""
    if known.package is not None:
        spec = importlib.util.find_spec(known.package)
        if spec is None or spec.origin is None:
            raise SrkdError(f"{known.name}: its images come with the package {known.package}, which is not installed")
        return Path(spec.origin).parent
    folder = cache_place("datasets")
    if known.manual is not None:
        if not (folder / known.name).is_dir():
            raise SrkdError(
                f"{known.name} must be downloaded manually, into {printable_path(folder / known.name)}: {known.manual}"
            )
        return folder / known.name
    with locked(folder):
        for source in known.sources:
            target = folder / "unpacked" / _stem(source.url)
            if not target.is_dir():
                _fetch_and_unpack(known, source, target, folder, say)
    return folder / "unpacked"


def _fetch_and_unpack(known: Manifest, source: Archive, target: Path, folder: Path, say: Progress) -> None:
    """Download and unpack a source's archive to `target`.

    If it contains the expected images, its checksum is recorded and required of later downloads. An archive that the
    user placed there is never removed."""
    archive = folder / "archives" / source.url.rpartition("/")[2]
    placed_by_user = archive.is_file()
    recorded = _recorded(folder)
    checksum = _fetched(source, archive, recorded.get(source.url), say)
    try:
        extract(archive, target, SUFFIXES)
        try:
            _check_unpacked(known, target)
        except SrkdError:
            shutil.rmtree(target)  # created by extract above
            raise
    except SrkdError as error:
        page = f"; it is a web page: is a login required? ({source.url})" if _is_page(archive) else ""
        if not placed_by_user:
            archive.unlink()
        left = "remove it and try again" if placed_by_user else "it was removed"
        raise SrkdError(f"{error}{page}; {left}") from error
    if not placed_by_user:
        archive.unlink()
    if source.url not in recorded:
        write_json(folder / "downloads.json", {**recorded, source.url: checksum})


def _check_unpacked(known: Manifest, target: Path) -> None:
    """Raise SrkdError if an unpacked archive does not contain the images that the manifest expects."""
    for key, part in known.parts.items():
        found = len(_files_in(target.parent, False, part))
        if part.images.startswith(f"{target.name}/") and part.role != "refused" and found != part.count:
            raise SrkdError(f"{known.name}/{key}: {found} images in the archive, expected {part.count}")


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(b"<")


def _stem(url: str) -> str:
    """The folder that an archive is unpacked into: its name without archive suffixes."""
    name = url.rpartition("/")[2]
    for suffix in (".gz", ".tgz", ".xz", ".bz2", ".tar", ".zip"):
        name = name.removesuffix(suffix)
    return name


def _recorded(folder: Path) -> dict[str, Any]:
    """{URL: {"sha256", "bytes", "date"}} of archives that contained the expected images."""
    try:
        found = json.loads((folder / "downloads.json").read_bytes())
        return {url: note for url, note in found.items() if isinstance(note, dict)}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise SrkdError(
            f"{printable_path(folder / 'downloads.json')}: damaged ({error}); remove it to trust the next downloads"
        ) from error


def _fetched(source: Archive, path: Path, recorded: dict[str, Any] | None, say: Progress) -> dict[str, Any]:
    """Download a source's archive to `path` unless it is there; returns the record for downloads.json.

    Raises:
        SrkdError: as `download`; the checksum differs from the manifest's or the recorded one.
    """
    expected = source.sha256 or (recorded or {}).get("sha256")
    if path.is_file():
        found = file_sha256(path)
        if expected not in (None, found):
            raise SrkdError(
                f"{printable_path(path)}: its sha256 is {found}, expected {expected}; remove it and try again"
            )
    else:

        def progress(done: int, whole: int | None) -> None:
            say(f"{path.name}, MB", done >> 20, None if whole is None else whole >> 20)

        try:
            found = download(source.url, path, expected, progress, source.max_bytes)
        except SrkdError as error:
            raise SrkdError(
                f"{error}; if this machine cannot download it, put the file into {printable_path(path.parent)}, or set "
                "SRKD_DATA to a folder with the images"
            ) from error
    return {"sha256": found, "bytes": path.stat().st_size, "date": time.strftime("%Y-%m-%d", time.gmtime())}


def images_of(root: str, recursive: bool = False) -> list[Path]:
    """The image files of a folder, local or by URL, or of a data set by its manifest's name (`Set5`, `BSDS500/train`).

    Raises:
        SrkdError: neither; a folder without images; an LMDB; a data set that cannot be downloaded.
    """
    if root.endswith(".lmdb") or (Path(root) / "data.mdb").is_file():
        raise SrkdError(
            f"{printable_path(root)}: srkd reads image files, not LMDB: give the folder of images that the LMDB was "
            "made from (decoded images are kept in srkd's own cache, which is as fast)"
        )
    if is_url(root) or Path(root).is_dir():
        return list_images(root, recursive)
    if Path(root).is_file():
        raise SrkdError(f"{printable_path(root)}: a file; give the folder that contains it")
    if root.partition("/")[0] not in names():
        raise SrkdError(f"{printable_path(root)}: no such folder, and no data set of that name{nearest(root, names())}")
    known, parts = find(root)
    return [path for part in parts for path in locate(known.name, part)]


def check_stems(what: str, stems: Sequence[str], files: Collection[Path]) -> None:
    """Raise SrkdError if one of the `stems`, given as `what`, is that of no file; the nearest is suggested."""
    known = {path.stem for path in files}
    if wrong := [stem for stem in stems if stem not in known]:
        close = nearest(Path(wrong[0]).stem, known)
        raise SrkdError(f'{what}: "{printable_path(wrong[0])}" matches no image{close}; use names without suffix')


def describe(name: str) -> str:
    """A summary of a manifest, in a few lines."""
    known = manifest(name)
    origin = known.package and f"the installed package {known.package}"
    origin = origin or ("manual download: " + known.manual if known.manual else ", ".join(s.url for s in known.sources))
    parts = [
        f"  {name}/{key}: {part.count} images, {part.role}{f' ({part.note})' if part.note else ''}"
        for key, part in known.parts.items()
    ]
    return "\n".join([f"{name}: {known.description}", *parts, f"  licence: {known.licence}", f"  from: {origin}"])
