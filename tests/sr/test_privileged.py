"""PISR's privileged teacher, which sees the HR image, and the example recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.distill.teachers import LiveTeacher
from srkd.inference.loading import load_model
from srkd.networks.reparameterise import widen
from srkd.sr.recipe import SRRecipe
from srkd.training import recipe as recipes
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import merge
from srkd.training.run import Run

EXAMPLES = Path(__file__).parents[2] / "examples" / "pisr"
TEACHER = {"type": "PrivilegedEDSR", "num_feat": 4, "num_block": 2, "img_range": 1.0, "num_wide": 6, "num_narrow": 5}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_teacher_uses_hr_in_distillation_and_lr_in_inference(scale: int) -> None:
    network = networks.build(TEACHER, scale)
    batch = {"lr": torch.rand(2, 3, 6, 5), "hr": torch.rand(2, 3, 6 * scale, 5 * scale)}
    prediction = LiveTeacher(network, ["encoder", "body.1"])(batch)
    assert prediction.features["encoder"].shape == batch["lr"].shape and prediction.output.shape == batch["hr"].shape
    assert torch.equal(prediction.output, network(network.encoder(batch["hr"])))
    plain = networks.build({**{k: TEACHER[k] for k in ("num_feat", "num_block", "img_range")}, "type": "EDSR"}, scale)
    missing, extra = plain.load_state_dict(network.state_dict(), strict=False)
    assert not missing and all(key.startswith("encoder.") for key in extra)
    assert torch.equal(network(batch["lr"]), plain.eval()(batch["lr"]))


@pytest.mark.parametrize("cache", ["live", "bank"])
def test_the_example_recipes_run(cache: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    own = {"datasets": recipe["datasets"], "logger": recipe["logger"], "train": recipe["train"], "scale": 2}
    small = {"num_feat": 4, "num_block": 2}
    data = merge(recipes.read(EXAMPLES / "teacher.yml"), {**own, "network_g": {**small, "num_wide": 6}})
    run = Run(data, tmp_path, quiet=True)
    before = [p.clone() for p in run.set_up()[0].network_g.encoder.parameters()]
    teacher = Run(data, tmp_path, quiet=True).train()["models"]["net_g"]
    weights = load_weights(Path(teacher))[0]
    trained = [weights[f"encoder.{n}.{part}"] for n in (0, 2, 4, 6) for part in ("weight", "bias")]
    assert len(trained) == 8 and sum(not torch.equal(a, b) for a in trained for b in before if a.shape == b.shape) > 7
    assert load_model(Path(teacher)).scale == 2

    files = {"network_g_teacher": {"file": teacher}, "path": {"pretrain_network_g": teacher}, "cache": {"kind": cache}}
    data = merge(recipes.read(EXAMPLES / "student.yml"), {**own, **files, "network_g": small})
    data["train"]["losses"][1]["at"] = "body.1"
    if cache == "bank":
        data["cache"]["patches"] = 8
    (task,) = Run(data, tmp_path, quiet=True).set_up()
    start = task.network_g.state_dict()
    assert all(torch.equal(start[key], weights[key]) for key in start)
    batch = task.batch(0)
    network = load_model(Path(teacher)).network
    with torch.no_grad():
        seen = network.body(network.conv_first(network.encoder(batch["hr"]) - network.mean))
    tolerance = 2e-3 if cache == "bank" else 1e-5  # a bank keeps features in half precision
    torch.testing.assert_close(task.teacher(batch).features["body.1"], seen, rtol=tolerance, atol=tolerance)
    result = Run(data, tmp_path, quiet=True).train()
    assert result["finished"]


def test_branches_of_the_encoder_are_trained_also_after_a_validation() -> None:
    torch.manual_seed(0)
    network: Any = networks.build(TEACHER, 2)
    widen(network)
    batch = {"lr": torch.rand(2, 3, 6, 5), "hr": torch.rand(2, 3, 12, 10)}
    encoder = [b for b in network.kernel_branches if set(b.convolutions) & set(network.encoder)]
    for _ in range(2):
        network.zero_grad()
        network.privileged(batch).square().mean().backward()
        assert len(encoder) == 2 and all(b.weight.grad.abs().sum() > 0 for b in encoder)
        with torch.inference_mode():
            network(batch["lr"])


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_the_example_recipes_are_valid(name: str) -> None:
    recipes.validate(SRRecipe, recipes.read(EXAMPLES / f"{name}.yml"), name)
