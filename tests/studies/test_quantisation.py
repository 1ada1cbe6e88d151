from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd import losses
from srkd.inference.model import Model
from srkd.networks.quantisation_aware import imitate_int8
from srkd.studies.quantisation import OUTLIER, main, with_outliers
from support import textured


def images(seeds: range) -> torch.Tensor:
    return torch.stack([torch.from_numpy(textured(seed, 24, 24)).permute(2, 0, 1) / 255 for seed in seeds])


def test_half_of_what_int8_loses_is_won_back_where_outliers_spoil_it() -> None:
    teacher = Model.load("edsr_16x8_x2_cc0").network
    expected = [OUTLIER * block.conv2.weight.detach().flatten(1).abs().amax(1) for block in teacher.body]  # type: ignore
    with_outliers(teacher)
    teacher.requires_grad_(False)
    for block, largest in zip(teacher.body, expected, strict=True):  # type: ignore[arg-type]
        assert block.conv2.weight.flatten(1).abs().amax(1) == pytest.approx(largest)
    student = deepcopy(teacher).requires_grad_(True)
    imitate_int8(student)
    batch, held_out = images(range(4)), images(range(20, 24))

    def error() -> float:
        with torch.no_grad():
            return float((student(held_out) - teacher(held_out)).square().mean())

    before = error()
    loss, optimiser = losses.build("output", norm="l1"), torch.optim.Adam(student.parameters(), 1e-3)
    for step in range(30):
        optimiser.param_groups[0]["lr"] = 5e-4 * (1 + np.cos(np.pi * step / 30))
        value = loss(student(batch), teacher(batch))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert error() < before / 2


def test_a_folder_without_recipe_ends_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^quantisation: .*recipe\.yml"):
        main([str(tmp_path)])
