from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import torch

from srkd.integrations import torchvision_compat


def test_declared_torchvision_transforms_images_and_its_operators_still_raise() -> None:
    declared = torchvision_compat.import_torchvision()
    import torchvision
    from torchvision.transforms.functional import normalize

    half = torch.full((3, 2, 2), 0.5)
    assert normalize(half, [0.5] * 3, [0.5] * 3).abs().max() == 0
    boxes, scores = torch.tensor([[0.0, 0, 1, 1], [5.0, 5, 6, 6]]), torch.tensor([0.1, 0.9])
    if declared:
        with pytest.raises(RuntimeError, match="custom C\\+\\+ ops"):
            torchvision.ops.nms(boxes, scores, 0.5)
    else:
        assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [1, 0]


def test_nothing_is_declared_where_torchvision_imports_unaided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setattr(torchvision_compat, "_declare", lambda: pytest.fail("declared operators without need"))
    assert torchvision_compat.import_torchvision.__wrapped__() is False


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise RuntimeError("CUDA versions differ")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(RuntimeError, match="CUDA versions differ"):
        torchvision_compat.import_torchvision.__wrapped__()
