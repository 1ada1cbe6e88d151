"""The SR recipe: BasicSR's words, a list of losses, a teacher and its cache.

An option file of BasicSR's own for an SRModel trains as it is; keys that mean nothing here are accepted with a notice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from srkd.errors import SrkdError
from srkd.training.best import Judging
from srkd.training.recipe import Name, Optimiser, Recipe, Section, Train, line

Paths = str | list[str]


def _of_one_name(template: str) -> str:
    if template.count("{}") != 1 or re.search("[{}]", template.replace("{}", "")):
        raise ValueError("must hold {} once, which stands for the HR file's name without suffix, as in {}x2")
    return template


Template = Annotated[str, pydantic.AfterValidator(_of_one_name)]


class TrainSet(Section):
    """Images to train on: HR folders (LR is made by the protocol), or HR and LR folders of the same names."""

    ignored = frozenset(
        {
            "type",
            "io_backend",
            "use_shuffle",
            "num_worker_per_gpu",
            "dataset_enlarge_ratio",
            "prefetch_mode",
            "num_prefetch_queue",
            "pin_memory",
            "phase",
            "bufsize",
        }
    )
    # Which images they are is in their fingerprint, and the batch is the processes' together.
    free = frozenset(
        {
            "name",
            "dataroot_gt",
            "dataroot_lq",
            "filename_tmpl",
            "meta_info_file",
            "exclude",
            "copies",
            "skip_small",
            "batch_size_per_gpu",
        }
    )
    aliases = {"use_flip": "use_hflip"}  # BasicSR's EDSR and RCAN options still have the older name
    instead = {
        "lq_size": "gt_size, which is lq_size times the scale",
        "accum_iter": "train.accumulate",
        "batch_size": "batch_size_per_gpu",
    }
    name: str = pydantic.Field("train", description="only for the reader")
    dataroot_gt: Paths = pydantic.Field(description="folders of HR images, or data sets by name")
    dataroot_lq: Paths | None = pydantic.Field(
        None, description="LR folders, one for all or one for each HR folder; else LR is made by the protocol"
    )
    filename_tmpl: Template = pydantic.Field("{}", description="name of an LR file from its HR's, e.g. '{}x2'")
    meta_info_file: str | None = pydantic.Field(None, description="text file of the images to use, a name a line")
    exclude: list[str] = pydantic.Field([], description="file stems that are left out, e.g. those held out")
    copies: list[Annotated[float, pydantic.Field(gt=0, lt=1)]] = pydantic.Field(
        [], description="sizes at which every image is trained on once more, e.g. [0.5]"
    )
    gt_size: int = pydantic.Field(96, gt=0, description="side of an HR patch in pixels")
    batch_size_per_gpu: int = pydantic.Field(16, gt=0, description="patches a step and process")
    use_hflip: bool = pydantic.Field(True, description="mirror half of the patches")
    use_rot: bool = pydantic.Field(True, description="turn patches by multiples of 90 degrees")
    sampling: Literal["picture", "area"] = pydantic.Field(
        "picture", description="each image as likely as another, or each position in them"
    )
    skip_small: bool = pydantic.Field(False, description="leave out images smaller than a patch")


class ValSet(Section):
    """Images to validate on."""

    ignored = frozenset({"type", "io_backend", "phase"})
    name: Name = pydantic.Field(description="of the set, in scores")
    dataroot_gt: str = pydantic.Field(description="a folder of HR images, or a data set by name")
    dataroot_lq: str | None = pydantic.Field(None, description="LR of the same names; else made by the protocol")
    filename_tmpl: Template = pydantic.Field("{}", description="name of an LR file from its HR's, e.g. '{}x2'")
    meta_info_file: str | None = pydantic.Field(None, description="text file of the images to use, a name a line")
    only: list[str] = pydantic.Field([], description="file stems that are used, all where empty")


class Datasets(Section):
    """`train`, and any number of validation sets: `val`, `val_2`, ..."""

    model_config = pydantic.ConfigDict(extra="allow", protected_namespaces=())
    extra_key = r"(val|test)\w*"
    extra_section = ValSet
    __pydantic_extra__: dict[str, ValSet] = pydantic.Field(init=False)
    train: TrainSet

    @pydantic.model_validator(mode="before")
    @classmethod
    def _different_names(cls, data: Any) -> Any:
        seen: dict[str, str] = {}
        for key, value in data.items() if isinstance(data, Mapping) else ():
            name = value.get("name") if key != "train" and isinstance(value, Mapping) else None
            if not isinstance(name, str):  # train has none to speak of, and what is no name is refused later
                continue
            if name in seen:
                raise ValueError(f'{seen[name]} and {key}{line(value, "name")} are both named "{name}"')
            seen[name] = f"{key}{line(value, 'name')}"
        return data

    def validation(self) -> list[ValSet]:
        return list((self.__pydantic_extra__ or {}).values())


class Metric(Section):
    """One validation score, in BasicSR's words."""

    ignored = frozenset({"input_order"})
    type: str = pydantic.Field(description="calculate_psnr, calculate_ssim or calculate_niqe")
    crop_border: int | None = pydantic.Field(None, ge=0, description="pixels; the scale where it is not given")
    test_y_channel: bool = pydantic.Field(True, description="on Y of BT.601; otherwise the mean over RGB")
    better: Literal["higher", "lower"] | None = pydantic.Field(
        None, description="which values are; by its type where it is not given"
    )

    @property
    def higher(self) -> bool:
        """Whether higher is better."""
        return self.better == "higher" if self.better else self.type != "calculate_niqe"


