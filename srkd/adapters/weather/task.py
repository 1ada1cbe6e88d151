"""The weather forecast task: a student of a numerical simulation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find
from srkd.adapters.weather import networks, scores, twins
from srkd.adapters.weather.examples import Weather
from srkd.adapters.weather.recipe import WeatherData, WeatherRecipe
from srkd.adapters.weather.stations import examples_of
from srkd.adapters.weather.teacher import SimulationTeacher
from srkd.distill.teachers import Teacher
from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.training.task import SetScores

_SOURCE = (
    'UCI Machine Learning Repository, "Bias correction of numerical prediction model temperature forecast", '
    "Bias_correction_ucl.csv"
)


class Task(AdapterTask):
    """Trains `network: {type: MLP}` on a table or `{type: ConvNet}` on simulations; the teacher is the simulation.

    Validates after every epoch unless `val.val_freq` is set.
    """

    recipe_type: ClassVar[type[AdapterRecipe]] = WeatherRecipe
    recipe: WeatherRecipe

    def load(self) -> int:
        data = self.recipe.data
        self.weather = _weather(data)
        self.notices += self.weather.notices
        self.train_examples = self.weather.train.part(data.share, self.recipe.manual_seed)
        return len(self.train_examples)

    def fingerprint(self) -> dict[str, str]:
        examples = self.weather.train
        parts = (examples.inputs, examples.target)
        return {"examples": hashlib.sha256(b"".join(p.numpy().tobytes() for p in parts)).hexdigest()[:16]}

    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        return networks.build(spec, self.train_examples)

    def make_teacher(self) -> Teacher:
        if self.recipe.network_teacher is not None:
            raise SrkdError("network_teacher: the teacher of this task is the simulation in its data: remove it")
        self.objective.resolve_taps(self.network, None)
        if self.objective.teacher_taps:
            raise SrkdError(f"a simulation has no layers: {', '.join(self.objective.teacher_taps)}")
        simulate = self.weather.simulate
        if simulate is None:
            return SimulationTeacher.cached(self._corrected().to(self.device))
        if self._live:
            return SimulationTeacher.live(simulate)
        return SimulationTeacher.cached(twins.in_parts(simulate, self.train_examples.inputs).to(self.device))

    @property
    def _live(self) -> bool:
        twin = self.recipe.data.lorenz96 or self.recipe.data.barotropic
        return twin is not None and twin.teacher == "live"

    def _corrected(self) -> Tensor:
        """Forecasts of the table for the training examples, minus their mean error with `correct_bias`."""
        table, examples = self.recipe.data.table, self.train_examples
        assert table is not None and examples.simulated is not None
        if not table.correct_bias:
            return examples.simulated
        return examples.simulated - (examples.simulated - examples.target).nanmean(0)

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        examples, index = self.train_examples, torch.from_numpy(indices)
        target = examples.target[index]
        known = examples.simulated
        mask = torch.ones_like(target, dtype=torch.bool) if known is None else known[index].isfinite()
        return {"input": examples.inputs[index], "target": target, "mask": mask, "index": index}

    @property
    def validate_every(self) -> int:
        return super().validate_every or self.epoch_length

    @torch.no_grad()
    def evaluate(self) -> dict[str, SetScores]:
        """By quantity: `rmse`, `mae`, `bias` in its unit and `skill_*`. Also stores `errors` for errors.json."""
        weather = self.weather
        forecast = self.network(weather.test.inputs.to(self.device)).float().cpu()
        self.errors = {name: self._errors(forecast, q) for q, name in enumerate(weather.quantities)}
        return {
            name: {
                "protocol": weather.protocol,
                "metrics": {
                    metric: {"all": round(value, 5)} for metric, value in scores.scores(forecast, weather, q).items()
                },
            }
            for q, name in enumerate(weather.quantities)
        }

    def _errors(self, forecast: Tensor, quantity: int) -> dict[str, Any]:
        """RMSE of each station, or the last forecast of a simulation with its truth."""
        weather, test = self.weather, self.weather.test
        if test.place is not None:
            error = forecast[:, quantity] - test.target[:, quantity]
            found = scores.by_station(error, test.place, len(weather.places))
            stations = [{**place, "rmse": rmse} for place, rmse in zip(weather.places, found, strict=True)]
            return {"unit": weather.unit, "stations": stations}
        assert test.simulated is not None
        images = {"truth": test.target, "student": forecast, "simulation": test.simulated}
        return {name: np.round(values[-1, quantity].double().numpy(), 3).tolist() for name, values in images.items()}

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """As in the base class; also writes the errors by station or grid point to errors.json beside the scores."""
        found = super().validate(step, folder)
        if self.fabric.is_global_zero:
            write_json(folder.parent / "errors.json", self.errors)
        return found


def _weather(data: WeatherData) -> Weather:
    if data.lorenz96 is not None:
        return twins.lorenz96(data.lorenz96)
    if data.barotropic is not None:
        return twins.barotropic(data.barotropic)
    assert data.table is not None
    return examples_of(find(data.table.root, "a table of forecasts and observations", _SOURCE), data.table)
