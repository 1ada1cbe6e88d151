"""SRGAN and cohorts of SRGANs: updates, bit-exact equivalences, and mistakes found before training."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srkd.distill.taps import Taps
from srkd.errors import SrkdError
from srkd.inference.loading import load_model
from srkd.sr.gan import Task
from srkd.sr.gan_discriminators import mutual_term
from srkd.sr.gan_health import HealthMonitor
from srkd.training.checkpoint import load_weights
from srkd.training.log import read_metrics
from srkd.training.recipe import override, parse
from srkd.training.run import Run
from support import BASICSR_OPTIONS, textured


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a narrow VGG-19, random, under torchvision's names."""
    state, width, number = {}, 3, 0
    rng = torch.Generator().manual_seed(0)
    for level, count in enumerate((2, 2, 4, 4, 4)):
        for _ in range(count):
            state[f"features.{number}.weight"] = torch.randn(4 + level, width, 3, 3, generator=rng) / 3
            state[f"features.{number}.bias"] = torch.zeros(4 + level)
            width, number = 4 + level, number + 2
        number += 1
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


def ready(recipe: dict[str, Any], root: Path, *settings: str) -> Task:
    (task,) = Run(override(recipe, settings), root, quiet=True).dry_run()
    assert isinstance(task, Task)
    return task


def train(recipe: dict[str, Any], root: Path, name: str, *settings: str, **options: Any) -> dict[str, Any]:
    data = override(recipe, settings) | {"name": name}
    return Run(data, root, quiet=True, **options).train()


def weights(result: dict[str, Any], name: str) -> dict[str, Tensor]:
    return load_weights(Path(result["models"][name]))[0]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def gradients(network: nn.Module) -> list[Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None and p.grad.abs().max() > 0]


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge", "ragan"])
def test_each_step_has_gradients_for_its_own_network_only(gan: dict[str, Any], tmp_path: Path, kind: str) -> None:
    task = ready(gan, tmp_path, f"train.gan_opt.gan_type={kind}", "train.pixel_opt.loss_weight=1e-12")
    (pair,) = task.pairs
    assert pair.discriminator is not None
    steps = task.steps(task.batch(0), 0)
    loss, optimiser = next(steps)
    assert optimiser is task.optimisers["g"]
    loss.backward()
    assert len(gradients(pair.generator)) > 4
    assert max(g.abs().max() for g in gradients(pair.generator)) > 1e-6
    assert not gradients(pair.discriminator)
    pair.generator.zero_grad()
    loss, optimiser = next(steps)
    assert optimiser is task.optimisers["d"]
    loss.backward()
    assert gradients(pair.discriminator) and not gradients(pair.generator)
    with pytest.raises(StopIteration):
        next(steps)


def test_training_logs_health_and_saves_both_networks(gan: dict[str, Any], tmp_path: Path) -> None:
    result = train(gan, tmp_path, "one", "train.monitor_freq=2")
    assert set(result["models"]) == {"net_g", "net_d"}
    assert {"psnr_photos", "ssim_photos"} <= set(result["metrics"])
    records = [r for r in read_metrics(tmp_path / "one" / "metrics.jsonl") if "l_d" in r]
    assert len(records) == 6
    for record in records:
        assert 0 <= record["p_real"] <= 1 and 0 <= record["p_fake"] <= 1 and record["l_g_gan"] > 0
        assert record["health/spread"] > 0 and 0 <= record["accuracy"] <= 1
    assert all(records[1][key] > 0 for key in ("grad/gan", "grad/net_d", "grad/L1Loss"))
    _, meta = load_weights(Path(result["models"]["net_d"]))
    assert meta["network"]["type"] == "SRGANDiscriminator" and "scale" not in meta


