import math
import os
from pathlib import Path
from typing import Any

import pytest

from srkd.distill.objective import parse_terms
from srkd.errors import SrkdError
from srkd.sr.recipe import SRRecipe
from srkd.training.recipe import Section, dump, merge, override, parse, read, validate
from srkd.training.schedule import check, factor


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("2E3", 2000.0), ("-1e-1", -0.1), ("1.5e3", 1500.0), ("!!float 1e-4", 1e-4)]
)
def test_numbers_with_exponents_are_numbers(text: str, value: float) -> None:
    assert parse(f"a: {text}") == {"a": value}


def test_strings_similar_to_numbers_stay_strings() -> None:
    assert parse("[e4, x2, 1e, 12a]") == ["e4", "x2", "1e", "12a"]


@pytest.mark.parametrize("tag", ["python/object/apply:os.system ['true']", "python/name:os.system", "python/tuple [1]"])
def test_object_tags_raise(tag: str) -> None:
    with pytest.raises(SrkdError, match="line 2"):
        parse(f"b: 1\na: !!{tag}")


def test_overrides_set_nested_values_in_a_copy() -> None:
    data = {"train": {"losses": [{"weight": 1}]}}
    changed = override(data, ["train.losses.0.weight=1e-1", "val.val_freq=5", "name=x"])
    assert changed == {"train": {"losses": [{"weight": 0.1}]}, "val": {"val_freq": 5}, "name": "x"}
    assert data == {"train": {"losses": [{"weight": 1}]}}


@pytest.mark.parametrize("setting", ["train", "=1", "train.losses.7.weight=1", "name.sub=1"])
def test_invalid_overrides_raise(setting: str) -> None:
    with pytest.raises(SrkdError, match="--set"):
        override({"train": {"losses": [1]}, "name": "x"}, [setting])


def test_merge_replaces_lists_and_merges_mappings() -> None:
    assert merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}, "d": 4}) == {"a": {"b": 1, "c": [3]}, "d": 4}
    assert merge({"a": {"b": 1}, "c": {"d": 2}}, {"a": {"b": None}, "c": None}) == {"a": {"b": None}, "c": None}
    shared = [{"a": 1}]
    merged = merge({"x": shared, "y": shared}, {})
    assert merged["x"] == merged["y"] and merged["x"][0] is not merged["y"][0]


def test_all_mistakes_are_reported_in_one_line_with_the_nearest_names(recipe: dict[str, Any]) -> None:
    recipe["train"]["totl_iter"] = recipe["train"].pop("total_iter")
    recipe["datasets"]["val"]["dataroot"] = "x"
    recipe["scal"] = 2
    recipe["train"]["optim_g"]["lr"] = "fast"
    with pytest.raises(SrkdError) as error:
        validate(SRRecipe, recipe)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        'unknown key train.totl_iter (did you mean "total_iter"?)',
        "datasets.val.dataroot",
        "unknown key scal",
        "train.total_iter is missing",
        "train.optim_g.lr: ",
    ):
        assert part in text


def test_seeds_that_torch_does_not_take_are_mistakes(recipe: dict[str, Any]) -> None:
    assert validate(SRRecipe, recipe | {"manual_seed": (1 << 63) - 1})
    with pytest.raises(SrkdError, match="manual_seed: input should be less than"):
        validate(SRRecipe, recipe | {"manual_seed": 1 << 64})


def test_basicsr_keys_without_effect_are_accepted_with_a_notice(recipe: dict[str, Any]) -> None:
    recipe |= {"model_type": "SRModel", "num_gpu": "auto", "dist_params": {"backend": "nccl"}}
    recipe["datasets"]["train"]["io_backend"] = {"type": "disk"}
    _, ignored = validate(SRRecipe, recipe)
    assert sorted(ignored) == [
        "datasets.train.io_backend",
        "dist_params",
        "model_type",
        "num_gpu",
    ]


def test_a_resolved_recipe_round_trips(recipe: dict[str, Any]) -> None:
    first, _ = validate(SRRecipe, recipe)
    second, ignored = validate(SRRecipe, parse(dump(first)))
    assert first == second and not ignored


