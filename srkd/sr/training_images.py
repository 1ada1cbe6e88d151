"""The images that a recipe or a command names, as stores of mapped arrays in the user's cache folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from srkd.data import manifests, near_duplicates
from srkd.data.copies import smaller
from srkd.data.store import ImageStore, open_or_build, pair_files
from srkd.errors import SrkdError, nearest
from srkd.files.atomic import printable_path
from srkd.files.bounded import read_bytes
from srkd.sr.recipe import Paths, TrainSet, ValSet

Folders = list[list[Path]]
_LARGEST_LIST = 64 << 20  # bytes of a meta_info_file


def training_images(spec: TrainSet, scale: int) -> ImageStore:
    """The images of `datasets.train`, decoded once; LR made by the protocol or taken from `dataroot_lq`.

    Raises:
        SrkdError: no such folder or data set, an empty one, an image that cannot be read or must not be trained on,
            pairs that do not match, a name in `exclude` or `meta_info_file` that matches nothing.
    """
    every, named = _hr_folders(spec)
    _check_stems("datasets.train.exclude", spec.exclude, named)
    kept = [[path for path in folder if path.stem not in spec.exclude] for folder in named]
    if spec.copies and spec.dataroot_lq is not None:
        raise SrkdError("datasets.train.copies: LR images that are given have no smaller copies; leave one out")
    store = _store(spec, kept, every, scale, spec.copies)
    manifests.refuse_unless_training(store)
    near_duplicates.refuse_known(store)
    return store


def validation_images(spec: ValSet, scale: int) -> ImageStore:
    """The images of a validation set. Raises as `training_images`, save that any image will do."""
    every, named = _hr_folders(spec)
    _check_stems(f'only of the validation set "{spec.name}"', spec.only, named)
    kept = [[path for path in folder if not spec.only or path.stem in spec.only] for folder in named]
    return _store(spec, kept, every, scale)


def _listed(spec: TrainSet | ValSet) -> Path | None:
    """The set's `meta_info_file`, or None where there is none, or where it is BasicSR's own and not here.

    BasicSR's option files name lists of its source code, which name every image of their data set.
    """
    if spec.meta_info_file is None:
        return None
    path = Path(spec.meta_info_file)
    return None if path.parts[:3] == ("basicsr", "data", "meta_info") and not path.exists() else path


def missing_lists(sets: Sequence[TrainSet | ValSet]) -> list[str]:
    """Notices of the lists that sets name, which are not here and not needed."""
    return [
        f"{spec.meta_info_file} not found: every image of {', '.join(_list(spec.dataroot_gt))} is used"
        for spec in sets
        if spec.meta_info_file is not None and _listed(spec) is None
    ]


def _hr_folders(spec: TrainSet | ValSet) -> tuple[Folders, Folders]:
    """The HR files of each root: all of them, and those that `meta_info_file` names where there is one."""
    roots, path = _list(spec.dataroot_gt), _listed(spec)
    every = [manifests.files_of(root, recursive=path is not None) for root in roots]
    if path is None:
        return every, every
    there = [{_name_in(root, file): file for file in files} for root, files in zip(roots, every, strict=True)]
    named: Folders = [[] for _ in roots]
    for name, line in _names_in(path).items():
        place = next((i for i, files in enumerate(there) if name in files), None)
        if place is None:
            close = nearest(name, [known for files in there for known in files])
            raise SrkdError(
                f"{printable_path(path)}, line {line}: no image {printable_path(name)} in {', '.join(roots)}{close}"
            )
        named[place].append(there[place][name])
    return every, named


def _name_in(root: str, file: Path) -> str:
    return file.relative_to(root).as_posix() if Path(root).is_dir() else file.name


def _names_in(path: Path) -> dict[str, int]:
    """Names in one of BasicSR's lists, with their lines: each is a file name and perhaps its shape, `a.png (8,8,3)`."""
    try:
        lines = read_bytes(path, _LARGEST_LIST).decode("utf-8").splitlines()
    except OSError as error:
        raise SrkdError(f"{printable_path(path)}: cannot read the meta_info_file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SrkdError(f"{printable_path(path)}: a meta_info_file is text, a file name a line") from error
    except ValueError as error:
        raise SrkdError(f"{printable_path(path)}: not a meta_info_file: {error}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = re.sub(r"\s+\([\d, ]*\)$", "", line.strip())
        if name:
            found.setdefault(name, number)
    if not found:
        raise SrkdError(f"{printable_path(path)}: names no image")
    return found


def _check_stems(what: str, stems: Sequence[str], folders: Folders) -> None:
    known = {path.stem for folder in folders for path in folder}
    wrong = [stem for stem in stems if stem not in known]
    if wrong:
        close = nearest(Path(wrong[0]).stem, known)
        raise SrkdError(f'{what}: "{printable_path(wrong[0])}" matches no image{close}; give names without suffix')


def _store(
    spec: TrainSet | ValSet, kept: Folders, every: Folders, scale: int, copies: Sequence[float] = ()
) -> ImageStore:
    hr = [path for folder in kept for path in folder]
    if not hr:
        raise SrkdError("no images are left after `exclude` or `only`")
    if spec.dataroot_lq is None:
        return open_or_build([*hr, *smaller(hr, copies)], scale)
    lr = [manifests.files_of(root, recursive=_listed(spec) is not None) for root in _list(spec.dataroot_lq)]
    return open_or_build(hr, scale, _lr_files(kept, every, lr, scale, spec.filename_tmpl))


def _lr_files(kept: Folders, every: Folders, lr: Folders, scale: int, template: str) -> list[Path]:
    """The LR file of each HR file: folder by folder where names repeat and there are as many of each, else of all."""
    if len(kept) == len(lr) and (_repeats(every) or _repeats(lr)):
        pairs = zip(kept, lr, every, strict=True)
        return [path for h, low, others in pairs for path in pair_files(h, low, scale, template, others)]
    one = [[path for folder in folders for path in folder] for folders in (kept, lr, every)]
    return pair_files(one[0], one[1], scale, template, one[2])


def _repeats(folders: Folders) -> bool:
    stems = [path.stem for folder in folders for path in folder]
    return len(set(stems)) < len(stems)


def _list(paths: Paths) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
