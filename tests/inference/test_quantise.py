from __future__ import annotations

import pytest

from srkd.inference.calibration import calibration_images
from srkd.inference.graph import graph_of, layers
from srkd.inference.model import Model
from srkd.inference.quantise import SENSITIVITY_COLUMNS, _counts, quantise
from support import needs_int8, replicating_edsr

KNOWN = Model(replicating_edsr(), 2, "tiny").facts()


@pytest.mark.isa
def test_the_layer_that_int8_hurts_is_kept_out() -> None:
    needs_int8("openvino")
    # The strong feature stretches the range of what the upsampler's convolution takes in, one for all channels.
    graph = graph_of(replicating_edsr(50.0))
    found = quantise(graph, "openvino", KNOWN, calibration_images(2, count=2), 0.1)
    assert found.kept == ["network.tail.both"] and found.drop < 0.1 / 3
    scores = [row[SENSITIVITY_COLUMNS[1]] for row in found.sensitivity]
    assert scores == sorted(scores) and len(scores) == len(layers(graph)) and scores[0] < scores[1] - 10
    assert [row["kept"] for row in found.sensitivity] == [row["layer"] in found.kept for row in found.sensitivity]


@pytest.mark.isa
def test_nothing_is_kept_where_nothing_has_to_be() -> None:
    needs_int8("openvino")
    found = quantise(graph_of(replicating_edsr()), "openvino", KNOWN, calibration_images(2, count=1), 1.0)
    assert not found.kept and not found.sensitivity and found.model.backend == ("openvino", "int8")


@pytest.mark.parametrize(("number", "counts"), [(4, [1, 2]), (20, [1, 2, 3, 5, 8]), (1, [])])
def test_more_and_more_layers_up_to_half(number: int, counts: list[int]) -> None:
    assert list(_counts(number)) == counts
