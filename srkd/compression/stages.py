"""Stages that are done once: each leaves a JSON file, and is skipped where that is there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_json

Result = dict[str, Any]


class Stages:
    """The finished stages of one folder, and the time that all processes have spent on it.

    Args:
        folder: gets request.json, a JSON a stage, and time.json.
        identity: what was asked for, plain data.

    Raises:
        SrkdError: the folder was begun with something else (what is named), or holds a file that is no JSON.
    """

    def __init__(self, folder: Path, identity: Result) -> None:
        self.folder = folder
        begun = self._read("request")
        if begun is not None and begun != identity:
            changed = [key for key in identity if begun.get(key) != identity[key]]
            said = ", ".join(f"{key} was {begun.get(key)} and is {identity[key]}" for key in changed)
            where = printable_path(folder.parent)
            raise SrkdError(f"{where} was begun otherwise: {said}; restore that, or choose another --output")
        if begun is None:
            write_json(self._path("request"), identity)
        self._before = float((self._read("time") or {"seconds": 0.0})["seconds"])
        self._began = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the beginning, without pauses between processes."""
        return self._before + time.monotonic() - self._began

    def done(self, name: str) -> Result | None:
        """The result of a stage, None where it is not finished."""
        return self._read(name)

    def once(self, name: str, make: Callable[[], Result]) -> Result:
        """The result of a stage, which is made where it is not there yet."""
        found = self._read(name)
        if found is not None:
            return found
        try:
            result = make()
            write_json(self._path(name), result)
        finally:
            write_json(self._path("time"), {"seconds": round(self.spent, 1)})
        return result

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> Result | None:
        try:
            return dict(json.loads(self._path(name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise SrkdError(
                f"{printable_path(self._path(name))}: cannot be read; remove it, and it is made again"
            ) from error