class Validation(Judging):
    """When and how to validate. The best of several validations is kept as models/net_g_best.safetensors."""

    ignored = frozenset({"pbar", "suffix", "use_pbar"})
    instead = {"val_enabled": "val_freq, and no validation set for none", "metrics_enabled": "metrics, {} for none"}
    val_freq: int = pydantic.Field(0, ge=0, description="steps between validations; 0: at the end only")
    save_img: bool = pydantic.Field(False, description="keep the outputs under visualization/")
    metrics: dict[str, Metric] = {"psnr": Metric(type="calculate_psnr"), "ssim": Metric(type="calculate_ssim")}


class Path(Section):
    """Where weights come from."""

    ignored = frozenset({"root", "experiments_root", "ignore_resume_networks"})
    aliases = {"pretrain_model_g": "pretrain_network_g", "strict_load": "strict_load_g"}
    pretrain_network_g: str | None = pydantic.Field(None, description="checkpoint that the network starts from")
    param_key_g: str | None = pydantic.Field(
        None, description="which weights of a .pth: params, params_ema; averaged ones where it is not given"
    )
    strict_load_g: bool = pydantic.Field(True, description="whether every weight must fit; false loads those that do")
    pretrain_network_g_teacher: str | None = pydantic.Field(None, description="the teacher's checkpoint")
    resume_state: str | None = pydantic.Field(
        None, description="training state to go on from; --auto_resume finds the newest by itself"
    )


_GAN = "task: sr.gan, which has this key"


class Cache(Section):
    """A teacher's answers, computed before training.

    `outputs`: its outputs for whole images, cropped with them. `bank`: a fixed set of augmented patches with its
    outputs and features on those very patches; the only cache that features allow. `live`: the teacher runs in every
    step.
    """

    free = frozenset({"taps", "max_bytes", "dir"})  # what a bank holds beside what is looked at changes nothing
    kind: Literal["auto", "live", "outputs", "bank"] = pydantic.Field("auto", description="auto: what the losses need")
    patches: int = pydantic.Field(8000, gt=0, description="size of the bank")
    taps: list[str] = pydantic.Field(
        [], description="teacher layers that the bank holds beside those the losses look at, for other runs"
    )
    seed: int = pydantic.Field(0, ge=0, description="of the bank's patches, whatever the run's own seed")
    max_bytes: float = pydantic.Field(8e9, gt=0, description="a larger cache is refused")
    self_ensemble: bool = pydantic.Field(False, description="outputs averaged over the 8 flips and rotations")
    dir: str | None = pydantic.Field(None, description="folder of caches; the user's cache folder by default")


