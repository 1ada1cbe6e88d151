"""Replay the LR/SR pairs that an exported file carries, in every runtime that opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.inference import backends
from srkd.inference.backends.engine import CannotRunError
from srkd.inference.model import Model
from srkd.inference.proof import Replay, replay

COLUMNS = ["file", "runtime", "precision", "largest difference", "PSNR (dB)", "tolerance", "result"]
ACCEPTED, DIFFERENT = "ok", "different"
_MISSING = "not tried: "
Row = dict[str, Any]


def verify(path: Path, checkpoint: str | None = None) -> list[Row]:
    """Rows of `COLUMNS`, one for each runtime; `result` is `ACCEPTED`, `DIFFERENT`, or why the runtime was not tried.

    Args:
        path: a file that `srkd export` wrote.
        checkpoint: also replay the pairs in torch, by a zoo name or checkpoint that the file may be an export of.

    Raises:
        SrkdError: the file carries no pairs; as `backends.open_file`, and as `Model.load` for the checkpoint.
    """
    opened = backends.open_file(path)
    proof = opened.meta.get(backends.PROOF)
    if not isinstance(proof, Mapping):
        raise SrkdError(f"{printable_path(path)}: carries no LR/SR pairs to verify it by; export it again")
    rows = [_row(path, opened, replay(opened, proof, printable_path(path)))]
    rows += [_by_other(path, runtime, proof) for runtime in backends.readers(path)[1:]]
    if checkpoint is not None:
        torch = backends.open_engine(Model.load(checkpoint, opened.scale), "torch", "fp32")
        rows.append(_row(path, torch, replay(torch, proof, printable_path(path))))
    return rows


def _by_other(path: Path, runtime: str, proof: Mapping[str, Any]) -> Row:
    """The row of a runtime that is not the file's own, and need not be able to run it."""
    if not backends.installed(runtime):
        return _untried(path, runtime, "not installed")
    try:
        opened = backends.open_file(path, runtime=runtime)
        return _row(path, opened, replay(opened, proof, printable_path(path)))
    except CannotRunError as error:
        return _untried(path, runtime, str(error))


def _row(path: Path, model: Model, found: Replay) -> Row:
    runtime, precision = model.backend
    return {
        "file": printable_path(path),
        "runtime": runtime,
        "precision": precision,
        "largest difference": found.largest,
        "PSNR (dB)": round(found.lowest, 2),
        "tolerance": str(found.tolerance),
        "result": ACCEPTED if found.accepted else DIFFERENT,
    }


def _untried(path: Path, runtime: str, why: str) -> Row:
    return dict.fromkeys(COLUMNS) | {"file": printable_path(path), "runtime": runtime, "result": f"{_MISSING}{why}"}


def failures(rows: list[Row]) -> Iterator[str]:
    """What differs, a clause for each runtime."""
    for row in rows:
        if row["result"] == DIFFERENT:
            torch = row["runtime"] == "torch"
            what, other = ("the checkpoint", "the file's SR images") if torch else (row["runtime"], "torch")
            yield (
                f"{row['file']}: {what} differs from {other} by {row['largest difference']} levels "
                f"({row['PSNR (dB)']:g} dB; {row['tolerance']} allowed)"
            )
