"""Figures in pages: filled in from files; stale figures and errors are reported with their line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from srkd.docs.blocks import BLOCKS
from srkd.docs.figures import Page, cards, pages
from srkd.docs.typed import generated, typed, written_by_hand
from srkd.errors import SrkdError
from srkd.studies import results as study_results

ROOT = Path(__file__).parents[2]


def page(folder: Path, text: str) -> Page:
    rows = [{"way": way, "at": 1, "my ms": ms, "protocol": "Y"} for way, ms in (("a", 10.0), ("b", 2.5))]
    scores = {"steps": 40000, "sets": {"Set5": {"psnr": 37.504, "ssim": 0.95874}}, "rows": rows}
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "page.md").write_text(text)
    return Page(folder / "page.md", folder)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("scores.json#sets/Set5/psnr : .2f", "37.50"),
        ("./scores.json#sets/Set5/ssim : ssim", ".9587"),
        ("scores.json#steps : ,d", "40,000"),
        ("s/sets/Set5/psnr - 37 : +.3f", "+0.504"),
        ('"s/rows/way=a,at=1/my ms" / "s/rows/1/my ms" : .1f', "4.0"),
        ("s/rows/way=b/way : s", "b"),
        ("( s/sets/Set5/psnr - 37 ) / ( s/rows/1/at * 2 ) * 100 : .1f", "25.2"),
    ],
)
def test_a_figure_has_its_files_value(what: str, value: str, tmp_path: Path) -> None:
    text = "<!--let s = scores.json#-->\nIt has <!--= {} -->{}<!--/--> of it.\n"
    stale = page(tmp_path, text.format(what, "1.0"))
    assert stale.filled() == text.format(what, value)
    assert len(stale.stale()) == 1 and "line 2" in stale.stale()[0] and f"'{value}'" in stale.stale()[0]
    assert page(tmp_path, text.format(what, value)).stale() == []


def test_a_table_is_made_of_rows(tmp_path: Path) -> None:
    filled = page(tmp_path, '<!--= rows scores.json#rows way "my ms=ms" --><!--/-->').filled()
    assert "| way |   ms |" in filled and "| b   |  2.5 |" in filled and "*Y*" in filled


def test_scores_with_published_ones() -> None:
    readme = Page(ROOT / "README.md", ROOT)
    table = readme._value("scores 2 Set5 Set14 -- edsr_16x8_x2_cc0=ours published:DAT-light", {})
    # DAT-light's x2 scores, and not those of x3 and x4 on Set5 (arXiv:2308.03364).
    assert "| DAT-light, published |    553,290 | 38.24       | 34.01       |" in table
    assert "| ours                 |     49,603 | 37." in table


def test_a_study_with_its_control(tmp_path: Path) -> None:
    control = {"variant": "control", "seeds": 5, "mean": 37.0}
    judged = {"difference": 0.1234, "low": -0.01, "high": 0.25, "p_holm": 0.0623, "verdict": "no difference shown"}
    rows = [control, {"variant": "rkd", "seeds": 5, "mean": 37.1234, **judged}, {"variant": "at", "seeds": 5}]
    (tmp_path / "results.json").write_text(json.dumps({"scores": [{"set": "Set5", "metric": "psnr", "rows": rows}]}))
    filled = page(tmp_path, "<!--= study ./results.json Set5 psnr 2 control rkd --><!--/-->").filled()
    assert "| rkd     |     5 | 37.12 |      +0.12 | -0.01 to +0.25 |    0.062 | no difference shown |" in filled
    assert "| control |     5 | 37.00 |" in filled and "at " not in filled


# Two variants, two seeds each, whose items are averaged first.
SCORES = {"control": [[36.0, 38.0], [37.0, 38.0]], "rkd": [[36.5, 38.1], [37.5, 38.5]]}


def results(folder: Path, scores: dict[str, list[list[float]]]) -> Page:
    runs = [
        {
            "variant": variant,
            "seed": seed,
            "scores": {"Set5": {"metrics": {"psnr": dict(zip(("baby", "bird"), items, strict=True))}}},
        }
        for variant, seeds in scores.items()
        for seed, items in reversed(list(enumerate(seeds)))
    ]
    row = {"variant": "rkd", "mean": 37.65, "SD": 0.49, "difference": 0.4, "low": -0.9, "high": 1.7, "p": 0.1560}
    rows = [{"variant": "control", "mean": 37.25, "SD": 0.3536}, row]
    (folder / "results.json").write_text(json.dumps({"runs": runs, "scores": rows}))
    (folder / "page.md").write_text("")
    return Page(folder / "page.md", folder)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("r#seeds/Set5/psnr/rkd - r#seeds/Set5/psnr/control : each .2f", "0.30 and 0.50"),
        ("r#seeds/Set5/psnr/rkd - r#seeds/Set5/psnr/control : range .2f", "0.30 to 0.50"),
        ("r#seeds/Set5/psnr/rkd - r#seeds/Set5/psnr/control : mean .2f", "0.40"),
        # t = 0.4 / 0.1 with one degree of freedom: p = 1 - 2 / pi atan 4.
        ("r#seeds/Set5/psnr/rkd - r#seeds/Set5/psnr/control : p .3f", "0.156"),
        ("r#seeds/Set5/psnr/rkd/1 : .2f", "38.00"),
        ("r#scores/variant=rkd : mean .1f", "37.6 ± 0.5"),
        ("r#scores/variant=rkd : mean .0%", "3765 ± 49"),
        ("r#scores/variant=rkd : difference .1f", "+0.4 (-0.9 to +1.7)"),
        ("r#scores/variant=control : difference .1f", "-"),
        ("r#scores/variant=rkd : p", "0.16"),
    ],
)
def test_values_of_each_seed(what: str, value: str, tmp_path: Path) -> None:
    assert results(tmp_path, SCORES)._value(what.replace("r#", "results.json#"), {}) == value


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("variant=control : mean .2f", "1.80 ± 0.16"),  # the test at the second validation, the best one
        ("variant=fast : mean .2f", "1.30 ± 0.16"),
        ("variant=fast : difference .2f", "-0.50 (-0.50 to -0.50)"),
        ("variant=fast/verdict : s", "better"),
        ("variant=control/steps : s", "20"),
        ("variant=fast/steps : s", "10"),
        ("variant=fast/share : s", "50% (50% to 50%)"),
        ("variant=slow/steps : s", "-"),
        ("variant=slow/reached : s", "0 of 5"),
        ("variant=fast/forecasts : s", "80 (80 to 80)"),  # half-way from 40 to 160, on a logarithmic scale
        ("variant=control_160/forecasts : s", "160 (160 to 160)"),
    ],
)
def test_how_fast_students_of_simulations_learn(what: str, value: str, tmp_path: Path) -> None:
    validation = {"control": [3, 2, 2.5], "fast": [2, 1, 1.5], "slow": [9, 9, 9]}
    best = {"control": 1.8, "fast": 1.3, "slow": 9.0, "control_40": 1.5, "control_160": 1.1}
    runs = [
        {
            "variant": variant,
            "seed": seed,
            "curves": {
                f"{name}X/rmse": [[10 * i, v + (seed - 2) / 10 + jitter * seed] for i, v in enumerate(values, 1)]
                for name, values in (("", [8, test, 7]), ("validation ", validation.get(variant, [3, 2, 2.5])))
            },
        }
        for variant, test in best.items()
        for jitter in [1e-6 if variant == "fast" else 0.0]  # equal differences would be one observation
        for seed in range(5)
    ]
    (tmp_path / "results.json").write_text(json.dumps({"runs": runs, "alpha": 0.05}))
    (tmp_path / "page.md").write_text("")
    page_ = Page(tmp_path / "page.md", tmp_path)
    assert page_._value(f"results.json#learning/X/{what}", {}) == value


def test_a_table_as_printed_by_a_command(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps({"title": "psnr", "rows": [{"model": "a", "PSNR": 37.25}]}))
    assert page(tmp_path, "")._value("printed table.json model PSNR", {}).strip().splitlines() == [
        "```text",
        "psnr",
        "model   PSNR",
        "-----  -----",
        "a      37.25",
        "```",
    ]


def test_a_grid_is_made_of_figures(tmp_path: Path) -> None:
    grid = """grid method "RKD (0.1)=rkd,0.1" control=control,-
      -- "weight={1} : g" "PSNR (dB)=s/variant={0} : mean .2f" "change (%)=s/variant={0}/mean / 37.25 * 100 : .1f" """
    table = results(tmp_path, SCORES)._value(grid, {"s": "results.json#scores"})
    assert "| RKD (0.1) |    0.1 | 37.65 ± 0.49 |      101.1 |" in table
    assert "| control   |      - | 37.25 ± 0.35 |      100.0 |" in table


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("none.json#a : s", "none.json: not found"),
        ("scores.json#sets/Set6 : s", 'unknown key "Set6"'),
        ("scores.json#rows/at=1/way : s", "2 items of the list match"),
        ("scores.json#steps/more : s", "a value of type int has no keys"),
        ("scores.json#steps scores.json#steps : s", "a figure is a source, or sources"),
        ("scores.json#sets : .2f", 'cannot be written as ".2f"'),
        ("( scores.json#steps : d", '")" not found'),
        ("scores.json#steps ) : d", '")": a figure is a source'),
        ("grid way a=1", 'a grid needs a heading, rows, "--" and columns'),
        ('grid way a=1 -- "x=scores.json#none/{0} : d"', 'unknown key "none"'),
        ("scores 2 Set5 -- published:DAT-lite", "DAT-light"),
    ],
)
def test_a_mistake_is_named_with_its_line(what: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="line 3: ") as raised:
        page(tmp_path, f"# Page\n\n<!--= {what} -->x<!--/-->\n").filled()
    assert words in str(raised.value)


def hand_typed(folder: Path, text: str, name: str = "page.md") -> list[str]:
    (folder / name).write_text(text)
    return [line.split('"')[1] for line in typed(folder / name)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Gains 0.17 dB, an accuracy of 52.9 ± 0.1 (p 0.031), 12 ms.", ["0.17 dB", "52.9 ± 0.1", "0.031", "12 ms"]),
        (
            "It is 2.5 times as fast, +0.4 better, 94 % of it, 4.3x faster, 1,369,859 parameters.",
            ["2.5 times", "+0.4", "94 %", "4.3x", "1,369,859 parameters"],
        ),
        ("| a | 37.5 |\n|---|---|\n| b | 49,603 | 7 |", ["37.5", "49,603"]),
        ("`--max-ms 15` and 27 times<!--given-->, in\n\n```sh\nsrkd --time 1.25\n```\n\n    sleep 0.25\n", []),
        ("| 70 %<!--given--> | 71.5 |", ["71.5"]),
        ("Python 3.10 to 3.12, version 1.26.4, arXiv:2308.03364, v0.12.1", []),
        ("Adam 0.01, weight decay 0.05, label smoothing of 0.05, momentum 0.95, shares 0.25, 0.35 and 1", []),
        ("40,000 steps of 128 users, 8 x 8 windows, T = 2, 1e-3, forcing 10", []),
        ("3 <!--= file#key : .2f -->0.25 dB<!--/--> % <!-- 0.25 dB -->", []),
    ],
)
def test_what_is_typed_by_hand_is_found(text: str, found: list[str], tmp_path: Path) -> None:
    assert hand_typed(tmp_path, text) == found


def test_a_typed_figure_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Page\n\nGains 0.17 dB.\n")
    assert typed(tmp_path / "page.md") == [f'{tmp_path / "page.md"}, line 3: "0.17 dB" is typed by hand']


def test_what_a_program_writes_may_hold_figures(tmp_path: Path) -> None:
    assert all(
        generated(tmp_path / name) for name in ("results.md", "a_results.md", "a_steps.md", "verdicts_changed.md")
    )
    assert not generated(tmp_path / "README.md") and not generated(tmp_path / "results.md.md")
    (tmp_path / "metrics.json").write_text("{}")
    assert generated(tmp_path / "README.md")  # a model card


@pytest.mark.parametrize(
    "path", [str(path.relative_to(ROOT)) for path in sorted((ROOT / "models/studies").glob("*/*results.json"))]
)
def test_the_tables_of_a_study_are_those_of_its_results(path: str) -> None:
    found = json.loads((ROOT / path).read_text(encoding="utf-8"))
    assert (ROOT / path).with_suffix(".md").read_text(encoding="utf-8") == study_results.markdown(found)


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in written_by_hand(ROOT)])
def test_no_figure_is_typed_by_hand(path: str) -> None:
    assert typed(ROOT / path) == []


def test_all_pages_are_checked() -> None:
    found = {str(path.relative_to(ROOT)) for path in written_by_hand(ROOT)}
    assert {"README.md", "docs/speed.md", "models/studies/kd_x2/README.md", "models/edsr_16x8_x2/about.yml"} <= found
    assert not any(path.endswith("_results.md") for path in found) and "models/compact_x2/README.md" not in found


@pytest.mark.parametrize("path", [str(page.path.relative_to(ROOT)) for page in pages(ROOT)])
def test_the_pages_match_their_files(path: str) -> None:
    assert Page(ROOT / path, ROOT).stale() == []


@pytest.mark.parametrize("path", [str(page.path.relative_to(ROOT)) for page in pages(ROOT)])
def test_no_marker_of_a_paragraph_starts_a_line(path: str) -> None:
    """Markdown would treat the line as HTML and end the paragraph before it. Markers of tables are separate blocks."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(rf"^ *<!--= (?!(?:{'|'.join(BLOCKS)})\b)[^\n]*", text, re.MULTILINE) == []


def test_the_cards_match_the_measurements() -> None:
    made = dict(cards())
    assert made
    assert {path: path.read_text(encoding="utf-8") for path in made} == made
