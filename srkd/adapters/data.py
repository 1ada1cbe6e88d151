"""What adapters share: where data are, networks by name, padded batches, and plots of what finished runs wrote."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from srkd.errors import SrkdError, exit_on_error, unknown
from srkd.files.atomic import printable_path

T = TypeVar("T")


def find(path: str, what: str, source: str) -> Path:
    """Find the file or folder `path`: as given, else relative to the folder in the environment variable SRKD_DATA.

    Args:
        what: description of the data for the error message, such as "MovieLens 100K, a folder".
        source: origin of the data: the institution and the name of the file.

    Raises:
        SrkdError: neither path exists.
    """
    mirror = os.environ.get("SRKD_DATA")
    for candidate in [Path(path)] + ([Path(mirror) / path] if mirror else []):
        if candidate.exists():
            return candidate
    hint = "" if mirror else ", or set SRKD_DATA to the folder that contains it"
    raise SrkdError(f"{path}: no such file or folder ({what}). Source: {source}. Give its path{hint}")


def check_header(path: Path, header: Sequence[str], used: Sequence[str]) -> None:
    """Raise SrkdError if the header of a table has a column that is used more than once."""
    if repeated := [column for column in used if header.count(column) > 1]:
        raise SrkdError(
            f'{printable_path(path)}: the header has {header.count(repeated[0])} columns "{repeated[0]}"; '
            "rename all but the one to use"
        )


def build_kind(
    kinds: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], given: Mapping[str, Any], others: Sequence[str] = ()
) -> T:
    """Build `kinds[spec["type"]]` with the other options of `spec`, and with those of `given` that it takes.

    Args:
        others: options that the caller has used itself; only for messages.

    Raises:
        SrkdError: unknown type or option, or an invalid value.
    """
    kind = str(spec.get("type"))
    if kind not in kinds:
        raise SrkdError(f"network.type: {unknown('network', kind, kinds)}")
    options = {str(key): value for key, value in spec.items() if key != "type"}
    taken = inspect.signature(kinds[kind]).parameters
    known = [key for key in taken if key not in given]
    for key in options:
        if key not in known:
            raise SrkdError(f"network: {unknown('option', key, [*known, *others])}")
    try:
        return kinds[kind](**{key: value for key, value in given.items() if key in taken}, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError, OSError) as error:
        raise SrkdError(f"network: {kind}: {error}") from error


def padded(rows: Sequence[np.ndarray]) -> Tensor:
    """Stack ids (length, ...) of different lengths into (N, longest, ...), int64, padded by 0 at the end."""
    return pad_sequence([torch.as_tensor(row, dtype=torch.int64) for row in rows], batch_first=True)


def hash_of(*parts: np.ndarray) -> str:
    """16 hexadecimal digits that change with the bytes of any array."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes())
    return digest.hexdigest()[:16]


def read_result(run: Path, name: str, kind: str) -> dict[str, Any]:
    """Read the JSON file that the last validation of a run wrote into its folder.

    Raises:
        SrkdError: the folder is not that of a finished run of this kind.
    """
    path = run / name
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SrkdError(f"{printable_path(path)}: not from a finished {kind} run ({error})") from error


def plot_runs(
    read: Callable[[Path], T], plot: Callable[[Mapping[str, T], Path], None], arguments: Sequence[str] | None = None
) -> None:
    """The command line `out.png name=<run folder> ...`: plot what `read` finds in each run."""
    parser = argparse.ArgumentParser(description="Plot what finished runs wrote.")
    parser.add_argument("image", type=Path, help="the PNG file to write")
    parser.add_argument("runs", nargs="+", metavar="name=folder", help="a name for the plot, and the folder of its run")
    args = parser.parse_args(arguments)
    named = dict(run.partition("=")[::2] for run in args.runs)
    if "" in named.values():
        parser.error("each run must be given as name=folder")
    with exit_on_error(parser.prog):
        plot({name: read(Path(folder)) for name, folder in named.items()}, args.image)
