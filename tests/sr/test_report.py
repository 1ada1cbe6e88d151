from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from srkd import networks
from srkd.data.sets import open_set
from srkd.inference.backends.engine import Bytes, Engine
from srkd.inference.model import Model
from srkd.metrics.evaluation import evaluate, measure, open_model
from srkd.sr import report
from srkd.sr.recipe import SRRecipe
from srkd.training.checkpoint import save_weights


def test_evaluation_report_has_scores_images_and_details(photos: Path, tmp_path: Path) -> None:
    details = report.Details()
    results = evaluate(["bicubic"], [str(photos)], 2, on_output=details)
    report.write(tmp_path, results, details)
    page = (tmp_path / "report.html").read_text()
    headings = ["Scores", f"Details of {photos.name}", "Every image"]
    assert [page.count(f"<h2>{heading}</h2>") for heading in headings] == [1, 1, 1]
    scores = results["models"][0]["sets"][photos.name]
    assert all(f'data-sort="{round(image["psnr"], 3)!r}"' in page for image in scores["images"])
    assert page.count("Protocol: x2, MATLAB bicubic LR") == 2
    assert (tmp_path / "results.json").is_file() and "| bicubic" in (tmp_path / "results.md").read_text()


def test_details_show_the_first_image(photos: Path) -> None:
    name, store = open_set(str(photos), 2)
    perfect = replace(open_model("bicubic", 2), name="perfect")
    details = report.Details()
    measure([perfect], [(name, store)], 2, on_output=details)
    (section,) = details.sections({name: {"perfect": "a note"}})
    assert store.name(0) in section["crops"]["caption"]
    labels = {item["label"]: item for item in section["crops"]["items"]}
    assert list(labels) == ["HR", "bicubic", "perfect"] and labels["perfect"]["note"] == "a note"
    assert labels["perfect"]["png"] == labels["bicubic"]["png"] != labels["HR"]["png"]


def test_quality_over_size_needs_two_networks(photos: Path) -> None:
    name, store = open_set(str(photos), 2)

    class Repeats(Engine):
        runtime = "test"

        def _run(self, pixels: Bytes) -> Bytes:
            return pixels.repeat(2, 1).repeat(2, 2)

    engine = Repeats("uint8", 2)
    models_by_size = [Model.of_engine(engine, {"name": f"m{n}", "scale": 2, "parameters": n}) for n in (0, 10, 20)]
    headings = [
        [section["heading"] for section in report.evaluation(measure(opened, [(name, store)], 2), report.Details())]
        for opened in (models_by_size[:2], models_by_size)
    ]
    assert [("PSNR (dB) against parameters" in found) for found in headings] == [False, True]


def test_a_runs_report_says_that_images_are_not_those_of_the_data_set(photos: Path, tmp_path: Path) -> None:
    sets = {"train": {"dataroot_gt": str(photos)}, "val": {"name": "Set5", "dataroot_gt": str(photos)}}
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    data = {"name": "a", "scale": 2, "network_g": spec, "train": {"total_iter": 1}, "datasets": sets}
    save_weights(tmp_path / "m.safetensors", networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    found = report.run_sections(SRRecipe.model_validate(data), {"net_g": str(tmp_path / "m.safetensors")})
    assert all(row["protocol"].endswith("images not verified") for row in found[0]["table"]["rows"])


def test_report_of_a_cohort_shows_all_generators_and_no_discriminator(photos: Path, tmp_path: Path) -> None:
    recipe = SRRecipe.model_validate(
        {
            "name": "cohort",
            "scale": 2,
            "network_g": {"type": "EDSR"},
            "train": {"total_iter": 1},
            "datasets": {
                "train": {"dataroot_gt": str(photos)},
                "val": {"name": "two", "dataroot_gt": str(photos), "only": ["p1", "p3"]},
            },
        }
    )
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    models = {}
    for name in ("net_g_0", "net_d_0", "net_g_1"):
        models[name] = str(tmp_path / f"{name}_latest.safetensors")
        save_weights(Path(models[name]), networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    shown = {section["heading"]: section for section in report.run_sections(recipe, models)}
    assert [row["model"] for row in shown["Scores"]["table"]["rows"]] == ["bicubic", "net_g_0", "net_g_1"]
    images = {row["image"] for row in shown["Every image"]["table"]["rows"]}
    assert images == {"p1", "p3"}, "the report must use the recipe's validation images"
