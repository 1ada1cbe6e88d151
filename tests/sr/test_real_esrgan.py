"""Real-ESRGAN's and BasicSR's option files, and what the losses and the discriminator see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.data.degradations import sharpened
from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_rgb, write_image
from srkd.images.resize import imresize
from srkd.networks import build
from srkd.sr.real_esrgan import Task
from srkd.training.recipe import override, parse
from srkd.training.run import Run
from support import textured

# The files of the Real-ESRGAN repository, shortened where srkd reads nothing: networks are smaller, patches too.
DEGRADATION = """
# the first degradation process
resize_prob: [0.2, 0.7, 0.1]  # up, down, keep
resize_range: [0.15, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 30]
poisson_scale_range: [0.05, 3]
gray_noise_prob: 0.4
jpeg_range: [30, 95]
# the second degradation process
second_blur_prob: 0.8
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.3, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 25]
poisson_scale_range2: [0.05, 2.5]
gray_noise_prob2: 0.4
jpeg_range2: [30, 95]
gt_size: 32
queue_size: 180
"""
KERNELS = """
    blur_kernel_size: 21
    kernel_list: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob: 0.1
    blur_sigma: [0.2, 3]
    betag_range: [0.5, 4]
    betap_range: [1, 2]
    blur_kernel_size2: 21
    kernel_list2: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob2: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob2: 0.1
    blur_sigma2: [0.2, 1.5]
    betag_range2: [0.5, 4]
    betap_range2: [1, 2]
    final_sinc_prob: 0.8
"""
NET = """
name: train_RealESRNetx2plus_1000k_B12G4
model_type: RealESRNetModel
scale: 2
num_gpu: auto
manual_seed: 0
gt_usm: True  # USM the ground-truth
{degradation}
datasets:
  train:
    name: DF2K+OST
    type: RealESRGANDataset
    dataroot_gt: {hr}
    meta_info: {list}
    io_backend: {{type: disk}}
{kernels}
    gt_size: 256
    use_hflip: True
    use_rot: False
    use_shuffle: true
    num_worker_per_gpu: 5
    batch_size_per_gpu: 2
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
network_g: {{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, num_grow_ch: 2, scale: 2}}
path:
  pretrain_network_g: {pretrained}
  param_key_g: params_ema
  strict_load_g: False
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: !!float 2e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [1000000], gamma: 0.5}}
  total_iter: 2
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
logger:
  print_freq: 100
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: true
  wandb: {{project: ~, resume_id: ~}}
dist_params: {{backend: nccl, port: 29500}}
"""
GAN = """
name: train_RealESRGANx4plus_400k_B12G4
model_type: RealESRGANModel
scale: 4
num_gpu: auto
manual_seed: 0
l1_gt_usm: True
percep_gt_usm: True
gan_gt_usm: False
{degradation}
datasets:
  train:
    name: DF2K+OST
    type: {type}
    dataroot_gt: {hr}
    {extra}
    io_backend: {{type: disk}}
{kernels}
    gt_size: 32
    use_hflip: True
    use_rot: False
    num_worker_per_gpu: 5
    batch_size_per_gpu: 2
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
  {val}
network_g: {{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 4, num_block: 1, num_grow_ch: 2}}
network_d: {{type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 2, skip_connection: True}}
path:
  param_key_g: params_ema
  strict_load_g: true
  resume_state: ~
train:
  ema_decay: 0.999
  optim_g: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  optim_d: {{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}}
  scheduler: {{type: MultiStepLR, milestones: [400000], gamma: 0.5}}
  total_iter: 2
  warmup_iter: -1
  pixel_opt: {{type: L1Loss, loss_weight: 1.0, reduction: mean}}
  {losses}
  gan_opt: {{type: GANLoss, gan_type: vanilla, real_label_val: 1.0, fake_label_val: 0.0, loss_weight: !!float 1e-1}}
  net_d_iters: 1
  net_d_init_iters: 0
logger: {{print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: true}}
dist_params: {{backend: nccl, port: 29500}}
"""
PERCEPTUAL = """perceptual_opt:
    type: PerceptualLoss
    layer_weights: {{'conv1_2': 0.1, 'conv2_2': 1}}
    vgg_type: vgg19
    vgg_path: {vgg}
    use_input_norm: true
    perceptual_weight: !!float 1.0
    style_weight: 0
    range_norm: false
    criterion: l1"""


@pytest.fixture
def vgg(tmp_path: Path) -> Path:
    """Weights of two blocks of a narrow VGG, random, under torchvision's names."""
    state, width = {}, 3
    for number in (0, 2, 5, 7):
        state |= {
            f"features.{number}.weight": torch.randn(4, width, 3, 3) / 3,
            f"features.{number}.bias": torch.zeros(4),
        }
        width = 4
    torch.save(state, tmp_path / "vgg.pth")
    return tmp_path / "vgg.pth"


