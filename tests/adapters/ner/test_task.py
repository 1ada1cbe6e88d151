"""Continual learning end to end on a synthetic corpus: learning, forgetting, distillation, resuming, errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.adapters.ner import history
from srkd.adapters.ner.task import Task
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import merge
from srkd.training.run import Run

pytest.importorskip("seqeval", reason="seqeval is not installed")
STUDIES = Path(__file__).parents[3] / "models" / "studies"
CE: dict[str, Any] = {"type": "CrossEntropyLoss"}
DISTILLED = {"stages": [{"data": {"step": 1}}, {"data": {"step": 2}, "train": {"losses": [CE, {"type": "masked_kl"}]}}]}


def train(recipe: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    return Run(merge(recipe, changes), root, quiet=True).train()


def test_fine_tuning_forgets_and_distillation_remembers(recipe: dict[str, Any], tmp_path: Path) -> None:
    forgetful = train(recipe, tmp_path, name="plain")["metrics"]
    distilled = train(recipe, tmp_path, name="distilled", **DISTILLED)
    kept = distilled["metrics"]
    assert forgetful["micro_new"] > 80 and forgetful["micro_old"] < 20
    assert kept["micro_new"] > 80 and kept["micro_old"] > 80
    scores = history.by_step(tmp_path / "distilled" / "stage_2")
    assert list(scores) == ["step 1", "step 2"] and set(scores["step 2"]["metrics"]["forgetting"]) == {"PER", "LOC"}
    meta = load_weights(Path(distilled["models"]["net"]))[1]
    assert meta["types"] == ["PER", "LOC", "DAT", "TIM"] and "부산" in meta["vocabulary"]["words"]


@pytest.mark.parametrize("data", [{"pseudo": 0.6}, {"joint": True}], ids=["pseudo", "joint"])
def test_pseudo_labels_and_joint_training_keep_old_types_too(
    data: dict[str, Any], recipe: dict[str, Any], tmp_path: Path
) -> None:
    assert train(recipe, tmp_path, data=data)["metrics"]["micro_old"] > 80


def test_targets_of_tokens_labelled_o(recipe: dict[str, Any], tmp_path: Path) -> None:
    """`data.outside` sets them with and without a loss that uses the teacher."""
    found = {}
    for outside in ("previous", "label", "ignored"):
        for stages in (recipe["stages"], DISTILLED["stages"]):
            run = Run(merge(recipe, {"data": {"outside": outside}, "stages": stages}), tmp_path, quiet=True)
            first, second = run.set_up()
            second.on_stage(2, first.state_dict())
            assert first.batch(0)["target"].min() >= 0  # step 1 has no old types: O is O
            found[outside, len(second.objective.terms)] = second.batch(0)
    mask = found["label", 1]["mask"]
    for terms in (1, 2):
        assert torch.equal(found["label", terms]["target"][mask], torch.zeros(int(mask.sum()), dtype=torch.int64))
        assert torch.equal(found["ignored", terms]["target"] == -100, mask)
        soft = found["previous", terms]["target"]
        assert soft.shape == (len(mask), 9) and torch.allclose(soft.sum(1), torch.ones(len(mask)))
        assert torch.allclose(soft[mask, :5], found["label", 2]["teacher_output"][mask].softmax(1))
    assert "teacher_output" not in found["label", 1] and "teacher_output" in found["ignored", 2]


def test_soft_labels_alone_keep_old_types(recipe: dict[str, Any], tmp_path: Path) -> None:
    kept = train(recipe, tmp_path, data={"outside": "previous"})["metrics"]
    assert kept["micro_new"] > 80 and kept["micro_old"] > 80


def test_a_second_step_starts_from_the_weights_of_the_first(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Old rows are bit-exact, and the teacher is the network of the first step."""
    run = Run(merge(recipe, {**DISTILLED, "train": {"total_iter": 2}}), tmp_path, quiet=True)
    first, second = run.set_up()
    before = {k: v.clone() for k, v in first.state_dict().items()}
    second.on_stage(2, before)
    assert torch.equal(second.network.head.weight[:5], before["network.head.weight"])
    assert second.network.head.weight.shape[0] == 9
    batch = second.batch(0)
    assert torch.equal(batch["teacher_output"], first.network.eval()(batch["input"]))
    assert not any(key.startswith("previous") for key in second.state_dict())


