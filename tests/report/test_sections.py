from __future__ import annotations

import math

from srkd.report import sections


def test_a_runs_log_becomes_curves() -> None:
    records = [
        {"step": 1, "l_L1Loss": 0.5, "l_vid": 0.2, "lr": 1e-3, "grad/L1Loss": 2.0},
        {"step": 1, "notice": "a word"},
        {"step": 1, "val/psnr_Set5": 30.0, "val/psnr_Set14": 28.0, "val/accuracy": 0.5},
        {"step": 2, "l_L1Loss": 0.4, "l_vid": -0.1, "lr": 1e-3},
        {"step": 2, "val/psnr_Set5": 31.0, "val/psnr_Set14": 29.0, "val/accuracy": 0.6},
    ]
    found = {section["heading"]: section["plot"] for section in sections.training(records)}
    assert list(found) == ["Losses", "Gradients", "psnr while training", "accuracy while training"]
    losses = found["Losses"]
    assert [(line["label"], line["x"], line["y"]) for line in losses["series"]] == [
        ("L1Loss", [1, 2], [0.5, 0.4]),
        ("vid", [1, 2], [0.2, -0.1]),
    ]
    assert not losses["log"], "a negative loss has no place on a logarithmic axis"
    assert found["Gradients"]["log"]
    assert [line["label"] for line in found["psnr while training"]["series"]] == ["psnr_Set5", "psnr_Set14"]


def test_the_metrics_of_a_cohort_are_not_in_one_plot() -> None:
    names = [f"net_g_{n}/{metric}_Set5" for n in (0, 1) for metric in ("psnr", "ssim")]
    records = [{"step": step, **{f"val/{name}": 30.0 for name in names}} for step in (1, 2)]
    found = {section["heading"]: section["plot"] for section in sections.training(records)}
    assert {heading: [line["label"] for line in plot["series"]] for heading, plot in found.items()} == {
        "psnr while training": ["net_g_0/psnr_Set5", "net_g_1/psnr_Set5"],
        "ssim while training": ["net_g_0/ssim_Set5", "net_g_1/ssim_Set5"],
    }


def test_a_single_validation_is_no_curve() -> None:
    assert sections.training([{"step": 5, "val/psnr_Set5": 30.0}]) == []


def test_every_item_has_a_row_for_each_set() -> None:
    scores = {"test": {"protocol": "how", "metrics": {"a": {"x": 1.23456, "y": 2.0}, "b": {"x": 3.0}}}}
    (section,) = sections.items(scores)
    assert section["table"]["columns"] == ["item", "a", "b"]
    assert section["table"]["rows"] == [
        {"item": "x", "a": 1.2346, "b": 3.0, "protocol": "how"},
        {"item": "y", "a": 2.0, "b": None, "protocol": "how"},
    ]


def test_pareto_takes_the_rows_that_have_both() -> None:
    rows = [
        {"model": "bicubic", "size": "-", "parameters": "-", "PSNR": "33.6"},
        {"model": "a", "size": "s", "parameters": "49,603", "PSNR": "37.2"},
        {"model": "b", "size": "m", "parameters": 12, "PSNR": 36.0},
        {"model": "c", "size": "m", "parameters": 12, "PSNR": None},
        {"model": "equal", "size": "m", "parameters": 12, "PSNR": "inf"},
        {"model": "diverged", "size": "m", "parameters": 12, "PSNR": math.nan},
    ]
    (section,) = sections.pareto(rows, ["model", "size"], "parameters", "PSNR")
    assert section["plot"]["points"] == [
        {"label": "a s", "x": 49603.0, "y": 37.2},
        {"label": "b m", "x": 12.0, "y": 36.0},
    ]
    assert sections.pareto(rows[:2], ["model"], "parameters", "PSNR") == [], "one point has no front"
