"""Observing-system simulation experiments: truth, observations and teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from srkd.adapters.weather import twins
from srkd.adapters.weather.barotropic import BarotropicModel, resample
from srkd.adapters.weather.lorenz96 import OneLevelLorenz96, TwoLevelLorenz96
from srkd.adapters.weather.recipe import Barotropic, Lorenz96
from srkd.adapters.weather.stepping import advance
from srkd.adapters.weather.teacher import SimulationTeacher
from srkd.errors import SrkdError

LORENZ = {"members": 3, "test_members": 2, "times": 2, "variables": 8, "fast": 4, "spin_up": 0.2, "lead": 0.1}
PLANE = {
    "members": 2,
    "test_members": 1,
    "times": 2,
    "size": 64,
    "teacher_size": 32,
    "dt": 0.05,
    "spin_up": 0.5,
    "lead": 0.5,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))


def rmse(error: torch.Tensor) -> float:
    return float(error.square().mean().sqrt())


def test_lorenz_truth_and_teacher_are_the_models_of_the_recipe() -> None:
    found = twins.lorenz96(Lorenz96(**LORENZ, noise=0.0))
    assert found.train.inputs.shape == (6, 1, 8) and found.test.target.shape == (4, 1, 8)
    truth = TwoLevelLorenz96(8, 4)
    state = advance(truth, truth.random(5, 0), 40)  # spin-up of 0.2
    now, later = truth.slow(state), truth.slow(advance(truth, state, 20))
    assert torch.allclose(found.train.inputs[::2, 0].double(), now[:3], atol=1e-5)
    assert torch.allclose(found.test.target[::2, 0].double(), later[3:], atol=1e-5)
    assert found.test.simulated is not None
    model = advance(OneLevelLorenz96(), found.test.inputs[:, 0].double(), 2)
    assert torch.allclose(found.test.simulated[:, 0].double(), model, atol=1e-5)


def test_fields_are_the_truth_on_the_coarse_grid() -> None:
    found = twins.barotropic(Barotropic(**PLANE, noise=0.0))
    truth = BarotropicModel(64, 0.05, 1e-7)
    state = advance(truth, truth.random(3, 0), 10)
    assert torch.allclose(found.train.inputs[0, 0].double(), resample(truth.field(state), 32)[0], atol=1e-5)
    assert torch.equal(found.train.inputs[1], found.train.target[0])  # consecutive forecasts
    assert found.test.simulated is not None
    assert rmse(found.test.simulated - found.test.target) < rmse(found.test.persistence - found.test.target)


def test_training_targets_have_noise_and_test_targets_do_not() -> None:
    clean, noisy = (twins.lorenz96(Lorenz96(**LORENZ, noise=n)) for n in (0.0, 0.2))
    assert torch.equal(clean.test.target, noisy.test.target)
    spread = torch.cat([clean.train.inputs, clean.train.target]).std()
    for part in ("inputs", "target"):
        error = getattr(noisy.train, part) - getattr(clean.train, part)
        assert rmse(error) == pytest.approx(0.2 * float(spread), rel=0.35)
    assert not torch.equal(clean.test.inputs, noisy.test.inputs)


def test_training_and_test_runs_are_disjoint() -> None:
    one = twins.lorenz96(Lorenz96(**LORENZ))
    assert not any(torch.equal(a, b) for a in one.train.inputs for b in one.test.inputs)


def test_the_truth_is_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = twins.lorenz96(Lorenz96(**LORENZ))
    monkeypatch.setattr(TwoLevelLorenz96, "step", lambda *_: pytest.fail("simulated again"))
    assert torch.equal(twins.lorenz96(Lorenz96(**LORENZ)).train.inputs, one.train.inputs)


def test_a_damaged_cache_file_is_replaced(tmp_path: Path) -> None:
    one = twins.lorenz96(Lorenz96(**LORENZ))
    (kept,) = (tmp_path / "weather").iterdir()
    kept.write_bytes(kept.read_bytes()[:200])
    assert torch.equal(twins.lorenz96(Lorenz96(**LORENZ)).train.inputs, one.train.inputs)


def test_invalid_settings_raise() -> None:
    with pytest.raises(SrkdError, match="teacher_size 66 must not exceed size 64"):
        twins.barotropic(Barotropic(**{**PLANE, "teacher_size": 66}))
    with pytest.raises(SrkdError, match=r"lead 0.12 is not a whole number of time steps of 0.05"):
        twins.lorenz96(Lorenz96(**{**LORENZ, "lead": 0.12}))
    with pytest.raises(SrkdError, match=r"two-level Lorenz-96 blew up at step \d+ of \d+.*Courant number"):
        twins.lorenz96(Lorenz96(**{**LORENZ, "dt": 0.05, "spin_up": 5.0}))
    with pytest.raises(SrkdError, match=r"Lorenz-96 blew up at step \d+ of 20.*Courant number"):
        twins.lorenz96(Lorenz96(**{**LORENZ, "lead": 20.0, "teacher_dt": 1.0, "times": 1}))


def test_live_and_cached_teacher_are_equal() -> None:
    found = twins.lorenz96(Lorenz96(**LORENZ))
    assert found.simulate is not None
    index = torch.tensor([4, 1])
    batch = {"input": found.train.inputs[index], "target": found.train.target[index], "index": index}
    live = SimulationTeacher.live(found.simulate)(batch).output
    cached = SimulationTeacher.cached(twins.in_parts(found.simulate, found.train.inputs))(batch).output
    assert torch.allclose(live, cached, atol=1e-6) and live.shape == (2, 1, 8)


def test_the_truth_replaces_missing_teacher_forecasts() -> None:
    target, forecasts = torch.tensor([[1.0, 2.0]]), torch.tensor([[float("nan"), 5.0]])
    prediction = SimulationTeacher.cached(forecasts)({"target": target, "index": torch.tensor([0])})
    assert prediction.output.tolist() == [[1.0, 5.0]]


def test_states_are_of_the_teachers_model_and_labelled_without_noise() -> None:
    settings = Lorenz96(**LORENZ, noise=0.1, states=5)
    found = twins.lorenz96(settings, states=True).states
    assert found is not None and len(found) == 5
    model = OneLevelLorenz96(variables=8)
    state = advance(model, model.random(3, settings.seed + 2), 4)  # spin-up of 0.2
    label = advance(model, state, 2)
    assert torch.allclose(found.target[::2, 0].double(), label, atol=1e-4)
    clean = twins.lorenz96(Lorenz96(**LORENZ, noise=0.0, states=5), states=True).states
    assert clean is not None and torch.equal(clean.target, found.target)
    assert torch.allclose(clean.inputs[::2, 0].double(), state, atol=1e-5)
    assert 0 < rmse(found.inputs - clean.inputs) < 1


def test_with_a_perfect_teacher_states_and_truth_are_of_one_model() -> None:
    plane = {**PLANE, "size": 32, "teacher_dt": 0.05, "viscosity": 1e-6, "noise": 0.0, "states": 4}
    found = twins.barotropic(Barotropic(**plane), states=True)
    assert rmse(found.test.simulated - found.test.target) < 1e-5  # type: ignore[operator]
    lorenz = {**LORENZ, "fast": 0, "forcing": 8.0, "dt": 0.05, "noise": 0.0}
    found = twins.lorenz96(Lorenz96(**lorenz))
    assert rmse(found.test.simulated - found.test.target) < 1e-5  # type: ignore[operator]


def test_simulations_compute_in_one_thread_and_restore_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    step = OneLevelLorenz96.step
    monkeypatch.setattr(
        OneLevelLorenz96, "step", lambda self, x: counts.append(torch.get_num_threads()) or step(self, x)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        advance(OneLevelLorenz96(), torch.zeros(1, 8), 3)
        assert counts == [1, 1, 1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