def gan_options(hr: Path, **parts: str) -> dict[str, Any]:
    given = {"type": "RealESRGANDataset", "extra": "", "val": "", "losses": "", "degradation": DEGRADATION}
    return parse(GAN.format(hr=hr, kernels=KERNELS, **{**given, **parts}))


def ready(recipe: dict[str, Any], root: Path, *settings: str) -> Task:
    (task,) = Run(override(recipe, settings), root, quiet=True).dry_run()
    assert isinstance(task, Task)
    return task


def test_train_realesrnet_x2plus(photos: Path, tmp_path: Path) -> None:
    """The network is initialised from an x4 one as far as its weights fit, as the option file has it."""
    (tmp_path / "names.txt").write_text("p1.png\np2.png\n")
    four = build({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 2})
    torch.save({"params_ema": four.state_dict()}, tmp_path / "x4.pth")
    names, pretrained = tmp_path / "names.txt", tmp_path / "x4.pth"
    text = NET.format(hr=photos, list=names, pretrained=pretrained, degradation=DEGRADATION, kernels=KERNELS)
    run = Run(parse(text), tmp_path, quiet=True)
    assert any("queue_size" in notice for notice in run.notices)
    (task,) = run.dry_run()
    assert isinstance(task, Task) and len(task.images) == 2
    batch = task.batch(0)
    assert batch["lr"].shape == (2, 3, 16, 16) and batch["hr"].shape == (2, 3, 32, 32)  # gt_size at the top
    assert run.train()["finished"]
    again = parse((tmp_path / "train_RealESRNetx2plus_1000k_B12G4" / "recipe.yml").read_text())
    assert torch.equal(ready(again, tmp_path).batch(0)["lr"], batch["lr"])


def test_train_realesrgan_x4plus(photos: Path, vgg: Path, tmp_path: Path) -> None:
    options = gan_options(photos, losses=PERCEPTUAL.format(vgg=vgg))
    result = Run(options, tmp_path, quiet=True).train()
    assert result["finished"] and set(result["models"]) == {"net_g", "net_d"}


def test_ldl_real_x4(photos: Path, tmp_path: Path) -> None:
    val = "val: {name: RealWorld38, type: SingleImageDataset, dataroot_lq: none, io_backend: {type: disk}}"
    ldl = "ldl_opt: {type: L1Loss, loss_weight: !!float 1.0, reduction: mean}"
    run = Run(gan_options(photos, val=val, losses=ldl), tmp_path, quiet=True)
    (task,) = run.dry_run()
    assert "validation sets without ground truth are not scored: RealWorld38" in run.notices
    assert isinstance(task, Task) and [term.name for term in task.objective.terms] == ["L1Loss", "ldl"]
    assert run.train()["finished"]


def test_ldl_needs_averaged_weights(photos: Path, tmp_path: Path) -> None:
    options = gan_options(photos, losses="ldl_opt: {type: L1Loss, loss_weight: !!float 1.0, reduction: mean}")
    with pytest.raises(SrkdError, match=r"the output of averaged weights: needs train\.ema_decay"):
        ready(options, tmp_path, "train.ema_decay=0")


def test_ldl_compares_outputs_of_one_precision(photos: Path, tmp_path: Path) -> None:
    options = gan_options(photos, losses="ldl_opt: {type: L1Loss, loss_weight: !!float 1.0, reduction: mean}")
    task = ready(options, tmp_path, "train.precision=bf16", "train.fp32_after=0.5")
    batch = task.batch(0)
    for step in (0, task.recipe.train.total_iter - 1):
        with task.autocast(step, task.device):
            output = task.network_g(batch["lr"]).float()
        assert torch.equal(task.context(batch, step)["ema_output"], output)


