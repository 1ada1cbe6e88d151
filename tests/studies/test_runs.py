import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from study_files import L1, VID, opened

from srkd.cli import main
from srkd.errors import SrkdError
from srkd.files.lock import locked
from srkd.machine import processor_and_threads
from srkd.studies import plan, results
from srkd.training.run import Run


def test_a_study_end_to_end(study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(study, tmp_path)
    first.check()
    assert not first.folder.exists()
    assert first.train(quiet=True)
    found = results.write(first)
    assert {(run["variant"], run["seed"]) for run in found["runs"]} == {
        (v, s) for v in ("control", "output", "vid") for s in (0, 1)
    }
    (psnr,) = (table for table in found["scores"] if table["metric"] == "psnr")
    rows = {row["variant"]: row for row in psnr["rows"]}
    runs = {(run["variant"], run["seed"]): run["scores"][psnr["set"]]["metrics"]["psnr"] for run in found["runs"]}
    pairs = [runs["vid", s][p] - runs["control", s][p] for s in (0, 1) for p in runs["control", 0]]
    assert rows["vid"]["difference"] == pytest.approx(sum(pairs) / len(pairs))
    assert {row["seeds"] for row in rows.values()} == {2} and "verdict" not in rows["control"]
    assert {(run["machine"], run["precision"]) for run in found["runs"]} == {(processor_and_threads(), "fp32")}
    costs = {row["variant"]: row for row in found["costs"]}
    assert costs["vid"]["extra parameters"] > costs["output"]["extra parameters"] == 0
    assert {(row["variant"], row["term"]) for row in found["terms"]} >= {("vid", "vid"), ("output", "output")}
    assert all(-1 <= row["cosine"] <= 1 for row in found["terms"] if "cosine" in row)
    assert "vid" in (first.folder / "results.md").read_text(encoding="utf-8")
    page = (first.folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    for heading in (f"Details of {psnr['set']}", f"Every item: psnr on {psnr['set']}", "Study"):
        assert f"<h2>{heading}</h2>" in page
    assert json.loads((first.folder / "results.json").read_text(encoding="utf-8")) == found
    # All of them trained on the same bank, whose features only one looks at.
    recipes = [yaml.safe_load(p.read_text(encoding="utf-8")) for p in first.folder.glob("*/*/recipe.yml")]
    assert len(recipes) == 6 and all(r["cache"]["kind"] == "bank" and r["cache"]["taps"] == ["body.1"] for r in recipes)

    patches = [np.load(file) for file in sorted((tmp_path / "caches").glob("bank-*/0.npy"))]
    assert len(patches) == 2 and np.array_equal(*patches)

    # What is finished is skipped.
    again = opened(study, tmp_path)
    again.check()
    with monkeypatch.context() as patched:
        patched.setattr(Run, "train", lambda run: pytest.fail("trained again"))
        assert again.train(quiet=True)
    assert results.summarise(again) == found

    # Another set is scored without training.
    steps = [p.stat().st_mtime_ns for p in sorted(first.folder.glob("*/*/training_states/*.pt"))]
    unscored = opened({**study, "sets": []}, tmp_path)
    unscored.check()
    assert unscored.train(quiet=True)
    assert {table["set"] for table in results.summarise(unscored)["scores"]} == {"validation"}
    assert steps == [p.stat().st_mtime_ns for p in sorted(first.folder.glob("*/*/training_states/*.pt"))]

    # An edited variant is named, and so is what changed; another variant's runs are still good.
    study["variants"][0]["losses"][1]["weight"] = 0.7
    with pytest.raises(SrkdError, match='variant "output": train changed since seed 0 was trained') as error:
        opened(study, tmp_path).check()
    assert "vid" not in str(error.value)


def test_a_variant_may_be_edited_until_one_of_its_runs_is_trained(study: dict[str, Any], tmp_path: Path) -> None:
    """All runs of several jobs begin at once; those that wait have trained nothing."""
    begun = opened(study, tmp_path)
    begun.check()
    output = begun.folder / "output"
    record = {"variant": "output", "seed": 0, "settings": begun.checked["output"].settings[0], "sets": begun.study.sets}
    (output / "seed_0").mkdir(parents=True)
    (output / "seed_0.json").write_text(json.dumps({**record, "status": "begun"}), encoding="utf-8")
    study["variants"][0]["losses"][1]["weight"] = 0.7
    opened(study, tmp_path).check()
    (output / "seed_0" / "training_states").mkdir()
    (output / "seed_0" / "training_states" / "000000001.pt").touch()
    with pytest.raises(SrkdError, match='variant "output": train changed since seed 0 was trained'):
        opened(study, tmp_path).check()


def test_settings_may_depend_on_the_seed(study: dict[str, Any], tmp_path: Path) -> None:
    """Each seed has its own teacher; an absent or a changed one is named before anything is trained."""
    weights = Path(study["base"]["network_g_teacher"]["file"])
    teachers = [tmp_path / f"teacher_{seed}.safetensors" for seed in (0, 1)]
    output = study["variants"][0]
    study["variants"], study["base"]["cache"]["patches"] = [output], 4
    output["set"] = {"network_g_teacher": {"file": str(tmp_path / "teacher_{seed}.safetensors")}}
    teachers[0].write_bytes(weights.read_bytes())
    with pytest.raises(SrkdError, match=r'variant "output": .*teacher_1.safetensors'):
        opened(study, tmp_path).check()
    other = Run({**study["base"], "name": "other", "manual_seed": 5, "cache": {}}, tmp_path, quiet=True).train()
    teachers[1].write_bytes(Path(other["models"]["net_g"]).read_bytes())
    compared = opened(study, tmp_path)
    compared.check()
    assert compared.train(quiet=True)
    runs = {seed: compared.result("output", seed) for seed in (0, 1)}
    assert all(run and run["status"] == "finished" for run in runs.values())
    assert plan.recipe_of(compared.study, compared.study.variants[1], 1)["network_g_teacher"]["file"] == str(
        teachers[1]
    )
    opened(study, tmp_path).check()
    teachers[1].write_bytes(weights.read_bytes())
    with pytest.raises(SrkdError, match="changed since seed 1 was trained"):
        opened(study, tmp_path).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"manual_seed": 8}, "variants.0.set: .*manual_seed: the study gives"),
        ({"train.losses.0.weight": 8}, r"variants.0.set: .*train\.losses\.0\.weight: the study gives"),
        ({"train": {"losses": [L1]}}, r"variants.0.set: .*train\.losses: the study gives"),
        ({"train": 8}, "variants.0.set: .*train is a section"),
        ({"train.clip_grad_norm": "much"}, "train.clip_grad_norm: input should be a valid number"),
    ],
)
def test_settings_that_cannot_have_an_effect_are_mistakes(
    study: dict[str, Any], tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    study["variants"][0]["set"] = settings
    with pytest.raises(SrkdError, match=message):
        opened(study, tmp_path).check()


def test_losses_that_every_stage_of_the_base_replaces_are_mistakes(study: dict[str, Any], tmp_path: Path) -> None:
    stage = {"train": {"losses": [L1]}}
    study["base"]["stages"] = [stage, stage]
    study["variants"][1]["stages"] = [{"train": {"total_iter": 1}}]
    with pytest.raises(SrkdError, match='variant "output": every stage of the base sets') as error:
        opened(study, tmp_path)
    assert "vid" not in str(error.value)
    study["base"]["stages"] = [stage, {}]
    assert opened(study, tmp_path).study.variants


def test_a_run_that_was_cut_off_goes_on_and_one_that_fails_does_not_stop_the_rest(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study["seeds"] = [0]
    cut = opened(study, tmp_path)
    cut.check()
    assert not cut.train(budget=1e-3, quiet=True)
    assert results.summarise(cut)["missing"] == 3
    from srkd.distill.objective import Objective

    forward = Objective.forward

    def broken(self: Objective, *args: Any) -> Any:
        if any(term.type == "output" for term in self.terms):
            raise ValueError("a broken loss")
        return forward(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Objective, "forward", broken)
        assert cut.train(quiet=True)
    found = results.write(cut)
    assert [(row["variant"], row["error"]) for row in found["failed"]] == [("output", "ValueError: a broken loss")]
    assert {run["variant"] for run in found["runs"]} == {"control", "vid"}
    page = (cut.folder / "report.html").read_text(encoding="utf-8")
    assert "1 run(s) failed." in page and "not finished" not in page
    assert cut.train(quiet=True)
    assert not results.summarise(cut)["failed"] and results.summarise(cut)["missing"] == 0


def test_a_run_that_another_process_has_in_hand_is_left_to_it(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study["seeds"] = [0]
    ours = opened(study, tmp_path)
    ours.check()
    with locked(ours.folder / "control" / "seed_0"):
        assert not ours.train(budget=1e6)
    assert "control, seed 0: another process has it" in capsys.readouterr().err
    assert results.summarise(ours)["missing"] == 1 and ours.result("control", 0) is None
    with locked(ours.folder / "control" / "seed_0"):
        waiting = threading.Thread(target=ours.train, kwargs={"quiet": True})
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()
    assert results.summarise(ours)["missing"] == 0


def test_shards_are_a_partition_with_whole_seeds_first(study: dict[str, Any], tmp_path: Path) -> None:
    whole = opened(study, tmp_path)
    every = [(v.name, s) for v, s in whole.runs()]
    assert [s for _, s in every] == [0, 0, 0, 1, 1, 1]
    parts = [[(v.name, s) for v, s in whole.runs((i, 4))] for i in (1, 2, 3, 4)]
    assert sorted(run for part in parts for run in part) == sorted(every) and all(parts)


def test_five_seeds_are_the_default(study: dict[str, Any], tmp_path: Path) -> None:
    del study["seeds"]
    assert opened(study, tmp_path).study.seeds == [0, 1, 2, 3, 4]


def test_mistakes_of_all_variants_come_together(study: dict[str, Any], tmp_path: Path) -> None:
    bad = {
        **study,
        "variants": [
            {"name": "a", "losses": [{"type": "outputt"}]},
            {"name": "a", "losses": [L1]},
            {"name": "control", "losses": [{"type": "output"}]},
        ],
    }
    with pytest.raises(SrkdError) as error:
        opened(bad, tmp_path)
    for part in (
        "variants: a occurs more than once",
        'variant "a": losses.0: unknown loss "outputt"',
        'variant "control": output uses the teacher',
    ):
        assert part in str(error.value)
    bad = {
        **study,
        "sets": ["nowhere"],
        "variants": [
            {"name": "a", "losses": [{**VID, "at": "boddy.1"}]},
            {"name": "b", "losses": [L1], "set": {"train.total_iter": 9}},
            {"name": "c", "losses": [L1], "set": {"train.total_itr": 9}},
        ],
    }
    with pytest.raises(SrkdError) as error:
        opened(bad, tmp_path).check()
    for part in (
        "sets: nowhere: no such folder",
        'variant "a": vid: tap "boddy.1"',
        'variant "b": train.total_iter must be the same as in the control',
        'variant "c": recipe: unknown key train.total_itr',
    ):
        assert part in str(error.value)


def test_a_variant_may_have_zoomed_inputs_but_no_other_data(study: dict[str, Any], tmp_path: Path) -> None:
    """They are part of a method, and only a run has the cached outputs that label them."""
    study["base"]["cache"]["kind"], study["seeds"] = "outputs", [0]
    output = study["variants"][0]
    study["variants"] = [output, {**output, "name": "zoomed", "set": {"datasets.train.zoomed": 0.5}}]
    comparison = opened(study, tmp_path)
    comparison.check()
    assert comparison.train(quiet=True)
    first, second = (comparison.result(name, 0) for name in ("output", "zoomed"))
    assert first and second and first["settings"]["datasets"] != second["settings"]["datasets"]
    study["variants"].append({**output, "name": "other", "set": {"datasets.train.use_rot": False}})
    with pytest.raises(SrkdError, match='variant "other": datasets must be the same as in the control'):
        opened(study, tmp_path).check()


def test_zoomed_inputs_and_features_cannot_share_a_study(study: dict[str, Any], tmp_path: Path) -> None:
    """A variant that compares features gives all runs a bank, which has no zoomed inputs."""
    study["seeds"] = [0]
    study["variants"].append({**study["variants"][0], "name": "zoomed", "set": {"datasets.train.zoomed": 0.5}})
    with pytest.raises(
        SrkdError, match=r'^variant "zoomed": recipe: .*datasets\.train\.zoomed: needs .* cached outputs'
    ):
        opened(study, tmp_path).check()


def test_stages_share_the_steps_or_prepare(study: dict[str, Any], tmp_path: Path) -> None:
    total = study["base"]["train"]["total_iter"]
    halves = [{"train": {"total_iter": total - 1}}, {"train": {"total_iter": 1}}]
    prepared = [{"train": {"total_iter": 1}}, {}]
    more = [{"train": {"total_iter": total}}, {"train": {"total_iter": 1}}]
    names = {"shared": halves, "prepared": prepared, "more": more}
    study["variants"] += [{"name": name, "losses": [L1], "stages": stages} for name, stages in names.items()]
    with pytest.raises(SrkdError) as error:
        opened(study, tmp_path).check()
    assert str(error.value) == 'variant "more": train.total_iter must be the same as in the control'


def test_the_command(study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study["seeds"] = [0]
    opened(study, tmp_path)
    arguments = ["compare", str(tmp_path / "study.yml"), "--output", str(tmp_path / "out")]
    assert main.main([*arguments, "--dry-run"]) == 0
    output = capsys.readouterr().err
    assert "3 runs checked" in output and output.count("1 seed: no verdict (at least 5 are needed)") == 1
    assert not (tmp_path / "out").exists()
    assert main.main([*arguments, "--shard", "1/3"]) == 0
    assert "control" in capsys.readouterr().out and not (tmp_path / "out" / "tiny" / "output").exists()
    assert main.main([*arguments, "--shard", "4/3"]) == 1
    assert '"4/3" is not a shard' in capsys.readouterr().err
    assert main.main([*arguments, "--variants", "outputs"]) == 1
    assert "tiny has no variant outputs; its variants: control, output" in capsys.readouterr().err
    assert main.main([*arguments, "--variants", "output", "--dry-run"]) == 0
    assert "1 runs checked" in capsys.readouterr().err


def test_interrupted_studies_write_their_results(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, *args: object, **kwargs: object) -> bool:
        raise KeyboardInterrupt

    opened(study, tmp_path)
    monkeypatch.setattr("srkd.studies.runs.Comparison.train", interrupted)
    recorded = tmp_path / "tiny_results.json"
    arguments = ["compare", str(tmp_path / "study.yml"), "--output", str(tmp_path / "out"), "--results", str(recorded)]
    assert main.main(arguments) == 130
    assert json.loads(recorded.read_text(encoding="utf-8"))["missing"] == 6


def test_a_metric_that_some_runs_lack_does_not_stop_the_report(study: dict[str, Any], tmp_path: Path) -> None:
    study["variants"], study["seeds"], study["base"]["cache"]["patches"] = study["variants"][:1], [0], 4
    first = opened(study, tmp_path)
    first.check()
    first.train(quiet=True)
    path = first.folder / "output" / "seed_0.json"
    run = json.loads(path.read_text(encoding="utf-8"))
    for scores in run["scores"].values():
        scores["metrics"].pop("ssim")
    path.write_text(json.dumps(run), encoding="utf-8")
    tables = {table["metric"]: table["rows"] for table in results.write(first)["scores"]}
    assert [row["seeds"] for row in tables["ssim"]] == [1, 0] and [row["seeds"] for row in tables["psnr"]] == [1, 1]


STUDIES = Path(__file__).parents[2] / "models" / "studies"


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(STUDIES.rglob("*.yml")) if "\nvariants:" in p.read_text(encoding="utf-8")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_every_recipe_of_a_committed_study_is_valid(path: Path) -> None:
    study = plan.read(path)
    for variant in study.variants:
        assert Run(plan.recipe_of(study, variant, study.seeds[0]), quiet=True).stages


def test_other_initial_weights_or_validation_images_are_named(
    study: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = Path(study["base"]["network_g_teacher"]["file"])
    weights, held_out = tmp_path / "initial.safetensors", tmp_path / "held_out"
    weights.write_bytes(teacher.read_bytes())
    shutil.copytree(photos, held_out)
    study["variants"], study["seeds"], study["sets"] = study["variants"][:1], [0], []
    study["base"]["path"] = {"pretrain_network_g": str(weights)}
    study["base"]["datasets"]["val"] = {"name": "held", "dataroot_gt": str(held_out)}
    study["base"]["val"] = {"val_freq": 2, "metrics": {"psnr": {"type": "calculate_psnr"}}}
    trained = opened(study, tmp_path)
    trained.check()
    assert trained.train(quiet=True)
    opened(study, tmp_path).check()
    (held_out / "p0.png").unlink()
    other = Run({**study["base"], "name": "other", "manual_seed": 5, "cache": {}}, tmp_path, quiet=True).train()
    weights.write_bytes(Path(other["models"]["net_g"]).read_bytes())
    with pytest.raises(SrkdError, match="initial weights, scored on changed since seed 0 was trained"):
        opened(study, tmp_path).check()
    # Runs that an earlier version recorded without them stay good.
    for name in ("control", "output"):
        path = trained.folder / name / "seed_0.json"
        run = json.loads(path.read_text(encoding="utf-8"))
        run["settings"] = {k: v for k, v in run["settings"].items() if k not in ("initial weights", "scored on")}
        path.write_text(json.dumps(run), encoding="utf-8")
    opened(study, tmp_path).check()


def test_another_network_to_start_from_is_named(study: dict[str, Any], tmp_path: Path) -> None:
    def initial(seed: int) -> str:
        recipe = {**study["base"], "name": f"initial_{seed}", "manual_seed": seed}
        return str(Run(recipe, tmp_path, quiet=True).train()["models"]["net_g"])

    one, other = initial(3), initial(4)
    study["variants"], study["seeds"] = study["variants"][:1], [0]
    study["base"]["network_g"] = {"file": one}
    trained = opened(study, tmp_path)
    trained.check()
    assert trained.train(quiet=True)
    opened(study, tmp_path).check()
    for changed in ({"file": other}, {"zoo": "edsr_16x8_x2_cc0"}):
        study["base"]["network_g"] = changed
        with pytest.raises(SrkdError, match="initial weights changed since seed 0 was trained"):
            opened(study, tmp_path).check()