def test_unreadable_recipe_files_raise(tmp_path) -> None:
    with pytest.raises(SrkdError, match="cannot read the recipe"):
        read(tmp_path / "none.yml")
    (tmp_path / "list.yml").write_text("- 1")
    with pytest.raises(SrkdError, match="a mapping"):
        read(tmp_path / "list.yml")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SrkdError, match="not a text file"):
        read(tmp_path / "binary.yml")


def test_typos_in_sections_with_extra_keys_raise() -> None:
    class Inner(Section):
        a: int = 1

    class Outer(Section):
        extra_key = r"val\w*"
        extra_section = Inner
        model_config = {"extra": "allow"}

    with pytest.raises(SrkdError, match="unknown key other"):
        validate(Outer, {"val_2": {"a": 1}, "other": {}})
    with pytest.raises(SrkdError, match=r"unknown key val_2\.b"):
        validate(Outer, {"val_2": {"b": 1}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nscale: 2\nname: b\n", r"r\.yml, line 3: the key \"name\" is repeated, first in line 1"),
        ("train:\n  optim_g: {lr: 1, lr: 2}\n", r'r\.yml, line 2: the key "lr" is repeated, first in line 2'),
        ("[network_g]\ntype = 'EDSR'\n", r"r\.yml: this is TOML, and a recipe is YAML"),
        ("# my recipe\n\nname = 'x'  # of the run\nscale = 2\n", "this is TOML"),
        ("- name = 1\n", "a recipe is a mapping of keys to values, this is list"),
    ],
)
def test_files_that_are_not_recipes_raise_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yml").write_text(text)
    with pytest.raises(SrkdError, match=message) as error:
        read(tmp_path / "r.yml")
    assert "\n" not in str(error.value)