def test_finetune_realesrgan_x4plus_pairdata(tmp_path: Path) -> None:
    for number in range(3):
        image = textured(number, 40, 44)
        write_image(tmp_path / "hr" / f"a{number}.png", ImageData(image))
        write_image(tmp_path / "lr" / f"b{number}.png", ImageData(imresize(image, 0.25)))
    (tmp_path / "pairs.txt").write_text("a2.png, b2.png\na0.png, b0.png\n")
    extra = f"dataroot_lq: {tmp_path / 'lr'}\n    meta_info: {tmp_path / 'pairs.txt'}"
    parts = {"type": "RealESRGANPairedDataset", "extra": extra, "degradation": "high_order_degradation: False"}
    options = gan_options(tmp_path / "hr", **parts)
    task = ready(options, tmp_path)
    assert [task.images.name(i) for i in range(len(task.images))] == ["a2", "a0"]
    np.testing.assert_array_equal(task.images.lr(0), read_rgb(tmp_path / "lr" / "b2.png"))
    batch = task.batch(0)
    original = (batch["original"][0] * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_allclose(batch["hr"][0].permute(1, 2, 0) * 255, sharpened(original), atol=1e-3)
    assert torch.equal(task.real_images(batch), batch["original"])
    assert Run(options, tmp_path, quiet=True).train()["finished"]
    for line, message in (
        ("a1.png", r"pairs.txt, line 1: expected `HR name, LR name`, got 'a1.png'"),
        ("a1.png, c.png", r"pairs.txt, line 1: no image c.png in"),
    ):
        (tmp_path / "pairs.txt").write_text(line)
        with pytest.raises(SrkdError, match=message):
            ready(options, tmp_path)


@pytest.mark.parametrize("gan_usm", [False, True])
@pytest.mark.parametrize("target_usm", [False, True])
def test_what_is_sharpened(photos: Path, tmp_path: Path, gan_usm: bool, target_usm: bool) -> None:
    settings = [f"l1_gt_usm={target_usm}", f"percep_gt_usm={target_usm}", f"gan_gt_usm={gan_usm}"]
    task = ready(gan_options(photos), tmp_path, *settings)
    batch, sharp = task.batch(1), task.source.draw(1).get("sharp")
    expected = {True: None if sharp is None else torch.from_numpy(sharp).permute(0, 3, 1, 2) / 255}
    expected[False] = batch["original"]
    for found, usm in ((batch["hr"], target_usm), (task.real_images(batch), gan_usm)):
        assert expected[usm] is not None and torch.allclose(found, expected[usm])
    assert not torch.equal(batch["original"], batch["lr"].repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_batches_depend_on_seed_and_number_alone(photos: Path, tmp_path: Path) -> None:
    one, again = ready(gan_options(photos), tmp_path), ready(gan_options(photos), tmp_path)
    assert torch.equal(one.batch(5)["lr"], again.batch(5)["lr"])
    assert not torch.equal(one.batch(5)["lr"], one.batch(6)["lr"])
    other = ready(gan_options(photos), tmp_path, "manual_seed=1")
    assert not torch.equal(one.batch(5)["lr"], other.batch(5)["lr"])
    shares = [one.source.draw(5, rank, 2)["lr"] for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(shares), one.source.draw(5)["lr"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("percep_gt_usm=false", "l1_gt_usm and percep_gt_usm: all losses have one target here"),
        ("resize_prob=[0.5, 0.5]", "resize_prob: needs 3 probabilities that sum to 1"),
        ("noise_range2=[9, 1]", "second pass, noise_range: needs two numbers, the lower one first"),
        ("resize_range=[0.001, 1]", "resize_range: 0.001 shrinks 32 pixels to nothing"),
        ("datasets.train.blur_kernel_size2=20", "second pass, blur_kernel_size: needs an odd number"),
        ("datasets.train.dataroot_lq=folder", "LR images are made by degradation; remove it"),
        ("cache={kind: outputs}", "every patch is degraded anew, so a teacher runs in every step"),
        ("train.ldl_opt={type: Huber}", "train.ldl_opt: must be an L1Loss or MSELoss"),
        ("datasets.train.meta_info_file=a", "meta_info and meta_info_file are the same list"),
    ],
)
def test_mistakes_are_named(photos: Path, tmp_path: Path, setting: str, message: str) -> None:
    options = gan_options(photos)
    if "meta_info_file" in setting:
        options["datasets"]["train"]["meta_info"] = "b"
    if "outputs" in setting:
        options["train"]["losses"] = [{"type": "L1Loss", "target": "teacher"}]
        options["network_g_teacher"] = {"zoo": "edsr_16x8_x4"}
    with pytest.raises(SrkdError, match=message):
        ready(options, tmp_path, setting)
