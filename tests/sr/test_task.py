"""Mistakes in SR recipes, which fail before training, and BasicSR's option files."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import losses
from srkd.errors import SrkdError
from srkd.integrations import basicsr
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import override, parse
from srkd.training.run import Run
from support import BASICSR_OPTIONS


def check(recipe: dict[str, Any], root: Path, *settings: str) -> None:
    Run(override(recipe, settings), root, quiet=True).dry_run()


MISTAKES = [
    (["task=srr"], 'unknown task "srr"'),
    (["network_g.type=EDSRX"], 'network_g: unknown network "EDSRX"'),
    (["network_g.upscale=4"], "upscale is 4 but the recipe's scale is 2"),
    (["network_g={type: torch.nn:Identity}"], r"network_g returns \(8, 8\) for a patch whose HR is \(16, 16\)"),
    (["train.losses=[{type: L1Los}]"], 'unknown loss "L1Los"'),
    (["train.losses=[{type: GANLoss}]"], "GANLoss applies to a discriminator's logits.*sr.gan with train.gan_opt"),
    (["train.losses=[{type: L1Loss, loss_weight: 1}]"], 'unknown option "loss_weight" .did you mean "weight"'),
    (["val.metrics_enabled=true"], "unknown key val.metrics_enabled .use metrics"),
    (["train.losses=[{type: output}]"], "compares with a teacher, but the recipe has no network_g_teacher"),
    (["train.losses=[{type: output}]", "network_g_teacher={type: EDSR}"], "network_g_teacher has random weights"),
    (["train.losses=[{type: output}]", "network_g_teacher={zoo: nothing}"], 'unknown zoo model "nothing"'),
    (["train.scheduler.type=cosin"], 'unknown scheduler "cosin" .did you mean "cosine"'),
    (["train.optim_g.type=Addam"], 'unknown optimiser "Addam" .did you mean "Adam"'),
    (["train.optim_g.momentumm=1"], "optimiser Adam: .*momentumm"),
    (["datasets.train.dataroot_gt=/no/such/folder"], "/no/such/folder: no such folder"),
    (["datasets.train.gt_size=64"], "smaller than a patch of 64"),
    (["datasets.train.gt_size=15"], "not a multiple of the scale"),
    (["val.metrics.psnr.type=calculate_psnrr"], 'unknown metric "calculate_psnrr"'),
    (["path.pretrain_network_g=none.pth"], "none.pth: no such checkpoint"),
    (["train.total_iter=0"], "train.total_iter: input should be greater than 0"),
    (["train.pixel_opt={type: L1Loss, reduction: sum}"], "losses are means"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES, ids=[m[0][-1] for m in MISTAKES])
def test_mistakes_are_found_before_training(
    recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(SrkdError, match=message) as error:
        check(recipe, tmp_path, *settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tiny").exists()


def test_an_empty_folder_raises(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="no images"):
        check(recipe, tmp_path, f"datasets.train.dataroot_gt={tmp_path}")


def test_features_cannot_come_from_whole_image_outputs(recipe: dict[str, Any], tmp_path: Path) -> None:
    trained = Run(recipe, tmp_path, quiet=True).train()["models"]["net_g"]
    settings = ["train.losses=[{type: at, at: body.0}]", f"network_g_teacher={{file: {trained}}}"]
    check(recipe, tmp_path, *settings)
    with pytest.raises(SrkdError, match="outputs contains no features"):
        check(recipe, tmp_path, *settings, "cache.kind=outputs")
    with pytest.raises(SrkdError, match=r"more than cache\.max_bytes"):
        check(recipe, tmp_path, *settings, "cache={kind: bank, max_bytes: 100}")


def test_distillation_with_cached_outputs_reduces_the_loss(recipe: dict[str, Any], tmp_path: Path) -> None:
    teacher = Run(recipe | {"name": "teacher"}, tmp_path, quiet=True).train()["models"]["net_g"]
    recipe["train"] |= {"total_iter": 120, "losses": [{"type": "output"}]}
    recipe |= {"network_g_teacher": {"file": teacher}, "manual_seed": 5}
    run = Run(recipe, tmp_path, quiet=True)
    run.train()
    from srkd.training.log import read_metrics

    values = [r["l_output"] for r in read_metrics(tmp_path / "tiny" / "metrics.jsonl") if "l_output" in r]
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
    _, meta = load_weights(tmp_path / "tiny" / "models" / "net_g_latest.safetensors")
    assert meta["lineage"]["teacher"] == "net_g_latest"


# The keys of BasicSR's own training options, as its documentation gives them.
NETWORKS = {
    "EDSR": "{type: EDSR, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 2, upscale: 2, res_scale: 1, "
    "img_range: 255., rgb_mean: [0.4488, 0.4371, 0.4040]}",
    "MSRResNet": "{type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 2, upscale: 2}",
    "RCAN": "{type: RCAN, num_in_ch: 3, num_out_ch: 3, num_feat: 16, num_group: 1, num_block: 1, squeeze_factor: 16, "
    "upscale: 2, res_scale: 1, img_range: 255., rgb_mean: [0.4488, 0.4371, 0.4040]}",
}


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_basicsr_option_files_work_unchanged(kind: str, photos: Path, tmp_path: Path) -> None:
    from srkd.images.read import ImageData, read_rgb, write_image
    from srkd.images.resize import imresize

    for path in photos.iterdir():
        write_image(tmp_path / "lr" / f"{path.stem}x2.png", ImageData(imresize(read_rgb(path), 0.5)))
    template = BASICSR_OPTIONS
    scheduler = "{type: MultiStepLR, milestones: [200000], gamma: 0.5}"
    if kind == "EDSR":
        for ours, older in (
            ("use_hflip", "use_flip"),
            ("pretrain_network_g", "pretrain_model_g"),
            ("strict_load_g", "strict_load"),
        ):
            template = template.replace(ours, older)
    if kind == "MSRResNet":
        scheduler = "{type: CosineAnnealingRestartLR, periods: [2, 1], restart_weights: [1, 1], eta_min: !!float 1e-7}"
    text = template.format(
        name=kind,
        model="SRModel",
        scale=2,
        hr=photos,
        lr=tmp_path / "lr",
        gt_size=16,
        batch=4,
        val="Set5",
        networks=f"network_g: {NETWORKS[kind]}",
        pretrained="~",
        scheduler=scheduler,
        losses="pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}",
    )
    result = Run(parse(text), tmp_path, quiet=True).train()
    assert result["finished"] and 5 < result["metrics"]["psnr_Set5"] < 60
    state, meta = load_weights(Path(result["models"]["net_g"]))
    options = {k: v for k, v in meta["network"].items() if k != "type"}
    basicsr.network(kind, **options).load_state_dict(state)


def test_losses_of_basicsr_forks(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"] |= {
        "pixel_opt": {"type": "PSNRLoss", "loss_weight": 0.5, "reduction": "mean", "toY": True},
        "fft_opt": {"type": "FFTLoss", "loss_weight": 0.05, "reduction": "mean"},
    }
    (task,) = Run(recipe, tmp_path, quiet=True).dry_run()
    assert [(t.name, t.weight.first, t.against) for t in task.objective.terms] == [
        ("PSNRLoss", 0.5, "target"),
        ("FFTLoss", 0.05, "target"),
    ]


def test_the_eps_of_basicsrs_charbonnier_loss_is_under_the_root(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"] |= {"pixel_opt": {"type": "CharbonnierLoss", "eps": 1e-4}}
    (task,) = Run(recipe, tmp_path, quiet=True).dry_run()
    (term,) = task.objective.terms
    output, truth = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    basicsrs = ((output - truth) ** 2 + 1e-4).sqrt().mean()
    torch.testing.assert_close(losses.build(term.type, **term.options)(output, truth), basicsrs - 1e-2)


def test_training_starts_from_a_checkpoint_of_basicsr(recipe: dict[str, Any], tmp_path: Path) -> None:
    options = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 2}
    theirs = basicsr.network("EDSR", upscale=2, img_range=1.0, **options)
    torch.save({"params": theirs.state_dict()}, tmp_path / "theirs.pth")
    data = override(
        recipe,
        [f"path.pretrain_network_g={tmp_path / 'theirs.pth'}", "train.optim_g.lr=1e-12", "train.scheduler.eta_min=0"],
    )
    result = Run(data, tmp_path, quiet=True).train()
    trained, _ = load_weights(Path(result["models"]["net_g"]))
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(trained[key], value, rtol=0, atol=1e-9)
    torch.save({"params": basicsr.network("EDSR", upscale=4, **options).state_dict()}, tmp_path / "x4.pth")
    with pytest.raises(SrkdError, match="weights for x4, but the recipe's scale is 2"):
        check(copy.deepcopy(recipe), tmp_path, f"path.pretrain_network_g={tmp_path / 'x4.pth'}")


@pytest.mark.parametrize(("scale", "gt_size"), [(4, 16), (3, 15)])
def test_weights_of_another_scale_initialise_a_network_if_not_strict(
    recipe: dict[str, Any], tmp_path: Path, scale: int, gt_size: int
) -> None:
    options = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 2}
    x2 = basicsr.network("EDSR", upscale=2, **options).state_dict()
    torch.save({"params": x2}, tmp_path / "x2.pth")
    settings = [
        f"scale={scale}",
        f"path.pretrain_network_g={tmp_path / 'x2.pth'}",
        "path.strict_load_g=false",
        f"datasets.train.gt_size={gt_size}",
    ]
    run = Run(override(recipe, settings), tmp_path, quiet=True)
    (task,) = run.dry_run()
    assert any("x2.pth: loaded" in notice for notice in run.notices)
    own = task.network_g.state_dict()
    fitting = {key for key, value in own.items() if key in x2 and value.shape == x2[key].shape}
    assert {"conv_first.weight", "body.1.conv2.bias", "conv_last.weight"} <= fitting < set(own)
    assert all(torch.equal(own[key], x2[key]) for key in fitting)