def test_anchors_may_be_merged_and_overridden() -> None:
    assert parse("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


WRONG = """\
name: x
scale: 2
network_g: {type: EDSR}
datasets:
  train:
    dataroot_gt: x
    lq_size: 32
  val: {name: Set5, dataroot_gt: x}
  val_2:
    dataroot_gt: y
    name: Set5
train:
  total_iter: many
  grad_clip: true
  optim_g:
    lr: fast
"""


def test_mistakes_have_line_numbers_and_other_tools_keys_a_hint(tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text(WRONG)
    with pytest.raises(SrkdError) as error:
        validate(SRRecipe, override(read(tmp_path / "r.yml"), ["train.optim_g.lr=slow"]))
    text = str(error.value)
    for part in (
        "unknown key datasets.train.lq_size (use gt_size, which is lq_size times the scale) (line 7)",
        'val (line 8) and val_2 (line 11) are both named "Set5"',
        "parse string as an integer, got 'many' (line 13)",
        "unknown key train.grad_clip (use train.clip_grad_norm, the largest norm, e.g. 1.0) (line 14)",
        "got 'slow' (--set)",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("where", "key", "ours"),
    [
        ("datasets.train", "accum_iter", "train.accumulate"),
        ("train", "accum_iter", "train.accumulate"),
        ("train", "gan_opt", "task: sr.gan"),
        ("network_d", "", "task: sr.gan"),
        ("use_amp", "", "train.precision"),
    ],
)
def test_keys_of_other_tools_and_tasks_get_a_hint(recipe: dict[str, Any], where: str, key: str, ours: str) -> None:
    with pytest.raises(SrkdError) as error:
        validate(SRRecipe, override(recipe, [f"{where}.{key}=2" if key else f"{where}=2"]))
    assert f"unknown key {where}" in str(error.value) and ours in str(error.value)


def test_an_unknown_loss_option_suggests_keys_of_the_term(recipe: dict[str, Any]) -> None:
    with pytest.raises(SrkdError, match=r'L1Loss: unknown option "loss_weight" .did you mean "weight"'):
        parse_terms([{"type": "L1Loss", "loss_weight": 0.5}])


def test_home_is_expanded_in_paths(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    recipe["datasets"]["train"]["dataroot_gt"] = ["~/photos", "~"]
    recipe["network_g_teacher"] = {"file": "~/t.safetensors"}
    recipe["path"] = {"pretrain_network_g": "~/w.pth"}
    recipe["cache"] = {"dir": "~/cache"}
    checked, _ = validate(SRRecipe, recipe)
    assert checked.datasets.train.dataroot_gt == ["/home/me/photos", "~"]
    assert checked.network_g_teacher == {"file": "/home/me/t.safetensors"}
    assert (checked.path.pretrain_network_g, checked.cache.dir) == ("/home/me/w.pth", "/home/me/cache")
    assert recipe["cache"] == {"dir": "~/cache"}


def test_nafnets_use_grad_clip(recipe: dict[str, Any]) -> None:
    for settings, norm in (
        ({"use_grad_clip": True}, 0.01),
        ({"use_grad_clip": True, "clip_grad_norm": 1.0}, 1.0),
        ({"use_grad_clip": False}, 0.0),
    ):
        recipe["train"] |= settings
        assert validate(SRRecipe, recipe)[0].train.clip_grad_norm == norm
        recipe["train"].pop("clip_grad_norm", None)


def _train(**changes: Any) -> Any:
    return validate(
        SRRecipe,
        {
            "name": "x",
            "scale": 2,
            "network_g": {},
            "datasets": {"train": {"dataroot_gt": "x"}},
            "train": {"total_iter": 100, **changes},
        },
    )[0].train


def test_the_cosine_decreases_from_one_to_eta_min() -> None:
    train = _train(scheduler={"type": "cosine", "eta_min": 1e-5})
    assert factor(0, train, 1e-3) == 1
    assert factor(50, train, 1e-3) == pytest.approx(0.505)
    assert factor(100, train, 1e-3) == pytest.approx(0.01)


def test_schedules_equal_torch_step_by_step() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    for spec, make in [
        (
            {"type": "MultiStepLR", "milestones": [20, 50], "gamma": 0.5},
            lambda opt: torch.optim.lr_scheduler.MultiStepLR(opt, [20, 50], 0.5),
        ),
        (
            {"type": "CosineAnnealingLR", "eta_min": 1e-5},
            lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 100, 1e-5),
        ),
    ]:
        optimiser = torch.optim.SGD([parameter], lr=1e-3)
        reference, train = make(optimiser), _train(scheduler=spec)
        for step in range(100):
            assert 1e-3 * factor(step, train, 1e-3) == pytest.approx(optimiser.param_groups[0]["lr"]), (spec, step)
            optimiser.step()
            reference.step()


def test_cosine_restarts_at_the_restart_weights() -> None:
    spec = {"type": "CosineAnnealingRestartLR", "periods": [40, 60], "restart_weights": [1, 0.5], "eta_min": 0}
    train = _train(scheduler=spec)
    # As in BasicSR, the last step of a period is at its lowest rate and the next one starts again.
    assert [factor(s, train, 1.0) for s in (0, 20, 40, 70)] == pytest.approx([1, 0.5, 0, 0.25])
    assert factor(41, train, 1.0) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            "MultiStepRestartLR",
            {"milestones": [10, 20, 20, 60], "gamma": 0.5, "restarts": [0, 50], "restart_weights": [1, 0.5]},
        ),
        ("MultiStepRestartLR", {"milestones": [30, 50], "gamma": 0.1, "restarts": [50], "restart_weights": [2]}),
        ("CosineAnnealingRestartLR", {"periods": [30, 20, 50], "restart_weights": [1, 0.5, 0.25], "eta_min": 1e-5}),
    ],
)
def test_schedules_equal_basicsrs_step_by_step(kind: str, spec: dict[str, Any]) -> None:
    from importlib import import_module

    import torch

    from srkd.integrations import basicsr

    basicsr.package()
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference = getattr(import_module("basicsr.models.lr_scheduler"), kind)(optimiser, **spec)
    train = _train(scheduler={"type": kind, **spec})
    for step in range(100):
        assert 1e-3 * factor(step, train, 1e-3) == pytest.approx(optimiser.param_groups[0]["lr"]), step
        optimiser.step()
        reference.step()


