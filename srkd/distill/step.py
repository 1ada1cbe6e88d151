"""A student's forward pass and its objective as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from srkd.distill.objective import Objective
from srkd.distill.taps import Taps
from srkd.distill.teachers import Prediction, run_network
from srkd.errors import SrkdError


class Step(nn.Module):
    """Student and objective as one module, so that distributed training sees every trainable parameter.

    Args:
        student: called with `batch[input]` (see `run_network`).
        objective: with resolved taps.
        input, target: batch keys of the student's input and of the ground truth.
    """

    def __init__(self, student: nn.Module, objective: Objective, input: str = "lr", target: str = "hr") -> None:
        super().__init__()
        self.student, self.objective = student, objective
        self.input, self.target = input, target
        self.taps = Taps(student, objective.student_taps)

    def predict(self, batch: Mapping[str, Any]) -> Prediction:
        """The student's float32 output and its features.

        Raises:
            SrkdError: the student does not return a single tensor.
        """
        with self.taps:
            output = run_network(self.student, batch, self.input)
        if not isinstance(output, Tensor):
            raise SrkdError(
                f"{type(self.student).__name__} returns a {type(output).__name__}, not one tensor; wrap it in a module "
                "that returns the tensor to train"
            )
        return Prediction(output.float(), self.taps.features)

    def forward(
        self, batch: Mapping[str, Any], teacher: Prediction, context: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The student's output, the objective's total and the value of each term."""
        student = self.predict(batch)
        assert student.output is not None
        return student.output, *self.objective(student, teacher, batch[self.target], context)
