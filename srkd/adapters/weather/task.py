"""The weather forecast task: a student of a numerical simulation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from srkd.adapters.base import AdapterRecipe, AdapterTask, Indices
from srkd.adapters.data import find, hash_of
from srkd.adapters.weather import networks, scores, twins
from srkd.adapters.weather.examples import Examples, Weather
from srkd.adapters.weather.recipe import WeatherData, WeatherRecipe
from srkd.adapters.weather.scores import VALIDATION
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

    Validates after every epoch unless `val.val_freq` is set. With `data.states_per_step` each batch also has inputs
    whose truth is not known; losses to the truth leave them out.
    """

    recipe_type: ClassVar[type[AdapterRecipe]] = WeatherRecipe
    recipe: WeatherRecipe

    def load(self) -> int:
        data = self.recipe.data
        self.weather = _weather(data)
        self.notices += self.weather.notices
        self.train_examples, others = self.weather.train.part(data.share, self.recipe.manual_seed)
        self.states = self.weather.states or _with_forecasts(others)
        if data.states_per_step and not len(self.states):
            raise SrkdError("data.states_per_step: no training row outside share has a forecast")
        return len(self.train_examples)

    def fingerprint(self) -> dict[str, str]:
        examples = self.weather.train
        found = {"examples": hash_of(examples.inputs.numpy(), examples.target.numpy())}
        # A simulation's follow from its settings.
        if examples.simulated is not None and self.objective.needs_teacher:
            found["forecasts"] = hash_of(examples.simulated.numpy())
        return found

    def scored_on(self) -> str:
        sets = [self.weather.test, *([self.weather.validation] if self.weather.validation else [])]
        return hash_of(*(part.numpy() for examples in sets for part in (examples.inputs, examples.target)))

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
        forecasts = twins.in_parts(simulate, self.train_examples.inputs)
        return SimulationTeacher.cached(torch.cat([forecasts, self.states.target]).to(self.device))

    @property
    def _live(self) -> bool:
        twin = self.recipe.data.lorenz96 or self.recipe.data.barotropic
        return twin is not None and twin.teacher == "live"

    def _corrected(self) -> Tensor:
        """Forecasts of the table for the training examples and the states, minus their mean error for the training
        examples with `correct_bias`."""
        table, examples = self.recipe.data.table, self.train_examples
        assert table is not None and examples.simulated is not None and self.states.simulated is not None
        forecasts = torch.cat([examples.simulated, self.states.simulated])
        if not table.correct_bias:
            return forecasts
        return forecasts - (examples.simulated - examples.target).nanmean(0)

    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        examples, index = self.train_examples, torch.from_numpy(indices)
        target = examples.target[index]
        known = examples.simulated
        mask = torch.ones_like(target, dtype=torch.bool) if known is None else known[index].isfinite()
        batch = {"input": examples.inputs[index], "target": target, "mask": mask, "index": index}
        count = self.recipe.data.states_per_step
        return _joined(batch, self._batch_of_states(random.integers(0, len(self.states), count))) if count else batch

    def _batch_of_states(self, indices: Indices) -> dict[str, Tensor]:
        """A batch of inputs without truth: its `target` has the shape of one and is not used."""
        index = torch.from_numpy(indices)
        states = self.states[index]
        mask = torch.ones_like(states.target, dtype=torch.bool)
        return {
            "input": states.inputs,
            "target": states.target,
            "mask": mask,
            "index": index + len(self.train_examples),
        }

    @property
    def validate_every(self) -> int:
        return super().validate_every or self.epoch_length

    @torch.no_grad()
    def evaluate(self) -> dict[str, SetScores]:
        """By quantity: `rmse`, `mae`, `bias` in its unit and `skill_*` of the test examples; and by `validation
        <quantity>` the `rmse` of the validation examples. Also stores `errors` for errors.json."""
        weather = self.weather
        forecast = self._forecast(weather.test)
        self.errors = {name: self._errors(forecast, q) for q, name in enumerate(weather.quantities)}
        found = {name: scores.scores(forecast, weather, q) for q, name in enumerate(weather.quantities)}
        if weather.validation is not None:
            forecast = self._forecast(weather.validation)
            for q, name in enumerate(weather.quantities):
                found[f"{VALIDATION}{name}"] = {"rmse": scores.rmse(forecast, weather.validation, q)}
        return {
            name: {
                "protocol": f"validation of: {weather.protocol}" if name.startswith(VALIDATION) else weather.protocol,
                "metrics": {metric: {"all": round(value, 5)} for metric, value in values.items()},
            }
            for name, values in found.items()
        }

    def _forecast(self, examples: Examples) -> Tensor:
        forecast: Tensor = self.network(examples.inputs.to(self.device)).float().cpu()
        return forecast

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
    states = data.states_per_step > 0
    if data.lorenz96 is not None:
        return twins.lorenz96(data.lorenz96, states)
    if data.barotropic is not None:
        return twins.barotropic(data.barotropic, states)
    assert data.table is not None
    return examples_of(find(data.table.root, "a table of forecasts and observations", _SOURCE), data.table)


def _with_forecasts(examples: Examples) -> Examples:
    """The examples for which every quantity has a forecast; of a simulation, which computes its own, none."""
    if examples.simulated is None:
        return examples[torch.arange(0)]
    return examples[examples.simulated.isfinite().all(1)]


def _joined(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Two batches as one; `known` is true for the targets of the first."""
    known = [torch.full_like(batch["mask"], value) for batch, value in ((one, True), (other, False))]
    return {"known": torch.cat(known), **{key: torch.cat([one[key], other[key]]) for key in one}}
