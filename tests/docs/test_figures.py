"""Figures in pages: filled in from files, stale ones and mistakes named with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srkd.docs.figures import Page, cards, pages, typed
from srkd.errors import SrkdError

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
    ],
)
def test_a_figure_is_what_its_file_says(what: str, value: str, tmp_path: Path) -> None:
    text = "<!--let s = scores.json#-->\nIt has <!--= {} -->{}<!--/--> of it.\n"
    stale = page(tmp_path, text.format(what, "1.0"))
    assert stale.filled() == text.format(what, value)
    assert len(stale.stale()) == 1 and "line 2" in stale.stale()[0] and f"'{value}'" in stale.stale()[0]
    assert page(tmp_path, text.format(what, value)).stale() == []


def test_a_table_is_made_of_rows(tmp_path: Path) -> None:
    filled = page(tmp_path, '<!--= rows scores.json#rows way "my ms=ms" --><!--/-->').filled()
    assert "| way |   ms |" in filled and "| b   |  2.5 |" in filled and "*Y*" in filled


def test_scores_of_ours_stand_beside_published_ones() -> None:
    readme = Page(ROOT / "README.md", ROOT)
    table = readme._value("scores 2 Set5 Set14 -- edsr_16x8_x2_cc0=ours published:DAT-light", {})
    # DAT-light's x2 scores, and not those of x3 and x4 on Set5 (arXiv:2308.03364).
    assert "| DAT-light, published |    553,290 | 38.24       | 34.01       |" in table
    assert "| ours                 |     49,603 | 37." in table


def test_a_study_stands_beside_its_control(tmp_path: Path) -> None:
    control = {"variant": "control", "seeds": 5, "mean": 37.0}
    judged = {"difference": 0.1234, "low": -0.01, "high": 0.25, "p_holm": 0.0623, "verdict": "no difference shown"}
    rows = [control, {"variant": "rkd", "seeds": 5, "mean": 37.1234, **judged}, {"variant": "at", "seeds": 5}]
    (tmp_path / "results.json").write_text(json.dumps({"scores": [{"set": "Set5", "metric": "psnr", "rows": rows}]}))
    filled = page(tmp_path, "<!--= study ./results.json Set5 psnr 2 control rkd --><!--/-->").filled()
    assert "| rkd     |     5 | 37.12 |      +0.12 | -0.01 to +0.25 |    0.062 | no difference shown |" in filled
    assert "| control |     5 | 37.00 |" in filled and "at " not in filled


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("none.json#a : s", "none.json: not found"),
        ("scores.json#sets/Set6 : s", 'unknown key "Set6"'),
        ("scores.json#rows/at=1/way : s", "2 items of the list are so"),
        ("scores.json#steps/more : s", "no keys below a int"),
        ("scores.json#steps scores.json#steps : s", "a figure is a source, or sources"),
        ("scores.json#sets : .2f", 'cannot be written as ".2f"'),
        ("scores 2 Set5 -- published:DAT-lite", "DAT-light"),
    ],
)
def test_a_mistake_is_named_with_its_line(what: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="line 3: ") as raised:
        page(tmp_path, f"# Page\n\n<!--= {what} -->x<!--/-->\n").filled()
    assert words in str(raised.value)


def test_what_is_typed_by_hand_is_found(tmp_path: Path) -> None:
    text = "Gains 0.17 dB.\n\n`--max-ms 15` and 27 times<!--given-->, in\n\n```sh\nsrkd --time 1.25\n```\n\n12 ms\n"
    assert [line.partition(", ")[2] for line in typed(page(tmp_path, text))] == [
        'line 1: "0.17 dB" is typed by hand',
        'line 9: "12 ms" is typed by hand',
    ]


@pytest.mark.parametrize("path", [str(page.path.relative_to(ROOT)) for page in pages(ROOT)])
def test_the_pages_say_what_their_files_say(path: str) -> None:
    assert Page(ROOT / path, ROOT).stale() == []


def test_the_cards_say_what_was_measured() -> None:
    made = dict(cards())
    assert made
    assert {path: path.read_text(encoding="utf-8") for path in made} == made
