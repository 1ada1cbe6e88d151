import json
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster_runs import Private, trained_rounds, with_untrained_rounds
from srkd.compression import finish, flow, measure, rounds
from srkd.compression.finish import Compressed
from srkd.compression.request import Request, Settings
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference import backends
from srkd.inference.export import Exported
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.networks import zoo
from srkd.sr.task import Task
from srkd.training.checkpoint import load_weights, save_weights
from support import edsr_with_large_features

Ask = Callable[..., Request]
SMALL_EDSR = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2, "img_range": 1.0}


@pytest.fixture(scope="module")
def finished(ask: Ask, small: Settings, tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    """A compression with default options."""
    return flow.compress(ask(), tmp_path_factory.mktemp("compressed"), small)


def test_a_student_with_all_its_files_and_rows(finished: Compressed) -> None:
    out = finished.folder
    assert finished.within_budget
    assert [row["model"].split()[0] for row in finished.rows] == ["bicubic", "teacher", "control", "student"]
    assert finished.rows[2]["parameters"] == finished.rows[3]["parameters"]
    assert len({row["protocol"] for row in finished.rows}) == 1
    assert json.loads((out / "results.json").read_text()) == finished.results
    student = load_model(out / "student.safetensors", 2)
    assert student.meta["lineage"]["teacher"] == "teacher" and student.meta["network"]["type"]
    assert isinstance(finished.student, Model) and finished.student.scale == 2


def test_report_and_card_are_complete(finished: Compressed) -> None:
    page, card = ((finished.folder / name).read_text() for name in ("report.html", "README.md"))
    for heading in ("Result", "PSNR (dB) against ms", "Candidates that were trained", "How to use it", "Recipe of the"):
        assert f"<h2>{heading}" in page
    assert "data:image/png" in page and "://" not in page.replace("http://www.w3.org", "")
    assert finished.results["student"] in card and "srkd upscale" in card and "held out" in card.lower()


def test_student_and_control_differ_only_in_the_teacher(finished: Compressed) -> None:
    runs = finished.folder / "work" / "runs"
    metas = [load_weights(runs / name / "models" / "net_g_latest.safetensors")[1] for name in ("student", "control")]
    one, other = (meta.pop("lineage") for meta in metas)
    assert metas[0]["network"] == metas[1]["network"]
    assert (one.pop("teacher"), other.pop("teacher")) == ("teacher", None)
    assert (one.pop("recipe"), other.pop("recipe")) == ("student", "control") and one == other


def test_the_teachers_outputs_are_computed_once_for_all_runs(finished: Compressed) -> None:
    assert len(finished.results["candidates"]) == 6
    assert len(list((finished.folder / "work" / "answers").glob("outputs-*"))) == 1


def test_the_better_half_continues_and_the_best_becomes_the_student(
    ask: Ask, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EDSR 6x1 always scores best; SRResNet diverges and drops out."""
    train = rounds.train

    def diverging(data: dict[str, Any], root: Path, budget: float | None = None) -> Path | None:
        if "SRResNet" in data["name"]:
            raise SrkdError("training diverged")
        return train(data, root)

    monkeypatch.setattr(rounds, "train", diverging)
    monkeypatch.setattr(rounds, "_score", lambda trial, file: 40.0 if "EDSR_6x1" in str(file) else 20.0)
    done = flow.compress(ask(control=False), tmp_path / "out", small)
    runs = done.results["candidates"]
    assert done.results["student"] == "EDSR 6x1"
    assert [run["round"] for run in runs] == [1, 1, 1, 1, 2, 2]
    assert {run["candidate"] for run in runs if run["round"] == 2} >= {"EDSR 6x1"}
    (failed,) = [run for run in runs if run["PSNR (dB)"] is None]
    assert failed["candidate"].startswith("SRResNet") and failed["why"] == "training diverged"


def test_an_interrupted_compression_resumes_and_repeats_nothing(
    ask: Ask, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of SIGINT in the student's second step. A real signal, late in the whole suite, ended the process:
    see the Makefile's `test`."""
    work, batch, trained = tmp_path / "out" / "work", Task.batch, list[tuple[str, int]]()

    def interrupting(self: Task, number: int) -> dict[str, Any]:
        if (self.recipe.name, number) == ("student", 1) and not trained.count(("student", 1)):
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, None)
        trained.append((self.recipe.name, number))
        return batch(self, number)

    monkeypatch.setattr(Task, "batch", interrupting)
    with pytest.raises(KeyboardInterrupt):
        flow.compress(ask(), tmp_path / "out", small)
    before = {path.name: path.read_bytes() for path in work.glob("*.json") if path.name != "time.json"}
    assert "final_plan.json" in before and (work / "runs" / "student" / "training_states" / "000000002.pt").is_file()
    trained[:] = [("student", 1)]
    done = flow.compress(ask(seconds=0.9), tmp_path / "out", small)  # more time may be given
    assert {name: (work / name).read_bytes() for name in before} == before
    steps = [number for name, number in trained[1:] if name == "student"]
    assert {name for name, _ in trained} == {"student", "control"}
    assert max(steps) + 1 == json.loads(before["final_plan.json"])["steps"] and steps.count(1) == 0
    for module in (rounds, flow):
        monkeypatch.setattr(module, "train", lambda *_: pytest.fail("trained again"))
    assert flow.compress(ask(), tmp_path / "out", small) == done
    with pytest.raises(SrkdError, match="was started with other options: seed was 0 and is 1"):
        flow.compress(ask(seed=1), tmp_path / "out", small)


def test_rounds_in_private_folders_of_lost_nodes_are_the_same_to_the_bit(
    ask: Ask, small: Settings, finished: Compressed, tmp_path: Path
) -> None:
    with_untrained_rounds(finished.folder, tmp_path / "out")
    executor = Private(lost=True)
    done = flow.compress(ask(), tmp_path / "out", small, executor)
    local = trained_rounds(finished.folder)
    assert executor.calls == len(local) == len(finished.results["candidates"])
    assert trained_rounds(done.folder) == local


def test_a_dry_run_shows_the_plan_and_keeps_nothing(ask: Ask, small: Settings, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    rows = flow.dry_run(ask(), small)
    assert [row["part"] for row in rows] == [
        "measuring",
        "outputs of teacher",
        "round 1",
        "round 2",
        "student",
        "control",
        "export, report",
    ]
    assert "EDSR" in rows[0]["what"] and "steps" in rows[4]["what"]
    assert sorted(tmp_path.rglob("*")) == before


def test_impossible_requests_raise_before_anything_is_trained(
    ask: Ask, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rounds, flow):
        monkeypatch.setattr(module, "train", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(flow, "_cache_outputs", lambda *_: pytest.fail("the teacher ran"))
    with pytest.raises(SrkdError, match="is a network for x2, not x3"):
        flow.compress(ask(scale=3), tmp_path / "a", small)
    with pytest.raises(SrkdError, match="no such folder"):
        flow.compress(replace(ask(), data=["missing"]), tmp_path / "a", small)
    assert not (tmp_path / "a").exists()
    with pytest.raises(SrkdError, match=r"no candidate meets 1e-06 ms .*: the closest, .* on torch fp32, takes"):
        flow.compress(ask(max_ms=1e-6), tmp_path / "b", small)
    with pytest.raises(SrkdError, match=r"no candidate meets 0\.001 MB: .*--max-mb 0\.\d+ can be met"):
        flow.compress(ask(max_ms=None, max_mb=0.001), tmp_path / "b", small)  # another budget in the same folder
    with pytest.raises(SrkdError, match=r"--time is too short: 0 s .* min"):
        flow.compress(ask(seconds=0.01), tmp_path / "d", small)
    monkeypatch.setattr(measure, "_time_teacher", lambda *_: {"seconds per pixel": 1.0})
    with pytest.raises(SrkdError, match=r"--time is too short: teacher takes .* for a crop of 32x32"):
        flow.compress(ask(seconds=1.0), tmp_path / "e", small)


def test_a_slow_teacher_gets_fewer_crops(ask: Ask, small: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = {"seconds per pixel": 0.8 / 4 / 48**2}  # of HR: 0.05 s a crop of 48x48
    monkeypatch.setattr(measure, "_time_teacher", lambda *_: pace)
    rows = flow.dry_run(ask(seconds=1.0), small)
    assert "of the photographs (as many as the time allows)" in rows[1]["what"]


def test_a_file_size_as_budget(ask: Ask, small: Settings, tmp_path: Path) -> None:
    done = flow.compress(ask(max_ms=None, max_mb=0.008, control=False), tmp_path / "out", small)
    assert done.within_budget and (tmp_path / "out" / "student.safetensors").stat().st_size <= 8_000
    assert any("MB of 0.008" in row["why"] for row in done.results["refused"])


def test_exports_are_verified_and_open_again(
    teacher: str, six: str, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(backends, "installed", lambda runtime: runtime == "openvino")
    monkeypatch.setattr(backends, "available", lambda device="cpu": [("openvino", "fp32")])
    student = tmp_path / "student.safetensors"
    shutil.copyfile(teacher, student)
    rows = finish.deliver(student, ("openvino", "fp32"), Path(six), Path(six), lambda line: None)
    assert {row["file"]: row["kept"] for row in rows} == {"student": "yes", "student.xml": "yes"}
    path = finish.delivered(tmp_path, ("openvino", "fp32"))
    assert path.name == "student.xml" and finish.open_delivered(path, ("openvino", "fp32")).scale == 2
    assert finish._size(path) == student.stat().st_size / 1e6  # of fp32 the checkpoint counts


def test_bf16_that_loses_too_much_is_not_delivered(teacher: str, six: str, tmp_path: Path) -> None:
    assert finish.loss_in_bf16(Path(teacher), "torch", six) == ""
    wide = tmp_path / "student.safetensors"
    save_weights(wide, edsr_with_large_features(64).state_dict(), {"network": SMALL_EDSR, "scale": 2})
    assert re.fullmatch(r"it loses \d+\.\d\d dB", finish.loss_in_bf16(wide, "torch", six))


def test_a_black_crop_does_not_decide(six: str, tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for number, path in enumerate(sorted(Path(six).glob("p*.png"))[:3]):
        shutil.copy(path, tmp_path / "crops" / f"{number}.png")
    write_image(tmp_path / "crops" / "black.png", ImageData(np.zeros((48, 48, 3), np.uint8)))
    student = zoo.weights("edsr_16x8_x2_cc0")[0]
    assert finish.loss_in_bf16(student, "torch", str(tmp_path / "crops")) == ""


@pytest.mark.parametrize("size", [(250, 253), (320, 324), (321, 322)])
def test_teacher_and_bicubic_are_compared_on_aligned_crops(
    ask: Ask, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (41, 41, 3)), 8, 0), 8, 1)
    (tmp_path / "held").mkdir()
    write_image(tmp_path / "held" / "a.png", ImageData(photograph[: size[0], : size[1]].astype(np.uint8)))
    job = SimpleNamespace(held_out=tmp_path / "held", request=ask(), teacher_name="edsr_16x8_x2_cc0")
    found = measure._compare_with_bicubic(job)  # type: ignore[arg-type]
    assert found["teacher"] > found["bicubic"] > 22


def test_a_failed_export_is_reported_and_keeps_the_student(
    ask: Ask, small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise SrkdError("it lacks an operator")

    monkeypatch.setattr(finish, "deliver", failing)
    done = flow.compress(ask(control=False), tmp_path / "out", small)
    assert done.results["not exported"] == "it lacks an operator" and done.within_budget  # torch needs no export
    with pytest.raises(SrkdError, match=r"student_int8\.xml was not exported"):
        finish.delivered(tmp_path / "out", ("openvino", "int8"))


def test_a_candidate_with_too_few_steps_is_replaced_by_a_narrower_one(
    ask: Ask, small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        measure, "steps_per_second", lambda task, *_: {4: 90.0, 6: 30.0}[task.recipe.network_g["num_feat"]]
    )
    few, many = (flow.dry_run(ask(), replace(small, steps=steps)) for steps in (1000, 1))
    assert "EDSR 4x2" in few[0]["what"] and "EDSR 6x2" not in few[0]["what"]
    assert "EDSR 6x2" in many[0]["what"]


@pytest.mark.parametrize(
    ("backend", "targets"),
    [(("openvino", "bf16"), ["openvino"]), (("torch", "fp32"), ["openvino"]), (("onnxruntime", "int8"), ["onnx"])],
)
def test_int8_is_exported_for_one_runtime(
    backend: finish.Backend,
    targets: list[str],
    teacher: str,
    six: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested: list[tuple[list[str], list[str]]] = []

    def export(model: Model, folder: Path, wanted: Any, say: Any) -> Exported:
        requested.append((list(wanted.targets), list(wanted.precisions)))
        for table in ("export.md", "export.json"):
            (folder / table).write_text("")
        return Exported([{"file": "student"}, *({"file": name} for name in wanted.targets)], {})

    available = [("torch", "fp32"), ("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "int8")]
    monkeypatch.setattr(finish, "export", export)
    monkeypatch.setattr(backends, "installed", lambda runtime: True)
    monkeypatch.setattr(backends, "available", lambda: available)
    shutil.copyfile(teacher, tmp_path / "student.safetensors")
    rows = finish.deliver(tmp_path / "student.safetensors", backend, Path(six), Path(six), lambda line: None)
    assert requested == [(["onnx", "openvino"], ["fp32"]), (targets, ["int8"])]
    assert [row["file"] for row in rows] == ["student", "onnx", "openvino", *targets]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.safetensors"]
