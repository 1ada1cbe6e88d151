"""State shared by all parts of the command: request, output folder, teacher, finished phases, progress messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from srkd.compression import images, plan
from srkd.compression.phases import Phases, Result
from srkd.compression.request import Request
from srkd.compression.settings import Settings
from srkd.compression.training import TrainingSetup
from srkd.networks.loading import load_network
from srkd.training.run import say


class Job:
    """One compression into one folder.

    Args:
        out: output folder; intermediate files go to `out/work`.
        dry_run: write only a few crops.

    Raises:
        SrkdError: as `images.find`, `load_network` and `Phases`; before anything is written if photographs or teacher
            are invalid.
    """

    def __init__(self, request: Request, out: Path, settings: Settings, dry_run: bool = False) -> None:
        self.request, self.out, self.settings, self.dry_run = request, out, settings, dry_run
        self.work = out / "work"
        self.training, self.held_out = self.work / "pictures" / "training", self.work / "pictures" / "held-out"
        self.photos, self.left_out = images.find(request.data, self.patch)
        self.teacher = load_network(request.teacher, request.scale)
        outputs = self.work / "answers"
        self.setup = TrainingSetup(self.teacher_name, request.scale, self.training, outputs, settings, request.seed)
        self.phases = Phases(self.work, request.identity())

    @property
    def patch(self) -> int:
        """Side of an HR patch in pixels."""
        return self.settings.patch * self.request.scale

    @property
    def teacher_name(self) -> str:
        return self.teacher.name if self.request.teacher == "auto" else self.request.teacher

    @property
    def left(self) -> float:
        """Remaining seconds of the requested time."""
        return self.request.seconds - self.phases.spent

    def once(self, name: str, make: Callable[[], Result], title: str = "") -> Result:
        """Run a phase (`Phases.once`); if it is not finished yet, log `title` with the remaining time."""
        if title and self.phases.done(name) is None:
            self.say(f"{title} ({f'{plan.clock(self.left)} left' if self.left > 0 else 'the time is up'})")
        return self.phases.once(name, make)

    def say(self, text: str) -> None:
        """Log a line of progress."""
        say(text)