def _term(key: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One of BasicSR's `..._opt` as a loss term."""
    if spec.get("reduction", "mean") != "mean":
        raise SrkdError(f"train.{key}.reduction: srkd's losses are means; scale the weight instead")
    options = {k: v for k, v in spec.items() if k not in ("loss_weight", "reduction")}
    return {**options, "target": "gt", "weight": spec.get("loss_weight", 1.0)}


class SRTrain(Train):
    """`train:` of an SR recipe."""

    ignored = frozenset({"manual_seed"})
    instead = {
        **Train.instead,
        **dict.fromkeys(("gan_opt", "perceptual_opt", "optim_d", "net_d_iters", "net_d_init_iters"), _GAN),
    }
    optim_g: Optimiser = Optimiser()
    losses: list[dict[str, Any]] = pydantic.Field([], description="loss terms; L1 to the ground truth without any")
    pixel_opt: dict[str, Any] | None = pydantic.Field(None, description="a term to the ground truth, as BasicSR's")
    fft_opt: dict[str, Any] | None = pydantic.Field(None, description="another, FFTLoss, as SAFMN's options have it")
    use_grad_clip: bool = pydantic.Field(
        False, description="NAFNet's and Restormer's word for clip_grad_norm: 0.01, where that is not set"
    )
    reparameterise: bool = pydantic.Field(
        False, description="3x3 convolutions are trained as sums of branches (ECBSR's) and saved as plain ones"
    )
    quantisation_aware: bool = pydantic.Field(
        False, description="convolutions round as int8 will, so that it loses less; not with reparameterise"
    )

    @pydantic.model_validator(mode="after")
    def _clip_as_nafnet(self) -> SRTrain:
        if self.use_grad_clip and not self.clip_grad_norm:
            self.clip_grad_norm = 0.01
        return self

    def all_losses(self) -> list[dict[str, Any]]:
        """The loss terms, BasicSR's `pixel_opt` and `fft_opt` among them."""
        if any(spec.get("type") in ("GANLoss", "GANLossD") for spec in self.losses):
            raise SrkdError(
                "train.losses: a GANLoss is no term of an image, but of a discriminator's logits; task: sr.gan has "
                "train.gan_opt for it"
            )
        given = {key: spec for key in ("pixel_opt", "fft_opt") if (spec := getattr(self, key)) is not None}
        terms = [_term(key, spec) for key, spec in given.items()] + list(self.losses)
        return terms or [{"type": "L1Loss", "target": "gt", "weight": 1.0}]


class SRRecipe(Recipe):
    """The top of an SR recipe."""

    ignored = frozenset(
        {
            "model_type",
            "dist_params",
            "dist",
            "rank",
            "world_size",
            "is_train",
            "auto_resume",
            "use_static_graph",
            "deterministic",
            "launcher",
            "watch",
            "fast_matmul",
            "use_compile",
            "detect_anomaly",
        }
    )
    free = Recipe.free | {"path", "network_g_teacher"}  # of a teacher its weights count, wherever they lie
    instead = {**Recipe.instead, **dict.fromkeys(("network_d", "network_d_teacher", "mutual", "init_seed"), _GAN)}
    scale: int = pydantic.Field(ge=1, le=16, description="super-resolution factor")
    network_g: dict[str, Any] = pydantic.Field(description="{type, options}: srkd's, BasicSR's or package.module:Class")
    network_g_teacher: dict[str, Any] | None = pydantic.Field(
        None, description="{zoo: name}, {file: any checkpoint} or {type, options}"
    )
    cache: Cache = Cache()
    datasets: Datasets
    path: Path = Path()
    train: SRTrain
    val: Validation = Validation()

    @property
    def resume_state(self) -> str | None:
        return self.path.resume_state