def test_hidden_features_of_the_previous_step_can_be_matched(recipe: dict[str, Any], tmp_path: Path) -> None:
    losses = [CE, {"type": "masked_kl"}, {"type": "fitnet", "at": "features"}]
    stages = [{"data": {"step": 1}}, {"data": {"step": 2}, "train": {"losses": losses}}]
    assert train(recipe, tmp_path, stages=stages, train={"total_iter": 2})["finished"]


def test_a_resumed_run_is_bit_exact(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = merge(recipe, {**DISTILLED, "train": {"total_iter": 6}})
    whole = train(recipe, tmp_path / "whole")
    stopped = Run(recipe, tmp_path / "cut", quiet=True, budget=0.0)
    assert not stopped.train()["finished"]
    for _ in range(30):
        result = Run(recipe, tmp_path / "cut", quiet=True, budget=0.0, resume=True).train()
        if result["finished"]:
            break
    ours, theirs = (load_weights(Path(r["models"]["net"]))[0] for r in (whole, result))
    assert result["finished"] and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_network_with_another_vocabulary_is_no_initial_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    del recipe["stages"]
    short = {"train": {"total_iter": 1}}
    first = train(recipe, tmp_path, **short)["models"]["net"]
    assert train(recipe, tmp_path, name="same", pretrain_network=first, **short)["finished"]
    for name in ("train", "test"):  # other syllables: a vocabulary of the same size
        words = Path(recipe["data"][name]).read_text(encoding="utf-8")
        shifted = "".join(chr(ord(c) + 1) if c >= "가" else c for c in words)
        (tmp_path / f"{name}.words.txt").write_text(shifted, encoding="utf-8")
        shutil.copy(Path(recipe["data"][name].replace("words", "tags")), tmp_path)
        recipe["data"][name] = str(tmp_path / f"{name}.words.txt")
    with pytest.raises(SrkdError, match="trained with other types or another vocabulary"):
        train(recipe, tmp_path, name="other", pretrain_network=first, **short)


@pytest.mark.parametrize("network", [{"type": "Transformer", "width": 16, "heads": 2}, {"type": "BiLSTM", "crf": True}])
def test_other_networks_train(network: dict[str, Any], recipe: dict[str, Any], tmp_path: Path) -> None:
    data = {"pieces": "jamo"}
    result = train({**recipe, "network": network}, tmp_path, **DISTILLED, data=data, train={"total_iter": 2})
    assert result["finished"]


def test_without_a_test_file_every_fifth_sentence_is_tested(recipe: dict[str, Any], tmp_path: Path) -> None:
    del recipe["data"]["test"]
    (task, _) = Run(recipe, tmp_path, quiet=True).set_up()
    assert len(task.test) == 24 and len(task.sentences) == 48
    assert "in 24 sentences of train.words.txt" in task.evaluate()["test"]["protocol"]


def test_types_in_no_step_give_a_notice(recipe: dict[str, Any], tmp_path: Path) -> None:
    run = Run(merge(recipe, {"data": {"steps": [["PER"], ["DAT"]]}}), tmp_path, quiet=True)
    run.set_up()
    assert any("LOC, TIM in no step of data.steps, read as O" in notice for notice in run.notices)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"steps": [["PER"], ["LOC", "PER"]]}}, 'data.steps: the type "PER" is in steps 1 and 2'),
        ({"data": {"steps": [["PERS"], ["LOC"]]}}, 'no entity of the type "PERS" in .* .did you mean "PER"'),
        ({"stages": [{"data": {"step": 3}}]}, "data.step: 3, but data.steps has 2"),
        ({"stages": [{"data": {"step": 2}}]}, "step: 2 has no previous step: list all steps under `stages`"),
        ({"data": {"train": "nowhere.words.txt"}}, r"nowhere.words.txt: no such file.*KMOU"),
        (
            {"train": {"losses": [CE, {"type": "masked_kl"}]}},
            "masked_kl: step 1 and joint training have no previous step",
        ),
        (
            {**DISTILLED, "network_teacher": {"file": "other.safetensors"}},
            "network_teacher: the teacher of this task is the network of the previous step: remove it",
        ),
        ({"data": {"joint": True, "replay": 3}}, "data.joint uses all .*: remove data.replay and data.pseudo"),
        ({"data": {"pseudo": 1.5}}, "data.pseudo: input should be less than or equal to 1"),
        ({"data": {"pieces": "jaso"}}, "unknown kind of pieces"),
        ({"data": {"pseudo": 0.5, "outside": "label"}}, "pseudo replaces O by the previous model's prediction"),
    ],
)
def test_invalid_recipes_raise(
    changes: dict[str, Any], message: str, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=message):
        train(recipe, tmp_path, **changes)


