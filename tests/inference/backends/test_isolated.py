from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from srkd.inference import backends
from srkd.inference.backends import CannotRunError, isolated
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from support import KillsItsExporter, replicating_edsr, textured


def test_networks_of_others_are_converted_elsewhere() -> None:
    assert isolated.is_needed(graph_of(KillsItsExporter()))
    assert not isolated.is_needed(graph_of(replicating_edsr())) and not isolated.is_needed(graph_of(nn.Upsample(2)))


def test_an_exporter_that_dies_is_reported_in_a_line() -> None:
    model = Model(KillsItsExporter().eval(), 2, "killer")
    with pytest.raises(CannotRunError, match="the exporter's process was ended by SIGKILL; use another") as caught:
        backends.open_engine(model, "onnxruntime", "fp32")
    assert "\n" not in str(caught.value)


def test_what_is_converted_elsewhere_is_what_would_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = Model(replicating_edsr(), 2, "tiny"), textured(0, 20, 30)[None]
    here = backends.open_engine(model, "onnxruntime", "fp32")(image)
    monkeypatch.setattr(isolated, "is_needed", lambda graph: True)
    np.testing.assert_array_equal(backends.open_engine(model, "onnxruntime", "fp32")(image), here)
