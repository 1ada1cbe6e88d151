"""Lightening SRGAN: distillation of discriminators, and the recipes of both SRGAN studies."""

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.sr.gan import Task
from srkd.studies import plan
from srkd.training.checkpoint import save_weights
from srkd.training.recipe import override, read
from srkd.training.run import Run
from support import textured

STUDY = Path(__file__).parents[2] / "models" / "studies" / "srgan_lightening"


def save(path: Path, spec: dict[str, Any], **meta: Any) -> Path:
    torch.manual_seed(1)
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, **meta})
    return path


def ready(recipe: dict[str, Any], root: Path, *settings: str) -> Task:
    task = Run(override(recipe, settings), root, quiet=True).dry_run()[-1]
    assert isinstance(task, Task)
    return task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random initial weights for the recipes, and training images."""
    root = tmp_path_factory.mktemp("lightening")
    for number in range(2):
        write_image(root / "hr" / f"{number}.png", ImageData(textured(number, 100, 104)))
    save(root / "net_d.safetensors", {"type": "SRGANDiscriminator", "num_feat": 64, "input_size": 96})
    for name, width, depth in (("teacher", 64, 16), ("pretrain", 32, 8)):
        spec = {"type": "SRResNet", "num_feat": width, "num_block": depth, "upscale": 4}
        save(root / f"{name}.safetensors", spec, scale=4)
    return root


@pytest.mark.parametrize("path", sorted(STUDY.glob("*.yml")), ids=lambda path: path.stem)
def test_every_recipe_passes_its_dry_run(path: Path, trained: Path, tmp_path: Path) -> None:
    recipe = read(path)
    recipe["datasets"] = {"train": {"dataroot_gt": str(trained / "hr"), "gt_size": 96, "batch_size_per_gpu": 2}}
    for key, name in (("network_g_teacher", "teacher"), ("network_d_teacher", "net_d")):
        if key in recipe:
            assert name.removeprefix("net_") in recipe[key]["file"]
            recipe[key] = {"file": str(trained / f"{name}.safetensors")}
    for key, name in (("pretrain_network_g", "pretrain"), ("pretrain_network_d", "net_d")):
        if key in recipe.get("path", {}):
            recipe["path"][key] = str(trained / f"{name}.safetensors")
    task = ready(recipe, tmp_path)
    assert task.teachers.members or path.stem != "generator"
    assert (task.discriminator_teacher is not None) == (path.stem == "discriminator")
    assert path.stem in ("pretrain",) or task.pairs[0].discriminator is not None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_mutual_study_passes_its_dry_run(number: int, trained: Path, tmp_path: Path) -> None:
    study = plan.read(STUDY.parent / "srgan_mutual" / "study.yml")
    variant = study.variants[number]
    recipe = plan.recipe_of(study, variant, study.seeds[0])
    assert len(study.seeds) >= 3 and recipe["mutual"]["weight"] == (1 if variant.name == "mutual" else 0)
    generator = save(tmp_path / "g.safetensors", recipe["network_g"], scale=2)
    recipe["path"]["pretrain_network_g"] = str(generator)
    recipe["datasets"]["train"]["dataroot_gt"] = str(trained / "hr")
    first, second = ready(recipe, tmp_path).pairs
    assert first.discriminator is not None and second.discriminator is not None
    assert torch.equal(first.generator.conv_first.weight, second.generator.conv_first.weight)
    assert not torch.equal(first.discriminator.body[0].weight, second.discriminator.body[0].weight)


DISCRIMINATOR = {"type": "SRGANDiscriminator", "num_feat": 2, "input_size": 16, "num_dense": 4}


def with_teacher(gan: dict[str, Any], folder: Path) -> dict[str, Any]:
    gan["network_d_teacher"] = {"file": str(save(folder / "d.safetensors", {**DISCRIMINATOR, "num_feat": 4}))}
    gan["train"]["distill_d"] = {"temperature": 2.0, "weight": 3.0}
    return gan


@pytest.mark.parametrize("kind", ["vanilla", "hinge"])
def test_discriminator_distillation_follows_the_formula(gan: dict[str, Any], tmp_path: Path, kind: str) -> None:
    task = ready(with_teacher(gan, tmp_path), tmp_path, f"train.gan_opt.gan_type={kind}")
    (pair,), teacher = task.pairs, task.discriminator_teacher.network
    assert pair.discriminator is not None and not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any("teacher" in key for key in task.state_dict())
    batches = [torch.rand(4, 3, 16, 16) for _ in range(2)]
    own = [pair.discriminator(x).double() for x in batches]
    theirs = [teacher(x).double() for x in batches]
    if kind == "vanilla":
        p, q = ([torch.sigmoid(z / 2) for z in side] for side in (theirs, own))
        kl = [(a * (a / b).log() + (1 - a) * ((1 - a) / (1 - b)).log()).mean() for a, b in zip(p, q, strict=True)]
        expected = 4 * sum(kl)
    else:
        expected = sum(((a - b) ** 2).mean() for a, b in zip(theirs, own, strict=True))
    wanted = torch.autograd.grad(expected, list(pair.discriminator.parameters()), retain_graph=True)
    term = task._distilled(pair, own, batches, 0)
    found = torch.autograd.grad(term, list(pair.discriminator.parameters()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)


def test_discriminator_distillation_reduces_the_loss(gan: dict[str, Any], tmp_path: Path) -> None:
    data = with_teacher(gan, tmp_path)
    data["train"] |= {"total_iter": 60, "optim_d": {"type": "Adam", "lr": 5e-3}}
    from srkd.training.log import read_metrics

    ends = {}
    for weight in (0, 3):
        Run(override(data, [f"name=w{weight}", f"train.distill_d.weight={weight}"]), tmp_path, quiet=True).train()
        ends[weight] = [
            r["l_d_teacher"] for r in read_metrics(tmp_path / f"w{weight}" / "metrics.jsonl") if "l_d_teacher" in r
        ][-10:]
    assert sum(ends[3]) < 0.5 * sum(ends[0])


def test_mistakes_in_network_d_teacher_raise(gan: dict[str, Any], tmp_path: Path) -> None:
    data = with_teacher(gan, tmp_path)
    generator = save(tmp_path / "g.safetensors", {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}, scale=2)
    large = save(tmp_path / "l.safetensors", {**DISCRIMINATOR, "input_size": 32})
    for settings, message in [
        (["train.distill_d=null"], "network_d_teacher and train.distill_d must be given together"),
        (["network_d_teacher=null"], "network_d_teacher and train.distill_d must be given together"),
        (["network_d_teacher={type: SRGANDiscriminator}"], "must be {file: a checkpoint of a run's net_d}"),
        (["network_d_teacher.file=none.pth"], "none.pth: no such checkpoint"),
        ([f"network_d_teacher.file={generator}"], "is not a net_d saved by a run of sr.gan"),
        ([f"network_d_teacher.file={large}"], "network_d_teacher: .* takes images of 32x32, got 16x16"),
    ]:
        with pytest.raises(SrkdError, match=message):
            ready(data, tmp_path, *settings)
