"""The table of metrics: its entries, the values and stamps that must not change, and a metric added as one file."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import srkd.metrics
from srkd import resources
from srkd.cli.main import main
from srkd.commands import zoo
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.images.resize import imresize
from srkd.metrics import evaluation, registry
from srkd.metrics.scores import Protocol, score
from srkd.networks import zoo as shelf
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training.run import Run
from support import textured

HR = textured(1, 200, 204)
BLURRED = imresize(imresize(HR, 0.5), 2.0)
TOY = '''
"""Mean absolute difference."""

import numpy as np

from srkd.metrics.registry import Metric, register


@register("toy")
class Toy(Metric):
    """Mean absolute difference in grey levels."""

    label, unit, digits, lower, stamp = "toy", "levels", 1, True, "toy: mean absolute difference"

    def __call__(self, pair):
        a, b = pair.planes
        return float(np.abs(a - b).mean())
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A metric's file beside those of srkd."""
    folder = tmp_path / "more_metrics"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(srkd.metrics, "__path__", [*srkd.metrics.__path__, str(folder)])
    monkeypatch.setattr(registry._METRICS, "_classes", {name: type(registry.get(name)) for name in registry.names()})
    monkeypatch.setattr(registry._METRICS, "_discovered", False)
    yield
    sys.modules.pop("srkd.metrics.toy", None)
    vars(srkd.metrics).pop("toy", None)


def test_the_table_is_complete() -> None:
    names = registry.names()
    assert names[:2] == ["psnr", "ssim"] and {"niqe", "lpips", "dists", "efficientnet"} < set(names)
    assert {name for name in names if not registry.get(name).lower} == {"psnr", "ssim"}
    assert {name for name in names if registry.get(name).no_reference} == {"niqe", "grid"}
    for name in names:
        metric = registry.get(name)
        assert metric.name == name and metric.__doc__ and metric.title
        assert registry.of_basicsr(f"calculate_{name}").name == name
        assert f"{'lower' if metric.lower else 'higher'} is better" in registry.describe(name)
        assert metric.needs in registry.describe(name)


