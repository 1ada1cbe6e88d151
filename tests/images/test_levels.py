from __future__ import annotations

import numpy as np
import pytest
import torch

from srkd.images.levels import from_levels, to_levels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_every_level_survives(dtype: torch.dtype) -> None:
    top = torch.iinfo(dtype).max
    levels = torch.arange(top + 1).to(dtype)
    values = from_levels(levels)
    assert values.dtype == torch.float32 and values[0] == 0 and values[-1] == 1
    assert torch.equal(to_levels(values, dtype).int(), levels.int())


def test_values_are_clamped_and_rounded_half_to_even() -> None:
    assert to_levels(torch.tensor([-0.5, 0.5, 1.5 / 255, 2.0])).tolist() == [0, 128, 2, 255]
    assert to_levels(torch.tensor([-0.5, 0.3, 2.0]), torch.float32).tolist() == [0, np.float32(0.3), 1]


def test_channels_last_is_kept() -> None:
    pixels = torch.zeros(1, 5, 7, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    assert from_levels(pixels).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["uint8", "uint16", "float32"])
def test_arrays_and_tensors_are_converted_alike(name: str) -> None:
    dtype = np.dtype(name)
    top = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    levels = (np.linspace(0, 1, 99) if dtype.kind == "f" else np.arange(top + 1)).astype(dtype)
    np.testing.assert_array_equal(from_levels(levels), from_levels(torch.from_numpy(levels)).numpy())
    values = np.random.default_rng(0).uniform(-0.2, 1.2, 10_000).astype(np.float32)
    values[:2] = -0.5, 2
    kept = values.copy()
    converted = to_levels(values, dtype)
    assert converted.dtype == dtype and (values == kept).all()
    np.testing.assert_array_equal(converted, to_levels(torch.from_numpy(values), getattr(torch, name)).numpy())