def test_a_discriminator_with_spectral_norm_teaches_another_run(gan: dict[str, Any], tmp_path: Path) -> None:
    """Its checkpoint keeps the power iterations, and the generator's branches are folded all the same."""
    spectral = "network_d.spectral=true"
    first = train(gan, tmp_path, "first", spectral, "train.reparameterise=true")
    saved, _ = load_weights(Path(first["models"]["net_d"]))
    assert "body.0.parametrizations.weight.0._u" in saved
    assert not any("parametrizations" in key for key in weights(first, "net_g"))
    own = f"path.pretrain_network_d={first['models']['net_d']}"
    teacher = f"network_d_teacher={{file: '{first['models']['net_d']}'}}"
    train(gan, tmp_path, "second", spectral, own, teacher, "train.distill_d={weight: 1.0}")


def test_net_d_iters_and_net_d_init_iters_delay_the_generator(gan: dict[str, Any], tmp_path: Path) -> None:
    task = ready(gan, tmp_path, "train.net_d_iters=2", "train.net_d_init_iters=3")
    names = {id(optimiser): name for name, optimiser in task.optimisers.items()}
    batch = task.batch(0)
    order = ["".join(names[id(optimiser)] for _, optimiser in task.steps(batch, step)) for step in range(6)]
    assert order == ["d", "d", "d", "gd", "d", "gd"] and task.first_full_step == 3
    with pytest.raises(SrkdError, match=r"some parts train only from step 8 on, but train\.total_iter is 6"):
        ready(gan, tmp_path, "train.net_d_init_iters=7")


def test_an_adversarial_stage_starts_from_a_stage_without_gan(gan: dict[str, Any], tmp_path: Path) -> None:
    adversarial = gan["train"].pop("gan_opt")
    gan["train"]["pixel_opt"]["type"] = "MSELoss"
    gan["stages"] = [{}, {"train": {"gan_opt": adversarial, "optim_g": {"lr": 1e-12}}, "mutual": {"cohort": 2}}]
    gan["train"]["scheduler"] = {"eta_min": 0}
    result = train(gan, tmp_path, "staged")
    first, _ = load_weights(tmp_path / "staged" / "stage_1" / "models" / "net_g_latest.safetensors")
    assert not (tmp_path / "staged" / "stage_1" / "models" / "net_d_latest.safetensors").exists()
    for name in ("net_g_0", "net_g_1"):
        torch.testing.assert_close(weights(result, name), first, rtol=0, atol=1e-9)


COHORT = "mutual={cohort: 2, weight: 1.0, temperature: 2.0}"


def test_a_cohort_with_weight_0_equals_its_pairs_trained_alone(gan: dict[str, Any], tmp_path: Path) -> None:
    gan["manual_seed"] = 4
    cohort = train(gan, tmp_path, "cohort", COHORT, "mutual.weight=0", "mutual.networks=both")
    for number in range(2):
        alone = train(gan, tmp_path, f"alone_{number}", f"init_seed={4 + number}")
        for kind in ("net_g", "net_d"):
            assert same(weights(cohort, f"{kind}_{number}"), weights(alone, kind))
        assert cohort["metrics"][f"net_g_{number}/psnr_photos"] == alone["metrics"]["psnr_photos"]
    assert not same(weights(cohort, "net_d_0"), weights(cohort, "net_d_1"))
    mutual = train(gan, tmp_path, "mutual", COHORT)
    assert not same(weights(cohort, "net_d_0"), weights(mutual, "net_d_0"))


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge", "ragan"])
def test_the_divergence_has_gradients_for_one_network_only(gan: dict[str, Any], tmp_path: Path, kind: str) -> None:
    settings = [COHORT, "mutual.networks=both", f"train.gan_opt.gan_type={kind}"]
    task, plain = (ready(gan, tmp_path, *settings, f"mutual.weight={weight}") for weight in (1.0, 0.0))
    named = {
        f"{side}_{i}": net
        for i, pair in enumerate(task.pairs)
        for side, net in (("g", pair.generator), ("d", pair.discriminator))
    }
    plain_networks = {
        f"{side}_{i}": net
        for i, pair in enumerate(plain.pairs)
        for side, net in (("g", pair.generator), ("d", pair.discriminator))
    }
    names = {id(optimiser): name for name, optimiser in task.optimisers.items()}
    batch = task.batch(0)
    order = []
    for (loss, optimiser), (other, _) in zip(task.steps(batch, 1), plain.steps(batch, 1), strict=True):
        order.append(name := names[id(optimiser)])
        loss.backward()
        other.backward()
        assert [n for n, network in named.items() if gradients(network)] == [name]
        pairs = zip(named[name].parameters(), plain_networks[name].parameters(), strict=True)
        assert any(not torch.equal(p.grad, q.grad) for p, q in pairs if p.grad is not None)
        for network in (*named.values(), *plain_networks.values()):
            network.zero_grad()
    assert order == ["g_0", "g_1", "d_0", "d_1"]