def test_a_study_has_scores_after_every_step(recipe: dict[str, Any], tmp_path: Path) -> None:
    del recipe["name"]
    variants = [{"name": "control", "losses": [CE]}, {"name": "kd", "losses": [CE], "stages": DISTILLED["stages"]}]
    small = merge(recipe, {"name": "ner", "train": {"total_iter": 2}})
    study = plan.Study.model_validate(
        {"name": "s", "base": small, "variants": variants, "seeds": [0, 1], "lower": ["forgetting"]}
    )
    compared = Comparison(study, tmp_path)
    compared.check()
    assert compared.train(quiet=True)
    found = results.write(compared)
    assert not found["failed"]
    assert {(t["set"], t["metric"]) for t in found["scores"]} >= {("step 1", "micro"), ("step 2", "forgetting")}
    history.main([str(tmp_path / "s" / "results.json")])
    rows = history.steps(json.loads((tmp_path / "s" / "results.json").read_text(encoding="utf-8"))["runs"])
    last = next(row for row in rows if (row["variant"], row["step"]) == ("kd", 2))
    runs = [run["scores"]["step 2"]["metrics"]["forgetting"] for run in found["runs"] if run["variant"] == "kd"]
    assert last["forgetting"] == pytest.approx(np.mean([list(items.values()) for items in runs]))
    assert (tmp_path / "s" / "first_types.png").stat().st_size > 1000
    assert (tmp_path / "s" / "steps.md").read_text(encoding="utf-8").count("\n| ") == 5


def test_a_study_with_replay_may_be_continued_with_other_seeds(recipe: dict[str, Any], tmp_path: Path) -> None:
    stages = [{"data": {"step": 1}}, {"data": {"step": 2, "replay": 5}}]
    variants = [{"name": "control", "losses": [CE], "stages": stages}]
    small = merge(recipe, {"train": {"total_iter": 1}})
    study = {"name": "s", "base": small, "variants": variants, "seeds": [0, 1]}
    compared = Comparison(plan.Study.model_validate(study), tmp_path)
    compared.check()
    assert compared.train(quiet=True)
    Comparison(plan.Study.model_validate({**study, "seeds": [1, 2]}), tmp_path).check()
    first, second = (Run({**small, "stages": stages, "manual_seed": seed}, quiet=True).dry_run()[1] for seed in (0, 1))
    assert isinstance(first, Task) and isinstance(second, Task)
    assert first.sentences != second.sentences and first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize("path", ["ner_kmou/study", "ner_klue/study", "ner_kmou/rates"])
def test_committed_studies_run_on_a_small_sample(path: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    study = plan.read(STUDIES / f"{path}.yml")
    assert isinstance(study.base, dict) and len(study.seeds) == (1 if "rates" in path else 5)
    own = {**recipe["data"], "steps": [["PER", "LOC"], ["DAT"], ["TIM"]]}
    study.base = merge(study.base, {"data": own, "train": {"total_iter": 1, "warmup_iter": -1}})
    study.seeds = [0]
    for variant in study.variants:
        variant.set.pop("data.test", None)
    compared = Comparison(study, tmp_path)
    compared.check()
    assert compared.train(quiet=True)
    found = results.write(compared)
    steps = {"step 1"} if "rates" in path else {"step 1", "step 2", "step 3"}
    assert not found["failed"] and {t["set"] for t in found["scores"]} == steps
