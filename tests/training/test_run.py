import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from srkd.errors import SrkdError
from srkd.files.lock import locked_itself
from srkd.training import checkpoint
from srkd.training.checkpoint import load_weights
from srkd.training.log import read_metrics
from srkd.training.processes import make_fabric
from srkd.training.recipe import merge, override
from srkd.training.run import Run

KD = [
    {"type": "L1Loss"},
    {"type": "output", "weight": 0.5},
    {"type": "fitnet", "at": {"student": "body.*", "teacher": "body.{1,2}"}, "weight": 0.1},
]


@pytest.fixture
def teacher(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    data = copy.deepcopy(recipe) | {"name": "teacher"}
    data["network_g"] |= {"num_feat": 6, "num_block": 3}
    data["train"]["total_iter"] = 1
    return Run(data, tmp_path_factory.mktemp("teacher"), quiet=True).train()["models"]["net_g"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_weights(folder / "models" / "net_g_latest.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return all(torch.equal(one[key], other[key]) for key in one)


def test_num_gpu_0_trains_on_the_cpu_and_more_gpus_than_processes_give_a_notice(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert make_fabric(Run(recipe | {"num_gpu": 0}, tmp_path).recipe).device.type == "cpu"
    assert any("torchrun --nproc_per_node 4" in text for text in Run(recipe | {"num_gpu": 4}, tmp_path).notices)
    assert not Run(recipe | {"num_gpu": 0}, tmp_path).notices


def test_a_run_writes_all_files_and_learns(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"]["total_iter"] = 40
    recipe["val"] = {"val_freq": 20, "save_img": True}
    result = Run(recipe, tmp_path, quiet=True).train()
    folder = tmp_path / "tiny"
    assert result["finished"] and result["step"] == 40
    records = read_metrics(folder / "metrics.jsonl")
    losses = [r["l_L1Loss"] for r in records if "l_L1Loss" in r]
    assert len(losses) == 40 and losses[-1] < losses[0]
    assert [r["step"] for r in records if "val/psnr_photos" in r] == [20, 40]
    assert result["metrics"]["psnr_photos"] == records[-1]["val/psnr_photos"]
    assert yaml.safe_load((folder / "recipe.yml").read_text())["train"]["total_iter"] == 40
    assert (folder / "visualization" / "photos" / "p0_40.png").is_file()
    _, meta = load_weights(folder / "models" / "net_g_latest.safetensors")
    assert meta["scale"] == 2 and meta["network"]["type"] == "EDSR" and meta["metrics"] == result["metrics"]


def test_runs_are_bit_exact_per_seed(recipe: dict[str, Any], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        Run(recipe | {"name": name, "manual_seed": seed}, tmp_path, quiet=True).train()
    assert same(tmp_path / "a", tmp_path / "b") and not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("kind", ["live", "bank"])
def test_resuming_is_bit_exact_with_learned_losses_and_average(
    recipe: dict[str, Any], teacher: str, tmp_path: Path, kind: str
) -> None:
    recipe["network_g_teacher"] = {"file": teacher}
    recipe["cache"] = {"kind": kind, "patches": 10}
    recipe["train"] |= {"losses": KD, "ema_decay": 0.9, "total_iter": 8, "accumulate": 2, "clip_grad_norm": 1.0}
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    slices = 0
    while not Run(recipe | {"name": "cut"}, tmp_path, resume=True, budget=0, quiet=True).train()["finished"]:
        slices += 1
    assert slices == 7  # with a budget of 0 one step is still run
    assert same(tmp_path / "whole", tmp_path / "cut")
    steps = [r["step"] for r in read_metrics(tmp_path / "cut" / "metrics.jsonl") if "l_fitnet" in r]
    assert steps == list(range(1, 9))


def test_a_killed_run_resumes_bit_exactly(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"] |= {"total_iter": 60, "ema_decay": 0.9}
    recipe["logger"]["save_state_seconds"] = 0
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    (tmp_path / "cut.yml").write_text(yaml.safe_dump(recipe | {"name": "cut"}))
    command = [
        sys.executable,
        "-m",
        "srkd",
        "train",
        "-opt",
        str(tmp_path / "cut.yml"),
        "--auto_resume",
        "--output",
        str(tmp_path),
    ]
    metrics = tmp_path / "cut" / "metrics.jsonl"
    for wanted in (3, 17):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if metrics.exists() and metrics.read_bytes().count(b"\n") > wanted:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "cut" / "models").exists(), "the run finished before it was killed"
    Run(recipe | {"name": "cut"}, tmp_path, resume=True, quiet=True).train()
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_a_run_killed_between_its_last_step_and_saving_its_models_is_finished_on_resume(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe["val"] = {"val_freq": 3}

    def killed(stage: object, total: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("srkd.training.run._Stage._finish", killed)
        with pytest.raises(KeyboardInterrupt):
            while True:
                Run(recipe, tmp_path, resume=True, budget=0, quiet=True).train()
    Run(recipe, tmp_path, resume=True, quiet=True).train()
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    assert same(tmp_path / "tiny", tmp_path / "whole")


def test_resuming_a_finished_run_trains_nothing(recipe: dict[str, Any], tmp_path: Path) -> None:
    first = Run(recipe, tmp_path, quiet=True).train()
    before = (tmp_path / "tiny" / "models" / "net_g_latest.safetensors").stat().st_mtime_ns
    again = Run(recipe, tmp_path, resume=True, quiet=True).train()
    assert again == first
    assert (tmp_path / "tiny" / "models" / "net_g_latest.safetensors").stat().st_mtime_ns == before


CHANGES = [
    (["train.optim_g.lr=5e-4"], r"recipe\.train changed \(train\.optim_g\.lr was 0\.001 and is 0\.0005\)"),
    (["train.total_iter=9"], r"train\.total_iter was 6 and is 9"),
    (["train.total_iter=4"], r"train\.total_iter was 6 and is 4"),
    (["train.losses=[{type: MSELoss}]"], r"train\.losses was the default and is \[\{"),
    (["datasets.train.gt_size=20"], r"datasets\.train\.gt_size was 16 and is 20"),
    (["datasets.train.batch_size_per_gpu=2"], 'because the global batch changed .the global batch was "4" and is "2"'),
    (["datasets.train.exclude=[p0]"], "because the training images changed"),
    (["manual_seed=3"], "manual_seed was the default and is 3"),
]


@pytest.mark.parametrize(("settings", "message"), CHANGES, ids=[change[0][0] for change in CHANGES])
def test_resuming_with_settings_that_affect_results_raises_with_the_key(
    recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    Run(recipe, tmp_path, budget=0, quiet=True).train()
    changed = override(recipe, settings)
    for attempt in (Run.train, Run.dry_run):
        with pytest.raises(SrkdError, match=message):
            attempt(Run(changed, tmp_path, resume=True, quiet=True))


@pytest.mark.parametrize(("resume", "how"), [(False, "--auto_resume continues"), (True, "the same command continues")])
def test_a_stopped_run_says_how_to_continue(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], resume: bool, how: str
) -> None:
    """Studies, the zoo and compress, which always resume, have no --auto_resume."""
    Run(recipe, tmp_path, budget=0, resume=resume).train()
    assert f"; {how} from there" in capsys.readouterr().err


def test_settings_that_do_not_affect_results_may_change_on_resume(
    recipe: dict[str, Any], tmp_path: Path, photos: Path
) -> None:
    teacher = Run(recipe | {"name": "teacher"}, tmp_path, quiet=True).train()["models"]["net_g"]
    recipe["train"]["losses"] = [{"type": "L1Loss"}, {"type": "output"}]
    recipe["network_g_teacher"] = {"file": teacher}
    recipe["path"] = {"pretrain_network_g": teacher}
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    Run(recipe, tmp_path, budget=0, quiet=True).train()
    shutil.copytree(photos, tmp_path / "moved")
    shutil.copy(teacher, tmp_path / "moved.safetensors")
    changed = override(
        recipe,
        [
            f"datasets.train.dataroot_gt={tmp_path / 'moved'}",
            f"network_g_teacher.file={tmp_path / 'moved.safetensors'}",
            "path={}",
            "datasets.val={name: other, dataroot_gt: " + str(photos) + ", only: [p1]}",
            "val.val_freq=2",
            "train.monitor_freq=1",
            "logger.print_freq=2",
            "cache.max_bytes=1e9",
            "find_unused_parameters=true",
        ],
    )
    result = Run(changed, tmp_path, resume=True, quiet=True).train()
    assert result["finished"] and "psnr_other" in result["metrics"]
    assert same(tmp_path / "whole", tmp_path / "tiny")


def test_a_damaged_newest_state_falls_back_to_the_previous_one(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["logger"]["save_checkpoint_freq"] = 3
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    Run(recipe, tmp_path, quiet=True).train()
    states = sorted((tmp_path / "tiny" / "training_states").iterdir())
    assert [path.name for path in states] == ["000000003.pt", "000000006.pt"]
    os.truncate(states[1], 1000)
    shutil.rmtree(tmp_path / "tiny" / "models")
    Run(recipe, tmp_path, resume=True).train()
    assert "000000006.pt: truncated or not a checkpoint" in (messages := capsys.readouterr().err)
    assert "using the previous state 000000003.pt" in messages
    assert same(tmp_path / "whole", tmp_path / "tiny")
    for path in states:
        os.truncate(path, 10)
    with pytest.raises(SrkdError, match=r"000000003\.pt: truncated"):
        Run(recipe, tmp_path, resume=True, quiet=True).train()


def test_a_finished_run_continues_with_a_larger_total_iter(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [7]}
    Run(override(recipe, ["name=whole", "train.total_iter=9"]), tmp_path, quiet=True).train()
    Run(recipe, tmp_path, quiet=True).train()
    run = Run(override(recipe, ["train.total_iter=9"]), tmp_path, resume=True, quiet=True)
    assert run.train()["step"] == 9 and not run.notices
    assert same(tmp_path / "whole", tmp_path / "tiny")
    recipe["train"]["scheduler"] = {"type": "cosine"}
    Run(recipe | {"name": "cosine"}, tmp_path, quiet=True).train()
    run = Run(override(recipe, ["name=cosine", "train.total_iter=9"]), tmp_path, resume=True, quiet=True)
    assert run.train()["step"] == 9
    assert any("resumes at step 6 with the learning rates of a run of 9 steps" in notice for notice in run.notices)
    with pytest.raises(SrkdError, match=r"is at step 9, but train\.total_iter is 6"):
        Run(recipe | {"name": "cosine"}, tmp_path, resume=True, quiet=True).train()


def test_resume_state_of_a_recipe(recipe: dict[str, Any], tmp_path: Path) -> None:
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    Run(recipe, tmp_path, budget=0, quiet=True).train()
    state = tmp_path / "tiny" / "training_states" / "000000001.pt"
    recipe["path"] = {"resume_state": str(state)}
    other = Run(recipe | {"name": "other"}, tmp_path, quiet=True).train()
    assert other["finished"] and same(tmp_path / "whole", tmp_path / "other")
    steps = [r["step"] for r in read_metrics(tmp_path / "other" / "metrics.jsonl") if "l_L1Loss" in r]
    assert steps == [2, 3, 4, 5, 6]
    Run(recipe, tmp_path, quiet=True).train()
    assert same(tmp_path / "whole", tmp_path / "tiny") and not list(tmp_path.glob("tiny_archived*"))
    with pytest.raises(SrkdError, match=r"000000001\.pt is not the newest state of this run, which is 000000006\.pt"):
        Run(recipe, tmp_path, quiet=True).train()
    recipe["path"] = {"resume_state": "none.pt"}
    with pytest.raises(SrkdError, match=r"none\.pt: no such training state"):
        Run(recipe | {"name": "new"}, tmp_path, quiet=True).dry_run()


def test_a_state_of_an_older_version_without_settings_is_resumed(recipe: dict[str, Any], tmp_path: Path) -> None:
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    Run(recipe, tmp_path, budget=0, quiet=True).train()
    path = tmp_path / "tiny" / "training_states" / "000000001.pt"
    state = checkpoint.load_state(path)
    del state["settings"], state["total"], state["fingerprint"]["the global batch"]
    checkpoint.save_state(path, {**state, "fingerprint": {**state["fingerprint"], "recipe.train": "0123"}})
    run = Run(recipe, tmp_path, resume=True, quiet=True)
    run.train()
    assert same(tmp_path / "whole", tmp_path / "tiny") and any("was not compared" in notice for notice in run.notices)


def test_an_older_run_of_the_same_name_is_archived(recipe: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(2):
        Run(recipe, tmp_path, quiet=True).train()
    assert len(list(tmp_path.glob("tiny_archived_*/models/net_g_latest.safetensors"))) == 1


def test_a_run_whose_states_are_gone_is_archived_rather_than_overwritten(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    Run(recipe, tmp_path, quiet=True).train()
    first = weights(tmp_path / "tiny")
    shutil.rmtree(tmp_path / "tiny" / "training_states")
    Run(override(recipe, ["train.optim_g.lr=1e-2"]), tmp_path, resume=True, quiet=True).train()
    (older,) = tmp_path.glob("tiny_archived_*")
    assert all(torch.equal(tensor, weights(older)[key]) for key, tensor in first.items())
    assert read_metrics(older / "metrics.jsonl")[-1]["step"] == 6
    assert not torch.equal(first["conv_last.bias"], weights(tmp_path / "tiny")["conv_last.bias"])


def test_a_run_that_was_killed_before_its_first_state_is_not_archived(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    for name in ("recipe.yml", "metrics.jsonl", ".lock"):
        (tmp_path / "tiny" / name).touch()
    Run(recipe, tmp_path, resume=True, quiet=True).train()
    assert names(tmp_path) == ["tiny"]


def test_a_stage_without_states_is_not_trained_again_under_a_later_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stages"] = [{}, {"train": {"total_iter": 3}}]
    Run(recipe, tmp_path, quiet=True).train()
    shutil.rmtree(tmp_path / "tiny" / "stage_1" / "training_states")
    before = (tmp_path / "tiny" / "stage_1" / "metrics.jsonl").read_bytes()
    for start in (Run.dry_run, Run.train):
        with pytest.raises(SrkdError, match="stage_1: has no training state, but a later stage has"):
            start(Run(recipe, tmp_path, resume=True, quiet=True))
    assert names(tmp_path) == ["tiny"]
    assert (tmp_path / "tiny" / "stage_1" / "metrics.jsonl").read_bytes() == before


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"network_g": {"type": "EDRS"}},
        {"network_g_teacher": {"file": "missing.pth"}},
        {"stages": [{}, {"network_g": {"type": "EDRS"}}]},
        {"stages": [{}, {"datasets": {"train": {"gt_size": 4096}}}]},
    ],
)
def test_an_older_run_is_not_archived_if_the_recipe_is_wrong(
    change: dict[str, Any], recipe: dict[str, Any], tmp_path: Path
) -> None:
    Run(recipe, tmp_path, quiet=True).train()
    with pytest.raises(SrkdError):
        Run(merge({**recipe, "train": {**recipe["train"], "losses": KD}}, change), tmp_path, quiet=True).train()
    assert names(tmp_path) == ["tiny"]


def test_checking_later_stages_does_not_affect_training(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stages"] = [{}, {"train": {"total_iter": 1}}]
    for _ in range(2):
        Run(recipe, tmp_path, quiet=True).train()
    (older,) = tmp_path.glob("tiny_archived_*")
    assert same(older / "stage_1", tmp_path / "tiny" / "stage_1")
    assert same(older / "stage_2", tmp_path / "tiny" / "stage_2")


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_is_being_trained_is_locked(resume: bool, recipe: dict[str, Any], tmp_path: Path) -> None:
    Run(recipe, tmp_path, quiet=True).train()
    with locked_itself(tmp_path / "tiny"), pytest.raises(SrkdError, match="another process is training there"):
        Run(recipe, tmp_path, resume=resume, quiet=True).train()
    assert names(tmp_path) == ["tiny"]
    Run(recipe, tmp_path, resume=True, quiet=True).train()


def test_only_one_of_two_simultaneous_runs_trains(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, create = [], Run.create_folder

    def start_second(run: Run) -> None:
        create(run)
        monkeypatch.setattr(Run, "create_folder", create)
        with pytest.raises(SrkdError, match="another process is training there") as error:
            Run(recipe, tmp_path, quiet=True).train()
        errors.append(error)

    monkeypatch.setattr(Run, "create_folder", start_second)
    assert Run(recipe, tmp_path, quiet=True).train()["finished"]
    assert errors and names(tmp_path) == ["tiny"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_is_not_a_run_raises(resume: bool, recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.tex").write_text("x")
    with pytest.raises(SrkdError, match="is not a run of srkd"):
        Run(recipe, tmp_path, resume=resume, quiet=True).train()
    assert names(tmp_path) == ["tiny"] and names(tmp_path / "tiny") == ["thesis.tex"]


@pytest.mark.parametrize("name", [".", "..", "a/b", "", ".git", "x\n"])
def test_names_that_are_not_a_single_folder_raise(name: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="name"):
        Run({**recipe, "name": name}, tmp_path)


def test_stages_start_from_the_previous_stages_weights(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stages"] = [{}, {"train": {"total_iter": 1, "optim_g": {"lr": 1e-12}}}]
    Run(recipe, tmp_path, quiet=True).train()
    first, second = (weights(tmp_path / "tiny" / f"stage_{k}") for k in (1, 2))
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=1e-9)
    assert (
        load_weights(tmp_path / "tiny" / "stage_2" / "models" / "net_g_latest.safetensors")[1]["lineage"]["steps"] == 1
    )


def test_a_stage_that_validation_ended_is_resumed_with_the_next_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    """The first stage's state is at a step below its total, and a later stage has begun."""
    recipe |= {"val": {"val_freq": 1, "patience": 1, "metrics": {"psnr": {"type": "calculate_psnr"}}}}
    recipe["train"] |= {"total_iter": 9, "optim_g": {"type": "Adam", "lr": 1e-30}}  # no validation is better
    recipe["stages"] = [{}, {"train": {"total_iter": 3}, "val": {"val_freq": 0, "patience": 0}}]
    done = Run(recipe, tmp_path, quiet=True).train()
    first = tmp_path / "tiny" / "stage_1"
    assert done["finished"] and read_metrics(first / "metrics.jsonl")[-1]["step"] < 9
    for path in (tmp_path / "tiny" / "stage_2" / "training_states").glob("*3.pt"):
        path.unlink()
    again = Run(recipe, tmp_path, resume=True, quiet=True).train()
    assert again["finished"] and again["step"] == 3
    recipe["val"]["patience"] = 5  # now the first stage would go on
    with pytest.raises(SrkdError, match="the next stage started from this state"):
        Run(recipe, tmp_path, resume=True, quiet=True).train()


def test_validation_does_not_affect_training(recipe: dict[str, Any], tmp_path: Path) -> None:
    Run(recipe | {"name": "a", "val": {"val_freq": 0}}, tmp_path, quiet=True).train()
    Run(recipe | {"name": "b", "val": {"val_freq": 1}}, tmp_path, quiet=True).train()
    assert same(tmp_path / "a", tmp_path / "b")


def test_accumulated_batches_equal_one_larger_batch(recipe: dict[str, Any], tmp_path: Path) -> None:
    """The gradient of two batches is the mean of their gradients, checked with an SGD step."""
    recipe["train"] |= {"total_iter": 1, "optim_g": {"type": "SGD", "lr": 0.1}, "scheduler": {"type": "constant"}}
    runs = []
    for accumulate in (1, 2):
        recipe["train"]["accumulate"] = accumulate
        run = Run(recipe | {"name": f"acc{accumulate}"}, tmp_path, quiet=True)
        (task,) = run.dry_run()
        gradients = []
        for number in range(accumulate):
            (loss, optimiser), *_ = task.steps(task.batch(number), 0)
            loss.backward()
            gradients.append([p.grad.clone() for p in task.network_g.parameters()])
            optimiser.zero_grad()
        start = [p.detach().clone() for p in task.network_g.parameters()]
        run.train()
        mean = [torch.stack(g).mean(0) for g in zip(*gradients, strict=True)]
        expected = [p - 0.1 * g for p, g in zip(start, mean, strict=True)]
        trained = weights(tmp_path / f"acc{accumulate}")
        names = [name for name, _ in task.network_g.named_parameters()]
        for name, value in zip(names, expected, strict=True):
            torch.testing.assert_close(trained[name], value, rtol=1e-5, atol=1e-7)
        runs.append(trained)
    assert not torch.equal(runs[0]["conv_last.weight"], runs[1]["conv_last.weight"])


def test_a_last_step_to_weights_that_are_not_finite_raises(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Its loss is that of the weights before, so only the weights show it."""
    recipe["train"] |= {"total_iter": 1, "optim_g": {"type": "SGD", "lr": 1e38}}
    recipe["train"]["losses"] = [{"type": "L1Loss", "target": "gt", "weight": 1e6}]
    with pytest.raises(SrkdError, match="diverged at step 1: a weight of net_g is not finite"):
        Run(recipe, tmp_path, quiet=True).train()
    assert not list(tmp_path.rglob("*latest*"))


def test_diverging_training_raises(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"] |= {"total_iter": 50, "optim_g": {"type": "SGD", "lr": 1e30}}
    with pytest.raises(SrkdError, match="diverged at step"):
        Run(recipe, tmp_path, quiet=True).train()


def test_two_processes_equal_one_with_the_same_global_batch(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"]["accumulate"] = 2
    Run(recipe | {"name": "one"}, tmp_path, quiet=True).train()
    recipe["datasets"]["train"]["batch_size_per_gpu"] = 2
    (tmp_path / "two.yml").write_text(yaml.safe_dump(recipe | {"name": "two"}))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc_per_node",
            "2",
            "--standalone",
            "-m",
            "srkd",
            "train",
            "-opt",
            str(tmp_path / "two.yml"),
            "--output",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-5)
