"""Lightening SRGAN: distillation of discriminators, and the recipes of both SRGAN studies."""

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.losses import efficientnet, efficientnet_distance
from srkd.sr.gan import Task
from srkd.studies import plan
from srkd.training.checkpoint import load_weights, save_weights
from srkd.training.recipe import override, read
from srkd.training.run import Run
from support import textured

STUDY = Path(__file__).parents[2] / "models" / "studies" / "srgan_lightening"
MUTUAL = STUDY.parent / "srgan_mutual"


def save(path: Path, spec: dict[str, Any], **meta: Any) -> Path:
    torch.manual_seed(1)
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, **meta})
    return path


def ready(recipe: dict[str, Any], root: Path, *settings: str) -> Task:
    task = Run(override(recipe, settings), root, quiet=True).dry_run()[-1]
    assert isinstance(task, Task)
    return task


G = {"type": "MSRResNet", "num_feat": 32, "num_block": 8, "upscale": 4}
D = {"type": "SRGANDiscriminator", "num_feat": 16, "input_size": 64, "num_dense": 100, "spectral": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights in place of the trained ones that the recipes name, and training images."""
    root = tmp_path_factory.mktemp("lightening")
    for number in range(2):
        write_image(root / "hr" / f"{number}.png", ImageData(textured(number, 100, 104)))
    save(root / "teacher_d.safetensors", D)
    save(root / "teacher_g.safetensors", {**G, "num_feat": 64, "num_block": 16}, scale=4)
    for name in ("pretrained", "distilled", "features"):
        save(root / f"{name}.safetensors", G, scale=4)
    return root


@pytest.fixture(autouse=True)
def without_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """EfficientNet's weights are random."""
    monkeypatch.setattr(efficientnet, "pretrained", lambda blocks: efficientnet_distance._random_network())


def local(value: Any, root: Path) -> Any:
    """A recipe's settings with the files that it names in the folder `root`."""
    if isinstance(value, dict):
        return {key: local(item, root) for key, item in value.items()}
    return str(root / Path(value).name) if str(value).endswith(".safetensors") else value


def small(recipe: dict[str, Any], root: Path) -> dict[str, Any]:
    data = {"dataroot_gt": str(root / "hr"), "gt_size": recipe["datasets"]["train"]["gt_size"], "batch_size_per_gpu": 2}
    return local({**recipe, "datasets": {"train": data}, "cache": {"kind": "live"}}, root)


def variants(path: Path) -> list[Any]:
    study = plan.read(path)
    return [pytest.param(study, variant, id=f"{study.name}-{variant.name}") for variant in study.variants]


@pytest.mark.parametrize(("study", "variant"), variants(STUDY / "study.yml"))
def test_every_way_of_lightening_passes_its_dry_run(
    study: plan.Study, variant: plan.Variant, trained: Path, tmp_path: Path
) -> None:
    task = ready(small(plan.recipe_of(study, variant, 0), trained), tmp_path)
    (pair,) = task.pairs
    assert pair.discriminator is not None
    assert (task.discriminator_teacher is not None) == (variant.name == "discriminator")
    assert bool(task.teachers.members) == (variant.name in ("generator", "student_discriminator"))
    others = {"generator_then_adversarial": "distilled", "student_discriminator": "features"}
    start = others.get(variant.name, "pretrained")
    assert task.recipe.path.pretrain_network_g == str(trained / f"{start}.safetensors")
    reused = "parametrizations.weight.original"
    theirs, _ = load_weights(trained / "teacher_d.safetensors")
    ours = pair.discriminator.state_dict()
    assert torch.equal(ours[f"body.0.{reused}"], theirs[f"body.0.{reused}"]) == (variant.name == "reused_discriminator")


@pytest.mark.parametrize("name", ["teacher", "distilled_pretrain", "features_pretrain"])
def test_the_recipes_before_the_study_pass_their_dry_run(name: str, trained: Path, tmp_path: Path) -> None:
    stages = Run(small(read(STUDY / f"{name}.yml"), trained), tmp_path, quiet=True).dry_run()
    assert len(stages) == (2 if name == "teacher" else 1)


@pytest.mark.parametrize(
    ("study", "variant"),
    [case for name in ("converged", "converged_exploratory") for case in variants(MUTUAL / f"{name}.yml")],
)
def test_the_mutual_studies_pass_their_dry_run(
    study: plan.Study, variant: plan.Variant, trained: Path, tmp_path: Path
) -> None:
    recipe = plan.recipe_of(study, variant, study.seeds[0])
    assert (recipe["mutual"]["weight"] > 0) == (variant.name in ("mutual", "generators", "three_pairs"))
    task = ready(small(recipe, trained), tmp_path)
    assert len(task.pairs) == (3 if variant.name == "three_pairs" else 2)
    first, second, *_ = task.pairs
    assert first.discriminator is not None and second.discriminator is not None
    assert torch.equal(first.generator.conv_first.weight, second.generator.conv_first.weight)
    key = "body.0.parametrizations.weight.original"
    assert not torch.equal(first.discriminator.state_dict()[key], second.discriminator.state_dict()[key])


def test_the_first_mutual_study_passes_its_dry_run(trained: Path, tmp_path: Path) -> None:
    study = plan.read(MUTUAL / "study.yml")
    recipe = plan.recipe_of(study, study.variants[1], study.seeds[0])
    generator = save(tmp_path / "g.safetensors", recipe["network_g"], scale=2)
    recipe["path"]["pretrain_network_g"] = str(generator)
    recipe["datasets"]["train"]["dataroot_gt"] = str(trained / "hr")
    assert len(ready(recipe, tmp_path).pairs) == 2


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