def test_the_cyclic_cosine_has_a_lowest_rate_for_each_period() -> None:
    """Restormer's formula, with its own settings scaled down."""
    periods, weights, lows, lr = [92, 208], [1, 1], [3e-4, 1e-6], 3e-4
    spec = {"type": "CosineAnnealingRestartCyclicLR", "periods": periods, "restart_weights": weights, "eta_mins": lows}
    train = _train(scheduler=spec, total_iter=300)
    for step in range(301):
        i = 0 if step <= 92 else 1
        wave = 1 + math.cos(math.pi * (step - 92 * i) / periods[i])
        assert lr * factor(step, train, lr) == pytest.approx(lows[i] + weights[i] * 0.5 * (lr - lows[i]) * wave), step


def test_the_cosine_may_be_shorter_than_the_run() -> None:
    train = _train(scheduler={"type": "TrueCosineAnnealingLR", "T_max": 40, "eta_min": 0})
    assert [factor(s, train, 1.0) for s in (0, 20, 40, 60, 80)] == pytest.approx([1, 0.5, 0, 0.5, 1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"type": "CosineAnnealingRestartCyclicLR", "periods": [5, 5, 5], "eta_mins": [0, 1]},
            "eta_mins: 2 values for 3",
        ),
        ({"type": "MultiStepLR", "restarts": [1, 2, 3], "restart_weights": [1, 1]}, "restart_weights: 2 values for 3"),
        ({"type": "MultiStepRestartLR", "restarts": [50, 0]}, r"restarts must be ascending, got \[50, 0\]"),
    ],
)
def test_schedule_lists_of_inconsistent_lengths_raise(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        check(_train(scheduler=spec))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gamma", -1),
        ("gamma", 0),
        ("gamma", float("inf")),
        ("milestones", [-1]),
        ("periods", [0]),
        ("eta_mins", [-1e-7]),
        ("eta_min", float("inf")),
        ("restarts", [-1]),
        ("restart_weights", [1, -0.5]),
        ("restart_weights", [float("nan")]),
    ],
)
def test_a_schedule_has_no_negative_or_infinite_rates(key: str, value: Any) -> None:
    with pytest.raises(SrkdError, match=rf"train.scheduler.{key}"):
        _train(scheduler={"type": "MultiStepLR", key: value})


def test_warm_up_is_linear() -> None:
    train = _train(scheduler={"type": "constant"}, warmup_iter=4)
    assert [factor(s, train, 1.0) for s in range(5)] == [0.25, 0.5, 0.75, 1, 1]


def test_exponential_merge_keys_raise() -> None:
    rows = ["a0: &a0 {" + ", ".join(f"k{n}: {n}" for n in range(10)) + "}"]
    rows += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    try:  # PyYAML from 6.0.3 merges each key once, older ones as often as it is named
        assert len(parse("\n".join(rows))["a11"]) == 10
    except SrkdError as error:
        assert "merges more than" in str(error)
    with pytest.raises(SrkdError, match="merges more than"):
        parse("a: &a {x: 1}\nb: {<<: [" + ", ".join(["*a"] * 1000) + "]}")
    assert parse("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")["b"] == {"x": 3, "y": 2}


def test_pipes_devices_and_large_files_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yml")
    (tmp_path / "large.yml").write_text("name: x\n" * 200_000)
    (tmp_path / "link.yml").symlink_to("/dev/zero")
    for name, why in (("pipe.yml", "pipe"), ("large.yml", "limit of 1,048,576"), ("link.yml", "device"), (".", "dir")):
        with pytest.raises(SrkdError, match=why):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["off", "2024", "1.5"])
def test_a_text_that_yaml_reads_as_something_else_gets_a_hint(name: str, tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text(f"name: {name}\n{WRONG.split(chr(10), 1)[1]}")
    with pytest.raises(SrkdError, match=r"name: input should be .* put the text in quotes\) \(line 1\)"):
        validate(SRRecipe, read(tmp_path / "r.yml"))
