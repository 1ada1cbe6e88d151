from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.compression import candidates
from srkd.compression.request import Budget, Request
from srkd.errors import SrkdError
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.cost import parameters
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.networks import registry
from srkd.training.checkpoint import save_weights


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lines_grow_only_in_width_and_build(scale: int, tmp_path: Path) -> None:
    unprunable = Model(torch.nn.Conv2d(3, 3, 3), scale, "a convolution")
    lines = candidates.lines(unprunable, tmp_path)
    families = {line[0].family for line in lines}
    assert (
        families
        == {ladder.family for _, ladder in registry.ladders() if ladder.offered and not ladder.imitates}
        >= {"EDSR", "SRResNet", "Compact"}
    )
    for line in lines:
        assert len({tuple(v for k, v in c.spec.items() if k != "num_feat") for c in line}) == 1
        sizes = [parameters(candidate.build(scale)) for candidate in line[:3]]
        assert sizes == sorted(sizes)
    output = lines[0][0].build(scale)(torch.zeros(1, 3, 8, 8))
    assert output.shape == (1, 3, 8 * scale, 8 * scale)


def test_named_networks_and_sizes_replace_the_offered_ones(tmp_path: Path) -> None:
    teacher = load_model_of({"type": "EDSR", "num_feat": 8, "num_block": 4, "upscale": 2}, tmp_path)
    found = candidates.lines(teacher, tmp_path, ["PlainUSR 32x3", "ETDS 32x5", "PlainUSR 32x2", "ETDS 16x5"])
    assert [[candidate.label for candidate in line] for line in found] == [
        ["PlainUSR 32x2"],
        ["PlainUSR 32x3"],
        ["ETDS 16x5", "ETDS 32x5"],
    ]
    whole = candidates.lines(teacher, tmp_path, ["SESR", "SESR 16x5"])
    assert [len(line) for line in whole] == [len(line) for line in dict(registry.ladders())["SESR"].lines("SESR")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ETDS 33x6", '"ETDS 33x6": not a size of its ladder; the nearest is "ETDS 32x7"'),
        ("ETDS 0x100", 'the nearest is "ETDS 12x7"'),
        ("ETSD", '"ETSD" is no network with sizes to try .did you mean "ETDS"'),
    ],
)
def test_a_size_without_a_rung_raises_with_the_nearest(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=message):
        Request("auto", ["a"], 2, Budget(10, None), networks=[name])


def test_labels_are_unique_and_wide_networks_have_a_lower_learning_rate(tmp_path: Path) -> None:
    every = [c for line in candidates.lines(Model(torch.nn.Identity(), 2, "-"), tmp_path) for c in line]
    assert len({candidate.label for candidate in every}) == len(every)
    rates = {candidate.spec["num_feat"]: candidate.lr for candidate in every}
    assert rates[16] == rates[32] == 6e-3 and rates[64] == pytest.approx(3e-3)
    assert {candidate.optimiser for candidate in every} == {"SOAP"}


def test_imitating_and_pruned_candidates_train_with_adam(tmp_path: Path) -> None:
    """At the rates that they had before: half at most, and lower for wide ones."""
    imitated = OutputTeacher("teacher", 2, "digest", lambda: lambda pixels: pixels)
    every = [each for line in candidates.lines(imitated, tmp_path) for each in line]
    rates = {each.spec["num_feat"]: each.lr for each in every}
    assert rates[16] == rates[32] == 1e-3 and rates[48] == pytest.approx(8 / 9e3) and rates[64] == pytest.approx(5e-4)
    teacher = load_model_of({"type": "EDSR", "num_feat": 8, "num_block": 4, "upscale": 2}, tmp_path)
    pruned = [each for line in candidates.lines(teacher, tmp_path) for each in line if each.start]
    assert {each.lr for each in pruned} == {2e-4} and {each.optimiser for each in [*every, *pruned]} == {"Adam"}


def load_model_of(spec: dict[str, Any], folder: Path) -> Model:
    """A model of random weights, from a checkpoint."""
    save_weights(folder / "t.safetensors", networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    return load_model(folder / "t.safetensors")


def test_a_convolutional_teacher_is_pruned_and_candidates_start_from_its_weights(tmp_path: Path) -> None:
    teacher = load_model_of({"type": "EDSR", "num_feat": 8, "num_block": 4, "upscale": 2}, tmp_path)
    pruned = [line for line in candidates.lines(teacher, tmp_path) if line[0].family == "pruned teacher"]
    assert [c.label for c in pruned[-1]] == ["teacher 25% wide, 100% deep", "teacher 50% wide, 100% deep"]
    for candidate in pruned[0]:
        assert candidate.start is not None
        start = load_model(candidate.start)
        assert {k: v.shape for k, v in candidate.build(2).state_dict().items()} == {
            k: v.shape for k, v in start.network.state_dict().items()
        }
        assert start.meta["network"] == candidate.spec and candidate.spec["num_block"] == 1


def test_the_narrower_candidate_has_the_share_of_parameters_or_is_the_narrowest(tmp_path: Path) -> None:
    lines = candidates.lines(Model(torch.nn.Identity(), 2, "-"), tmp_path)
    line = lines[0]
    wide = line[-1]
    half = candidates.narrower(wide, lines, 0.5, 2)
    sizes = [parameters(candidate.build(2)) for candidate in line]
    assert half == max((c for c, size in zip(line, sizes, strict=True) if size <= sizes[-1] / 2), key=line.index)
    assert candidates.narrower(wide, lines, 1e-9, 2) == line[0]