@pytest.mark.parametrize("type", ["psnr", "calculate_psnrr", "calculate_", "calculate_calculate_psnr"])
def test_unknown_types_of_a_recipe(type: str) -> None:
    with pytest.raises(SrkdError, match=f'unknown metric "{type}"'):
        registry.of_basicsr(type)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["psnr", "nique"], 'unknown metric "nique" .did you mean "niqe"'),
        (["psnr", "psnr"], "list each once"),
        ([""], 'unknown metric ""'),
    ],
)
def test_unknown_metrics(names: list[str], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        evaluation.of_study(f"Set5@{','.join(names)}")


def test_values_are_those_of_version_0_1() -> None:
    """Published scores depend on them; the tolerance is for other processors' rounding."""
    expected = {"Y": (28.772436755000612, 0.9501853589711491), "RGB": (24.453191777895626, 0.9474823550213269)}
    for channel, values in expected.items():
        found = score(BLURRED, HR, Protocol(2, 2, channel))
        assert (found["psnr"], found["ssim"]) == pytest.approx(values, rel=1e-12)


def test_stamps_and_results_are_those_of_version_0_1(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", ImageData(HR))
    plain = "x2, MATLAB bicubic LR, uint8 output, Y (BT.601), border 2 px"
    assert Protocol.default(2).stamp() == plain
    stamp = f"{plain}; NIQE: BasicSR's, on Y, without ground truth; LPIPS: version 0.1, AlexNet, RGB"
    assert Protocol.default(2).stamp(["psnr", "niqe", "lpips"]) == stamp
    results = evaluation.evaluate(["bicubic"], [str(tmp_path / "set")], 2, metrics=["psnr", "ssim", "niqe"])
    niqe = f"{plain}; NIQE: BasicSR's, on Y, without ground truth"
    scores = results["models"][0]["sets"]["set"]
    assert list(scores) == ["psnr", "ssim", "niqe", "protocol", "images"]
    assert scores["protocol"] == {
        "scale": 2,
        "crop_border": 2,
        "channel": "Y",
        "lr": "matlab_bicubic",
        "self_ensemble": False,
        "verified": True,
        "stamp": niqe,
    }
    assert list(scores["images"][0]) == ["name", "psnr", "ssim", "niqe"]
    row = {"PSNR (dB)": "28.772", "SSIM": "0.9502", "NIQE": f"{scores['niqe']:.3f}"}
    columns = ["model", "parameters", "set", *row]
    assert evaluation.table(results) == (
        [{"model": "bicubic", "parameters": "-", "set": "set", **row, "protocol": niqe}],
        columns,
    )


def test_scores_as_text() -> None:
    psnr, ssim = registry.get("psnr"), registry.get("ssim")
    assert (psnr.text(37.2547), psnr.text(37.2547, brief=True), psnr.caption(37.2547)) == (
        "37.255",
        "37.25",
        "37.25 dB",
    )
    assert (ssim.text(0.95874), ssim.caption(0.95874)) == ("0.9587", "SSIM 0.9587")
    scores = {"psnr": 37.4999, "ssim": 0.95874, "protocol": "x2"}
    assert registry.joined(scores) == "37.50/.9587" and registry.joined({"psnr": 37.4}) == "37.40"
    assert registry.rounded(scores) == {"PSNR (dB)": 37.5, "SSIM": 0.9587}
    assert registry.texts(scores) == {"PSNR (dB)": "37.500", "SSIM": "0.9587"}


def test_the_list_of_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--list-metrics"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert shown.startswith("psnr\n    PSNR (dB), higher is better.") and "Needs lpips" in shown


def test_a_new_file_is_evaluated_and_reported(
    toy: None, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(photos), "--output", str(out)]
    assert main([*command, "--metrics", "toy", "ssim"]) == 0
    assert "toy (levels)" in capsys.readouterr().out
    scores = json.loads((out / "results.json").read_text())["models"][0]["sets"][photos.name]
    assert scores["protocol"]["stamp"].endswith("; toy: mean absolute difference")
    cells = (out / "results.md").read_text()
    assert "toy (levels)" in cells and f" {scores['toy']:.1f} |" in cells
    page = (out / "report.html").read_text()
    assert "toy (levels)" in page and f"{scores['images'][0]['toy']:.1f} levels" in page


def test_a_new_file_validates_while_training(toy: None, recipe: dict[str, Any], tmp_path: Path) -> None:
    metrics = {"psnr": {"type": "calculate_psnr"}, "toy": {"type": "calculate_toy"}}
    recipe["val"] = {"val_freq": 2, "metrics": metrics, "best": "toy_photos"}
    result = Run(recipe, tmp_path, quiet=True).train()
    records = [json.loads(line) for line in (tmp_path / "tiny" / "metrics.jsonl").read_text().splitlines()]
    values = [record["val/toy_photos"] for record in records if "val/toy_photos" in record]
    assert len(values) == 3 and result["best"]["value"] == min(values) != max(values)


def test_a_new_file_is_compared_in_studies(toy: None, recipe: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    study = {
        "name": "toys",
        "base": recipe,
        "seeds": [0],
        "sets": [f"{photos}@toy,psnr"],
        "variants": [{"name": "more", "losses": [{"type": "L1Loss", "target": "gt"}], "set": {"train.total_iter": 6}}],
    }
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
    opened = Comparison(plan.read(tmp_path / "study.yml"), tmp_path / "out")
    opened.check()
    assert opened.train(quiet=True)
    found = results.write(opened)
    assert found["lower"] == ["toy"] and [table["metric"] for table in found["scores"]] == ["toy", "psnr"]
    assert all("toy: mean absolute difference" in table["protocol"] for table in found["scores"])
    assert f"## toy on {photos.name}" in (opened.folder / "results.md").read_text()


def test_a_new_file_is_in_the_zoos_cards(
    toy: None, recipe: dict[str, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "recipe.yml").write_text(yaml.safe_dump(recipe))
    about = {"default": True, "licence": "CC0", "notes": "For tests.", "metrics": ["psnr", "ssim", "toy"]}
    (folder / "about.yml").write_text(yaml.safe_dump(about))
    (folder.parent / "published.yml").write_bytes((resources.folder("models") / "published.yml").read_bytes())
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    monkeypatch.setattr(shelf, "external", lambda: [])
    monkeypatch.chdir(tmp_path)
    zoo.train("tiny")
    scores = zoo.verify("tiny", [str(photos)])["sets"][photos.name]
    card = (folder / "README.md").read_text()
    assert list(scores) == ["psnr", "ssim", "toy", "protocol"]
    assert f"/{scores['toy']:.1f} |" in card
    assert "PSNR (dB) / SSIM / toy (levels); protocol: " in card and "; toy: mean absolute difference." in card
