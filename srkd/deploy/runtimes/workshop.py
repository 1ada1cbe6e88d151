"""A folder for files that come in several pieces: they move to their place together, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srkd.errors import SrkdError
from srkd.io.atomic import shown


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder for unfinished files inside `folder`, which is made; gone when the block ends, however it does.

    Raises:
        SrkdError: `folder` cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    except OSError as error:
        raise SrkdError(f"cannot write into {shown(folder)}: {error.strerror}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
