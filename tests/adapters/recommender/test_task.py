"""The task end to end on synthetic ratings: learning, distillation, bidirectional distillation, errors, studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.adapters.recommender.peer import Peer
from srkd.adapters.recommender.recipe import RecommenderRecipe
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training import recipe as recipes
from srkd.training.recipe import merge
from srkd.training.run import Run

STUDIES = Path(__file__).parents[3] / "models" / "studies"
CE = {"type": "CrossEntropyLoss"}
ENTITIES = "{user,item}"


def train(recipe: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    return Run(merge(recipe, changes), root, quiet=True).train()


@pytest.fixture
def teacher(recipe: dict[str, Any], tmp_path: Path) -> str:
    changes = {"name": "teacher", "network": {"dim": 12}, "train": {"total_iter": 10}}
    return str(train(recipe, tmp_path, **changes)["models"]["net"])


@pytest.mark.parametrize("setting", ["multi", "one"])
def test_training_ranks_above_chance(setting: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    before = train(recipe, tmp_path, name="start", train={"total_iter": 1}, data={"setting": setting})["metrics"]
    after = train(recipe, tmp_path, data={"setting": setting})["metrics"]
    assert after["test/ndcg@10"] > 1.2 * before["test/ndcg@10"]
    if setting == "one":  # only the mean rating is known
        assert after["test/rmse"] == before["test/rmse"]
    found = json.loads((tmp_path / "tiny" / "scores.json").read_text(encoding="utf-8"))["test"]
    assert found["protocol"].startswith("ratings.csv, all 40 items, ")


def test_popularity_ranks_between_chance_and_matrix_factorisation(recipe: dict[str, Any], tmp_path: Path) -> None:
    popular = merge(recipe, {"name": "popular", "network": {"dim": 0}})
    after, before = (train(popular, tmp_path, train={"total_iter": n})["metrics"]["test/ndcg@10"] for n in (40, 1))
    assert before < after < train(recipe, tmp_path)["metrics"]["test/ndcg@10"]


@pytest.mark.parametrize("kind", ["MF", "NeuralCF", "CDAE"])
def test_bpr_trains_every_network(kind: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    losses = [{"type": "bpr", "at": "score", "target": "gt"}]
    before = train(recipe, tmp_path, name="start", network={"type": kind}, train={"total_iter": 1})["metrics"]
    after = train(recipe, tmp_path, network={"type": kind}, train={"losses": losses})["metrics"]
    assert after["test/ndcg@10"] > 1.1 * before["test/ndcg@10"]


@pytest.mark.parametrize(
    "losses",
    [
        [{"type": "rd", "at": "score"}],
        [{"type": "cd", "at": "score"}],
        [{"type": "de", "at": ENTITIES}, {"type": "rrd", "at": "score"}],
        [{"type": "ftd", "at": ENTITIES, "balance": {"share": 0.5}}],
        [{"type": "htd", "at": ENTITIES}],
    ],
    ids=lambda losses: "+".join(term["type"] for term in losses),
)
def test_losses_of_the_core_work(losses: list[Any], recipe: dict[str, Any], teacher: str, tmp_path: Path) -> None:
    changes = {"train": {"losses": [CE, *losses], "total_iter": 2}, "network_teacher": {"file": teacher}}
    assert train(recipe, tmp_path, **changes)["finished"]


def both_ways(teacher: str) -> dict[str, Any]:
    losses = [CE, {"type": "bd", "at": "score", "eps": 0.1}]
    return {
        "train": {"losses": losses, "teacher_losses": losses, "total_iter": 6},
        "network_teacher": {"file": teacher},
    }


def test_bidirectional_distillation_trains_the_teacher_too(
    recipe: dict[str, Any], teacher: str, tmp_path: Path
) -> None:
    data = merge(recipe, both_ways(teacher))
    (task,) = Run(merge(data, {"train": {"optim_teacher": {"lr": 0.002}}}), tmp_path, quiet=True).set_up()
    assert [task.optimisers[name].param_groups[0]["lr"] for name in ("net", "teacher")] == [0.05, 0.002]
    batch = task.batch(0)
    found = []
    for loss, optimiser in task.steps(batch, 0):
        sides = [next(iter(net.parameters())) for net in (task.network, task.network_teacher)]
        optimiser.zero_grad()
        loss.backward()
        found.append([p.grad is not None and bool(p.grad.abs().max() > 0) for p in sides])
        optimiser.step()
        optimiser.zero_grad()
    assert found == [[True, False], [False, True]]
    assert {"l_bd", "l_teacher_bd", "l_teacher_CrossEntropyLoss"} <= set(task.log)
    result = train(recipe, tmp_path, **both_ways(teacher))
    assert result["finished"] and list(result["models"]) == ["net"]


def test_bidirectional_distillation_resumes_bit_exact(recipe: dict[str, Any], teacher: str, tmp_path: Path) -> None:
    data = merge(recipe, both_ways(teacher))
    whole = Run(data, tmp_path / "whole", quiet=True).train()
    halves = [Run(data, tmp_path / "halves", quiet=True, resume=True, budget=budget) for budget in (1e-9, None)]
    assert not halves[0].train()["finished"]
    again = halves[1].train()
    assert Path(again["models"]["net"]).read_bytes() == Path(whole["models"]["net"]).read_bytes()


def test_a_peer_predicts_in_eval_mode_and_restores_training_mode() -> None:
    net = torch.nn.Dropout(0.5)
    assert torch.equal(Peer(net, [])({"input": torch.ones(9)}).output, torch.ones(9)) and net.training


def test_a_teacher_of_other_pairs_raises(recipe: dict[str, Any], teacher: str, tmp_path: Path) -> None:
    changes = {
        "data": {"seed": 1},
        "train": {"losses": [CE, {"type": "rd", "at": "score"}]},
        "network_teacher": {"file": teacher},
    }
    with pytest.raises(SrkdError, match=r"trained on other pairs or classes, perhaps test pairs"):
        train(recipe, tmp_path, **changes)


def test_a_student_of_a_share_of_the_pairs_has_a_teacher_of_all(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = merge(recipe, {"network": {"type": "CDAE"}})
    teacher = train(recipe, tmp_path, name="teacher", network={"dim": 12})["models"]["net"]
    losses = [CE, {"type": "cd", "at": "score", "weight": 3}]
    alone = merge(recipe, {"data": {"train_share": 0.2}})
    taught = merge(alone, {"network_teacher": {"file": str(teacher)}, "train": {"losses": losses}})
    (task,) = Run(taught, tmp_path, quiet=True).set_up()
    given, every = task.batch(0), task.rated[task.batch(0)["input"].numpy()].toarray()
    assert 0 < given["mask"].sum() < 0.4 * (every > 0).sum() and (every > 0)[given["mask"].numpy()].all()
    known = [len(network.rated) for network in (task.network, task.load_trained(teacher))]
    assert known == [round(0.2 * task.rated.nnz), task.rated.nnz]
    scores = [
        train(data, tmp_path, name=f"run_{n}")["metrics"]["test/ndcg@10"] for n, data in enumerate((alone, taught))
    ]
    assert scores[1] > 1.1 * scores[0]  # distillation helps where the teacher knows more


def test_more_classes_than_a_byte_can_number(recipe: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{u},{i},{rng.normal()}" for u in range(50) for i in rng.permutation(40)[:20]]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    data = {"root": str(tmp_path / "table.csv"), "bins": 200, "relevant": 0}
    (task,) = Run(merge(recipe, {"data": data}), tmp_path, quiet=True).set_up()
    assert 0 < task.evaluate()["test"]["metrics"]["rmse"]["all"] < 3


def test_batched_scores_equal_scores_per_user(recipe: dict[str, Any], tmp_path: Path) -> None:
    (task,) = Run(recipe, tmp_path, quiet=True).set_up()
    task.network.eval()
    found = task.evaluate()["test"]["metrics"]
    recalls = []
    pairs = task.pairs
    with torch.no_grad():
        logits = task.network(torch.arange(task.examples))
        scores = task.network.score(logits).numpy()
    for user in range(task.examples):
        hidden = {i for part in (pairs.train, pairs.validation) for i in part.items[part.users == user]}
        wanted = set(pairs.test.items[(pairs.test.users == user) & (pairs.test.values >= 4)])
        order = [i for i in np.argsort(-scores[user]) if i not in hidden][:10]
        if wanted:
            recalls.append(len(wanted & set(order)) / len(wanted))
    assert np.mean(list(found["recall@10"].values())) == pytest.approx(np.mean(recalls))
    odds = logits[:, 1:].double().softmax(1)
    errors = [
        sum(c * odds[u, c - 1, i].item() for c in range(1, 6)) - value
        for u, i, value in zip(pairs.test.users, pairs.test.items, pairs.test.values, strict=True)
    ]
    assert found["rmse"]["all"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-5)
    assert found["mae"]["all"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"root": "nowhere.csv"}}, "nowhere.csv: no such file.*GroupLens.*SRKD_DATA"),
        ({"top": 41}, "top is 41, but there are only 40 items"),
        ({"data": {"relevant": 6}}, r"no validation pair is relevant \(at least 6"),
        ({"data": {"split": "never"}}, "data.split"),
        ({"network": {"type": "GMF"}}, 'unknown type "GMF"'),
        ({"train": {"losses": [CE, {"type": "rd", "at": "score"}]}}, "set network_teacher"),
        ({"data": {"train_share": 0}}, "data.train_share"),
        ({"data": {"relevant": float("nan")}}, "data.relevant.*finite number"),
        ({"data": {"negatives": float("inf")}}, "data.negatives.*finite number"),
        ({"train": {"teacher_losses": [CE]}}, "train.teacher_losses needs network_teacher"),
    ],
)
def test_invalid_recipes_raise(
    changes: dict[str, Any], message: str, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=message):
        train(recipe, tmp_path, **changes)


def compared(path: Path, names: tuple[str, ...], changes: dict[str, Any], root: Path) -> set[str]:
    """Run some variants of a committed study with one seed and return the results."""
    study = plan.read(path)
    assert isinstance(study.base, dict)
    study.base, study.seeds = merge(study.base, changes), [0]
    study.variants = [v for v in study.variants if v.name in names]
    assert len(study.variants) == len(names)
    comparing = Comparison(study, root)
    comparing.check()
    assert comparing.train(quiet=True)
    found = results.write(comparing)
    assert not found["failed"] and {t["set"] for t in found["scores"]} == {"validation", "test"}
    return {table["metric"] for table in found["scores"]}


def test_committed_studies_of_distillation_run_on_a_small_sample(table: Path, tmp_path: Path) -> None:
    folder = STUDIES / "recommender_explicit"
    own = {"data": {"root": str(table)}, "batch_size": 50, "train": {"total_iter": 2}}
    teacher = merge(recipes.read(folder / "teacher_movielens.yml"), {**own, "name": "teacher"})
    file = {"network_teacher": {"file": Run(teacher, tmp_path, quiet=True).train()["models"]["net"]}}
    names = ("control", "rd", "cd", "de_rrd", "bd", "ftd")
    assert "ndcg_graded@10" in compared(folder / "movielens.yml", names, {**own, **file}, tmp_path)


def test_committed_studies_of_classes_run_on_a_small_sample(table: Path, tmp_path: Path) -> None:
    own = {"data": {"root": str(table)}, "batch_size": 50, "train": {"total_iter": 2}}
    names = ("control", "multi", "bpr_one", "bpr_multi")
    metrics = compared(STUDIES / "recommender_classes" / "movielens.yml", names, own, tmp_path)
    assert {"hr@10", "ndcg@10", "rmse"} <= metrics


@pytest.mark.parametrize("path", sorted(STUDIES.glob("recommender_*/*.yml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_committed_file_is_a_valid_recipe_or_study(path: Path) -> None:
    if path.stem.startswith("teacher"):
        recipes.validate(RecommenderRecipe, recipes.read(path), str(path))
        return
    study = plan.read(path)
    for variant in study.variants:
        recipes.validate(RecommenderRecipe, plan.recipe_of(study, variant, 0), f"{path}: {variant.name}")