def test_the_divergence_follows_the_formula(gan: dict[str, Any], tmp_path: Path) -> None:
    task = ready(gan, tmp_path, "mutual={cohort: 3, temperature: 2.0}")
    z = [torch.randn(4, 1, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    for number in range(3):
        p = [torch.sigmoid(x / 2) for x in z]
        q = p[number]
        expected = (
            4
            / 2
            * sum(
                (r * (r / q).log() + (1 - r) * ((1 - r) / (1 - q)).log()).mean()
                for r in (p[j].detach() for j in range(3) if j != number)
            )
        )
        wanted = torch.autograd.grad(expected, z[number])[0]
        term = mutual_term(task.between_discriminators, z, number)
        found = torch.autograd.grad(term, z, allow_unused=True)
        torch.testing.assert_close(found[number], wanted)
        assert all(g is None for j, g in enumerate(found) if j != number)


def test_a_resumed_cohort_is_bit_exact(gan: dict[str, Any], tmp_path: Path) -> None:
    gan["train"]["ema_decay"] = 0.9
    whole = train(gan, tmp_path, "whole", COHORT)
    stopped = train(gan, tmp_path, "cut", COHORT, budget=0.0)
    assert not stopped["finished"]
    resumed = train(gan, tmp_path, "cut", COHORT, resume=True)
    for name in ("net_g_0", "net_g_1", "net_d_0", "net_d_1"):
        assert same(weights(whole, name), weights(resumed, name))


@pytest.mark.parametrize(("networks", "at"), [("generator", "body.0"), ("discriminator", "body.1")])
def test_a_resumed_cohort_that_compares_features_is_bit_exact(
    gan: dict[str, Any], networks: str, at: str, tmp_path: Path
) -> None:
    """The gradient of a tapped residual block's output is a sum of three, whose order must not depend on the step."""
    peers = f"mutual={{networks: {networks}, at: [{at}]}}"
    whole = train(gan, tmp_path, "whole", peers)
    assert not train(gan, tmp_path, "cut", peers, budget=0.0)["finished"]
    resumed = train(gan, tmp_path, "cut", peers, resume=True)
    for name in whole["models"]:
        assert same(weights(whole, name), weights(resumed, name))


def test_a_cohorts_scores_are_the_mean_over_its_generators(gan: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    result = train(gan, tmp_path, "cohort", COHORT, "train.optim_g.lr=0.05")
    alone = [
        Task.item_scores({"models": {"net_g": result["models"][f"net_g_{i}"]}}, [f"{photos}@ssim,psnr"])[photos.name]
        for i in range(2)
    ]
    both = Task.item_scores(result, [f"{photos}@ssim,psnr"])[photos.name]
    assert both["protocol"] == alone[0]["protocol"] and list(both["metrics"]) == ["ssim", "psnr"]
    for metric, images in both["metrics"].items():
        assert list(images) == ["p0", "p1", "p2", "p3"]
        for name, score in images.items():
            one, other = (scores["metrics"][metric][name] for scores in alone)
            assert one != other and score == pytest.approx((one + other) / 2)
    validated = Task.item_scores(result, [])["validation"]["metrics"]["psnr_photos"]["all"]
    assert validated == pytest.approx(sum(both["metrics"]["psnr"].values()) / 4, abs=1e-3)


def test_peers_may_have_different_widths(gan: dict[str, Any], tmp_path: Path) -> None:
    widths = "mutual.peers=[{network_g: {num_feat: 6}, network_d: {num_feat: 3}}]"
    result = train(gan, tmp_path, "widths", COHORT, "mutual.networks=both", widths)
    for number, (generator, discriminator) in enumerate([(4, 2), (6, 3)]):
        for name, width in ((f"net_g_{number}", generator), (f"net_d_{number}", discriminator)):
            state, meta = load_weights(Path(result["models"][name]))
            assert meta["network"]["num_feat"] == width == len(next(iter(state.values())))
        assert load_model(result["models"][f"net_g_{number}"]).scale == 2


@pytest.mark.parametrize(("networks", "at"), [("discriminator", "body.{5,8}"), ("generator", "body.{0,1}")])
def test_peers_may_compare_features(gan: dict[str, Any], tmp_path: Path, networks: str, at: str) -> None:
    settings = [COHORT, f"mutual.networks={networks}", f"mutual.at=['{at}']", "mutual.weight=2"]
    task, plain = ready(gan, tmp_path, *settings), ready(gan, tmp_path, COHORT, "mutual.weight=0")
    batch, key = task.batch(0), f"l_{networks[0]}_mutual_0"
    steps = zip(task.steps(batch, 1), plain.steps(batch, 1), strict=True)
    generators, discriminators = [True, True], [True, True]
    (generators if networks == "generator" else discriminators)[:] = [False, False]
    assert [torch.equal(loss, other) for (loss, _), (other, _) in steps] == generators + discriminators
    expected = torch.zeros(())
    if networks == "generator":
        inputs = [[batch["lr"]]] * 2
        nets = [pair.generator for pair in task.pairs]
    else:
        with torch.no_grad():
            fakes = [pair.generator(batch["lr"]) for pair in task.pairs]
        inputs = [[batch["hr"], fakes[1]]] * 2  # at step 1 the second pair's fakes are shared
        nets = [pair.discriminator for pair in task.pairs if pair.discriminator is not None]
    for batches in zip(*inputs, strict=True):
        maps = [features(network, at, x) for network, x in zip(nets, batches, strict=True)]
        expected = expected + sum(((a - b) ** 2).mean() for a, b in zip(*maps, strict=True))
    torch.testing.assert_close(task.log[key], expected.detach(), rtol=1e-4, atol=1e-6)


def features(network: nn.Module, at: str, x: Tensor) -> list[Tensor]:
    with (taps := Taps(network, [at])):
        network(x)
    return list(taps.features.values())


# Keys of BasicSR's train_MSRGAN_x4.yml besides those common to its option files.
NETWORKS = """
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, upscale: 4}
network_d: {type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 2}
"""
LOSSES = """
  optim_d: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  pixel_opt: {{type: L1Loss, loss_weight: !!float 1e-2, reduction: mean}}
  perceptual_opt:
    type: PerceptualLoss
    layer_weights: {{'conv5_4': 1}}
    vgg_type: vgg19
    use_input_norm: true
    range_norm: false
    perceptual_weight: 1.0
    style_weight: 0
    criterion: l1
    vgg_path: {vgg}
  gan_opt: {{type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 5e-3}}
  net_d_iters: 1
  net_d_init_iters: 0
"""


def msrgan(folder: Path, vgg: Path | str) -> dict[str, Any]:
    schedule = "{type: MultiStepLR, milestones: [50000, 100000, 200000, 300000], gamma: 0.5}"
    return parse(
        BASICSR_OPTIONS.format(
            name="MSRGAN",
            model="SRGANModel",
            scale=4,
            hr=folder / "hr",
            lr=folder / "lr",
            gt_size=128,
            batch=2,
            val="Set14",
            networks=NETWORKS,
            pretrained=folder / "pretrained.pth",
            scheduler=schedule,
            losses=LOSSES.format(vgg=vgg),
        )
    )


def test_basicsrs_option_file_trains_with_only_its_paths_changed(vgg: Path, tmp_path: Path) -> None:
    from srkd.images.read import ImageData, write_image
    from srkd.images.resize import imresize
    from srkd.integrations import basicsr

    image = textured(1, 132, 136)
    write_image(tmp_path / "hr" / "a.png", ImageData(image))
    write_image(tmp_path / "lr" / "a.png", ImageData(imresize(image, 0.25)))
    generator = basicsr.network("MSRResNet", num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=4)
    torch.save({"params": generator.state_dict()}, tmp_path / "pretrained.pth")
    result = Run(msrgan(tmp_path, vgg), tmp_path, quiet=True).train()
    assert result["finished"] and 5 < result["metrics"]["psnr_Set14"] < 60
    discriminator = basicsr.network("VGGStyleDiscriminator", num_in_ch=3, num_feat=2)
    discriminator.load_state_dict(weights(result, "net_d"))
    # The resolved recipe has the same task.
    assert parse((tmp_path / "MSRGAN" / "recipe.yml").read_text())["task"] == "sr.gan"
    with pytest.raises(SrkdError, match=r'PerceptualLoss: no VGG weights at "none\.pth"'):
        Run(msrgan(tmp_path, "none.pth"), tmp_path, quiet=True).dry_run()


@pytest.mark.parametrize("task", ["sr.gan", None])
def test_basicsrs_esrgan_model_is_relativistic(gan: dict[str, Any], tmp_path: Path, task: str | None) -> None:
    gan["model_type"] = "ESRGANModel"
    if task is None:
        del gan["task"]
    run = Run(gan, tmp_path, quiet=True)
    assert not run.notices
    (built,) = run.dry_run()
    assert isinstance(built, Task) and built.discriminator_loss is not None and built.generator_loss is not None
    assert built.discriminator_loss.relativistic and built.generator_loss.relativistic
    run.train()
    # The resolved recipe gives the same losses.
    (again,) = Run(parse((tmp_path / "tiny" / "recipe.yml").read_text()), tmp_path, quiet=True).dry_run()
    assert isinstance(again, Task) and again.discriminator_loss is not None and again.discriminator_loss.relativistic
    (plain,) = Run({**gan, "model_type": "SRGANModel"}, tmp_path, quiet=True).dry_run()
    assert (
        isinstance(plain, Task) and plain.discriminator_loss is not None and not plain.discriminator_loss.relativistic
    )


MISTAKES = [
    (["mutual.cohort=1"], "mutual.cohort: value error, a cohort needs at least 2 pairs.*got 1"),
    (["mutual={cohort: 3, peers: [{}]}"], "peers: a cohort of 3 has 2 besides the first pair"),
    (["mutual={networks: both, at: [body.0]}"], "at: applies to one kind of network"),
    (["mutual={at: [bodyy.0]}"], 'tap "bodyy.0" matches no module of SRGANDiscriminator'),
    (["mutual={at: [body.0], peers: [{network_d: {num_feat: 3}}]}"], r"features differ in shape: .'body.0': \(4, 2"),
    (["mutual={networks: generator, at: ['body.*'], peers: [{network_g: {num_block: 1}}]}"], "peers' features differ"),
    (["mutual={peers: [{network_g: {upscale: 4}}]}"], "upscale is 4 but the recipe's scale is 2"),
    (["network_d={type: VGGStyleDiscriminator, num_feat: 2}"], "takes images of 128x128, got 16x16"),
    (["network_d.input_size=32"], "network_d: SRGANDiscriminator takes images of 32x32, got 16x16"),
    (["network_d.input_size=24"], "network_d: network SRGANDiscriminator: input_size must be a positive multiple"),
    (["network_d={type: SRGANDiscriminatr}"], 'network_d: unknown network "SRGANDiscriminatr"'),
    (["network_d=null"], "gan_opt needs a discriminator, but the recipe has no network_d"),
    (["train.gan_opt.gan_type=wgan"], "GANLoss: gan_type must be one of vanilla"),
    (["train.gan_opt.loss_weight=-1"], "must be a GANLoss with a loss_weight >= 0"),
    (["train.gan_opt.labels=1"], 'GANLoss: unknown option "labels"'),
    (["train.perceptual_opt={layer_weights: {conv5_4: 1}, style_weight: 1}"], "srkd has no style loss"),
    (["path.pretrain_network_d=none.pth"], "none.pth: no such checkpoint"),
    (["train.optim_d.lr=0"], "train.optim_d.lr: input should be greater than 0"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=[m[0][-1] for m in MISTAKES])
def test_mistakes_are_found_before_training(
    gan: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(SrkdError, match=message) as error:
        ready(gan, tmp_path, *settings)
    assert "\n" not in str(error.value)


def test_weights_that_do_not_fit_raise(gan: dict[str, Any], tmp_path: Path) -> None:
    result = train(gan, tmp_path, "one")
    settings = [COHORT, *(f"path.pretrain_network_{side}={result['models'][f'net_{side}']}" for side in "gd")]
    with pytest.raises(SrkdError, match="all pairs would start from the same weights"):
        ready(gan, tmp_path, *settings)
    ready(gan, tmp_path, *settings[:2])
    with pytest.raises(SrkdError, match="not the weights of this SRGANDiscriminator"):
        ready(gan, tmp_path, settings[2], "network_d.num_feat=4")
    x4 = copy.deepcopy(gan) | {"scale": 4}
    with pytest.raises(SrkdError, match="weights for x2, but the recipe's scale is 4"):
        ready(x4, tmp_path, settings[1])


def test_a_vgg_of_the_wrong_shape_raises(gan: dict[str, Any], vgg: Path, tmp_path: Path) -> None:
    state = torch.load(vgg)
    state["features.5.weight"] = torch.zeros(5, 7, 3, 3)
    torch.save(state, tmp_path / "vgg.pth")
    perceptual = f"train.perceptual_opt={{layer_weights: {{conv5_4: 1}}, vgg_path: {tmp_path / 'vgg.pth'}}}"
    with pytest.raises(SrkdError, match=r"is not a VGG state dict: features.5 has weights \(5, 7, 3, 3\)"):
        ready(gan, tmp_path, perceptual)


GOOD = {"p_real": 0.6, "p_fake": 0.4, "health/spread": 1.0, "health/error": 0.1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"p_real": 1.0, "p_fake": 0.0},
            "step 5: pair 1 has collapsed: the discriminator classifies every image correctly",
        ),
        ({"p_real": 0.1, "p_fake": 0.9}, "rates fakes as more real"),
        ({"health/spread": 0.01}, "almost a single colour"),
        ({"health/error": 2.0}, "is diverging"),
    ],
)
def test_a_persistent_problem_is_reported_once(values: dict[str, float], message: str) -> None:
    monitor = HealthMonitor("pair 1")
    warnings = [text for step in range(1, 9) for text in monitor.check(GOOD | values, step)]
    assert len(warnings) == 1 and message in warnings[0]
    assert not any(monitor.check(GOOD, step) for step in range(9, 20))


def test_accumulated_batches_of_a_step_are_one_check() -> None:
    monitor, collapsed = HealthMonitor("pair 1"), GOOD | {"health/spread": 0.0}
    warnings = [monitor.check(collapsed, step) for step in range(1, 6) for _ in range(4)]
    assert not any(warnings[:16]) and len(warnings[16]) == 1 and not any(warnings[17:])


def test_problems_are_reported_during_training(
    gan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run(override(gan, ["train.optim_g.lr=1000", "train.total_iter=8"]), tmp_path).train()
    assert "notice: step" in capsys.readouterr().err
    assert any("diverging" in r.get("notice", "") for r in read_metrics(tmp_path / "tiny" / "metrics.jsonl"))


def test_discriminators_that_teach_nothing_are_named() -> None:
    """By the second half of the log: a discriminator starts at chance."""
    first = [{"step": step, "accuracy_0": 0.5, "accuracy_1": 0.5} for step in range(4)]
    second = [{"step": step, "accuracy_0": 0.8, "accuracy_1": 0.99} for step in range(4, 8)]
    assert Task.health([*first, *second, {"step": 8, "val/psnr": 1.0}]) == [
        {"network": "net_d_0", "accuracy": 0.8},
        {"network": "net_d_1", "accuracy": 0.99, "problem": "saturated"},
    ]
    assert Task.health([{"accuracy": 0.5}]) == [{"network": "net_d", "accuracy": 0.5, "problem": "at chance"}]
    assert Task.health([{"l_L1Loss": 0.1}]) == []
