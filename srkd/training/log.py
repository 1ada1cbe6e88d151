"""Logs of a run: metrics.jsonl, TensorBoard, and the progress display."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from srkd.errors import SrkdError
from srkd.files.atomic import write_text, writing
from srkd.terminal import printable, tell, unescaped

if TYPE_CHECKING:
    from srkd.training.task import Task


def logged_values(task: Task, step: int) -> dict[str, float]:
    """The values that the last step logged.

    Raises:
        SrkdError: one of them, or a weight after the step, is not finite: training has diverged and cannot recover.
    """
    values = {name: float(value) for name, value in task.log.items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)] or [
        f"a weight of {name}"
        for name, network in task.trained().items()
        if not all(parameter.isfinite().all() for parameter in network.parameters())
    ]
    if bad:
        raise SrkdError(
            f"training diverged at step {step}: {', '.join(bad)} is not finite; lower the learning rate, set "
            "train.clip_grad_norm or train.precision=fp32"
        )
    return values


class Log:
    """One run's log. Each record is one JSON line with its `step`; numbers also go to TensorBoard.

    Args:
        folder: the run's folder.
        start: the step from which a resumed run starts; later records, left by the interrupted run, are dropped.
        tensorboard: also write `tb/`.
    """

    def __init__(self, folder: Path, start: int, tensorboard: bool) -> None:
        self.path = folder / "metrics.jsonl"
        _drop_after(self.path, start)
        with writing(self.path):
            self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder / "tb", start) if tensorboard else None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one record. If the process is killed, resuming drops an incomplete last line."""
        with writing(self.path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        if self._board is not None:
            with writing(self.path.with_name("tb")):
                for name, value in values.items():
                    if isinstance(value, (int, float)):
                        self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            with writing(self.path.with_name("tb")):
                self._board.close()


def _tensorboard(folder: Path, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=start)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete records of a metrics.jsonl, in order; an incomplete line is skipped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        kept = [record for record in read_metrics(path) if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


class Progress:
    """A progress bar with rate and remaining time on a terminal; otherwise plain lines.

        with Progress("training", total) as progress:
            progress.update(done, "loss 0.012")

    If standard error is not a terminal, a line is printed at most every `interval` seconds, and at the end.
    """

    def __init__(self, title: str, total: int, start: int = 0, interval: float = 15.0, quiet: bool = False) -> None:
        self.title, self.total, self.done, self.interval, self.quiet = title, total, start, interval, quiet
        self._started, self._first, self._printed = time.monotonic(), start, 0.0
        self._bar: Any = None
        self._text = ""

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self.quiet and importlib.util.find_spec("rich"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            # Without rich's markup, which would read a name in brackets as a style.
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._bar = Bar(*columns, console=Console(file=unescaped(sys.stderr)))
            self._bar.start()
            self._row = self._bar.add_task(printable(self.title), total=self.total, completed=self.done, text="")
        return self

    def update(self, done: int, text: str = "") -> None:
        """Report that `done` of the total are done."""
        first_at_end = done == self.total > self.done
        self.done, self._text = done, text or self._text
        if self._bar is not None:
            self._bar.update(self._row, completed=done, text=printable(f"{self._rate():.1f}/s {self._text}"))
        elif not self.quiet and (time.monotonic() - self._printed > self.interval or first_at_end):
            self._printed = time.monotonic()
            tell(self._line())

    def _rate(self) -> float:
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def _line(self) -> str:
        rate = self._rate()
        left = f", {_clock((self.total - self.done) / rate)} left" if rate and self.done < self.total else ""
        return f"{self.title}: {self.done}/{self.total} ({rate:.1f}/s{left}) {self._text}".rstrip()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
