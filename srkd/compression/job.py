"""What every part of the command shares: the request, the folder, the teacher, the finished stages, the words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from srkd.compression import images, plan
from srkd.compression.limits import Limits
from srkd.compression.request import Request
from srkd.compression.stages import Result, Stages
from srkd.compression.training import TrainingPlan
from srkd.networks.loading import load_network
from srkd.training.run import say


class Job:
    """One compression into one folder.

    Args:
        out: gets what the user wants; `out/work` everything else.
        rehearsal: only a few crops are written.

    Raises:
        SrkdError: as `images.find`, `load_network` and `Stages`; nothing is written where photographs or teacher are
            wrong.
    """

    def __init__(self, request: Request, out: Path, effort: Limits, dry: bool = False) -> None:
        self.request, self.out, self.effort, self.dry = request, out, effort, dry
        self.work = out / "work"
        self.training, self.held_out = self.work / "pictures" / "training", self.work / "pictures" / "held-out"
        self.photos, self.left_out = images.find(request.data, self.patch)
        self.teacher = load_network(request.teacher, request.scale)
        predictions = self.work / "answers"
        self.lesson = TrainingPlan(self.teacher_name, request.scale, self.training, predictions, effort, request.seed)
        self.stages = Stages(self.work, request.identity())

    @property
    def patch(self) -> int:
        """Side of an HR patch in pixels."""
        return self.effort.patch * self.request.scale

    @property
    def teacher_name(self) -> str:
        return self.teacher.name if self.request.teacher == "auto" else self.request.teacher

    @property
    def left(self) -> float:
        """Seconds of the time that was given."""
        return self.request.seconds - self.stages.spent

    def once(self, name: str, make: Callable[[], Result], title: str = "") -> Result:
        """A stage (`Stages.once`), announced with the time that is left where it is not finished yet."""
        if title and self.stages.done(name) is None:
            self.say(f"{title} ({f'{plan.clock(self.left)} left' if self.left > 0 else 'the time is up'})")
        return self.stages.once(name, make)

    def say(self, text: str) -> None:
        """A line of progress."""
        say(text)
